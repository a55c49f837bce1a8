// SPDX-License-Identifier: Apache-2.0
/*
 * The image socket's messages with their descriptors (src/vmm/front/images.h). The input is a
 * sequence of: a byte for how many descriptors come along (low two bits) and what they are (the
 * next two), a byte for the length of the text in units of 16 bytes, the text. Whatever arrives, a
 * descriptor is either kept for a file that is wanted, once, or closed.
 */
#include "images.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_UNIT 16

static void check(bool condition)
{
    if (!condition)
        abort();
}

/* A good file, one that may be written, a device, a pipe's end. */
static int make_fd(unsigned kind)
{
    if (kind == 2)
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (kind == 3) {
        int ends[2];
        check(pipe2(ends, O_CLOEXEC) == 0);
        close(ends[1]);
        return ends[0];
    }
    int fd = memfd_create("file", MFD_CLOEXEC);
    check(fd >= 0 && ftruncate(fd, 512) == 0);
    if (kind == 1)
        return fd;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    close(fd);
    return readable;
}

static unsigned count_open(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 64; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static unsigned count_arrived(const struct images *images)
{
    unsigned count = 0;
    for (unsigned i = 0; i < images->wanted_count; i++) {
        const struct image_wanted *wanted = &images->wanted[i];
        struct stat st;
        check(wanted->arrived == (wanted->fd >= 0));
        count += wanted->arrived;
        if (wanted->arrived)
            check(fstat(wanted->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
                  (fcntl(wanted->fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
    }
    return count;
}

static void feed(struct images *images, unsigned before, uint8_t head, const uint8_t *text,
                 size_t len)
{
    int fds[3];
    unsigned fd_count = head & 3, arrived = count_arrived(images);
    for (unsigned i = 0; i < fd_count; i++)
        fds[i] = make_fd(head >> 2 & 3);
    struct error err = ERROR_INIT;
    int r = images_accept(images, (const char *)text, len, fds, fd_count, &err);
    check(r == 0 || r == -EPROTO || r == -EREMOTEIO);
    check((r == 0) == (err.text[0] == '\0'));
    check(count_arrived(images) == arrived + (r == 0));
    check(count_open() == before + count_arrived(images));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct images images = IMAGES_INIT;
    images_want(&images, IMAGE_VOLUME, "root", "image", NULL);
    images_want(&images, IMAGE_KERNEL_BOOT, IMAGE_KERNEL, "image", NULL);
    images_want(&images, IMAGE_KERNEL_BOOT, IMAGE_INITRD, "image", NULL);
    unsigned before = count_open();
    while (size >= 2) {
        size_t len = (size_t)data[1] * TEXT_UNIT;
        if (len > size - 2)
            len = size - 2;
        feed(&images, before, data[0], data + 2, len);
        data += 2 + len;
        size -= 2 + len;
    }
    for (unsigned i = 0; i < images.wanted_count; i++) {
        int fd = images_take(&images, images.wanted[i].kind, images.wanted[i].name);
        if (fd >= 0)
            close(fd);
    }
    check(count_open() == before);
    return 0;
}
