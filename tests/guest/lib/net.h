/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames over virtio-net (virtio 1.2, 5.1): Ethernet, ARP (RFC 826), IPv4 (RFC 791), ICMP (RFC
 * 792), UDP (RFC 768), TCP (RFC 9293) as far as tests and benchmarks need them.
 */
#ifndef GUEST_NET_H
#define GUEST_NET_H

#include "virtio.h"

#define NET_F_CSUM       (1ul << 0)
#define NET_F_GUEST_CSUM (1ul << 1)
#define NET_F_MAC        (1ul << 5)
#define NET_F_GUEST_TSO4 (1ul << 7)
#define NET_F_HOST_TSO4  (1ul << 11)
#define NET_F_MRG_RXBUF  (1ul << 15)
#define NET_F_STATUS     (1ul << 16)

#define NET_CONFIG_MAC     0
#define NET_CONFIG_STATUS  6
#define NET_STATUS_LINK_UP 1

#define NET_HDR_NEEDS_CSUM 1
#define NET_HDR_GSO_TCPV4  1

struct net_header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

#define ETHERNET_HEADER 14
#define IPV4_HEADER     20
#define UDP_HEADER      8
#define TCP_HEADER      20
#define ETHERTYPE_IPV4  0x0800
#define ETHERTYPE_ARP   0x0806
#define IP_ICMP         1
#define IP_TCP          6
#define IP_UDP          17
#define NET_FRAME_MAX   65550

struct net_options {
    uint64_t features;
    uint16_t queue_max;
    uint32_t rx_buffer; /* bytes of a receive buffer, header included; 0: 2048 */
};

struct net {
    struct virtio_device *device;
    struct virtq rx, tx;
    uint8_t mac[6], peer_mac[6];
    uint32_t ip, peer_ip;
    uint8_t *rx_buffers;
    uint32_t rx_buffer;
    unsigned int last_buffers; /* how many receive buffers the last frame took */
    uint16_t last_num_buffers; /* and what its header said */
};

static inline uint16_t swap16(uint16_t value)
{
    return __builtin_bswap16(value);
}

static inline uint32_t swap32(uint32_t value)
{
    return __builtin_bswap32(value);
}

/* Starts queues 0 and 1 and posts receive buffers. */
bool net_start(struct net *net, struct virtio_device *device, const struct net_options *options);
/* Fills in our MAC and both IP addresses. */
void net_address(struct net *net);
/* Queues header and frame as one chain; both stay the caller's until used. */
int net_submit(struct net *net, const struct net_header *header, const void *frame, uint32_t size);
/* Sends and waits until the device has used the buffers. */
bool net_send(struct net *net, const struct net_header *header, const void *frame, uint32_t size);
/* Gives a used receive buffer back to the device. */
void net_repost(struct net *net, uint16_t head);
/* How many receive buffers the frame that starts with this header takes. */
uint32_t net_buffers(const struct net *net, const struct net_header *header);
/* The next frame, put together at `frame` (room for NET_FRAME_MAX); its size, or 0 after the
 * deadline. */
uint32_t net_receive(struct net *net, uint8_t *frame, uint64_t deadline);
/* Asks for the peer's address by ARP; false without an answer. */
bool net_resolve_peer(struct net *net, uint8_t *frame);

/* Each writes a frame to the peer and returns its size; checksums are complete unless said
 * otherwise. */
uint32_t net_build_arp(const struct net *net, uint8_t *frame);
uint32_t net_build_echo(const struct net *net, uint8_t *frame, uint16_t sequence, uint32_t payload);
uint32_t net_build_udp(const struct net *net, uint8_t *frame, uint16_t port, uint32_t payload);
/* A TCP segment with only the pseudo header in its checksum, as for NEEDS_CSUM; it belongs to no
 * connection. */
uint32_t net_build_tcp(const struct net *net, uint8_t *frame, uint32_t payload);
/* Leaves only the pseudo header's sum in the checksum of the UDP frame, as NEEDS_CSUM wants it. */
void net_udp_partial_checksum(uint8_t *frame);

#endif
