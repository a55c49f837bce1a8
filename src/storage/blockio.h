// SPDX-License-Identifier: Apache-2.0
/* One request, done to its end in the calling thread, for engines that work by blocking. */
#ifndef PODVISOR_STORAGE_BLOCKIO_H
#define PODVISOR_STORAGE_BLOCKIO_H

#include "engine.h"

/* A thread's own buffer for direct I/O that the guest did not align. */
#define BLOCKIO_BOUNCE_SIZE ((size_t)2 * IMAGE_ALIGN_MAX)

struct blockio_bounce {
    uint8_t *buf; /* BLOCKIO_BOUNCE_SIZE bytes, page-aligned; costs memory when it is first used */
};

/* Returns 0 or a negative errno. */
int blockio_bounce_init(struct blockio_bounce *bounce, struct error *err);
void blockio_bounce_done(struct blockio_bounce *bounce);

/* Whether the kernel takes what is left of a READ or WRITE as it is. */
bool blockio_is_aligned(const struct engine_request *req);

/* Does all of `req` (what is left of it) and returns its result: 0 or a negative errno. */
int blockio_run(struct engine_request *req, struct blockio_bounce *bounce);

#endif
