// SPDX-License-Identifier: Apache-2.0
/*
 * One of the machine's I/O threads with the engines of the disks that it serves. The first thread
 * serves everything that is no disk, too. Main thread, but for what runs on the thread itself.
 */
#ifndef PODVISOR_VMM_MACHINE_IO_H
#define PODVISOR_VMM_MACHINE_IO_H

#include "engine.h"
#include "io_thread.h"
#include <podvisor/machine_config.h>

struct machine;

struct machine_io {
    struct machine *machine;
    unsigned index;
    struct io_thread thread;
    char pool_name[16];
    struct engine *pool;   /* NULL: no disks */
    struct engine *native; /* NULL: threads serve them all; falls back to the pool */
};

/* Prepares thread number `index` and its loop. Returns 0 or a negative errno. */
int machine_io_init(struct machine_io *io, struct machine *m, unsigned index, struct error *err);

/* Opens the engines that the thread's disks want, if it has any. Returns 0 or a negative errno. */
int machine_io_open_engines(struct machine_io *io, struct error *err);

/* The engine of one of its disks. */
struct engine *machine_io_engine(const struct machine_io *io, const struct machine_disk *disk);

/* The thread has ended, or never began. */
void machine_io_close_engines(struct machine_io *io);
void machine_io_done(struct machine_io *io);

#endif
