// SPDX-License-Identifier: Apache-2.0
/*
 * A disk image: an open descriptor, what it can do, and how its bytes are reached (an ops table a
 * format: raw or qcow2). The format is always said, never probed: a guest writes whatever it likes
 * into its disk, also the header of another format. So are the images below an overlay: the name
 * of a backing file that a header may have is never followed. Operations block and may run on any
 * thread; the engine (engine.h) decides which.
 */
#ifndef PODVISOR_STORAGE_IMAGE_H
#define PODVISOR_STORAGE_IMAGE_H

#include <podvisor/error.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define IMAGE_SECTOR_SIZE 512 /* the unit of virtio-blk and of every size here */

/* Largest alignment of direct I/O that is supported: the bounce buffer must hold one block. */
#define IMAGE_ALIGN_MAX 65536

enum image_format { IMAGE_FORMAT_RAW, IMAGE_FORMAT_QCOW2 };

struct image;

struct image_ops {
    /*
     * Move data at byte `offset`. `nowait`: only what needs no waiting (-EAGAIN: everything does;
     * -EOPNOTSUPP: cannot tell). Return the bytes moved, maybe fewer, or a negative errno.
     */
    ssize_t (*read)(struct image *img, const struct iovec *iov, unsigned count, uint64_t offset,
                    bool nowait);
    ssize_t (*write)(struct image *img, const struct iovec *iov, unsigned count, uint64_t offset,
                     bool nowait);
    /* What was written before is on stable storage after. 0 or a negative errno. */
    int (*flush)(struct image *img);
    /* The range's content no longer matters. 0, -EOPNOTSUPP, or a negative errno. */
    int (*discard)(struct image *img, uint64_t offset, uint64_t len);
    /*
     * The range reads as zeroes after; `unmap` allows it to lose its blocks. 0, -EOPNOTSUPP (the
     * caller then writes zeroes), or a negative errno.
     */
    int (*write_zeroes)(struct image *img, uint64_t offset, uint64_t len, bool unmap);
    /* Frees what the format keeps beside the descriptor; NULL: nothing. Writes nothing. */
    void (*done)(struct image *img);
};

/* What a disk turned out to be. */
struct image_geometry {
    bool block_device; /* else a regular file */
    bool direct;       /* O_DIRECT */
    uint64_t size;     /* bytes that the guest sees: of qcow2, its virtual size */
    uint32_t logical_block_size, physical_block_size;
    uint32_t mem_align;    /* buffers' address, bytes; 1 unless direct */
    uint32_t offset_align; /* file offset and lengths, bytes; 1 unless direct */
};

struct image {
    const struct image_ops *ops;
    enum image_format format;
    struct image *backing; /* owned; what an overlay does not have is read from there; or NULL */
    struct qcow2 *qcow2;   /* the format's own; raw: NULL */
    int fd;                /* owned */
    bool readonly;
    bool discard; /* discards and unmapping zeroes may be passed down */
    struct image_geometry geometry;
    /* Learnt on the way: a file system's first EOPNOTSUPP is its last. */
    atomic_bool nowait_read, nowait_write, can_punch, can_zero;
    atomic_int flush_error; /* negative errno of a flush that failed; see image.c */
    /*
     * Requests smaller than a block of direct I/O read, change and write the whole block: they
     * hold this exclusively, everything else that writes holds it shared. Only used when
     * geometry.offset_align > IMAGE_SECTOR_SIZE.
     */
    pthread_rwlock_t rmw_lock;
    pthread_mutex_t flush_lock; /* one flush of the page cache at a time; see image.c */
};

struct image_config {
    int fd; /* open for reading, and for writing unless readonly; with O_DIRECT or without */
    enum image_format format;
    bool readonly;
    bool discard; /* pass discards down */
    /*
     * The image below, read-only; on the heap, owned from success on. Given exactly when the qcow2
     * header says that there is one. Where it is shorter, zeroes follow.
     */
    struct image *backing;
};

/*
 * Finds out type, size and alignment of an open descriptor that holds an image of `format`. Refuses
 * anything but a regular file or block device, a disk whose size is zero or not a multiple of 512,
 * direct I/O that the file system does not do, and qcow2 headers that are wrong or want what is not
 * supported. Start-up only. Returns 0 or a negative errno.
 */
int image_geometry_read(int fd, enum image_format format, struct image_geometry *ret_geometry,
                        struct error *err);

/*
 * Builds an image over config->fd, which it owns from success on. Start-up only: uses system calls
 * that the sandbox does not allow. Returns 0 or a negative errno.
 */
int image_init(struct image *img, const struct image_config *config, struct error *err);

/*
 * What was written to the descriptor before is on stable storage after: of any format. The first
 * error stays. 0 or a negative errno; any thread.
 */
int image_sync(struct image *img);

/*
 * Closes the descriptor (and with it drops the lock that the front took), and those below. No
 * request is left; what was not flushed may be lost.
 */
void image_done(struct image *img);

#endif
