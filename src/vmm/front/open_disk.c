// SPDX-License-Identifier: Apache-2.0
/* Disks: opening, locking, measuring, and making those that a manifest asks to be made. */
#include "image_file.h"
#include "open.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>

static int check_size(const struct plan_disk *disk, const struct image_geometry *geometry,
                      uint32_t block_size, struct error *err)
{
    if (disk->capacity != 0 && disk->capacity != geometry->size)
        return error_set(err, EINVAL,
                         "disk %s: %s has %llu bytes where %llu were asked for; correct the "
                         "capacity, or resize with `truncate -s %llu`",
                         disk->name, disk->path, (unsigned long long)geometry->size,
                         (unsigned long long)disk->capacity, (unsigned long long)disk->capacity);
    if (geometry->size % block_size != 0)
        return error_set(err, EINVAL,
                         "disk %s: the %llu bytes of %s are not a multiple of its block size %u",
                         disk->name, (unsigned long long)geometry->size, disk->path, block_size);
    return 0;
}

static int fill_disk(const struct plan_disk *disk, int fd, const struct image_geometry *geometry,
                     struct machine_disk *ret, struct error *err)
{
    uint32_t logical = disk->logical_block_size != 0 ? disk->logical_block_size : IMAGE_SECTOR_SIZE;
    uint32_t physical =
        disk->physical_block_size != 0 ? disk->physical_block_size : geometry->physical_block_size;
    int r = check_size(disk, geometry, logical, err);
    if (r < 0)
        return r;
    memcpy(ret->name, disk->name, sizeof(ret->name));
    memcpy(ret->serial, disk->serial, sizeof(ret->serial));
    ret->readonly = disk->readonly;
    ret->direct = geometry->direct;
    ret->block_device = geometry->block_device;
    ret->discard = disk->discard && !disk->readonly;
    ret->logical_block_size = logical;
    ret->physical_block_size = physical > logical ? physical : logical;
    ret->size = geometry->size;
    ret->fd = fd;
    return 0;
}

static int open_disk(const struct plan_disk *disk, struct machine_disk *ret, struct error *err)
{
    const struct image_file_options options = {
        .readonly = disk->readonly, .direct = disk->direct, .shared = disk->shared};
    struct image_file file;
    int r = image_file_open(disk->path, &options, &file, err);
    if (r < 0)
        return error_wrap(err, "%s", disk->name);
    if (!file.locked && !disk->shared)
        log_warn("", "disk %s: its file system has no locks, nothing keeps a second machine off it",
                 disk->path);
    r = fill_disk(disk, file.fd, &file.geometry, ret, err);
    if (r < 0)
        close(file.fd);
    return r;
}

static bool must_create(const struct plan_disk *disk)
{
    return disk->path[0] == '\0' || (disk->create && access(disk->path, F_OK) != 0);
}

int open_existing_disks(const struct plan *plan, struct machine_config *config, struct error *err)
{
    config->disk_count = plan->disk_count;
    for (unsigned i = 0; i < plan->disk_count; i++) {
        config->disk[i].fd = -1;
        int r = must_create(&plan->disk[i]) ? 0 : open_disk(&plan->disk[i], &config->disk[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int set_size(const struct plan_disk *disk, int fd, struct error *err)
{
    if (ftruncate(fd, (off_t)disk->capacity) < 0)
        return error_sys(err, errno, "%s: cannot make a file of %llu bytes", disk->name,
                         (unsigned long long)disk->capacity);
    return 0;
}

/* A file without a name: it goes when the machine does, and nobody else can open it. */
static int create_temporary(const struct plan_disk *disk, struct machine_disk *ret,
                            struct error *err)
{
    const char *folder = secure_getenv("TMPDIR");
    if (folder == NULL || *folder == '\0')
        folder = "/var/tmp";
    cleanup_close int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (fd < 0) {
        error_sys(err, errno, "%s: cannot make a temporary file in %s", disk->name, folder);
        return error_hint(err, "name another folder in TMPDIR");
    }
    struct image_geometry geometry;
    int r = set_size(disk, fd, err);
    if (r == 0)
        r = image_geometry_read(fd, &geometry, err);
    if (r == 0)
        r = fill_disk(disk, fd, &geometry, ret, err);
    if (r == 0)
        steal_fd(&fd);
    return r;
}

static int create_disk(const struct plan_disk *disk, struct machine_disk *ret,
                       struct created *created, struct error *err)
{
    if (disk->path[0] == '\0')
        return create_temporary(disk, ret, err);
    cleanup_close int fd = open(disk->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_sys(err, errno, "%s: cannot create %s", disk->name, disk->path);
    created_add(created, disk->path);
    int r = set_size(disk, fd, err);
    return r < 0 ? r : open_disk(disk, ret, err);
}

int create_missing_disks(const struct plan *plan, struct machine_config *config,
                         struct created *created, struct error *err)
{
    for (unsigned i = 0; i < plan->disk_count; i++) {
        if (config->disk[i].fd >= 0)
            continue;
        int r = create_disk(&plan->disk[i], &config->disk[i], created, err);
        if (r < 0)
            return r;
    }
    return 0;
}
