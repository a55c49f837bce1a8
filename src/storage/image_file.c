// SPDX-License-Identifier: Apache-2.0
/*
 * Opening disks by name, for the front; single-threaded. Unless the caller says otherwise the paths
 * are the user's own, so symbolic links are followed; what the descriptor turns out to be is
 * checked on the descriptor. openat2(2), fcntl_locking(2).
 *
 * Who holds a lock is in an extended attribute of the file, which says who took it last: it is only
 * looked at when the lock is taken, so that one left behind by a machine that was killed harms
 * nobody.
 */
#include "image_file.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES    20
#define LOCK_PAUSE_MS 10

#define OPEN_TRIES 3

#define HOLDER_ATTRIBUTE "user.podvisor.holder"
#define HOLDER_MAX       335 /* bytes */

int image_file_open_folder(const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    char folder[PATH_MAX] = ".";
    if (slash != NULL && (size_t)(slash - path) + 2 > sizeof(folder))
        return -ENAMETOOLONG;
    if (slash != NULL) {
        memcpy(folder, path, (size_t)(slash - path) + 1);
        folder[slash - path + 1] = '\0';
    }
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EISDIR;
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_name = name;
    return fd;
}

int image_file_open_beneath(const char *path, int flags, mode_t mode)
{
    const char *name = path;
    cleanup_close int folder_fd = image_file_open_folder(path, &name);
    if (folder_fd < 0)
        return folder_fd;
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)syscall(SYS_openat2, folder_fd, name, &how, sizeof(how));
    /* Older kernels, and containers' system call filters that do not know it. A name of one part
     * goes no further without it. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(folder_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
    return fd < 0 ? -errno : fd;
}

static int open_failed(const char *path, const struct image_file_options *options, int code,
                       struct error *err)
{
    switch (code) {
    case ENOENT:
        return error_set(err, code, "disk %s does not exist", path);
    case ELOOP:
        if (options->untrusted)
            return error_set(err, code, "disk %s is a symbolic link, which is not followed", path);
        break;
    case EISDIR:
        return error_set(err, code, "disk %s is a directory", path);
    case EBUSY:
        error_set(err, code, "disk %s is in use on this node", path);
        return error_hint(err, "another machine writes to this device, or it is mounted");
    case EACCES:
    case EPERM:
    case EROFS:
        error_sys(err, code, "cannot open disk %s for %s", path,
                  options->readonly ? "reading" : "writing");
        if (options->readonly)
            return error_hint(err, "make it readable for user id %u", (unsigned)geteuid());
        return error_hint(err, "make it writable for user id %u or mark the disk read-only",
                          (unsigned)geteuid());
    case EINVAL:
        if (options->direct) {
            error_set(err, code, "disk %s: its file system does not support O_DIRECT", path);
            return error_hint(err, "use the host's page cache for this disk");
        }
        break;
    default:
        break;
    }
    return error_sys(err, code, "cannot open disk %s", path);
}

/* Puts the path before what image_geometry_read() found, and the remedy behind it. */
static int explain_geometry(const char *path, int fd, const struct image_file_options *options,
                            struct error *err)
{
    off_t size = lseek(fd, 0, SEEK_END);
    int r = error_wrap(err, "disk %s", path);
    if (r != -EINVAL || options->format != IMAGE_FORMAT_RAW)
        return r;
    if (size == 0)
        return error_hint(err, "give it a size: truncate -s 10G %s", path);
    if (size > 0 && size % IMAGE_SECTOR_SIZE != 0)
        return error_hint(err, "pad it: truncate -s %%%d %s", IMAGE_SECTOR_SIZE, path);
    if (options->direct && size > 0 && size % 4096 != 0)
        return error_hint(err, "pad it: truncate -s %%4096 %s", path);
    return r;
}

/* Whoever can write to the file can write this, too: printable text, or nothing. */
static bool read_holder(int fd, char holder[static HOLDER_MAX + 1])
{
    ssize_t len = fgetxattr(fd, HOLDER_ATTRIBUTE, holder, HOLDER_MAX);
    for (ssize_t i = 0; i < len; i++) {
        if (holder[i] < ' ' || holder[i] > '~')
            return false;
    }
    holder[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* A POSIX lock has an owner with a process id; an open file description lock has none (-1). */
static int explain_lock(const char *path, int fd, const struct flock *wanted, struct error *err)
{
    struct flock holder = *wanted;
    char name[HOLDER_MAX + 1];
    if (fcntl(fd, F_OFD_GETLK, &holder) == 0 && holder.l_type != F_UNLCK && holder.l_pid > 0)
        error_set(err, EBUSY, "disk %s is in use by process %d", path, (int)holder.l_pid);
    else if (read_holder(fd, name))
        error_set(err, EBUSY, "disk %s is in use; %s was the last to take it", path, name);
    else
        error_set(err, EBUSY, "disk %s is in use by another process", path);
    if (wanted->l_type == F_RDLCK)
        return error_hint(err, "it is being written to");
    return error_hint(err, "two machines that write to one disk destroy it");
}

/*
 * Of a machine that was killed the kernel finishes what was in flight (io_uring), a few
 * milliseconds after the process is gone, and lets go of its files then.
 */
static bool try_lock(int fd, struct flock *lock)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    for (unsigned tries = 0; tries < LOCK_TRIES; tries++) {
        if (fcntl(fd, F_OFD_SETLK, lock) == 0)
            return true;
        if (errno != EAGAIN && errno != EACCES)
            return false;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return fcntl(fd, F_OFD_SETLK, lock) == 0;
}

static int lock_file(const char *path, const struct image_file_options *options,
                     struct image_file *file, struct error *err)
{
    struct flock lock = {.l_type = options->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    if (try_lock(file->fd, &lock)) {
        file->locked = true;
        /* File systems without extended attributes leave the next one without a name. */
        if (!options->readonly && options->holder != NULL)
            (void)!fsetxattr(file->fd, HOLDER_ATTRIBUTE, options->holder,
                             strnlen(options->holder, HOLDER_MAX), 0);
        return 0;
    }
    if (errno == EAGAIN || errno == EACCES)
        return explain_lock(path, file->fd, &lock, err);
    if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
        return 0; /* network file systems without a lock service: the caller may warn */
    return error_sys(err, errno, "cannot lock disk %s", path);
}

int image_file_take(const char *path, int fd, const struct image_file_options *options,
                    struct image_file *ret_file, struct error *err)
{
    struct image_file file = {.fd = fd};
    if (fcntl(fd, F_SETFL, options->direct ? O_DIRECT : 0) < 0)
        return open_failed(path, options, errno, err);
    int r = image_geometry_read(fd, options->format, &file.geometry, err);
    if (r < 0)
        return explain_geometry(path, fd, options, err);
    r = options->shared ? 0 : lock_file(path, options, &file, err);
    if (r == 0)
        *ret_file = file;
    return r;
}

/*
 * Whoever made the file holds its lock, and removes it when the start fails: the lock that was
 * waited for is then one of a file that nobody else will find. By name and not by st_nlink, which a
 * network file system keeps at 1 for a removed file that is open.
 */
static bool is_removed(const char *path, int fd)
{
    struct stat own, there;
    if (fstat(fd, &own) < 0)
        return errno == ESTALE;
    if (!S_ISREG(own.st_mode))
        return false;
    if (stat(path, &there) < 0)
        return errno == ENOENT;
    return own.st_dev != there.st_dev || own.st_ino != there.st_ino;
}

/* -ESTALE: it was removed meanwhile. */
static int open_once(const char *path, const struct image_file_options *options,
                     struct image_file *ret_file, struct error *err)
{
    /* O_NONBLOCK: a FIFO must be refused below, not waited for here. */
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (options->readonly ? O_RDONLY : O_RDWR);
    if (options->direct)
        flags |= O_DIRECT;
    if (!options->readonly && !options->shared)
        flags |= O_EXCL; /* means nothing but for block devices */
    cleanup_close int fd =
        options->untrusted ? image_file_open_beneath(path, flags, 0) : open(path, flags);
    if (fd < 0)
        return open_failed(path, options, options->untrusted ? -fd : errno, err);
    int r = image_file_take(path, fd, options, ret_file, err);
    if (r < 0)
        return r;
    if (is_removed(path, fd))
        return error_set(err, ESTALE, "disk %s was removed meanwhile", path);
    steal_fd(&fd);
    return 0;
}

int image_file_open(const char *path, const struct image_file_options *options,
                    struct image_file *ret_file, struct error *err)
{
    struct image_file file = {.fd = -1};
    int r = -ESTALE;
    for (unsigned tries = 0; r == -ESTALE && tries < OPEN_TRIES; tries++)
        r = open_once(path, options, &file, err);
    if (r == 0)
        *ret_file = file;
    return r;
}

int image_file_hand_over(const struct image_file *file, struct error *err)
{
    if (fcntl(file->fd, F_SETFD, 0) < 0)
        return error_sys(err, errno, "cannot hand over descriptor %d", file->fd);
    return 0;
}
