// SPDX-License-Identifier: Apache-2.0
/*
 * An I/O thread: one event loop that owns the virtqueues assigned to it. Started and stopped by the
 * main thread. It ends when nothing that it started is still on its way: the kernel waits for a
 * thread's own asynchronous I/O before it lets it go, which nobody could then give up waiting for.
 */
#ifndef PODVISOR_VMM_IO_THREAD_H
#define PODVISOR_VMM_IO_THREAD_H

#include <podvisor/loop.h>
#include <semaphore.h>

struct io_thread_ops {
    /* Runs first on the new thread: installs its sandbox. When it fails the loop does not run. */
    int (*started)(void *ctx, struct error *err);
    /* Runs last, after the loop was stopped: returns when nothing is in flight. */
    void (*ending)(void *ctx);
};

struct io_thread {
    struct loop loop;
    pthread_t thread;
    char name[16];
    bool started;
    sem_t ready; /* posted when ops->started() has returned */
    sem_t ended; /* posted when ops->ending() has */
    const struct io_thread_ops *ops;
    void *ctx;
    int failure; /* what ops->started() returned, and why; final once `ready` is posted */
    struct error failure_text;
};

/* Prepares the loop, so that devices can be given it. Returns 0 or a negative errno. */
int io_thread_init(struct io_thread *io, const char *name, const struct io_thread_ops *ops,
                   void *ctx, struct error *err);

/* Starts the thread. Returns 0 or a negative errno. */
int io_thread_start(struct io_thread *io, struct error *err);

/* Waits until ops->started() has returned; once after the start. Returns what it returned. */
int io_thread_await_start(struct io_thread *io, struct error *err);

/* Stops the loop. The thread then ends in its own time. */
void io_thread_stop(struct io_thread *io);

/*
 * After io_thread_stop(): waits for the thread until `deadline_ns` (CLOCK_MONOTONIC) and joins it.
 * False: something is still in flight, and the thread and all that it uses must be left alone.
 */
bool io_thread_join(struct io_thread *io, uint64_t deadline_ns);

void io_thread_done(struct io_thread *io);

#endif
