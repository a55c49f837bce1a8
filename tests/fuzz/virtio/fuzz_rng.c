// SPDX-License-Identifier: Apache-2.0
/* The entropy device under a driver that now and then breaks the rules. */
#include "rng.h"
#include "vfuzz.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vfuzz_device spec = {0};
    struct virtio_rng rng;
    struct vkit *kit = vfuzz_kit();
    if (virtio_rng_init(&rng, "rng", &kit->mem, &kit->loop, NULL) < 0)
        abort();
    vfuzz_run(&spec, &rng.dev, data, size);
    virtio_rng_done(&rng);
    return 0;
}
