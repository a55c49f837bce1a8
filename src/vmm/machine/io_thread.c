// SPDX-License-Identifier: Apache-2.0
/* The thread around an I/O loop; see io_thread.h. */
#include "io_thread.h"
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#define IO_STACK_SIZE ((size_t)128 * 1024)

int io_thread_init(struct io_thread *io, const char *name, const struct io_thread_ops *ops,
                   void *ctx, struct error *err)
{
    memset(io, 0, sizeof(*io));
    io->ops = ops;
    io->ctx = ctx;
    sem_init(&io->ready, 0, 0);
    sem_init(&io->ended, 0, 0);
    snprintf(io->name, sizeof(io->name), "%s", name);
    return loop_init(&io->loop, err);
}

static void *io_thread_main(void *arg)
{
    struct io_thread *io = arg;
    prctl(PR_SET_NAME, io->name);
    io->failure = io->ops->started(io->ctx, &io->failure_text);
    /* Going on without the sandbox would break the promise that makes the rest safe. */
    bool safe = io->failure == 0;
    sem_post(&io->ready);
    int r = safe ? loop_run(&io->loop) : 0;
    if (r < 0)
        log_error("io", "the I/O loop ended: %s", strerror(-r));
    if (safe)
        io->ops->ending(io->ctx);
    sem_post(&io->ended);
    return NULL;
}

int io_thread_start(struct io_thread *io, struct error *err)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, IO_STACK_SIZE);
    int r = pthread_create(&io->thread, &attr, io_thread_main, io);
    pthread_attr_destroy(&attr);
    if (r != 0)
        return error_sys(err, r, "cannot start an I/O thread");
    io->started = true;
    return 0;
}

int io_thread_await_start(struct io_thread *io, struct error *err)
{
    while (sem_wait(&io->ready) < 0) {
        /* EINTR: a signal handler ran. */
    }
    if (io->failure < 0 && err != NULL)
        *err = io->failure_text;
    return io->failure;
}

void io_thread_stop(struct io_thread *io)
{
    if (io->started)
        loop_stop(&io->loop);
}

bool io_thread_join(struct io_thread *io, uint64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
                                .tv_nsec = (long)(deadline_ns % NSEC_PER_SEC)};
    if (!io->started)
        return true;
    int r;
    do
        r = sem_clockwait(&io->ended, CLOCK_MONOTONIC, &deadline);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return false;
    pthread_join(io->thread, NULL);
    io->started = false;
    return true;
}

void io_thread_done(struct io_thread *io)
{
    loop_done(&io->loop);
    sem_destroy(&io->ready);
    sem_destroy(&io->ended);
}
