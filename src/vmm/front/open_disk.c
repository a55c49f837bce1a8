// SPDX-License-Identifier: Apache-2.0
/* Disks: opening, locking, measuring, and making those that a manifest asks to be made. */
#include "image_draft.h"
#include "image_file.h"
#include "open.h"
#include "seed.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define MIB (UINT64_C(1) << 20)

/* What a file system needs beside the data that a full disk image has: CDI's default for claims. */
#define OVERHEAD_PERCENT 6

#define CREATE_TRIES 3

#define BLOCK_SIZE_MAX (2u << 20) /* KubeVirt's */

static int check_size(const struct plan_disk *disk, const struct image_geometry *geometry,
                      uint32_t block_size, struct error *err)
{
    bool exact =
        disk->capacity != 0 && disk->source != PLAN_CLAIM_FILE && disk->source != PLAN_HOST_FILE;
    if (exact && disk->capacity != geometry->size)
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

/* What the guest is told of blocks: what was asked for, or with matchVolume what there is. */
static void choose_block_size(const struct plan_disk *disk, int fd,
                              const struct image_geometry *geometry, uint32_t *ret_logical,
                              uint32_t *ret_physical)
{
    uint32_t logical = disk->logical_block_size != 0 ? disk->logical_block_size : IMAGE_SECTOR_SIZE;
    uint32_t physical =
        disk->physical_block_size != 0 ? disk->physical_block_size : geometry->physical_block_size;
    struct statvfs fs;
    if (disk->match_volume && geometry->block_device) {
        logical = geometry->logical_block_size;
    } else if (disk->match_volume && fstatvfs(fd, &fs) == 0 && fs.f_bsize <= BLOCK_SIZE_MAX &&
               fs.f_bsize >= IMAGE_SECTOR_SIZE && (fs.f_bsize & (fs.f_bsize - 1)) == 0) {
        logical = physical = (uint32_t)fs.f_bsize;
    }
    *ret_logical = logical;
    *ret_physical = physical > logical ? physical : logical;
}

static void fill_tuning(const struct plan_disk *disk, const struct image_geometry *geometry,
                        struct machine_disk *ret)
{
    const struct disk_tuning *t = &disk->tuning;
    /* An overlay need not outlive the machine. */
    bool durable = disk->try_direct && !geometry->direct && *disk->overlay == '\0';
    bool writethrough = disk->writethrough || durable;
    ret->writethrough = writethrough && !disk->readonly;
    ret->io = (uint8_t)t->io;
    ret->error_policy = (uint8_t)t->error_policy;
    ret->num_queues = (uint8_t)t->queues;
    ret->io_thread = disk->io_thread;
    ret->discard_granularity = disk->discard_granularity;
    ret->iops = t->iops;
    ret->iops_burst = t->iops_burst;
    ret->bps = t->bps;
    ret->bps_burst = t->bps_burst;
}

static int fill_disk(const struct plan_disk *disk, int fd, const struct image_geometry *geometry,
                     struct machine_disk *ret, struct error *err)
{
    uint32_t logical, physical;
    choose_block_size(disk, fd, geometry, &logical, &physical);
    int r = check_size(disk, geometry, logical, err);
    if (r < 0)
        return r;
    fill_tuning(disk, geometry, ret);
    memcpy(ret->name, disk->name, sizeof(ret->name));
    memcpy(ret->serial, disk->serial, sizeof(ret->serial));
    ret->readonly = disk->readonly;
    ret->direct = geometry->direct;
    ret->block_device = geometry->block_device;
    ret->discard = disk->discard && !disk->readonly;
    ret->logical_block_size = logical;
    ret->physical_block_size = physical;
    ret->size = geometry->size;
    ret->fd = fd;
    return 0;
}

/* The contents are another machine's work, maybe a hostile one's. */
static bool is_untrusted(const struct plan_disk *disk)
{
    return disk->source == PLAN_CLAIM_FILE || disk->source == PLAN_CLAIM_BLOCK ||
           disk->source == PLAN_HOST_FILE;
}

static int check_claim(const struct plan_disk *disk, const struct image_geometry *geometry,
                       struct error *err)
{
    if ((disk->source == PLAN_CLAIM_FILE || disk->source == PLAN_HOST_FILE) &&
        geometry->block_device)
        return error_set(err, EINVAL, "%s is not a regular file", disk->path);
    if (disk->source == PLAN_CLAIM_BLOCK && !geometry->block_device)
        return error_set(err, EINVAL, "%s is not a block device", disk->path);
    return 0;
}

/* What the place of a disk asks for beside what every file does. */
static int explain_place(const struct plan_disk *disk, int r, struct error *err)
{
    if (r == -EACCES && disk->source == PLAN_CLAIM_BLOCK)
        return error_hint(err, "let the node's container runtime give devices to the pod's user: "
                               "device_ownership_from_security_context = true in the CRI part of "
                               "its configuration");
    if (r == -EACCES && disk->source == PLAN_HOST_FILE)
        return error_hint(err, "on the node: `chown 107:107` the file");
    return r;
}

static struct image_file_options file_options(const struct plan *plan, const struct plan_disk *disk)
{
    bool overlay = *disk->overlay != '\0';
    return (struct image_file_options){
        .format = open_format(disk->format),
        .readonly = disk->readonly || overlay,
        .direct = disk->direct || (disk->try_direct && !overlay),
        .shared = disk->shared,
        .untrusted = is_untrusted(disk),
        .holder = plan->holder,
    };
}

static void warn_unlocked(const struct plan_disk *disk, const struct image_file *file)
{
    if (!file->locked && !disk->shared)
        log_warn("", "disk %s: its file system has no locks, nothing keeps a second machine off it",
                 disk->path);
}

static int open_disk(const struct plan *plan, const struct plan_disk *disk,
                     struct machine_disk *ret, struct error *err)
{
    struct image_file_options options = file_options(plan, disk);
    struct image_file file = {.fd = -1};
    int r = image_file_open(disk->path, &options, &file, err);
    if (r == -EINVAL && disk->try_direct) {
        options.direct = false;
        r = image_file_open(disk->path, &options, &file, err);
    }
    if (r < 0) {
        error_wrap(err, "%s", disk->name);
        return explain_place(disk, r, err);
    }
    warn_unlocked(disk, &file);
    r = check_claim(disk, &file.geometry, err);
    if (r == 0)
        r = open_layers(disk, file.fd, ret, err);
    if (r == 0)
        r = fill_disk(disk, file.fd, &file.geometry, ret, err);
    if (r < 0)
        close(file.fd);
    return r;
}

static int make_seed(const struct plan_disk *disk, struct machine_disk *ret, struct error *err)
{
    struct image_geometry geometry;
    cleanup_close int fd = -1;
    int r = seed_make(disk, &fd, err);
    if (r == 0)
        r = image_geometry_read(fd, IMAGE_FORMAT_RAW, &geometry, err);
    if (r == 0)
        r = fill_disk(disk, fd, &geometry, ret, err);
    if (r < 0)
        return error_wrap(err, "%s", disk->name);
    ret->readonly = true;
    ret->discard = false;
    steal_fd(&fd);
    return 0;
}

/* A symbolic link that leads nowhere is there: it is refused, not written through. */
static bool must_create(const struct plan_disk *disk)
{
    struct stat st;
    return disk->source == PLAN_TEMPORARY ||
           (disk->create && lstat(disk->path, &st) < 0 && errno == ENOENT);
}

int open_existing_disks(const struct plan *plan, struct machine_config *config, struct error *err)
{
    config->disk_count = plan->disk_count;
    config->io_threads = plan->io_threads;
    for (unsigned i = 0; i < plan->disk_count; i++) {
        config->disk[i].fd = -1;
        bool later = plan->disk[i].source == PLAN_IMAGE || must_create(&plan->disk[i]);
        int r = 0;
        if (plan->disk[i].source == PLAN_SEED)
            r = make_seed(&plan->disk[i], &config->disk[i], err);
        else if (!later)
            r = open_disk(plan, &plan->disk[i], &config->disk[i], err);
        /* One that went while it was waited for: its maker could not start. */
        if (r == -ENOENT && must_create(&plan->disk[i]))
            r = 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* An image is read-only, so nobody needs a lock. */
static int take_image_disk(const struct plan_disk *disk, struct images *images,
                           struct machine_disk *ret, struct error *err)
{
    struct image_geometry geometry = {.size = 0};
    cleanup_close int fd = images_take(images, IMAGE_VOLUME, disk->name);
    enum image_format format;
    int r = overlay_probe(fd, &format, err);
    if (r == 0)
        r = image_geometry_read(fd, format, &geometry, err);
    if (r < 0)
        return error_wrap(err, "volume %s (image %s)", disk->name, disk->image);
    r = fill_disk(disk, fd, &geometry, ret, err);
    if (r < 0)
        return r;
    ret->format = format == IMAGE_FORMAT_QCOW2 ? MACHINE_DISK_QCOW2 : MACHINE_DISK_RAW;
    steal_fd(&fd);
    return 0;
}

int take_image_disks(const struct plan *plan, struct images *images, struct machine_config *config,
                     struct error *err)
{
    for (unsigned i = 0; i < plan->disk_count; i++) {
        if (plan->disk[i].source != PLAN_IMAGE)
            continue;
        int r = take_image_disk(&plan->disk[i], images, &config->disk[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int set_size(const struct plan_disk *disk, int fd, uint64_t size, struct error *err)
{
    if (ftruncate(fd, (off_t)size) < 0)
        return error_sys(err, errno, "%s: cannot make a file of %llu bytes", disk->name,
                         (unsigned long long)size);
    return 0;
}

/*
 * A claim without a disk gets one as large as the claim, but no larger than what its file system
 * can hold, so that the guest never finds it full before its own is. The file is sparse.
 */
static int choose_claim_size(const struct plan_disk *disk, int fd, uint64_t *ret, struct error *err)
{
    struct statvfs fs;
    if (fstatvfs(fd, &fs) < 0)
        return error_sys(err, errno, "%s: cannot ask for the size of its file system", disk->name);
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    room -= room / 100 * OVERHEAD_PERCENT;
    uint64_t size = disk->capacity != 0 && disk->capacity < room ? disk->capacity : room;
    size -= size % MIB;
    if (size == 0)
        return error_set(err, ENOSPC, "%s: there is no room for a disk image in its claim",
                         disk->name);
    *ret = size;
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
    if (disk->direct && fcntl(fd, F_SETFL, O_RDWR | O_DIRECT) < 0)
        return error_set(err, errno, "%s: the file system of %s does not support O_DIRECT",
                         disk->name, folder);
    struct image_geometry geometry;
    int r = set_size(disk, fd, disk->capacity, err);
    if (r == 0)
        r = image_geometry_read(fd, IMAGE_FORMAT_RAW, &geometry, err);
    if (r == 0)
        r = fill_disk(disk, fd, &geometry, ret, err);
    if (r == 0)
        steal_fd(&fd);
    return r;
}

/* The node's disk is everybody's: what the guest may fill must be there, as in KubeVirt. */
static int check_host_room(const struct plan_disk *disk, int fd, struct error *err)
{
    struct statvfs fs;
    if (disk->capacity == 0)
        return error_set(err, EINVAL, "%s: there is no such file, and no capacity to make one",
                         disk->name);
    if (fstatvfs(fd, &fs) < 0)
        return error_sys(err, errno, "%s: cannot ask for the size of its file system", disk->name);
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (disk->capacity > room)
        return error_set(err, ENOSPC,
                         "%s: not enough space, demanded size %llu B is bigger than available "
                         "space %llu B",
                         disk->name, (unsigned long long)disk->capacity, (unsigned long long)room);
    return 0;
}

static int size_draft(const struct plan_disk *disk, int fd, struct error *err)
{
    uint64_t size = disk->capacity;
    int r = 0;
    if (disk->source == PLAN_CLAIM_FILE)
        r = choose_claim_size(disk, fd, &size, err);
    else if (disk->source == PLAN_HOST_FILE)
        r = check_host_room(disk, fd, err);
    return r < 0 ? r : set_size(disk, fd, size, err);
}

static int take_draft(const struct plan *plan, const struct plan_disk *disk, int fd,
                      struct image_file *ret_file, struct machine_disk *ret, struct error *err)
{
    struct image_file_options options = file_options(plan, disk);
    int r = image_file_take(disk->path, fd, &options, ret_file, err);
    if (r == -EINVAL && disk->try_direct) {
        options.direct = false;
        r = image_file_take(disk->path, fd, &options, ret_file, err);
    }
    if (r < 0) {
        error_wrap(err, "%s", disk->name);
        return r;
    }
    r = open_layers(disk, fd, ret, err);
    return r < 0 ? r : fill_disk(disk, fd, &ret_file->geometry, ret, err);
}

/*
 * The name comes last: nothing can fail after it, and until this process ends the lock keeps others
 * off what it would have to remove. Without a lock it may be somebody's already, and stays.
 */
static int make_disk(const struct plan *plan, const struct plan_disk *disk,
                     struct machine_disk *ret, struct created *created, struct error *err)
{
    cleanup_image_draft struct image_draft draft = IMAGE_DRAFT_INIT;
    struct image_file file = {.fd = -1};
    struct machine_disk made = {.fd = -1};
    int r = image_draft_open(disk->path, &draft, err);
    if (r < 0) {
        error_wrap(err, "%s", disk->name);
        if (r == -EACCES && disk->source == PLAN_HOST_FILE)
            error_hint(err, "on the node: `chown 107:107` the folder");
        return r;
    }
    r = size_draft(disk, draft.fd, err);
    if (r == 0)
        r = take_draft(plan, disk, draft.fd, &file, &made, err);
    if (r < 0)
        return r;
    r = image_draft_publish(&draft, err);
    if (r < 0) {
        error_wrap(err, "%s", disk->name);
        return r;
    }
    if (disk->source == PLAN_CLAIM_FILE)
        log_info("", "%s: its claim was empty; made a disk of %llu MiB", disk->name,
                 (unsigned long long)(made.size / MIB));
    if (disk->readonly)
        return open_disk(plan, disk, ret, err); /* with a descriptor that cannot write */
    warn_unlocked(disk, &file);
    if (file.locked)
        created_add(created, disk->path);
    *ret = made;
    steal_fd(&draft.fd);
    return 0;
}

/* What somebody else made first is taken; it may go again, when their start fails. */
static int create_disk(const struct plan *plan, const struct plan_disk *disk,
                       struct machine_disk *ret, struct created *created, struct error *err)
{
    if (disk->source == PLAN_TEMPORARY)
        return create_temporary(disk, ret, err);
    int r = -ENOENT;
    for (unsigned tries = 0; r == -ENOENT && tries < CREATE_TRIES; tries++) {
        r = make_disk(plan, disk, ret, created, err);
        if (r == -EEXIST)
            r = open_disk(plan, disk, ret, err);
    }
    return r;
}

int create_missing_disks(const struct plan *plan, struct machine_config *config,
                         struct created *created, struct error *err)
{
    for (unsigned i = 0; i < plan->disk_count; i++) {
        const struct plan_disk *disk = &plan->disk[i];
        int r = 0;
        if (config->disk[i].fd < 0)
            r = create_disk(plan, disk, &config->disk[i], created, err);
        else if (*disk->overlay != '\0')
            r = overlay_put(disk, &config->disk[i], created, err);
        if (r < 0)
            return r;
    }
    return 0;
}
