// SPDX-License-Identifier: Apache-2.0
/* See files.h. Start-up, one thread. Names are opened one by one from the folder's descriptor,
 * which asks for no system call that a container's profile may lack (openat2). */
#include "files.h"
#include <dirent.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/stat.h>

#define DATA_LINK "..data"
#define ATTEMPTS  3 /* the kubelet may take an old version away while we read it */

void seed_files_add(struct seed_files *files, const char *path, const void *data, size_t len)
{
    char *copy = xcalloc(len + 1, 1);
    if (len > 0)
        memcpy(copy, data, len);
    *vec_add(&files->list) = (struct iso_file){.path = xstrdup(path), .data = copy, .len = len};
}

static void keep(struct seed_files *files, size_t count)
{
    while (files->list.count > count) {
        struct iso_file *file = &files->list.item[--files->list.count];
        free(file->path);
        free(file->data);
    }
}

void seed_files_done(struct seed_files *files)
{
    keep(files, 0);
    vec_free(&files->list);
}

static size_t bytes_of(const struct seed_files *files)
{
    size_t sum = 0;
    for (size_t i = 0; i < files->list.count; i++)
        sum += files->list.item[i].len;
    return sum;
}

/* Reads to the end, which may have moved since the size was asked. */
static int read_data(int fd, size_t size, size_t room, const char *path, struct iso_file *ret,
                     struct error *err)
{
    cleanup_free char *data = NULL;
    size_t len = 0, capacity = 0;
    for (;;) {
        if (len == capacity) {
            capacity = capacity == 0 ? size + 1 : 2 * capacity;
            if (capacity > room + 1)
                capacity = room + 1;
            char *larger = realloc(data, capacity);
            if (larger == NULL)
                out_of_memory();
            data = larger;
        }
        ssize_t n = read(fd, data + len, capacity - len);
        if (n < 0)
            return error_sys(err, errno, "cannot read %s", path);
        len += (size_t)n;
        if (len > room)
            return error_set(err, E2BIG, "the files have more than %u MiB", ISO_DATA_MAX >> 20);
        if (n == 0)
            break;
    }
    *ret = (struct iso_file){.path = xstrdup(path), .data = steal_ptr(data), .len = len};
    return 0;
}

static int read_folder(int fd, const char *prefix, unsigned depth, struct seed_files *files,
                       struct error *err);

/* `name` in the folder; `path` is what it is to be on the disk. */
static int read_entry(int folder, const char *name, const char *path, unsigned depth,
                      struct seed_files *files, struct error *err)
{
    struct stat st;
    /* O_NONBLOCK: a FIFO must be refused below, not waited for here. */
    cleanup_close int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ELOOP)
        return error_set(err, EINVAL, "%s is a symbolic link", path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot open %s", path);
    if (S_ISDIR(st.st_mode))
        return read_folder(steal_fd(&fd), path, depth + 1, files, err);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "%s is neither a file nor a folder", path);
    if (files->list.count == ISO_FILES_MAX)
        return error_set(err, E2BIG, "more than %d files", ISO_FILES_MAX);
    struct iso_file file;
    size_t room = ISO_DATA_MAX - bytes_of(files);
    size_t size = st.st_size > (off_t)room ? room : (size_t)st.st_size;
    int r = read_data(fd, size, room, path, &file, err);
    if (r == 0)
        *vec_add(&files->list) = file;
    return r;
}

/* Takes the descriptor. */
static int read_folder(int fd, const char *prefix, unsigned depth, struct seed_files *files,
                       struct error *err)
{
    int r = 0;
    if (depth >= ISO_DEPTH_MAX) {
        close(fd);
        return error_set(err, E2BIG, "%s is more than %d folders deep", prefix, ISO_DEPTH_MAX - 1);
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return error_sys(err, errno, "cannot read the folder %s", prefix);
    }
    for (struct dirent *entry; r == 0 && (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
        /* What begins with ".." in the mount itself is the kubelet's own; keys cannot. */
        if (dots || (depth == 0 && str_starts_with(name, "..")))
            continue;
        cleanup_free char *path = xasprintf("%s%s%s", prefix, depth > 0 ? "/" : "", name);
        r = read_entry(dirfd(dir), name, path, depth, files, err);
    }
    closedir(dir);
    return r;
}

/* Opens the version of the object that is there now; or the folder, if it is no such mount. */
static int open_version(const char *folder, int *ret_fd, struct error *err)
{
    char name[NAME_MAX + 1];
    cleanup_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_sys(err, errno, "cannot open %s", folder);
    ssize_t len = readlinkat(fd, DATA_LINK, name, sizeof(name) - 1);
    if (len < 0 && errno == ENOENT) {
        *ret_fd = steal_fd(&fd);
        return 0;
    }
    if (len < 0)
        return error_sys(err, errno, "cannot read %s/" DATA_LINK, folder);
    name[len] = '\0';
    if (strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(err, EINVAL, "%s/" DATA_LINK " leads out of its folder", folder);
    int version = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (version < 0)
        return error_sys(err, errno, "cannot open %s/%s", folder, name);
    *ret_fd = version;
    return 0;
}

static int by_path(const void *a, const void *b)
{
    const struct iso_file *x = a, *y = b;
    return strcmp(x->path, y->path);
}

int seed_read_folder(const char *folder, struct seed_files *files, struct error *err)
{
    size_t before = files->list.count;
    int r = -ENOENT;
    for (unsigned i = 0; i < ATTEMPTS && r == -ENOENT; i++) {
        int fd = -1;
        keep(files, before);
        r = open_version(folder, &fd, err);
        if (r == 0)
            r = read_folder(fd, "", 0, files, err);
    }
    if (files->list.count > before)
        qsort(files->list.item + before, files->list.count - before, sizeof(struct iso_file),
              by_path);
    return r;
}

int seed_read_key(const char *folder, const char *key, const char *other_key, const char *path,
                  struct seed_files *files, struct error *err)
{
    struct stat st;
    cleanup_close int fd = -1;
    int r = open_version(folder, &fd, err);
    if (r < 0)
        return r;
    if (fstatat(fd, key, &st, AT_SYMLINK_NOFOLLOW) < 0)
        key = other_key;
    if (fstatat(fd, key, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "%s/%s is not a file", folder, key);
    r = read_entry(fd, key, path, 0, files, err);
    return r < 0 ? r : 1;
}
