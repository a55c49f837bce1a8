// SPDX-License-Identifier: Apache-2.0
/* Safe opening, on descriptors; one thread. openat2(2). See files.h. */
#include "files.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <podvisor/cleanup.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define LIST_MAX 256

static inline void cleanup_closedir_fn(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}

#define cleanup_closedir __attribute__((cleanup(cleanup_closedir_fn)))

/*
 * Kernels before 5.6 lack openat2(), and system call filters older than it answer EPERM. The plain
 * call reaches no more than the image either: its root is the process's root.
 */
static int open_within(int root_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
        path += strspn(path, "/");
        fd = openat(root_fd, *path != '\0' ? path : ".", flags | O_CLOEXEC);
    }
    return fd;
}

static int explain_open(const char *path, int code, struct error *err)
{
    if (code == ENOENT || code == ENOTDIR)
        return error_set(err, code, "there is no file %s in the image", path);
    int r = error_sys(err, code, "cannot open %s in the image", path);
    if (code == EACCES)
        error_hint(err, "make it readable for user %u: `COPY --chown=107:107`",
                   (unsigned)geteuid());
    return r;
}

static int check_file(int fd, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine %s in the image", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "%s in the image is not a regular file", path);
    if (st.st_size == 0)
        return error_set(err, EINVAL, "%s in the image is empty", path);
    if (fcntl(fd, F_SETFL, 0) < 0)
        return error_sys(err, errno, "cannot prepare %s", path);
    return 0;
}

/* O_NONBLOCK: a FIFO must be refused, not waited for. */
static int open_file(int folder_fd, const char *name, int flags, const char *path, int *ret_fd,
                     struct error *err)
{
    cleanup_close int fd = open_within(folder_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags);
    if (fd < 0)
        return explain_open(path, errno, err);
    int r = check_file(fd, path, err);
    if (r == 0)
        *ret_fd = steal_fd(&fd);
    return r;
}

int files_open(int root_fd, const char *path, int *ret_fd, struct error *err)
{
    return open_file(root_fd, path, 0, path, ret_fd, err);
}

static bool is_candidate(int folder_fd, const char *name)
{
    struct stat st;
    return name[0] != '.' && fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode);
}

/* Finds how many files count; `ret_name` is one of them, `list` names as many as fit. */
static int list_files(DIR *dir, unsigned *ret_count, char ret_name[static NAME_MAX + 1],
                      char list[static LIST_MAX], struct error *err)
{
    unsigned count = 0;
    size_t len = 0;
    list[0] = '\0';
    errno = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL; errno = 0) {
        if (!is_candidate(dirfd(dir), entry->d_name))
            continue;
        size_t need = strlen(entry->d_name);
        if (len + need + 3 < LIST_MAX)
            len += (size_t)snprintf(list + len, LIST_MAX - len, "%s%s", count > 0 ? ", " : "",
                                    entry->d_name);
        memcpy(ret_name, entry->d_name, need + 1);
        count++;
    }
    if (errno != 0)
        return error_sys(err, errno, "cannot read the folder /" FILES_DISK_FOLDER " of the image");
    *ret_count = count;
    return 0;
}

int files_open_disk(int root_fd, int *ret_fd, struct error *err)
{
    int fd = open_within(root_fd, FILES_DISK_FOLDER, O_RDONLY | O_DIRECTORY);
    cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        error_set(err, errno, "the image has no folder /" FILES_DISK_FOLDER " that can be read");
        return error_hint(err, "a container disk is one file there, or name it with `path`");
    }
    unsigned count = 0;
    char name[NAME_MAX + 1] = "", list[LIST_MAX],
                         path[NAME_MAX + sizeof("/" FILES_DISK_FOLDER "/")];
    int r = list_files(dir, &count, name, list, err);
    if (r < 0)
        return r;
    if (count == 0)
        return error_set(err, ENOENT,
                         "there is no disk in /" FILES_DISK_FOLDER " of the image; a container "
                         "disk is one regular file there, or name it with `path`");
    if (count > 1)
        return error_set(err, EINVAL,
                         "there are %u files in /" FILES_DISK_FOLDER " of the image; say with "
                         "`path` which of them is the disk: %s",
                         count, list);
    snprintf(path, sizeof(path), "/" FILES_DISK_FOLDER "/%s", name);
    return open_file(dirfd(dir), name, O_NOFOLLOW, path, ret_fd, err);
}
