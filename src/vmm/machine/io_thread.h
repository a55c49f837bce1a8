// SPDX-License-Identifier: Apache-2.0
/*
 * An I/O thread: one event loop that owns the virtqueues assigned to it. Started and stopped by the
 * main thread.
 */
#ifndef PODVISOR_VMM_IO_THREAD_H
#define PODVISOR_VMM_IO_THREAD_H

#include <podvisor/loop.h>
#include <semaphore.h>

struct io_thread {
    struct loop loop;
    pthread_t thread;
    char name[16];
    bool started;
    sem_t ready; /* posted when thread_started() has returned */
    /* Runs first on the new thread: installs its sandbox. When it fails the loop does not run. */
    int (*thread_started)(void *ctx, struct error *err);
    void *ctx;
    int failure; /* what it returned, and why; final once `ready` is posted */
    struct error failure_text;
};

/* Prepares the loop, so that devices can be given it. Returns 0 or a negative errno. */
int io_thread_init(struct io_thread *io, const char *name,
                   int (*thread_started)(void *ctx, struct error *err), void *ctx,
                   struct error *err);

/* Starts the thread. Returns 0 or a negative errno. */
int io_thread_start(struct io_thread *io, struct error *err);

/* Waits until thread_started() has returned; once after the start. Returns what it returned. */
int io_thread_await_start(struct io_thread *io, struct error *err);

/* Ends and joins it. */
void io_thread_stop(struct io_thread *io);

void io_thread_done(struct io_thread *io);

#endif
