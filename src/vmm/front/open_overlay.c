// SPDX-License-Identifier: Apache-2.0
/*
 * Overlays: what the guest writes to a disk whose image others use, too, goes to a qcow2 file of
 * this machine's own, which lies on that image. The file is in TMPDIR, which a pod counts and takes
 * away with it. Start-up, one thread.
 */
#include "open.h"
#include "qcow2_create.h"
#include "qcow2_header.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/stat.h>

static const char qcow2_magic[4] = {'Q', 'F', 'I', '\xfb'};

/* It has to be all of the disk: what another file has of it nobody named. */
static int check_qcow2(int fd, struct error *err)
{
    static struct qcow2_header header; /* large */
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine the image");
    int r = qcow2_header_read(fd, (uint64_t)st.st_size, &header, err);
    return r < 0 ? r : qcow2_header_check_use(&header, true, false, err);
}

int overlay_probe(int fd, enum image_format *ret, struct error *err)
{
    char magic[sizeof(qcow2_magic)] = "";
    if (pread(fd, magic, sizeof(magic), 0) < 0)
        return error_sys(err, errno, "cannot read the image");
    *ret = memcmp(magic, qcow2_magic, sizeof(magic)) == 0 ? IMAGE_FORMAT_QCOW2 : IMAGE_FORMAT_RAW;
    return *ret == IMAGE_FORMAT_QCOW2 ? check_qcow2(fd, err) : 0;
}

/* The name of what is below is for people who look at the file: vmm opens what it is told to. */
static int make_overlay(const struct plan_disk *disk, const struct machine_disk *below, int *ret_fd,
                        struct created *created, struct error *err)
{
    const struct qcow2_create_options options = {
        .size = below->size,
        .backing_file = disk->name,
        .backing_format = below->format == MACHINE_DISK_QCOW2 ? "qcow2" : "raw",
    };
    cleanup_close int fd = open(disk->overlay, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_sys(err, errno, "cannot create %s", disk->overlay);
    created_add(created, disk->overlay);
    int r = qcow2_create(fd, &options, err);
    if (r == 0)
        *ret_fd = steal_fd(&fd);
    return r;
}

int overlay_put(const struct plan_disk *disk, struct machine_disk *ret, struct created *created,
                struct error *err)
{
    cleanup_close int fd = -1;
    if (ret->backing_count == MACHINE_BACKING_MAX)
        return error_set(err, EINVAL, "%s: more than %d images below its overlay", disk->name,
                         MACHINE_BACKING_MAX - 1);
    int r = make_overlay(disk, ret, &fd, created, err);
    if (r < 0)
        return error_wrap(err, "%s", disk->name);
    memmove(ret->backing + 1, ret->backing, sizeof(ret->backing) - sizeof(ret->backing[0]));
    ret->backing[0] = (struct machine_backing){.fd = ret->fd, .format = ret->format};
    ret->backing_count++;
    ret->fd = steal_fd(&fd);
    ret->format = MACHINE_DISK_QCOW2;
    ret->block_device = ret->direct = false;
    ret->readonly = false;
    ret->discard = disk->discard;
    return 0;
}
