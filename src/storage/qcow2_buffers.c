// SPDX-License-Identifier: Apache-2.0
/*
 * The buffers of an image: a few, allocated when it is opened, handed out one a thread. Memory
 * becomes resident with first use only. Copies and unpacking have pools of their own, because who
 * copies may have to unpack.
 */
#include "qcow2.h"
#include <stdlib.h>

int qcow2_buffers_init(struct qcow2 *q, struct qcow2_buffers *buffers, bool unpack)
{
    uint64_t packed = 2 * ((uint64_t)q->cluster_size + q->img->geometry.offset_align);
    pthread_mutex_init(&buffers->lock, NULL);
    pthread_cond_init(&buffers->returned, NULL);
    buffers->count = QCOW2_BUFFERS_BYTES / q->cluster_size;
    if (buffers->count == 0)
        buffers->count = 1;
    if (buffers->count > QCOW2_BUFFERS)
        buffers->count = QCOW2_BUFFERS;
    for (unsigned i = 0; i < buffers->count; i++) {
        struct qcow2_buffer *b = &buffers->buffer[i];
        b->cluster = qcow2_file_buffer(q->img, q->cluster_size);
        if (b->cluster == NULL)
            return -ENOMEM;
        if (!unpack)
            continue;
        b->packed = qcow2_file_buffer(q->img, packed);
        b->workspace = malloc(qcow2_workspace_size(q));
        if (b->packed == NULL || b->workspace == NULL)
            return -ENOMEM;
    }
    return 0;
}

void qcow2_buffers_done(struct qcow2_buffers *buffers)
{
    for (unsigned i = 0; i < buffers->count; i++) {
        free(buffers->buffer[i].cluster);
        free(buffers->buffer[i].packed);
        free(buffers->buffer[i].workspace);
    }
}

static struct qcow2_buffer *choose(struct qcow2_buffers *buffers, uint64_t tag)
{
    struct qcow2_buffer *best = NULL;
    for (unsigned i = 0; i < buffers->count; i++) {
        struct qcow2_buffer *b = &buffers->buffer[i];
        if (b->busy)
            continue;
        if (tag != 0 && b->tag == tag)
            return b;
        if (best == NULL || buffers->clock - b->used > buffers->clock - best->used)
            best = b;
    }
    return best;
}

struct qcow2_buffer *qcow2_buffer_take(struct qcow2_buffers *buffers, uint64_t tag)
{
    pthread_mutex_lock(&buffers->lock);
    struct qcow2_buffer *b;
    while ((b = choose(buffers, tag)) == NULL)
        pthread_cond_wait(&buffers->returned, &buffers->lock);
    b->busy = true;
    b->used = ++buffers->clock;
    if (b->tag != tag)
        b->tag = 0;
    pthread_mutex_unlock(&buffers->lock);
    return b;
}

void qcow2_buffer_give(struct qcow2_buffers *buffers, struct qcow2_buffer *buffer)
{
    pthread_mutex_lock(&buffers->lock);
    buffer->busy = false;
    pthread_cond_signal(&buffers->returned);
    pthread_mutex_unlock(&buffers->lock);
}
