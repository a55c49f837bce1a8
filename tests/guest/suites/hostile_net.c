/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receive buffers that cannot hold a frame, in the network device's own direction of trouble: they
 * are looked at when the host sends, so each test makes the peer answer an ARP request
 * (virtio 1.2, 5.1.6.3 and 5.1.6.4).
 */
#include "../lib/net.h"
#include "../lib/target.h"

#define FAR_AWAY (1ul << 45)
#define ANSWERS  5

static struct net net;
static struct virtq_desc *desc; /* of the receive queue, empty */
static uint8_t *frame, *buffer;

static bool ready(uint64_t features)
{
    struct virtq queues[2];

    if (tap_failed())
        return false;
    if (!parameter("peer")) {
        tap_skip("no peer to talk to");
        return false;
    }
    frame = page_alloc(NET_FRAME_MAX);
    buffer = page_alloc(2 * PAGE_SIZE);
    /* net_start() posts good buffers; here nothing is posted but what the test builds */
    memset(&net, 0, sizeof(net));
    if (!virtio_start(dut, &(struct virtio_options){.features = features | NET_F_MAC}, queues, 2))
        return false;
    net.device = dut;
    net.rx = queues[0];
    net.tx = queues[1];
    net_address(&net);
    desc = net.rx.desc;
    desc[0] = (struct virtq_desc){
        .addr = physical_address(buffer), .len = 2048, .flags = DESC_WRITE, .next = 1};
    desc[1] = desc[0];
    return true;
}

static bool works_again(void)
{
    if (!net_start(&net, dut, &(struct net_options){0}))
        return false;
    if (net_resolve_peer(&net, frame))
        return true;
    tap_fail("no ARP answer after a reset");
    return false;
}

/* Makes the peer send; what the device makes of the receive chain at `head` must be among
 * `allowed`. */
static void provoke(uint16_t head, unsigned int allowed)
{
    struct net_header *header = page_alloc(sizeof(*header));
    struct target target = {.queue = &net.rx};
    uint32_t size = net_build_arp(&net, frame);
    unsigned int outcome = OUTCOME_IGNORED;

    virtq_publish(&net.rx, head);
    virtq_notify(&net.rx);
    for (unsigned int i = 0; i < ANSWERS && outcome == OUTCOME_IGNORED; i++) {
        if (!virtio_needs_reset(dut))
            net_submit(&net, header, frame, size);
        virtq_notify(&net.tx);
        outcome = target_outcome(&target, OUTCOME_IGNORED);
    }
    CHECK(outcome & allowed, "outcome %u, allowed %u (1 broken, 2 used, 8 ignored)", outcome,
          allowed);
    works_again();
}

static void test_valid(void)
{
    if (ready(0))
        provoke(0, OUTCOME_REFUSED); /* used: the frame is in */
}

static void test_readable(void)
{
    if (!ready(0))
        return;
    desc[0].flags = 0;
    provoke(0, OUTCOME_BROKEN | OUTCOME_IGNORED);
}

static void test_outside_ram(void)
{
    static const uint64_t bad[] = {0xd0000000, FAR_AWAY, ~0ul - 8};

    for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
        if (!ready(0))
            return;
        desc[0].addr = bad[i];
        provoke(0, OUTCOME_BROKEN | OUTCOME_IGNORED | (reference_is_qemu() ? OUTCOME_REFUSED : 0));
    }
}

static void test_loop(void)
{
    if (!ready(0))
        return;
    desc[0].flags |= DESC_NEXT;
    desc[0].next = 0;
    provoke(0, OUTCOME_BROKEN);
}

static void test_out_of_range(void)
{
    if (!ready(0))
        return;
    desc[0].flags |= DESC_NEXT;
    desc[0].next = net.rx.size;
    provoke(0, OUTCOME_BROKEN);
    if (ready(0))
        provoke(net.rx.size, OUTCOME_BROKEN);
}

/* Too small for the header, or for any frame: dropped, or the device gives up. */
static void test_too_small(void)
{
    static const uint32_t lengths[] = {1, 11, 12, 13, 40};

    SKIP_ON_QEMU("an assertion ends the process if the header does not fit");
    for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
        if (!ready(0))
            return;
        desc[0].len = lengths[i];
        memset(buffer, 0x5a, PAGE_SIZE);
        provoke(0, OUTCOME_ANY);
        for (uint32_t at = lengths[i]; at < 256; at++)
            CHECK(buffer[at] == 0x5a, "byte %u behind a buffer of %u was written", at, lengths[i]);
    }
}

static void test_too_small_mergeable(void)
{
    static const uint32_t lengths[] = {1, 11, 12, 13, 40};

    SKIP_ON_QEMU("an assertion ends the process if the header does not fit");
    for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
        if (!ready(NET_F_MRG_RXBUF))
            return;
        desc[0].len = desc[1].len = lengths[i];
        desc[1].addr += 1024;
        memset(buffer, 0x5a, PAGE_SIZE);
        virtq_publish(&net.rx, 1);
        provoke(0, OUTCOME_ANY);
        for (uint32_t at = lengths[i]; at < 256; at++)
            CHECK(buffer[at] == 0x5a, "byte %u behind a buffer of %u was written", at, lengths[i]);
    }
}

static void test_readable_part(void)
{
    if (!ready(0))
        return;
    desc[0].flags = DESC_NEXT;
    desc[0].len = 12;
    provoke(0, OUTCOME_ANY);
}

static const struct test tests[] = {
    {"valid receive buffer", test_valid},
    {"receive buffer is readable", test_readable},
    {"receive buffer outside RAM", test_outside_ram},
    {"receive chain with a loop", test_loop},
    {"receive chain out of range", test_out_of_range},
    {"receive buffer too small", test_too_small},
    {"mergeable receive buffers too small", test_too_small_mergeable},
    {"receive chain partly readable", test_readable_part},
};

const struct suite suite_hostile_net = {
    .name = "hostile-net",
    .device_type = VIRTIO_TYPE_NET,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};
