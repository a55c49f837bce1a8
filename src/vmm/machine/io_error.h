// SPDX-License-Identifier: Apache-2.0
/*
 * What the disks' error policy does to the machine: a request that the host could not do pauses the
 * guest before it sees an error, and is tried again when the guest goes on: when somebody says so,
 * or, where it lacked space, as soon as there is some. Main thread unless said.
 */
#ifndef PODVISOR_VMM_IO_ERROR_H
#define PODVISOR_VMM_IO_ERROR_H

#include "blk.h"
#include <podvisor/machine_config.h>

struct machine;
struct json_writer;

struct io_error {
    /* By disk: 0, the errno that it waits with, or IO_ERROR_RETRYING. */
    atomic_int disk[MACHINE_DISK_MAX];
    struct loop_timer retry;
};

#define IO_ERROR_RETRYING (-1)

/* For virtio_blk; ctx is the machine. On the I/O loops. */
extern const struct virtio_blk_ops io_error_blk_ops;

void io_error_init(struct io_error *e);

/* Something changed: pauses the machine, or lets it go on when it was paused by this alone. */
void io_error_take_event(struct machine *m);

/* Tries again all that waits. */
void io_error_retry(struct machine *m);

/* Members of the answer to `status` while a disk holds the machine. */
void io_error_status(struct machine *m, struct json_writer *w);

#endif
