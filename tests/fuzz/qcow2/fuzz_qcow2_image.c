// SPDX-License-Identifier: Apache-2.0
/*
 * A whole qcow2 file whose author is hostile: opened for reading and for writing, then used. What
 * is in it decides what is done where. Everything may fail; nothing may crash, hang, or, once the
 * image was found corrupt, write.
 */
#include "image.h"
#include "qcow2_header.h"
#include <fcntl.h>
#include <podvisor/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_MAX_ (256 << 10)
#define STEPS     24

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_setup("fuzz", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    return 0;
}

static int make_file(const uint8_t *data, size_t size)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    return fd;
}

static struct image *make_backing(void)
{
    static uint8_t bytes[8192];
    struct image *img = calloc(1, sizeof(*img));
    struct image_config config = {.format = IMAGE_FORMAT_RAW, .readonly = true};
    memset(bytes, 0xbb, sizeof(bytes));
    config.fd = make_file(bytes, sizeof(bytes));
    if (img == NULL || image_init(img, &config, NULL) < 0)
        abort();
    return img;
}

static struct image *open_image(int fd, size_t size, bool readonly)
{
    struct qcow2_header header;
    struct error err = ERROR_INIT;
    struct image_config config = {
        .fd = fd, .format = IMAGE_FORMAT_QCOW2, .readonly = readonly, .discard = true};
    if (qcow2_header_read(fd, size, &header, &err) < 0)
        return NULL;
    struct image *img = calloc(1, sizeof(*img));
    if (img == NULL)
        abort();
    if (header.has_backing)
        config.backing = make_backing();
    if (image_init(img, &config, &err) == 0)
        return img;
    if (err.text[0] == '\0')
        abort();
    if (config.backing != NULL) {
        image_done(config.backing);
        free(config.backing);
    }
    free(img);
    return NULL;
}

/* Where something may be: the first clusters, the last ones, or anywhere. */
static uint64_t choose_offset(const struct image *img, uint32_t dice)
{
    uint64_t sectors = img->geometry.size / IMAGE_SECTOR_SIZE, at = dice >> 3;
    if (dice % 4 == 1)
        at = sectors - 1 - at % 64;
    else if (dice % 4 == 2)
        at *= UINT64_C(0x9e3779b97f4a7c15);
    else
        at %= 64;
    return at % sectors * IMAGE_SECTOR_SIZE;
}

static void step(struct image *img, uint32_t dice)
{
    static uint8_t buf[8192];
    uint64_t offset = choose_offset(img, dice), left = img->geometry.size - offset;
    uint64_t len = (1 + (dice >> 9) % 16) * IMAGE_SECTOR_SIZE;
    if (len > left)
        len = left;
    struct iovec iov[2] = {{.iov_base = buf, .iov_len = len / 2},
                           {.iov_base = buf + len / 2, .iov_len = len - len / 2}};
    unsigned operation = dice >> 13 & 7;
    if (img->readonly || operation < 2)
        (void)img->ops->read(img, iov, 2, offset, (dice & 0x10000) != 0);
    else if (operation < 5)
        (void)img->ops->write(img, iov, 2, offset, (dice & 0x30000) == 0);
    else if (operation == 5)
        (void)img->ops->discard(img, offset, left < 65536 ? left : 65536);
    else if (operation == 6)
        (void)img->ops->write_zeroes(img, offset, left < 40960 ? left : 40960, dice & 0x10000);
    else
        (void)img->ops->flush(img);
}

static void use(const uint8_t *data, size_t size, bool readonly)
{
    int fd = make_file(data, size);
    struct image *img = open_image(fd, size, readonly);
    if (img == NULL) {
        close(fd);
        return;
    }
    for (unsigned i = 0; i < STEPS; i++) {
        uint32_t dice = i * 0x9e3779b9u;
        for (unsigned k = 0; k < 4; k++)
            dice = dice * 31 + data[size - 1 - (i * 4 + k) % 128 % size];
        step(img, dice);
    }
    if (!readonly)
        (void)img->ops->flush(img);
    image_done(img);
    free(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > FILE_MAX_)
        return 0;
    use(data, size, true);
    use(data, size, false);
    return 0;
}
