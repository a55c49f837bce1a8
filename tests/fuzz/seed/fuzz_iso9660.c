// SPDX-License-Identifier: Apache-2.0
/*
 * Whatever files a disk is to have: the writer refuses them, or the tests' reader finds exactly
 * them. The input is a byte of flags, then for each file: a byte with the length of its path (0:
 * that of the file before, with one letter more), the path, two bytes of size (units of 37 bytes).
 */
#include "iso_reader.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES_MAX 300 /* enough for folders of several sectors, few enough to be fast */
#define UNIT      37

static size_t take(const uint8_t **data, size_t *size, void *to, size_t len)
{
    if (len > *size)
        len = *size;
    memcpy(to, *data, len);
    *data += len;
    *size -= len;
    return len;
}

static char *take_path(const uint8_t **data, size_t *size, const char *before)
{
    uint8_t len = 0;
    char text[256] = "";
    take(data, size, &len, 1);
    if (len == 0 && before != NULL)
        return xasprintf("%.250s%c", before, 'a' + (int)(strlen(before) % 26));
    take(data, size, text, len);
    return xstrdup(text);
}

static void run(const char *label, bool is_private, const struct iso_file *files, size_t count)
{
    cleanup_free uint8_t *image = NULL;
    size_t len = 0;
    struct error err = ERROR_INIT;
    int r = iso_write(label, is_private, files, count, &image, &len, &err);
    if (r == 0)
        iso_verify(image, len, label, is_private, files, count);
    else if ((r != -EINVAL && r != -E2BIG) || image != NULL || err.text[0] == '\0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct iso_file files[FILES_MAX];
    size_t count = 0;
    uint8_t flags = 0;
    take(&data, &size, &flags, 1);
    while (size > 0 && count < FILES_MAX) {
        uint8_t units[2] = {0};
        struct iso_file *file = &files[count];
        file->path = take_path(&data, &size, count > 0 ? files[count - 1].path : NULL);
        take(&data, &size, units, 2);
        file->len = (units[0] | (size_t)(units[1] & 1) << 8) * UNIT;
        file->data = xcalloc(file->len + 1, 1);
        memset(file->data, (int)count + 1, file->len);
        count++;
    }
    run((flags & 2) != 0 ? "config-2" : "a label that has 32 characters..", (flags & 1) != 0, files,
        count);
    while (count > 0) {
        free(files[--count].path);
        free(files[count].data);
    }
    return 0;
}
