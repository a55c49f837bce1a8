// SPDX-License-Identifier: Apache-2.0
/*
 * Stand-alone driver for a fuzz target: runs LLVMFuzzerTestOneInput once on every file of the
 * folders (or files) named on the command line, so that each corpus is an ordinary test without
 * libFuzzer. Fails when it found no input at all: an empty corpus proves nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return -1;
    }
    struct stat st;
    uint8_t *data = NULL;
    size_t got = 0;
    if (fstat(fileno(f), &st) == 0) {
        /* Exactly as large as the input, so that ASan sees a read past its end. */
        data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
        if (data != NULL)
            got = fread(data, 1, (size_t)st.st_size, f);
    }
    fclose(f);
    if (data == NULL)
        return -1;
    LLVMFuzzerTestOneInput(data, got);
    free(data);
    return 0;
}

static int replay_folder(const char *path, unsigned *count)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        perror(path);
        return -1;
    }
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        r = replay_file(file);
        *count += 1;
    }
    closedir(dir);
    return r;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) != 0) {
            perror(argv[i]);
            return 1;
        }
        int r =
            S_ISDIR(st.st_mode) ? replay_folder(argv[i], &count) : (count++, replay_file(argv[i]));
        if (r != 0)
            return 1;
    }
    printf("%u inputs replayed\n", count);
    return count > 0 ? 0 : 1;
}
