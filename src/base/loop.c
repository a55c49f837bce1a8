// SPDX-License-Identifier: Apache-2.0
/*
 * The event loop of podvisor/loop.h. Everything but the post queue and the stop flag belongs to the
 * thread that runs the loop; the post queue is guarded by post_lock and woken through an eventfd.
 */
#include <podvisor/clock.h>
#include <podvisor/loop.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void wake_ready(struct loop_source *src, uint32_t events)
{
    (void)events;
    uint64_t count;
    /* EAGAIN only means that somebody else's wake was folded into this one. */
    (void)!read(src->fd, &count, sizeof(count));
}

static void wake(struct loop *loop)
{
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so the loop is awake already. */
    (void)!write(loop->wake_fd, &one, sizeof(one));
}

int loop_init(struct loop *loop, struct error *err)
{
    memset(loop, 0, sizeof(*loop));
    loop->now_ns = clock_now_ns;
    loop->wake_fd = -1;
    pthread_mutex_init(&loop->post_lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return error_sys(err, errno, "cannot create an epoll instance");
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        int r = error_sys(err, errno, "cannot create an eventfd");
        loop_done(loop);
        return r;
    }
    loop->wake = LOOP_SOURCE_INIT(wake_ready);
    int r = loop_add(loop, &loop->wake, loop->wake_fd, EPOLLIN, err);
    if (r < 0)
        loop_done(loop);
    return r;
}

void loop_done(struct loop *loop)
{
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    loop->wake_fd = loop->epoll_fd = -1;
    pthread_mutex_destroy(&loop->post_lock);
}

int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events, struct error *err)
{
    struct epoll_event ev = {.events = events, .data.ptr = src};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return error_sys(err, errno, "cannot watch descriptor %d", fd);
    src->fd = fd;
    return 0;
}

int loop_mod(struct loop *loop, struct loop_source *src, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = src};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, src->fd, &ev) < 0 ? -errno : 0;
}

void loop_del(struct loop *loop, struct loop_source *src)
{
    if (src->fd < 0)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
    src->fd = -1;
    /* Events of this batch that wait behind the current one may name the source that goes now. */
    for (int i = loop->event_next; i < loop->event_count; i++) {
        if (loop->event[i].data.ptr == src)
            loop->event[i].data.ptr = NULL;
    }
}

static void heap_place(struct loop *loop, unsigned i, struct loop_timer *timer)
{
    loop->timer[i] = timer;
    timer->heap_index = (int)i;
}

static void heap_up(struct loop *loop, unsigned i, struct loop_timer *timer)
{
    while (i > 0 && timer->deadline_ns < loop->timer[(i - 1) / 2]->deadline_ns) {
        heap_place(loop, i, loop->timer[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_place(loop, i, timer);
}

static void heap_down(struct loop *loop, unsigned i, struct loop_timer *timer)
{
    for (;;) {
        unsigned child = 2 * i + 1;
        if (child >= loop->timer_count)
            break;
        if (child + 1 < loop->timer_count &&
            loop->timer[child + 1]->deadline_ns < loop->timer[child]->deadline_ns)
            child++;
        if (timer->deadline_ns <= loop->timer[child]->deadline_ns)
            break;
        heap_place(loop, i, loop->timer[child]);
        i = child;
    }
    heap_place(loop, i, timer);
}

int loop_timer_arm(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
    loop_timer_disarm(loop, timer);
    if (loop->timer_count == LOOP_TIMER_MAX)
        return -ENOSPC;
    timer->deadline_ns = deadline_ns;
    heap_up(loop, loop->timer_count++, timer);
    return 0;
}

void loop_timer_disarm(struct loop *loop, struct loop_timer *timer)
{
    if (timer->heap_index < 0)
        return;
    unsigned i = (unsigned)timer->heap_index;
    struct loop_timer *last = loop->timer[--loop->timer_count];
    timer->heap_index = -1;
    if (last == timer)
        return;
    if (i > 0 && last->deadline_ns < loop->timer[(i - 1) / 2]->deadline_ns)
        heap_up(loop, i, last);
    else
        heap_down(loop, i, last);
}

void loop_post(struct loop *loop, struct loop_work *work)
{
    pthread_mutex_lock(&loop->post_lock);
    bool first = !work->posted;
    if (first) {
        work->posted = true;
        work->next = NULL;
        if (loop->post_tail != NULL)
            loop->post_tail->next = work;
        else
            loop->post_head = work;
        loop->post_tail = work;
    }
    pthread_mutex_unlock(&loop->post_lock);
    if (first)
        wake(loop);
}

static struct loop_work *take_work(struct loop *loop)
{
    pthread_mutex_lock(&loop->post_lock);
    struct loop_work *work = loop->post_head;
    if (work != NULL) {
        loop->post_head = work->next;
        if (loop->post_head == NULL)
            loop->post_tail = NULL;
        work->posted = false;
    }
    pthread_mutex_unlock(&loop->post_lock);
    return work;
}

/*
 * Runs what is posted by now. What is posted meanwhile has written the eventfd again and waits for
 * the next turn, so that threads which post all the time do not keep the loop from its sources.
 */
static void run_posted(struct loop *loop)
{
    pthread_mutex_lock(&loop->post_lock);
    const struct loop_work *last = loop->post_tail;
    pthread_mutex_unlock(&loop->post_lock);
    for (const struct loop_work *ran = NULL; ran != last;) {
        struct loop_work *work = take_work(loop);
        ran = work;
        work->run(work);
    }
}

static void run_timers(struct loop *loop)
{
    uint64_t now = loop->now_ns();
    while (loop->timer_count > 0 && loop->timer[0]->deadline_ns <= now) {
        struct loop_timer *timer = loop->timer[0];
        loop_timer_disarm(loop, timer);
        timer->expired(timer);
    }
}

/* Rounds up: waking a millisecond late is harmless, waking early would spin. */
static int timeout_until_timer(struct loop *loop, int timeout_ms)
{
    if (loop->timer_count == 0)
        return timeout_ms;
    uint64_t now = loop->now_ns();
    uint64_t deadline = loop->timer[0]->deadline_ns;
    if (deadline <= now)
        return 0;
    uint64_t ms = (deadline - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
    if (timeout_ms >= 0 && ms > (uint64_t)timeout_ms)
        return timeout_ms;
    return ms > 60000 ? 60000 : (int)ms;
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
    int n =
        epoll_wait(loop->epoll_fd, loop->event, (int)(sizeof(loop->event) / sizeof(loop->event[0])),
                   timeout_until_timer(loop, timeout_ms));
    if (n < 0 && errno != EINTR)
        return -errno;
    loop->event_count = n > 0 ? n : 0;
    for (loop->event_next = 0; loop->event_next < loop->event_count;) {
        struct epoll_event *ev = &loop->event[loop->event_next++];
        struct loop_source *src = ev->data.ptr;
        if (src != NULL)
            src->ready(src, ev->events);
    }
    loop->event_count = 0;
    run_posted(loop);
    run_timers(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        int r = loop_run_once(loop, -1);
        if (r < 0)
            return r;
    }
    return 0;
}

void loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    wake(loop);
}
