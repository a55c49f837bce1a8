// SPDX-License-Identifier: Apache-2.0
/*
 * How disks are spread over I/O threads and queues; start-up, one thread. The numbers of threads,
 * and which disk gets which, are those of KubeVirt's converter (ioThreadsPolicy,
 * dedicatedIOThread): dedicated threads come after the automatic ones, which are dealt in turn. Two
 * things differ: a disk of a supplemental pool is served by one thread of it rather than by all,
 * and no more threads are made than have a disk to serve.
 *
 * Thread 0 is the machine's common one; what KubeVirt calls iothread n is thread n here.
 */
#include "plan.h"

#define QUEUES_MAX  8 /* VIRTIO_BLK_QUEUE_MAX */
#define THREADS_MAX (MACHINE_IO_MAX - 1)

static unsigned limit_of(const struct plan *plan)
{
    if (plan->io_policy != PLAN_IO_AUTO || plan->io_with_emulator)
        return 1;
    return 2 * plan->cpus;
}

static unsigned count_dedicated(const struct plan *plan)
{
    unsigned n = 0;
    for (unsigned i = 0; i < plan->disk_count; i++)
        n += plan->disk[i].tuning.dedicated_io_thread;
    return n;
}

/* Threads that are dealt in turn; those of a pool, or what the dedicated leave of the limit. */
static unsigned count_automatic(const struct plan *plan, unsigned dedicated)
{
    unsigned shared_disks = plan->disk_count - dedicated;
    if (plan->io_policy == PLAN_IO_POOL) {
        unsigned n = plan->io_pool_threads < THREADS_MAX ? plan->io_pool_threads : THREADS_MAX;
        return n < plan->disk_count ? n : plan->disk_count;
    }
    unsigned limit = limit_of(plan);
    if (plan->disk_count <= limit)
        return shared_disks;
    return limit > dedicated ? limit - dedicated : shared_disks > 0;
}

static void assign_threads(struct plan *plan)
{
    bool pool = plan->io_policy == PLAN_IO_POOL;
    unsigned dedicated = pool ? 0 : count_dedicated(plan);
    plan->io_threads = 1;
    if (plan->io_policy == PLAN_IO_NONE && dedicated == 0)
        return;
    unsigned automatic = count_automatic(plan, dedicated);
    unsigned turn = automatic > 0 ? automatic : 1;
    unsigned next_automatic = 0, next_dedicated = automatic;
    for (unsigned i = 0; i < plan->disk_count; i++) {
        struct plan_disk *disk = &plan->disk[i];
        unsigned n =
            !pool && disk->tuning.dedicated_io_thread ? next_dedicated++ : next_automatic++ % turn;
        disk->io_thread = 1 + n % THREADS_MAX;
        if (disk->io_thread >= plan->io_threads)
            plan->io_threads = disk->io_thread + 1;
    }
}

void plan_assign_io(struct plan *plan)
{
    unsigned queues = plan->cpus < QUEUES_MAX ? plan->cpus : QUEUES_MAX;
    for (unsigned i = 0; i < plan->disk_count; i++) {
        struct plan_disk *disk = &plan->disk[i];
        disk->io_thread = 0;
        if (disk->tuning.queues == 0)
            disk->tuning.queues = plan->block_multi_queue ? queues : 1;
    }
    assign_threads(plan);
}
