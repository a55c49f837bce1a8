// SPDX-License-Identifier: Apache-2.0
/* See qcow2kit.h. */
#include "qcow2kit.h"
#include "blockio.h"
#include <check.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define PARTS 5

static char folder[KIT_PATH_MAX];

void kit_enter(void)
{
    strcpy(folder, "/tmp/podvisor-qcow2-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

void kit_leave(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    kit_run("rm -r %s", folder);
}

static int run(const char *fmt, va_list args)
{
    char command[1024];
    int n = vsnprintf(command, sizeof(command), fmt, args);
    ck_assert_int_lt(n, (int)sizeof(command));
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

void kit_run(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int status = run(fmt, args);
    va_end(args);
    ck_assert_msg(status == 0, "%s: exit code %d", fmt, status);
}

int kit_status(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int status = run(fmt, args);
    va_end(args);
    return status;
}

struct image *kit_try_open(const char *name, enum image_format format, int flags,
                           struct image *backing, struct error *err)
{
    struct image *img = calloc(1, sizeof(*img));
    ck_assert_ptr_nonnull(img);
    cleanup_close int fd = open(name, flags | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
    const struct image_config config = {.fd = fd,
                                        .format = format,
                                        .readonly = (flags & O_ACCMODE) == O_RDONLY,
                                        .discard = true,
                                        .backing = backing};
    if (image_init(img, &config, err) < 0) {
        free(img);
        return NULL;
    }
    steal_fd(&fd);
    return img;
}

struct image *kit_open(const char *name, enum image_format format, bool readonly,
                       struct image *backing)
{
    struct error err = ERROR_INIT;
    struct image *img = kit_try_open(name, format, readonly ? O_RDONLY : O_RDWR, backing, &err);
    ck_assert_msg(img != NULL, "%s: %s", name, err.text);
    return img;
}

void kit_close(struct image *img)
{
    image_done(img);
    free(img);
}

/* Cuts the buffer into parts, as a guest would. */
static unsigned cut(uint8_t *buf, uint64_t len, struct iovec *iov)
{
    unsigned n = 0;
    while (len > 0) {
        uint64_t part = n + 1 < PARTS && len > 4096 ? (len / 3 + 511) & ~UINT64_C(511) : len;
        iov[n++] = (struct iovec){.iov_base = buf, .iov_len = part};
        buf += part;
        len -= part;
    }
    return n;
}

static int transfer(struct image *img, enum engine_op op, uint64_t offset, uint8_t *buf,
                    uint64_t len)
{
    struct blockio_bounce bounce;
    int r = blockio_bounce_init(&bounce, NULL);
    if (r < 0)
        return r;
    struct iovec iov[PARTS];
    struct engine_request req = {.image = img, .op = op, .iov = iov, .offset = offset, .len = len};
    req.iov_count = buf != NULL ? cut(buf, len, iov) : 0;
    req.unmap = (offset & 1024) != 0;
    r = blockio_run(&req, &bounce);
    blockio_bounce_done(&bounce);
    return r;
}

int kit_read(struct image *img, uint64_t offset, void *buf, uint64_t len)
{
    return transfer(img, ENGINE_READ, offset, buf, len);
}

int kit_write(struct image *img, uint64_t offset, const void *buf, uint64_t len)
{
    uint8_t *bytes;
    memcpy(&bytes, &buf, sizeof(bytes)); /* struct iovec knows no const */
    return transfer(img, ENGINE_WRITE, offset, bytes, len);
}

int kit_zero(struct image *img, uint64_t offset, uint64_t len)
{
    return transfer(img, ENGINE_WRITE_ZEROES, offset, NULL, len);
}

uint64_t kit_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void kit_fill(uint8_t *buf, uint64_t len, uint64_t offset, uint64_t stamp)
{
    for (uint64_t i = 0; i + 8 <= len; i += 8) {
        uint64_t v = (offset + i) ^ stamp << 40;
        memcpy(buf + i, &v, sizeof(v));
    }
}
