// SPDX-License-Identifier: Apache-2.0
/*
 * Linux AIO, io_submit(2): direct I/O without threads where io_uring is not allowed. Owns one
 * context, its ring of events, which is read where the kernel maps it, and the eventfd that tells
 * of new ones: watched edge-triggered and never read. Loop's thread.
 *
 * System calls after the start: io_submit.
 */
#include "native.h"
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH      64
#define RING_MAGIC 0xa10a10a1u

/* What the kernel maps at the context's address: struct aio_ring of fs/aio.c, a stable interface
 * that libaio reads in the same way. */
struct event_ring {
    unsigned id, count;  /* of entries of event[] */
    unsigned head, tail; /* ours, the kernel's */
    unsigned magic, compat_features, incompat_features;
    unsigned header_length;
    struct io_event event[];
};

struct aio {
    aio_context_t context;
    struct event_ring *ring;
    int event_fd;
    unsigned queued;
    struct iocb iocb[BATCH];
};

static void free_aio(struct native *n, struct aio *aio)
{
    loop_del(n->engine.loop, &n->source);
    if (aio->context != 0)
        syscall(SYS_io_destroy, aio->context);
    if (aio->event_fd >= 0)
        close(aio->event_fd);
    free(aio);
}

static int set_up(struct native *n, struct aio *aio, struct error *err)
{
    if (syscall(SYS_io_setup, NATIVE_DEPTH, &aio->context) < 0)
        return error_sys(err, errno, "Linux AIO is not available");
    aio->ring = (struct event_ring *)aio->context; /* NOLINT(performance-no-int-to-ptr) */
    if (aio->ring->magic != RING_MAGIC || aio->ring->incompat_features != 0 ||
        aio->ring->header_length != sizeof(struct event_ring))
        return error_set(err, ENOTSUP, "this kernel's AIO has a ring of another form");
    aio->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (aio->event_fd < 0)
        return error_sys(err, errno, "cannot create an eventfd");
    return loop_add(n->engine.loop, &n->source, aio->event_fd, EPOLLIN | EPOLLET, err);
}

static int aio_open(struct native *n, struct error *err)
{
    struct aio *aio = calloc(1, sizeof(*aio));
    if (aio == NULL)
        return error_sys(err, ENOMEM, "cannot allocate an AIO context");
    aio->event_fd = -1;
    int r = set_up(n, aio, err);
    if (r < 0) {
        free_aio(n, aio);
        return r;
    }
    n->backend = aio;
    return 0;
}

static void aio_close(struct native *n)
{
    free_aio(n, n->backend);
}

/* What aio_queue() put there. */
static struct engine_request *request_of(uint64_t data)
{
    return (struct engine_request *)(uintptr_t)data; /* NOLINT(performance-no-int-to-ptr) */
}

/* The kernel says what is wrong with the first only; a thread will meet it again. */
static void aio_submit(struct native *n)
{
    struct aio *aio = n->backend;
    struct iocb *list[BATCH];
    unsigned count = aio->queued;
    aio->queued = 0;
    for (unsigned i = 0; i < count; i++)
        list[i] = &aio->iocb[i];
    for (unsigned done = 0; done < count;) {
        long taken = syscall(SYS_io_submit, aio->context, (long)(count - done), &list[done]);
        if (taken > 0) {
            done += (unsigned)taken;
        } else {
            native_complete(n, request_of(list[done]->aio_data), -EAGAIN);
            done++;
        }
    }
}

static void aio_queue(struct native *n, struct engine_request *req)
{
    struct aio *aio = n->backend;
    if (aio->queued == BATCH)
        aio_submit(n);
    bool read = req->op == ENGINE_READ;
    struct iocb *cb = &aio->iocb[aio->queued++];
    *cb = (struct iocb){
        .aio_lio_opcode = read ? IOCB_CMD_PREADV : IOCB_CMD_PWRITEV,
        .aio_fildes = (uint32_t)req->image->fd,
        .aio_buf = (uintptr_t)req->iov,
        .aio_nbytes = req->iov_count,
        .aio_offset = (int64_t)req->offset,
        .aio_rw_flags = req->sync ? RWF_DSYNC : 0,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)aio->event_fd,
        .aio_data = (uintptr_t)req,
    };
}

static void aio_reap(struct native *n)
{
    struct aio *aio = n->backend;
    struct event_ring *ring = aio->ring;
    unsigned head = ring->head;
    while (head != __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE)) {
        struct io_event event = ring->event[head];
        head = head + 1 == ring->count ? 0 : head + 1;
        __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
        native_complete(n, request_of(event.data), event.res);
    }
}

const struct native_ops native_aio = {
    .name = "aio",
    .buffered = false,
    .open = aio_open,
    .close = aio_close,
    .queue = aio_queue,
    .submit = aio_submit,
    .reap = aio_reap,
};
