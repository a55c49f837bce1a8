/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest-netgen INTERFACE MAC SIZE: sends frames to a tap until it is killed, for the payload's
 * receive benchmark. Raw packets with virtio-net headers (packet(7), PACKET_VNET_HDR), so that
 * frames above 2,000 bytes reach the guest as one TCP segment to be cut (TSO).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH         64
#define FRAME_MAX     65214 /* 45 segments, as long as Linux's TCP makes them */
#define TSO_FROM      2000
#define TSO_SEGMENT   1448
#define FULL_PAUSE_US 20

static unsigned char packet[sizeof(struct virtio_net_hdr) + FRAME_MAX];

static void build(const unsigned char *mac, size_t size)
{
    struct virtio_net_hdr *header = (struct virtio_net_hdr *)packet;
    unsigned char *frame = packet + sizeof(*header), *ip = frame + 14, *payload = ip + 20;
    unsigned int length = (unsigned int)size - 14, sum = 0;

    memcpy(frame, mac, 6);
    memcpy(frame + 6, "\x02\x00\x00\x00\x00\x01", 6);
    frame[12] = 0x08;
    ip[0] = 0x45;
    ip[2] = (unsigned char)(length >> 8);
    ip[3] = (unsigned char)length;
    ip[8] = 64;
    ip[9] = size > TSO_FROM ? IPPROTO_TCP : IPPROTO_UDP;
    memcpy(ip + 12, "\x0a\x4d\x00\x01\x0a\x4d\x00\x02", 8);
    for (int i = 0; i < 20; i += 2)
        sum += (unsigned int)ip[i] << 8 | ip[i + 1];
    sum = ~((sum & 0xffff) + (sum >> 16));
    ip[10] = (unsigned char)(sum >> 8);
    ip[11] = (unsigned char)sum;
    if (size > TSO_FROM) {
        payload[12] = 5 << 4;
        payload[13] = 0x10;
        header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        header->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        header->hdr_len = 54;
        header->gso_size = TSO_SEGMENT;
        header->csum_start = 34;
        header->csum_offset = 16;
    } else {
        payload[3] = 9;
        payload[4] = (unsigned char)((length - 20) >> 8);
        payload[5] = (unsigned char)(length - 20);
    }
}

static int open_socket(const char *interface)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = 0};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1;

    address.sll_ifindex = (int)if_nametoindex(interface);
    if (fd < 0 || !address.sll_ifindex ||
        setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address))) {
        perror(interface);
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    struct mmsghdr messages[BATCH] = {0};
    struct iovec iov = {.iov_base = packet};
    unsigned char mac[6];
    size_t size;
    int fd;

    if (argc != 4 || sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2],
                            &mac[3], &mac[4], &mac[5]) != 6) {
        fprintf(stderr, "usage: guest-netgen INTERFACE MAC SIZE\n");
        return 1;
    }
    size = strtoul(argv[3], NULL, 10);
    size = size < 60 ? 60 : size > FRAME_MAX ? FRAME_MAX : size;
    build(mac, size);
    fd = open_socket(argv[1]);
    iov.iov_len = sizeof(struct virtio_net_hdr) + size;
    for (int i = 0; i < BATCH; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
    for (;;) {
        if (sendmmsg(fd, messages, BATCH, 0) < BATCH)
            usleep(FULL_PAUSE_US); /* the tap's queue is full: leave the CPU to who empties it */
    }
}
