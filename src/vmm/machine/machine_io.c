// SPDX-License-Identifier: Apache-2.0
/* See machine_io.h. */
#include "machine_io.h"
#include "../sandbox/sandbox.h"
#include "machine.h"
#include <podvisor/log.h>
#include <stdio.h>

/* Beside many loops there are processors for few threads each. */
#define MANY_LOOPS  4
#define FEW_THREADS 2

/* For disks that no thread can look up anything of; more would cost more memory than they are
 * worth where there is asynchronous I/O for whoever wants many requests. */
#define WAITING_THREADS 8

/* Before the sandbox, which knows of no set-up. Done without where the kernel or the container's
 * seccomp profile has none of it: worth one line for all. */
static void start_native(struct machine_io *io)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    struct error why = ERROR_INIT;
    const char *name = engine_native_start(io->native, &why);
    if (atomic_flag_test_and_set(&said))
        return;
    if (name != NULL)
        log_debug("io", "disks use %s", name);
    else
        log_debug("io", "disks use threads: %s", why.text);
}

static int thread_started(void *ctx, struct error *err)
{
    struct machine_io *io = ctx;
    if (io->native != NULL)
        start_native(io);
    return sandbox_thread(SANDBOX_IO, io->machine->config->sandbox, err);
}

static void thread_ending(void *ctx)
{
    struct machine_io *io = ctx;
    if (io->pool == NULL)
        return;
    struct machine_devices *devices = &io->machine->devices;
    machine_devices_end_disks(devices, io->index);
    (void)engine_drain(io->native != NULL ? io->native : io->pool, -1);
    machine_devices_save_disks(devices, io->index, io->pool);
}

static const struct io_thread_ops thread_ops = {
    .started = thread_started,
    .ending = thread_ending,
};

int machine_io_init(struct machine_io *io, struct machine *m, unsigned index, struct error *err)
{
    char name[16];
    snprintf(name, sizeof(name), "io%u", index);
    io->machine = m;
    io->index = index;
    return io_thread_init(&io->thread, name, &thread_ops, io, err);
}

static int worker_started(void *ctx)
{
    const struct machine_io *io = ctx;
    struct error err = ERROR_INIT;
    int r = sandbox_thread(SANDBOX_WORKER, io->machine->config->sandbox, &err);
    if (r < 0)
        log_error("sandbox", "%s", err.text);
    return r;
}

/* Other formats compute where their bytes are, which is work for threads. */
static bool wants_native(const struct machine_disk *disk)
{
    if (disk->format != MACHINE_DISK_RAW)
        return false;
    if (disk->io == MACHINE_DISK_IO_DEFAULT)
        return disk->direct;
    return disk->io != MACHINE_DISK_IO_THREADS;
}

static int open_pool(struct machine_io *io, bool waits_for_disks, struct error *err)
{
    struct engine_pool_config pool = {
        .name = io->pool_name, .thread_start = worker_started, .ctx = io};
    if (io->index == 0)
        snprintf(io->pool_name, sizeof(io->pool_name), "blk");
    else
        snprintf(io->pool_name, sizeof(io->pool_name), "blk%u-", io->index);
    /* A thread that has no page cache to look at waits for the disk, one request each. */
    if (waits_for_disks)
        pool.threads = WAITING_THREADS;
    else if (io->machine->config->io_threads > MANY_LOOPS)
        pool.threads = FEW_THREADS;
    return engine_open_pool(&pool, &io->thread.loop, &io->pool, err);
}

int machine_io_open_engines(struct machine_io *io, struct error *err)
{
    const struct machine_config *config = io->machine->config;
    struct engine_native_config native = {.kind = ENGINE_NATIVE_BEST};
    bool any = false, any_native = false, waits_for_disks = false;
    for (unsigned i = 0; i < config->disk_count; i++) {
        const struct machine_disk *disk = &config->disk[i];
        if (disk->io_thread != io->index)
            continue;
        any = true;
        waits_for_disks = waits_for_disks || (disk->direct && !wants_native(disk));
        if (!wants_native(disk))
            continue;
        any_native = true;
        if (disk->io == MACHINE_DISK_IO_URING)
            native.kind = ENGINE_NATIVE_URING;
        else if (disk->io == MACHINE_DISK_IO_AIO)
            native.kind = ENGINE_NATIVE_AIO;
    }
    int r = any ? open_pool(io, waits_for_disks, err) : 0;
    if (r < 0 || !any_native)
        return r;
    native.fallback = io->pool;
    return engine_open_native(&native, &io->thread.loop, &io->native, err);
}

struct engine *machine_io_engine(const struct machine_io *io, const struct machine_disk *disk)
{
    return wants_native(disk) ? io->native : io->pool;
}

void machine_io_close_engines(struct machine_io *io)
{
    engine_close(io->native);
    engine_close(io->pool);
    io->native = io->pool = NULL;
}

void machine_io_done(struct machine_io *io)
{
    io_thread_done(&io->thread);
}
