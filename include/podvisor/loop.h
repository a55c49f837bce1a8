// SPDX-License-Identifier: Apache-2.0
/*
 * Event loop: epoll, timers and work posted from other threads. One loop belongs to one thread;
 * only the functions marked "any thread" may be called elsewhere. Sources, timers and works are
 * embedded in their owners: adding one allocates nothing, and the owner removes it before its
 * memory goes.
 */
#ifndef PODVISOR_LOOP_H
#define PODVISOR_LOOP_H

#include <podvisor/error.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_TIMER_MAX 64 /* timers armed at one time: a handful a device */

struct loop_source {
    int fd; /* borrowed; -1 while not added */
    void (*ready)(struct loop_source *src, uint32_t epoll_events);
};

struct loop_timer {
    void (*expired)(struct loop_timer *timer);
    uint64_t deadline_ns; /* CLOCK_MONOTONIC */
    int heap_index;       /* -1 while not armed */
};

struct loop_work {
    void (*run)(struct loop_work *work);
    struct loop_work *next; /* owned by the loop while posted */
    bool posted;
};

struct loop {
    int epoll_fd;
    int wake_fd; /* eventfd: posted work, stop */
    struct loop_source wake;
    atomic_bool stopping;
    uint64_t (*now_ns)(void); /* clock_now_ns unless a test says otherwise */
    pthread_mutex_t post_lock;
    struct loop_work *post_head, *post_tail;
    struct loop_timer *timer[LOOP_TIMER_MAX]; /* binary heap, earliest first */
    unsigned timer_count;
    struct epoll_event event[32]; /* the batch being dispatched; see loop_del() */
    int event_count, event_next;
};

#define LOOP_SOURCE_INIT(fn) ((struct loop_source){.fd = -1, .ready = (fn)})
#define LOOP_TIMER_INIT(fn)  ((struct loop_timer){.expired = (fn), .heap_index = -1})

/* Opens the epoll and event descriptors. Returns 0 or a negative errno. */
int loop_init(struct loop *loop, struct error *err);

/* Closes them. No source, timer or work may be left that still matters to its owner. */
void loop_done(struct loop *loop);

/*
 * Watches `fd` (borrowed) for `events` (EPOLLIN, EPOLLOUT, EPOLLET...). Returns 0 or a negative
 * errno.
 */
int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events,
             struct error *err);

/* Changes the events of a source that was added. Returns 0 or a negative errno. */
int loop_mod(struct loop *loop, struct loop_source *src, uint32_t events);

/* Stops watching. The source's function is not called again, not even for the current batch. */
void loop_del(struct loop *loop, struct loop_source *src);

/* Arms (or re-arms) a timer. Returns 0, or -ENOSPC when LOOP_TIMER_MAX timers are armed. */
int loop_timer_arm(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns);

/* Disarms; harmless when not armed. */
void loop_timer_disarm(struct loop *loop, struct loop_timer *timer);

/*
 * Any thread: runs work->run on the loop's thread, soon, once. A work posted again before it ran
 * runs once. Work runs in the order of posting.
 */
void loop_post(struct loop *loop, struct loop_work *work);

/* Dispatches until loop_stop(). Returns 0, or a negative errno when epoll itself fails. */
int loop_run(struct loop *loop);

/* Dispatches what is ready now, waiting for at most timeout_ms (-1: for ever). For tests and
 * drains. */
int loop_run_once(struct loop *loop, int timeout_ms);

/* Any thread: makes loop_run() return once it has dispatched what is ready now. */
void loop_stop(struct loop *loop);

#endif
