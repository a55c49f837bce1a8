// SPDX-License-Identifier: Apache-2.0
/*
 * The images that a disk lies on: opened as the user named them, for reading, with a lock that lets
 * others read too. Start-up, one thread.
 */
#include "image_file.h"
#include "open.h"
#include "qcow2_header.h"
#include <fcntl.h>
#include <podvisor/log.h>
#include <unistd.h>

enum image_format open_format(enum machine_disk_format format)
{
    return format == MACHINE_DISK_QCOW2 ? IMAGE_FORMAT_QCOW2 : IMAGE_FORMAT_RAW;
}

/* The monitor would refuse it too, but does not know the name. */
static int check_header(const char *path, int fd, bool readonly, bool has_backing,
                        struct error *err)
{
    struct qcow2_header header;
    off_t size = lseek(fd, 0, SEEK_END);
    int r = size < 0 ? error_sys(err, errno, "cannot ask for its size")
                     : qcow2_header_read(fd, (uint64_t)size, &header, err);
    if (r == 0)
        r = qcow2_header_check_use(&header, readonly, has_backing, err);
    return r < 0 ? error_wrap(err, "disk %s", path) : 0;
}

/* Direct I/O if the disk has it and the file can; else past no cache. */
static int open_one(const struct backing_option *backing, bool direct, struct image_file *file,
                    struct error *err)
{
    struct image_file_options options = {
        .format = open_format(backing->format), .readonly = true, .direct = direct};
    int r = image_file_open(backing->path, &options, file, err);
    if (r == -EINVAL && direct) {
        options.direct = false;
        r = image_file_open(backing->path, &options, file, err);
    }
    if (r == 0 && !file->locked)
        log_warn("", "disk %s: its file system has no locks, nothing keeps others from writing it",
                 backing->path);
    return r;
}

int open_layers(const struct plan_disk *disk, int fd, struct machine_disk *ret, struct error *err)
{
    int flags = fcntl(fd, F_GETFL);
    bool direct = flags >= 0 && (flags & O_DIRECT) != 0;
    unsigned count = disk->backing_count;
    int r = 0;
    if (disk->format == MACHINE_DISK_QCOW2)
        r = check_header(disk->path, fd, disk->readonly || *disk->overlay != '\0', count > 0, err);
    for (unsigned i = 0; r == 0 && i < count; i++) {
        struct image_file file;
        r = open_one(&disk->backing[i], direct, &file, err);
        if (r < 0)
            break;
        if (disk->backing[i].format == MACHINE_DISK_QCOW2)
            r = check_header(disk->backing[i].path, file.fd, true, i + 1 < count, err);
        ret->backing[i] =
            (struct machine_backing){.fd = file.fd, .format = (uint8_t)disk->backing[i].format};
    }
    if (r < 0)
        return error_wrap(err, "%s", disk->name);
    ret->format = (uint8_t)disk->format;
    ret->backing_count = (uint8_t)count;
    return 0;
}
