// SPDX-License-Identifier: Apache-2.0
/* Reading image files with pread(2), checked against the size seen at the start; any thread. */
#include "internal.h"
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * fstat() of the kernel, not of libc: that one is newfstatat() with an empty path, and a filter,
 * which cannot look at a path, would have to let every path through. On x86-64 both have the same
 * struct stat.
 */
static int examine(int fd, struct stat *ret_st)
{
    return syscall(SYS_fstat, fd, ret_st) < 0 ? -errno : 0;
}

int boot_file_open(int fd, const char *what, struct boot_file *ret_file, struct error *err)
{
    struct stat st;
    int r = examine(fd, &st);
    if (r < 0)
        return error_sys(err, -r, "cannot examine the %s", what);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "the %s is not a regular file", what);
    *ret_file = (struct boot_file){.fd = fd, .size = (uint64_t)st.st_size, .what = what};
    return 0;
}

static int truncated(const struct boot_file *file, const char *part, uint64_t end, uint64_t have,
                     struct error *err)
{
    error_set(err, ENOEXEC, "the %s is truncated: %llu bytes of its %s are missing", file->what,
              (unsigned long long)(end - have), part);
    error_hint(err, "copy or download it again");
    return -ENOEXEC;
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *buf, uint64_t len,
                   const char *part, struct error *err)
{
    if (len > INT64_MAX || offset > INT64_MAX - len)
        return error_set(err, ENOEXEC, "the %s is malformed: its %s lies beyond any file",
                         file->what, part);
    if (offset + len > file->size)
        return truncated(file, part, offset + len, file->size, err);
    uint8_t *p = buf;
    while (len > 0) {
        ssize_t n = pread(file->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_sys(err, errno, "cannot read the %s", file->what);
        if (n == 0) /* it was longer when it was opened */
            return truncated(file, part, offset + len, offset, err);
        p += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}
