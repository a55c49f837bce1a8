// SPDX-License-Identifier: Apache-2.0
/* See io_error.h. */
#include "io_error.h"
#include "machine.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/json_write.h>
#include <podvisor/log.h>
#include <string.h>

#define RETRY_NS NSEC_PER_SEC

/* I/O loops. */

static void set_disk(struct machine *m, const struct virtio_blk *blk, int error)
{
    atomic_store(&m->io_error.disk[blk - m->devices.disk], error);
    machine_report(m, MACHINE_EVENT_DISK);
}

static void halted(void *ctx, struct virtio_blk *blk, int error)
{
    set_disk(ctx, blk, error);
}

static void recovered(void *ctx, struct virtio_blk *blk)
{
    set_disk(ctx, blk, 0);
}

const struct virtio_blk_ops io_error_blk_ops = {
    .halted = halted,
    .recovered = recovered,
};

/* Main thread. */

static void retry_expired(struct loop_timer *timer)
{
    struct io_error *e = container_of(timer, struct io_error, retry);
    io_error_retry(container_of(e, struct machine, io_error));
}

void io_error_init(struct io_error *e)
{
    e->retry = LOOP_TIMER_INIT(retry_expired);
}

void io_error_retry(struct machine *m)
{
    loop_timer_disarm(&m->loop, &m->io_error.retry);
    for (unsigned i = 0; i < m->devices.disk_count; i++) {
        if (atomic_load(&m->io_error.disk[i]) <= 0)
            continue;
        atomic_store(&m->io_error.disk[i], IO_ERROR_RETRYING);
        virtio_blk_retry(&m->devices.disk[i]);
    }
}

static bool is_no_space(int error)
{
    return error == ENOSPC || error == EDQUOT;
}

/* The first disk that waits, or NULL. */
static const struct virtio_blk *find_halted(struct machine *m, int *ret_error)
{
    for (unsigned i = 0; i < m->devices.disk_count; i++) {
        *ret_error = atomic_load(&m->io_error.disk[i]);
        if (*ret_error > 0)
            return &m->devices.disk[i];
    }
    return NULL;
}

static bool is_retrying(struct machine *m)
{
    for (unsigned i = 0; i < m->devices.disk_count; i++) {
        if (atomic_load(&m->io_error.disk[i]) == IO_ERROR_RETRYING)
            return true;
    }
    return false;
}

static void halt(struct machine *m, const struct virtio_blk *blk, int error)
{
    if (is_no_space(error) && m->io_error.retry.heap_index < 0)
        (void)loop_timer_arm(&m->loop, &m->io_error.retry, clock_now_ns() + RETRY_NS);
    if (m->state != MACHINE_RUNNING)
        return;
    log_warn("machine", "disk '%s': %s: the guest waits; %s", blk->dev.name, strerrordesc_np(error),
             is_no_space(error) ? "it goes on when there is space, or with `vmm ctl resume`"
                                : "`vmm ctl resume` tries again");
    (void)machine_pause(m, 0, NULL);
    m->pause_reason = MACHINE_PAUSE_IO_ERROR;
}

void io_error_take_event(struct machine *m)
{
    int error;
    const struct virtio_blk *blk = find_halted(m, &error);
    if (blk != NULL)
        halt(m, blk, error);
    else if (m->state == MACHINE_PAUSED && m->pause_reason == MACHINE_PAUSE_IO_ERROR &&
             !is_retrying(m))
        (void)machine_resume(m, NULL);
}

void io_error_status(struct machine *m, struct json_writer *w)
{
    int error;
    const struct virtio_blk *blk = find_halted(m, &error);
    if (m->pause_reason != MACHINE_PAUSE_IO_ERROR)
        return;
    json_write_string(w, "pauseReason", "IOError");
    if (blk == NULL)
        return;
    json_write_string(w, "pauseDisk", blk->dev.name);
    json_write_string(w, "pauseMessage", strerrordesc_np(error));
}
