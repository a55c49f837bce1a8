// SPDX-License-Identifier: Apache-2.0
/*
 * The engine of threads. Owns its threads, their bounce buffers, the queue between loop and
 * threads, and the eventfd on which threads tell the loop that something is finished.
 *
 * Submitted requests gather in a list of the loop's own; engine_kick() hands the list over under
 * one lock and wakes as many threads as it has work for. A finished request is pushed on a
 * lock-free stack; only the push on an empty stack writes the eventfd, so a busy pool costs the
 * loop one wake-up for many requests. The eventfd is watched edge-triggered and never read: every
 * write is an edge, and its counter cannot overflow in the life of a machine.
 *
 * System calls after start (for the sandbox). Threads: futex, preadv2, pwritev2, fdatasync,
 * fallocate, ioctl(BLKDISCARD, BLKZEROOUT), write (the eventfd), exit and what a thread's end needs
 * (madvise, munmap, rt_sigprocmask). Loop: futex, preadv2, pwritev2, and those of the loop itself.
 */
#include "blockio.h"
#include <podvisor/cleanup.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#define STACK_SIZE                                                                \
    (64 << 10) /* the deepest path, vectors and a log line included, needs 20 KiB \
                */

struct pool;

struct worker {
    struct pool *pool;
    unsigned index;
    pthread_t thread;
    struct blockio_bounce bounce;
};

struct pool {
    struct engine engine;
    struct engine_pool_config config;
    struct loop_source source;
    int event_fd;
    /* The loop's: submitted since the last kick. */
    struct engine_request *batch_head, *batch_tail;
    unsigned batch_count;
    /* Between loop and threads, under lock. */
    pthread_mutex_t lock;
    pthread_cond_t work, started;
    struct engine_request *queue_head, *queue_tail;
    unsigned idle;
    unsigned started_count;
    bool first_started;
    int start_error;
    bool closing;
    /* Newest first. */
    _Atomic(struct engine_request *) finished;

    unsigned threads_wanted; /* the opener's; 0: not even the first could be started */
    /* Threads there are: the opener's before the first starts, then the first's until
     * first_started. */
    unsigned thread_count;
    struct worker worker[ENGINE_THREADS_MAX];
};

static struct pool *pool_of(struct engine *engine)
{
    return container_of(engine, struct pool, engine);
}

static void finish(struct pool *pool, struct engine_request *req)
{
    struct engine_request *top = atomic_load_explicit(&pool->finished, memory_order_relaxed);
    do
        req->next = top;
    while (!atomic_compare_exchange_weak_explicit(&pool->finished, &top, req, memory_order_release,
                                                  memory_order_relaxed));
    if (top == NULL) {
        uint64_t one = 1;
        (void)!write(pool->event_fd, &one, sizeof(one));
    }
}

/* Takes the next request, waiting for one; NULL when the pool closes. */
static struct engine_request *take(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->queue_head == NULL && !pool->closing) {
        pool->idle++;
        pthread_cond_wait(&pool->work, &pool->lock);
        pool->idle--;
    }
    struct engine_request *req = pool->queue_head;
    if (req != NULL)
        pool->queue_head = req->next;
    pthread_mutex_unlock(&pool->lock);
    return req;
}

static void *worker_main(void *arg);

/* Signals belong to the main loop: the threads inherit a mask that blocks them all. */
static int start_worker(struct pool *pool, unsigned index)
{
    struct worker *w = &pool->worker[index];
    w->pool = pool;
    w->index = index;
    int r = blockio_bounce_init(&w->bounce, NULL);
    if (r < 0)
        return r;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    r = pthread_create(&w->thread, &attr, worker_main, w);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

/* The first thread starts the others, so that whoever builds the machine need not. */
static int start_other_workers(struct pool *pool)
{
    int r = 0;
    while (r == 0 && pool->thread_count < pool->threads_wanted) {
        r = start_worker(pool, pool->thread_count);
        if (r == 0)
            pool->thread_count++;
    }
    return r;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *pool = w->pool;
    char name[16];
    snprintf(name, sizeof(name), "%.12s%u", pool->config.name, w->index);
    prctl(PR_SET_NAME, name);
    int r = w->index == 0 ? start_other_workers(pool) : 0;
    if (r == 0 && pool->config.thread_start != NULL)
        r = pool->config.thread_start(pool->config.ctx);
    pthread_mutex_lock(&pool->lock);
    pool->started_count++;
    if (w->index == 0)
        pool->first_started = true; /* thread_count is final from here on */
    if (r < 0)
        pool->start_error = r;
    pthread_cond_broadcast(&pool->started);
    pthread_mutex_unlock(&pool->lock);

    for (struct engine_request *req; (req = take(pool)) != NULL;) {
        req->result = blockio_run(req, &w->bounce);
        finish(pool, req);
    }
    return NULL;
}

static void pool_submit(struct engine *engine, struct engine_request *req)
{
    struct pool *pool = pool_of(engine);
    req->next = NULL;
    if (pool->batch_head == NULL)
        pool->batch_head = req;
    else
        pool->batch_tail->next = req;
    pool->batch_tail = req;
    pool->batch_count++;
}

static void pool_kick(struct engine *engine)
{
    struct pool *pool = pool_of(engine);
    if (pool->batch_head == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    if (pool->queue_head == NULL)
        pool->queue_head = pool->batch_head;
    else
        pool->queue_tail->next = pool->batch_head;
    pool->queue_tail = pool->batch_tail;
    unsigned wake = pool->idle < pool->batch_count ? pool->idle : pool->batch_count;
    pthread_mutex_unlock(&pool->lock);
    pool->batch_head = pool->batch_tail = NULL;
    pool->batch_count = 0;
    while (wake-- > 0)
        pthread_cond_signal(&pool->work);
}

static void deliver_finished(struct pool *pool)
{
    struct engine_request *newest =
        atomic_exchange_explicit(&pool->finished, NULL, memory_order_acquire);
    struct engine_request *list = NULL;
    while (newest != NULL) {
        struct engine_request *req = newest;
        newest = req->next;
        req->next = list;
        list = req;
    }
    engine_deliver(&pool->engine, list);
}

static void finished_ready(struct loop_source *source, uint32_t events)
{
    (void)events;
    deliver_finished(container_of(source, struct pool, source));
}

/* Until every thread has started; the first one says when their number is final. */
static int await_workers(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (!pool->first_started || pool->started_count < pool->thread_count)
        pthread_cond_wait(&pool->started, &pool->lock);
    int r = pool->start_error;
    pthread_mutex_unlock(&pool->lock);
    return r;
}

static void pool_close(struct engine *engine)
{
    struct pool *pool = pool_of(engine);
    if (pool->threads_wanted > 0)
        (void)await_workers(pool);
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->worker[i].thread, NULL);
    for (unsigned i = 0; i < ENGINE_THREADS_MAX; i++)
        blockio_bounce_done(&pool->worker[i].bounce);
    loop_del(engine->loop, &pool->source);
    if (pool->event_fd >= 0)
        close(pool->event_fd);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->started);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static int pool_await_start(struct engine *engine, struct error *err)
{
    struct pool *pool = pool_of(engine);
    int r = await_workers(pool);
    return r < 0 ? error_sys(err, -r, "cannot start an I/O thread") : 0;
}

static const struct engine_ops pool_ops = {
    .name = "threads",
    .await_start = pool_await_start,
    .submit = pool_submit,
    .kick = pool_kick,
    .close = pool_close,
};

static int start_first_worker(struct pool *pool, struct error *err)
{
    pool->threads_wanted =
        pool->config.threads != 0 ? pool->config.threads : ENGINE_THREADS_DEFAULT;
    pool->thread_count = 1;
    int r = start_worker(pool, 0);
    if (r < 0) {
        pool->threads_wanted = pool->thread_count = 0;
        return error_sys(err, -r, "cannot start an I/O thread");
    }
    return 0;
}

int engine_open_pool(const struct engine_pool_config *config, struct loop *loop,
                     struct engine **ret_engine, struct error *err)
{
    if (config->threads > ENGINE_THREADS_MAX)
        return error_set(err, EINVAL, "%u I/O threads are more than %d", config->threads,
                         ENGINE_THREADS_MAX);
    struct pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return error_sys(err, ENOMEM, "cannot allocate an I/O engine");
    pool->engine = (struct engine){.ops = &pool_ops, .loop = loop};
    pool->config = *config;
    pool->source = LOOP_SOURCE_INIT(finished_ready);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->started, NULL);
    atomic_init(&pool->finished, NULL);
    int r = 0;
    pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->event_fd < 0)
        r = error_sys(err, errno, "cannot create an eventfd");
    if (r == 0)
        r = loop_add(loop, &pool->source, pool->event_fd, EPOLLIN | EPOLLET, err);
    if (r == 0)
        r = start_first_worker(pool, err);
    if (r < 0) {
        pool_close(&pool->engine);
        return r;
    }
    *ret_engine = &pool->engine;
    return 0;
}
