/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net queues and the few protocols of net.h.
 */
#include "net.h"

#define RX_BUFFER          2048
#define ARP_SIZE           28
#define ICMP_HEADER        8
#define ICMP_ECHO          8
#define RESOLVE_TRIES      20
#define RESOLVE_TIMEOUT_MS 250
#define TTL                64

static uint32_t parse_ip(const char *at, uint32_t otherwise)
{
    uint32_t address = 0, part = 0;

    if (!at)
        return otherwise;
    for (; *at; at++) {
        if (*at == '.') {
            address = address << 8 | part;
            part = 0;
        } else {
            part = part * 10 + (uint32_t)(*at - '0');
        }
    }
    return address << 8 | (part & 0xff);
}

void net_repost(struct net *net, uint16_t head)
{
    virtq_publish(&net->rx, head);
}

/* Receive buffer i is descriptor i for good. */
static void post_all(struct net *net)
{
    for (uint16_t i = 0; i < net->rx.size; i++) {
        net->rx.desc[i].addr = physical_address(net->rx_buffers + (size_t)i * net->rx_buffer);
        net->rx.desc[i].len = net->rx_buffer;
        net->rx.desc[i].flags = DESC_WRITE;
        net_repost(net, i);
    }
    virtq_kick(&net->rx);
}

void net_address(struct net *net)
{
    net->ip = parse_ip(parameter("ip"), 0x0a4d0002);
    net->peer_ip = parse_ip(parameter("peer"), 0);
    for (unsigned int i = 0; i < sizeof(net->mac); i++)
        net->mac[i] = mmio_read8(net->device->config + NET_CONFIG_MAC + i);
}

bool net_start(struct net *net, struct virtio_device *device, const struct net_options *options)
{
    struct virtio_options virtio = {.features = options->features | NET_F_MAC | NET_F_STATUS,
                                    .queue_max = options->queue_max};
    struct virtq queues[2];

    memset(net, 0, sizeof(*net));
    if (!virtio_start(device, &virtio, queues, 2))
        return false;
    net->device = device;
    net->rx = queues[0];
    net->tx = queues[1];
    net_address(net);
    net->rx_buffer = options->rx_buffer ? options->rx_buffer : RX_BUFFER;
    net->rx_buffers = page_alloc((size_t)net->rx.size * net->rx_buffer);
    post_all(net);
    return true;
}

int net_submit(struct net *net, const struct net_header *header, const void *frame, uint32_t size)
{
    struct virtq_segment segments[] = {{header, sizeof(*header)}, {frame, size}};

    return virtq_add(&net->tx, segments, size ? 2 : 1, 0);
}

bool net_send(struct net *net, const struct net_header *header, const void *frame, uint32_t size)
{
    struct virtq_used_elem elem;

    if (net_submit(net, header, frame, size) < 0)
        return false;
    virtq_kick(&net->tx);
    return virtq_wait(&net->tx, &elem, REQUEST_TIMEOUT_MS);
}

uint32_t net_buffers(const struct net *net, const struct net_header *header)
{
    bool mergeable = net->device->features & NET_F_MRG_RXBUF;

    return mergeable && header->num_buffers ? header->num_buffers : 1;
}

uint32_t net_receive(struct net *net, uint8_t *frame, uint64_t deadline)
{
    uint32_t size = 0, buffers = 0, wanted = 1;
    struct virtq_used_elem elem;

    while (buffers < wanted) {
        const uint8_t *buffer;
        uint32_t skip;

        if (!virtq_pop_raw(&net->rx, &elem)) {
            if (deadline_passed(deadline))
                return 0;
            cpu_relax();
            continue;
        }
        buffer = net->rx_buffers + (size_t)elem.id * net->rx_buffer;
        skip = buffers ? 0 : (uint32_t)sizeof(struct net_header);
        if (elem.id >= net->rx.size || elem.len > net->rx_buffer || elem.len < skip ||
            size + elem.len - skip > NET_FRAME_MAX) {
            tap_fail("receive: used id %u length %u", elem.id, elem.len);
            return 0;
        }
        if (!buffers)
            wanted = net_buffers(net, (const struct net_header *)buffer);
        if (!buffers)
            net->last_num_buffers = ((const struct net_header *)buffer)->num_buffers;
        memcpy(frame + size, buffer + skip, elem.len - skip);
        size += elem.len - skip;
        buffers++;
        net_repost(net, (uint16_t)elem.id);
        virtq_kick(&net->rx);
    }
    net->last_buffers = buffers;
    return size;
}

static void put16(uint8_t *at, uint16_t value)
{
    value = swap16(value);
    memcpy(at, &value, sizeof(value));
}

static void put32(uint8_t *at, uint32_t value)
{
    value = swap32(value);
    memcpy(at, &value, sizeof(value));
}

static uint32_t sum16(const uint8_t *at, uint32_t size, uint32_t sum)
{
    for (uint32_t i = 0; i + 1 < size; i += 2)
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    if (size & 1)
        sum += (uint32_t)at[size - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void put_ethernet(const struct net *net, uint8_t *frame, const uint8_t *to, uint16_t type)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, net->mac, 6);
    put16(frame + 12, type);
}

static uint8_t *put_ipv4(const struct net *net, uint8_t *frame, uint8_t protocol, uint32_t payload)
{
    uint8_t *ip = frame + ETHERNET_HEADER;

    put_ethernet(net, frame, net->peer_mac, ETHERTYPE_IPV4);
    memset(ip, 0, IPV4_HEADER);
    ip[0] = 0x45;
    put16(ip + 2, (uint16_t)(IPV4_HEADER + payload));
    ip[8] = TTL;
    ip[9] = protocol;
    put32(ip + 12, net->ip);
    put32(ip + 16, net->peer_ip);
    put16(ip + 10, (uint16_t)~sum16(ip, IPV4_HEADER, 0));
    return ip + IPV4_HEADER;
}

static uint32_t pseudo_header_sum(const uint8_t *ip, uint32_t payload)
{
    return sum16(ip + 12, 8, ip[9] + payload);
}

uint32_t net_build_arp(const struct net *net, uint8_t *frame)
{
    static const uint8_t broadcast[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t *arp = frame + ETHERNET_HEADER;

    put_ethernet(net, frame, broadcast, ETHERTYPE_ARP);
    memset(arp, 0, ARP_SIZE);
    put16(arp, 1);
    put16(arp + 2, ETHERTYPE_IPV4);
    arp[4] = 6;
    arp[5] = 4;
    put16(arp + 6, 1);
    memcpy(arp + 8, net->mac, 6);
    put32(arp + 14, net->ip);
    put32(arp + 24, net->peer_ip);
    return ETHERNET_HEADER + ARP_SIZE;
}

uint32_t net_build_echo(const struct net *net, uint8_t *frame, uint16_t sequence, uint32_t payload)
{
    uint8_t *icmp = put_ipv4(net, frame, IP_ICMP, ICMP_HEADER + payload);

    memset(icmp, 0, ICMP_HEADER);
    icmp[0] = ICMP_ECHO;
    put16(icmp + 4, 0x7076);
    put16(icmp + 6, sequence);
    fill_pattern(icmp + ICMP_HEADER, payload, sequence);
    put16(icmp + 2, (uint16_t)~sum16(icmp, ICMP_HEADER + payload, 0));
    return ETHERNET_HEADER + IPV4_HEADER + ICMP_HEADER + payload;
}

uint32_t net_build_udp(const struct net *net, uint8_t *frame, uint16_t port, uint32_t payload)
{
    uint8_t *udp = put_ipv4(net, frame, IP_UDP, UDP_HEADER + payload);

    put16(udp, 40000);
    put16(udp + 2, port);
    put16(udp + 4, (uint16_t)(UDP_HEADER + payload));
    put16(udp + 6, 0);
    fill_pattern(udp + UDP_HEADER, payload, port);
    put16(udp + 6, (uint16_t)~sum16(udp, UDP_HEADER + payload,
                                    pseudo_header_sum(udp - IPV4_HEADER, UDP_HEADER + payload)));
    return ETHERNET_HEADER + IPV4_HEADER + UDP_HEADER + payload;
}

void net_udp_partial_checksum(uint8_t *frame)
{
    uint8_t *ip = frame + ETHERNET_HEADER, *udp = ip + IPV4_HEADER;
    uint32_t size = (uint32_t)udp[4] << 8 | udp[5];

    put16(udp + 6, (uint16_t)pseudo_header_sum(ip, size));
}

uint32_t net_build_tcp(const struct net *net, uint8_t *frame, uint32_t payload)
{
    uint8_t *tcp = put_ipv4(net, frame, IP_TCP, TCP_HEADER + payload);

    memset(tcp, 0, TCP_HEADER);
    put16(tcp, 40000);
    put16(tcp + 2, 9);
    tcp[12] = TCP_HEADER / 4 << 4;
    tcp[13] = 0x10; /* ACK */
    put16(tcp + 14, 0xffff);
    put16(tcp + 16, (uint16_t)pseudo_header_sum(tcp - IPV4_HEADER, TCP_HEADER + payload));
    fill_pattern(tcp + TCP_HEADER, payload, 1);
    return ETHERNET_HEADER + IPV4_HEADER + TCP_HEADER + payload;
}

bool net_resolve_peer(struct net *net, uint8_t *frame)
{
    static const struct net_header header;
    uint8_t *request = page_alloc(PAGE_SIZE);
    uint32_t size = net_build_arp(net, request);

    for (unsigned int tries = 0; tries < RESOLVE_TRIES; tries++) {
        uint64_t deadline = deadline_after_ms(RESOLVE_TIMEOUT_MS);

        if (!net_send(net, &header, request, size))
            return false;
        while (net_receive(net, frame, deadline)) {
            const uint8_t *arp = frame + ETHERNET_HEADER;
            uint32_t sender;

            memcpy(&sender, arp + 14, 4);
            if (frame[12] == 8 && frame[13] == 6 && arp[7] == 2 && sender == swap32(net->peer_ip)) {
                memcpy(net->peer_mac, arp + 8, 6);
                return true;
            }
        }
    }
    return false;
}
