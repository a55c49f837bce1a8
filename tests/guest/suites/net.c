/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, 5.1). With peer=ADDRESS a host answers ARP, ICMP echo, and UDP to a
 * closed port; without it only what needs no answer is tested.
 */
#include "../lib/net.h"

#define ECHO_TIMEOUT_MS  2000
#define CLOSED_PORT      33333
#define ICMP_OFFSET      (ETHERNET_HEADER + IPV4_HEADER)
#define ICMP_UNREACHABLE 3
#define BURST            200

static struct net net;
static uint8_t *received, *frame;
static struct net_header *header;

static bool start(const struct net_options *options)
{
    received = page_alloc(NET_FRAME_MAX);
    frame = page_alloc(2 * NET_FRAME_MAX);
    header = page_alloc(sizeof(*header));
    return net_start(&net, dut, options);
}

static bool start_with_peer(const struct net_options *options)
{
    if (!parameter("peer")) {
        tap_skip("no peer to talk to");
        return false;
    }
    if (!start(options))
        return false;
    if (!net_resolve_peer(&net, received)) {
        tap_fail("the peer does not answer ARP");
        return false;
    }
    return true;
}

/* Waits for an ICMP message of this type. */
static uint32_t receive_icmp(uint8_t type)
{
    uint64_t deadline = deadline_after_ms(ECHO_TIMEOUT_MS);
    uint32_t size;

    while ((size = net_receive(&net, received, deadline))) {
        if (received[12] == 8 && received[13] == 0 && received[23] == IP_ICMP &&
            received[ICMP_OFFSET] == type)
            return size;
    }
    return 0;
}

static bool echo(uint16_t sequence, uint32_t payload)
{
    uint32_t size = net_build_echo(&net, frame, sequence, payload);

    if (!net_send(&net, header, frame, size)) {
        tap_fail("transmit %u bytes", size);
        return false;
    }
    if (receive_icmp(0) != size || !match_pattern(received + ICMP_OFFSET + 8, payload, sequence)) {
        tap_fail("no or a different echo of %u bytes", payload);
        return false;
    }
    return true;
}

static void test_mac(void)
{
    uint8_t mac[6], any = 0;

    CHECK(virtio_offered(dut) & NET_F_MAC, "MAC not offered");
    for (unsigned int i = 0; i < sizeof(mac); i++) {
        mac[i] = mmio_read8(dut->config + NET_CONFIG_MAC + i);
        any |= mac[i];
    }
    CHECK(any && !(mac[0] & 1), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
          mac[4], mac[5]);
}

static void test_link_status(void)
{
    SKIP_IF(!(virtio_offered(dut) & NET_F_STATUS), "STATUS not offered");
    if (!virtio_negotiate(dut, NET_F_STATUS))
        return;
    CHECK(mmio_read16(dut->config + NET_CONFIG_STATUS) & NET_STATUS_LINK_UP, "link down");
}

static void test_config_read_only(void)
{
    uint8_t before = mmio_read8(dut->config + NET_CONFIG_MAC);

    SKIP_ON_QEMU("lets a modern driver write the MAC while it is not frozen");
    if (!virtio_negotiate(dut, NET_F_MAC))
        return;
    mmio_write8(dut->config + NET_CONFIG_MAC, (uint8_t)~before);
    CHECK(mmio_read8(dut->config + NET_CONFIG_MAC) == before, "MAC changed");
}

static void test_transmit(void)
{
    struct virtq_used_elem elem;
    uint32_t size;

    if (!start(&(struct net_options){0}))
        return;
    size = net_build_arp(&net, frame);
    for (unsigned int sent = 0; sent < BURST;) {
        unsigned int queued = 0;

        while (sent + queued < BURST && net_submit(&net, header, frame, size) >= 0)
            queued++;
        virtq_kick(&net.tx);
        for (; queued; queued--, sent++) {
            CHECK(virtq_wait(&net.tx, &elem, REQUEST_TIMEOUT_MS), "frame %u stays", sent);
            CHECK(elem.len == 0, "used length %u for a frame sent", elem.len);
        }
    }
}

static void test_echo(void)
{
    static const uint32_t payloads[] = {0, 1, 56, 1000, 1472};

    if (!start_with_peer(&(struct net_options){0}))
        return;
    for (uint16_t i = 0; i < ARRAY_SIZE(payloads); i++) {
        if (!echo(i, payloads[i]))
            return;
    }
}

/* 5.1.6.4.1: without MRG_RXBUF the device MUST set num_buffers to 1. */
static void test_num_buffers(void)
{
    if (!start_with_peer(&(struct net_options){0}) || !echo(1, 56))
        return;
    SKIP_IF(reference_is_qemu() && net.last_num_buffers == 0, "qemu: leaves num_buffers at 0");
    CHECK(net.last_num_buffers == 1, "num_buffers is %u", net.last_num_buffers);
}

static void test_echo_mergeable(void)
{
    SKIP_IF(!(virtio_offered(dut) & NET_F_MRG_RXBUF), "MRG_RXBUF not offered");
    if (!start_with_peer(&(struct net_options){.features = NET_F_MRG_RXBUF, .rx_buffer = 256}))
        return;
    if (!echo(1, 56))
        return;
    CHECK(net.last_buffers == 1, "a small frame took %u buffers", net.last_buffers);
    if (!echo(2, 1472))
        return;
    CHECK(net.last_buffers == 6, "1514 + 12 bytes took %u buffers of 256", net.last_buffers);
}

static void test_echo_event_idx(void)
{
    if (!start_with_peer(
            &(struct net_options){.features = VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC}))
        return;
    for (uint16_t i = 0; i < 600; i++) {
        if (!echo(i, 100))
            return;
    }
}

static void test_short_receive_buffers(void)
{
    uint32_t size;

    if (!start_with_peer(&(struct net_options){.rx_buffer = 256}))
        return;
    size = net_build_echo(&net, frame, 1, 1000);
    CHECK(net_send(&net, header, frame, size), "transmit");
    CHECK(receive_icmp(0) == 0, "a frame arrived whole in too small a buffer");
    echo(2, 56);
}

static void test_checksum_offload(void)
{
    uint32_t size;

    SKIP_IF(!(virtio_offered(dut) & NET_F_CSUM), "CSUM not offered");
    if (!start_with_peer(&(struct net_options){.features = NET_F_CSUM}))
        return;
    size = net_build_udp(&net, frame, CLOSED_PORT, 100);
    CHECK(net_send(&net, header, frame, size) && receive_icmp(ICMP_UNREACHABLE),
          "no answer to a whole checksum");
    net_udp_partial_checksum(frame);
    header->flags = NET_HDR_NEEDS_CSUM;
    header->csum_start = ETHERNET_HEADER + IPV4_HEADER;
    header->csum_offset = 6;
    delay_us(20000);
    CHECK(net_send(&net, header, frame, size) && receive_icmp(ICMP_UNREACHABLE),
          "no answer to a checksum left over");
}

/* Frames that cannot be sent are dropped (5.1.6.2); the device stays usable. */
static void test_odd_frames(void)
{
    static const uint32_t sizes[] = {0, 1, 13, 14, 1600, 65535, 65550, 100000};

    if (!start_with_peer(&(struct net_options){0}))
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
        CHECK(net_send(&net, header, frame, sizes[i]), "%u bytes stay, status 0x%x", sizes[i],
              virtio_status(dut));
    CHECK(!virtio_needs_reset(dut), "the device wants a reset");
    echo(1, 56);
}

static void test_odd_headers(void)
{
    static const struct net_header headers[] = {
        {.flags = NET_HDR_NEEDS_CSUM, .csum_start = 0xffff, .csum_offset = 0xffff},
        {.flags = NET_HDR_NEEDS_CSUM, .csum_start = 40, .csum_offset = 2},
        {.gso_type = NET_HDR_GSO_TCPV4, .gso_size = 0, .hdr_len = 54},
        {.gso_type = NET_HDR_GSO_TCPV4, .gso_size = 1, .hdr_len = 0xffff},
        {.gso_type = 0x7f, .gso_size = 1000},
        {.flags = 0xff},
    };
    uint32_t size;

    if (!start_with_peer(&(struct net_options){.features = NET_F_CSUM | NET_F_HOST_TSO4}))
        return;
    size = net_build_arp(&net, frame);
    for (unsigned int i = 0; i < ARRAY_SIZE(headers); i++) {
        *header = headers[i];
        CHECK(net_send(&net, header, frame, size), "header %u stays, status 0x%x", i,
              virtio_status(dut));
    }
    *header = (struct net_header){0};
    echo(1, 56);
}

static const struct test tests[] = {
    {"MAC", test_mac},
    {"link status", test_link_status},
    {"configuration is read-only", test_config_read_only},
    {"transmit", test_transmit},
    {"echo", test_echo},
    {"num_buffers without MRG_RXBUF", test_num_buffers},
    {"echo, mergeable buffers", test_echo_mergeable},
    {"echo, EVENT_IDX and indirect", test_echo_event_idx},
    {"receive buffers too short", test_short_receive_buffers},
    {"checksum offload", test_checksum_offload},
    {"frames too short and too long", test_odd_frames},
    {"bogus offload headers", test_odd_headers},
};

const struct suite suite_net = {
    .name = "net",
    .device_type = VIRTIO_TYPE_NET,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};
