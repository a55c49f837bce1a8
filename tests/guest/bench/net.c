/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench=net,mode=tx|rx|rr,size=64|1500|65536,secs=2
 *
 * tx: UDP frames, from 2,000 bytes on TCP segments for the host to cut (TSO), to an address nobody
 * has. rx: whatever the host's generator sends. rr: one ICMP echo after the other to peer=.
 * Interrupts are off, the guest polls.
 */
#include "../lib/net.h"
#include "bench.h"

#define FRAME_MAX       65214 /* 45 segments, as long as Linux's TCP makes them */
#define TSO_FROM        2000
#define TSO_SEGMENT     1448
#define RX_BUFFER_LARGE 4096
#define ECHO_TIMEOUT_MS 1000

static struct net net;
static struct net_header *header;

struct tally {
    uint64_t frames, bytes, cycles;
};

static void report(const char *mode, uint32_t size, const struct tally *tally, uint64_t kicks)
{
    print(
        "bench net mode=%s size=%u frames=%lu bytes=%lu cycles=%lu tsc_khz=%lu pps=%lu mbit_s=%lu "
        "kicks=%lu\n",
        mode, size, tally->frames, tally->bytes, tally->cycles, tsc_khz,
        bench_rate(tally->frames, tally->cycles),
        bench_rate(tally->bytes * 8, tally->cycles) / 1000000, kicks);
}

/* Each head keeps its chain: header and frame, which are the same for all. */
static uint16_t build_chains(const uint8_t *frame, uint32_t size)
{
    struct virtq *tx = &net.tx;
    uint16_t count = tx->size / 2;

    for (uint16_t i = 0; i < count; i++) {
        tx->desc[2 * i] = (struct virtq_desc){.addr = physical_address(header),
                                              .len = sizeof(*header),
                                              .flags = DESC_NEXT,
                                              .next = (uint16_t)(2 * i + 1)};
        tx->desc[2 * i + 1] = (struct virtq_desc){.addr = physical_address(frame), .len = size};
    }
    return count;
}

static bool transmit(uint32_t size, uint64_t seconds)
{
    uint8_t *frame = page_alloc(FRAME_MAX);
    struct virtq_used_elem elem;
    struct tally tally = {0};
    uint64_t started, deadline;
    uint16_t count;

    memcpy(net.peer_mac, "\x02\x00\x00\x00\x00\x99", sizeof(net.peer_mac));
    if (size > TSO_FROM) {
        net_build_tcp(&net, frame, size - ETHERNET_HEADER - IPV4_HEADER - TCP_HEADER);
        *header = (struct net_header){.flags = NET_HDR_NEEDS_CSUM,
                                      .gso_type = NET_HDR_GSO_TCPV4,
                                      .hdr_len = ETHERNET_HEADER + IPV4_HEADER + TCP_HEADER,
                                      .gso_size = TSO_SEGMENT,
                                      .csum_start = ETHERNET_HEADER + IPV4_HEADER,
                                      .csum_offset = 16};
    } else {
        net_build_udp(&net, frame, 9, size - ETHERNET_HEADER - IPV4_HEADER - UDP_HEADER);
    }
    count = build_chains(frame, size);
    bench_begin();
    started = rdtsc();
    deadline = started + seconds * tsc_khz * 1000;
    for (uint16_t i = 0; i < count; i++)
        virtq_publish(&net.tx, (uint16_t)(2 * i));
    virtq_kick(&net.tx);
    while (!deadline_passed(deadline)) {
        uint64_t before = tally.frames;

        while (virtq_pop_raw(&net.tx, &elem)) {
            tally.frames++;
            virtq_publish(&net.tx, (uint16_t)elem.id);
        }
        if (tally.frames == before) {
            cpu_relax();
            continue;
        }
        virtq_interrupts(&net.tx, false);
        virtq_kick(&net.tx);
    }
    tally.cycles = rdtsc() - started;
    bench_end();
    tally.bytes = tally.frames * size;
    report("tx", size, &tally, net.tx.kicks);
    return tally.frames ? true : bench_fail("nothing was sent");
}

static bool receive(uint32_t size, uint64_t seconds)
{
    struct virtq_used_elem elem;
    struct tally tally = {0};
    uint64_t started = 0, deadline;
    uint32_t left = 0;

    bench_begin();
    deadline = deadline_after_ms(5000); /* for the first frame */
    while (!deadline_passed(deadline)) {
        bool taken = false;

        while (virtq_pop_raw(&net.rx, &elem)) {
            const struct net_header *h =
                (const void *)(net.rx_buffers + (size_t)elem.id * net.rx_buffer);

            tally.bytes += elem.len - (left ? 0 : sizeof(*h));
            left = left ? left - 1 : net_buffers(&net, h) - 1;
            tally.frames += !left;
            net_repost(&net, (uint16_t)elem.id);
            taken = true;
        }
        if (!taken) {
            cpu_relax();
            continue;
        }
        virtq_interrupts(&net.rx, false);
        virtq_kick(&net.rx);
        if (!started) {
            started = rdtsc();
            deadline = started + seconds * tsc_khz * 1000;
            tally = (struct tally){0};
        }
    }
    bench_end();
    tally.cycles = rdtsc() - started;
    report("rx", size, &tally, net.rx.kicks);
    return tally.frames ? true : bench_fail("nothing arrived");
}

static bool round_trip(uint32_t size, uint64_t seconds)
{
    struct latency *latency = page_alloc(sizeof(*latency));
    uint8_t *frame = page_alloc(FRAME_MAX), *answer = page_alloc(NET_FRAME_MAX);
    struct tally tally = {0};
    uint64_t started, deadline, sent;

    if (!net_resolve_peer(&net, answer))
        return bench_fail("the peer does not answer ARP");
    net_build_echo(&net, frame, 1, size - ETHERNET_HEADER - IPV4_HEADER - 8);
    bench_begin();
    started = rdtsc();
    deadline = started + seconds * tsc_khz * 1000;
    while (!deadline_passed(deadline)) {
        sent = rdtsc();
        if (!net_send(&net, header, frame, size) ||
            !net_receive(&net, answer, deadline_after_ms(ECHO_TIMEOUT_MS)))
            return bench_fail("no echo after %lu", tally.frames);
        latency_add(latency, rdtsc() - sent);
        tally.frames++;
        tally.bytes += size;
    }
    tally.cycles = rdtsc() - started;
    bench_end();
    report("rr", size, &tally, net.tx.kicks);
    print("bench net-latency p50_ns=%lu p99_ns=%lu p999_ns=%lu\n", latency_percentile(latency, 500),
          latency_percentile(latency, 990), latency_percentile(latency, 999));
    return true;
}

bool bench_net(void)
{
    uint32_t size = (uint32_t)MIN(bench_option("size", 64), FRAME_MAX);
    uint64_t seconds = bench_option("secs", 2);
    struct virtio_device *device = virtio_find(VIRTIO_TYPE_NET, 0);
    struct net_options options = {.features = VIRTIO_F_EVENT_IDX};

    if (!device)
        return bench_fail("no network device");
    if (size < 60)
        return bench_fail("size=%u", size);
    if (size > TSO_FROM) {
        options.features |=
            NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_HOST_TSO4 | NET_F_GUEST_TSO4 | NET_F_MRG_RXBUF;
        options.rx_buffer = RX_BUFFER_LARGE;
    }
    header = page_alloc(sizeof(*header));
    if (!net_start(&net, device, &options))
        return bench_fail("the network device does not start");
    if (bench_option_is("mode", "tx"))
        return transmit(size, seconds);
    if (bench_option_is("mode", "rx"))
        return receive(size, seconds);
    if (bench_option_is("mode", "rr"))
        return round_trip(size, seconds);
    return bench_fail("mode is tx, rx or rr");
}
