// SPDX-License-Identifier: Apache-2.0
/*
 * io_uring(7). Owns one ring, which can do nothing but read and write descriptors, as its thread
 * can anyway: a ring's requests do not pass the system call filter, so the ring itself is
 * restricted to four operations (Linux 5.10, io_uring_register_restrictions(3)) before it is
 * enabled, and nothing can be registered with it. Loop's thread; with Linux 6.1 completions are
 * taken up when that thread asks for them and interrupt it in nothing else.
 *
 * The disks' files are not registered: the kernel frees a ring some time after its process, and a
 * file that is registered stays locked until then, so that the machine could not be started anew.
 *
 * System calls after the start: io_uring_enter.
 */
#include "native.h"
#include <liburing.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SQ_ENTRIES 128

_Static_assert(NATIVE_DEPTH <= 2 * SQ_ENTRIES, "every completion has its place in the queue");

struct uring {
    struct io_uring ring;
    int event_fd; /* watched edge-triggered and never read */
};

static int init_ring(struct io_uring *ring)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
    int r = -EINVAL;
    for (unsigned i = 0; i < ARRAY_SIZE(flags) && r == -EINVAL; i++)
        r = io_uring_queue_init(SQ_ENTRIES, ring, IORING_SETUP_R_DISABLED | flags[i]);
    return r;
}

static int restrict_and_enable(struct io_uring *ring)
{
    static const uint8_t op[] = {IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE,
                                 IORING_OP_WRITEV};
    struct io_uring_restriction rule[ARRAY_SIZE(op)];
    memset(rule, 0, sizeof(rule));
    for (unsigned i = 0; i < ARRAY_SIZE(op); i++) {
        rule[i].opcode = IORING_RESTRICTION_SQE_OP;
        rule[i].sqe_op = op[i];
    }
    int r = io_uring_register_restrictions(ring, rule, ARRAY_SIZE(rule));
    return r < 0 ? r : io_uring_enable_rings(ring);
}

/*
 * The ring's own descriptor would do for epoll, were it not for the completions that wait for us to
 * take them up: of those only an eventfd tells (Linux 6.18).
 */
static int watch(struct native *n, struct uring *u, struct error *err)
{
    u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->event_fd < 0)
        return error_sys(err, errno, "cannot create an eventfd");
    int r = io_uring_register_eventfd(&u->ring, u->event_fd);
    if (r < 0)
        return error_sys(err, -r, "io_uring has no eventfd");
    return loop_add(n->engine.loop, &n->source, u->event_fd, EPOLLIN | EPOLLET, err);
}

static void free_uring(struct native *n, struct uring *u)
{
    loop_del(n->engine.loop, &n->source);
    if (u->ring.ring_fd >= 0)
        io_uring_queue_exit(&u->ring);
    if (u->event_fd >= 0)
        close(u->event_fd);
    free(u);
}

static int set_up(struct native *n, struct uring *u, struct error *err)
{
    int r = init_ring(&u->ring);
    if (r < 0) {
        u->ring.ring_fd = -1;
        return error_sys(err, -r, "io_uring is not available");
    }
    r = watch(n, u, err);
    if (r < 0)
        return r;
    r = restrict_and_enable(&u->ring);
    return r < 0 ? error_sys(err, -r, "io_uring cannot be restricted to reading and writing") : 0;
}

static int uring_open(struct native *n, struct error *err)
{
    struct uring *u = calloc(1, sizeof(*u));
    if (u == NULL)
        return error_sys(err, ENOMEM, "cannot allocate a ring");
    u->ring.ring_fd = u->event_fd = -1;
    int r = set_up(n, u, err);
    if (r < 0) {
        free_uring(n, u);
        return r;
    }
    n->backend = u;
    return 0;
}

static void uring_close(struct native *n)
{
    free_uring(n, n->backend);
}

static struct io_uring *ring_of(struct native *n)
{
    struct uring *u = n->backend;
    return &u->ring;
}

/* Hands over what is queued; what the kernel does not take now, it is asked again to. */
static void uring_submit(struct native *n)
{
    struct io_uring *ring = ring_of(n);
    if (io_uring_sq_ready(ring) == 0)
        return;
    int r;
    do
        r = io_uring_submit_and_get_events(ring);
    while (r == -EINTR);
    if (io_uring_sq_ready(ring) != 0)
        loop_post(n->engine.loop, &n->again);
}

static void uring_queue(struct native *n, struct engine_request *req)
{
    struct io_uring *ring = ring_of(n);
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL) {
        uring_submit(n);
        sqe = io_uring_get_sqe(ring);
    }
    if (sqe == NULL) {
        native_complete(n, req, -EAGAIN);
        return;
    }
    bool read = req->op == ENGINE_READ;
    if (req->iov_count == 1)
        io_uring_prep_rw(read ? IORING_OP_READ : IORING_OP_WRITE, sqe, req->image->fd,
                         req->iov->iov_base, (unsigned)req->iov->iov_len, req->offset);
    else
        io_uring_prep_rw(read ? IORING_OP_READV : IORING_OP_WRITEV, sqe, req->image->fd, req->iov,
                         req->iov_count, req->offset);
    sqe->rw_flags = req->sync ? RWF_DSYNC : 0;
    io_uring_sqe_set_data(sqe, req);
}

static void uring_reap(struct native *n)
{
    struct io_uring *ring = ring_of(n);
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(ring, &cqe) == 0) {
        struct engine_request *req = io_uring_cqe_get_data(cqe);
        int moved = cqe->res;
        io_uring_cqe_seen(ring, cqe);
        native_complete(n, req, moved);
    }
}

const struct native_ops native_uring = {
    .name = "io_uring",
    .buffered = true,
    .open = uring_open,
    .close = uring_close,
    .queue = uring_queue,
    .submit = uring_submit,
    .reap = uring_reap,
};
