/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench=store,fill=N,then=…: what is on each disk, and whether it takes what is written. A line for
 * each, in the order of the bus:
 *
 *   store disk=0 sectors=8192 readonly=0 found=0 wrote=65
 *
 * `found` is the disk's first byte, `wrote` the byte (`fill`) that its first MiB holds now, after a
 * flush and as read back; "no" on a read-only disk, "failed" when something did not succeed.
 * Without `fill` nothing is written. then=stay waits for the machine's end; then=write writes other
 * bytes behind that MiB of the first disk until then, without flushes.
 */
#include "../lib/blk.h"
#include "bench.h"

#define BLOCK 65536u
#define SPAN  (1u << 20)

struct store {
    struct virtq queue;
    uint64_t sectors;
    uint8_t *data;
    bool readonly;
};

static bool transfer(struct store *store, uint32_t type, uint64_t offset)
{
    uint64_t mark = memory_mark();
    bool ok = blk_transfer(&store->queue, type, offset / BLK_SECTOR,
                           type == BLK_T_FLUSH ? NULL : store->data,
                           type == BLK_T_FLUSH ? 0 : BLOCK) == BLK_S_OK;

    memory_release(mark);
    return ok;
}

static bool holds(const struct store *store, uint8_t byte)
{
    for (uint32_t i = 0; i < BLOCK; i++) {
        if (store->data[i] != byte)
            return false;
    }
    return true;
}

static bool fill(struct store *store, uint8_t byte)
{
    uint64_t span = MIN(store->sectors * BLK_SECTOR, SPAN) / BLOCK * BLOCK;

    memset(store->data, byte, BLOCK);
    for (uint64_t at = 0; at < span; at += BLOCK) {
        if (!transfer(store, BLK_T_OUT, at))
            return false;
    }
    if (!transfer(store, BLK_T_FLUSH, 0))
        return false;
    for (uint64_t at = 0; at < span; at += BLOCK) {
        memset(store->data, (uint8_t)~byte, BLOCK);
        if (!transfer(store, BLK_T_IN, at) || !holds(store, byte))
            return false;
    }
    return true;
}

static bool open_store(struct store *store, struct virtio_device *device)
{
    struct virtio_options options = {.features = BLK_FEATURES};

    if (!virtio_start(device, &options, &store->queue, 1))
        return false;
    store->sectors = blk_capacity(device);
    store->readonly = (device->features & BLK_F_RO) != 0;
    store->data = page_alloc(BLOCK);
    return store->sectors * BLK_SECTOR >= BLOCK;
}

static bool visit(struct store *store, unsigned int index, uint64_t byte)
{
    unsigned int found;

    if (!transfer(store, BLK_T_IN, 0))
        return bench_fail("disk %u cannot be read", index);
    found = store->data[0];
    print("store disk=%u sectors=%lu readonly=%u found=%u ", index, store->sectors, store->readonly,
          found);
    if (store->readonly || !byte)
        print("wrote=no\n");
    else if (fill(store, (uint8_t)byte))
        print("wrote=%lu\n", byte);
    else
        print("wrote=failed\n");
    return true;
}

static _Noreturn void stay(void)
{
    static const volatile uint32_t never;

    for (;;)
        halt_unless(&never, 0);
}

bool bench_store(void)
{
    static struct store stores[VIRTIO_DEVICES_MAX];
    uint64_t byte = bench_option("fill", 0);
    unsigned int count = 0;

    for (struct virtio_device *device; (device = virtio_find(VIRTIO_TYPE_BLK, count)); count++) {
        if (!open_store(&stores[count], device))
            return bench_fail("disk %u does not start, or is smaller than 64 KiB", count);
        if (!visit(&stores[count], count, byte))
            return false;
    }
    print("store done\n");
    if (count && bench_option_is("then", "write")) {
        memset(stores[0].data, (uint8_t)(byte + 1), BLOCK);
        for (uint64_t at = SPAN;; at += BLOCK) {
            if (at + BLOCK > stores[0].sectors * BLK_SECTOR)
                at = SPAN;
            transfer(&stores[0], BLK_T_OUT, at);
        }
    }
    if (bench_option_is("then", "stay"))
        stay();
    return true;
}
