// SPDX-License-Identifier: Apache-2.0
/*
 * Any frame of a guest's for its DHCP server. The first byte chooses the lease, and whether the
 * sums are made right: a fuzzer does not find them. A reply keeps to its bounds, is a sound
 * datagram to the guest, and its options are whole.
 */
#include "dhcp.h"
#include <stdlib.h>
#include <string.h>

#define IP      14
#define UDP     34
#define MESSAGE 42
#define OPTIONS (MESSAGE + 240)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t mac[6] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

static void require(bool what)
{
    if (!what)
        abort();
}

static unsigned load16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

static unsigned add_words(unsigned sum, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 == 0 ? (unsigned)p[i] << 8 : p[i];
    return (sum & 0xffff) + (sum >> 16);
}

static void fix_header(uint8_t *frame, size_t len)
{
    size_t header = len > IP ? (size_t)(frame[IP] & 15) * 4 : 0;
    if (header < 20 || len < IP + header)
        return;
    frame[IP + 10] = frame[IP + 11] = 0;
    unsigned sum = 0xffff ^ (add_words(0, frame + IP, header) & 0xffff);
    frame[IP + 10] = (uint8_t)(sum >> 8);
    frame[IP + 11] = (uint8_t)sum;
}

static void make_lease(struct lease *lease, unsigned choice)
{
    *lease = (struct lease){
        .enabled = 1, .prefix = 24, .address = {10, 0, 2, 2}, .server = {10, 0, 2, 1}};
    if ((choice & 1) == 0)
        return;
    memset(lease->hostname, 'h', sizeof(lease->hostname) - 1);
    memset(lease->domain, 'd', sizeof(lease->domain) - 1);
    lease->router[0] = 10;
    lease->dns_count = LEASE_DNS_MAX;
    lease->search_len = lease->routes_len = 255;
    lease->mtu = (choice & 2) != 0 ? 9000 : 576;
}

static void check_reply(const uint8_t *reply, size_t len)
{
    require(len >= MESSAGE + 300 && len <= DHCP_FRAME_MAX);
    require(load16(reply + IP + 2) == len - IP && load16(reply + UDP + 4) == len - UDP);
    require((add_words(0, reply + IP, 20) & 0xffff) == 0xffff);
    require(memcmp(reply + MESSAGE + 28, mac, 6) == 0);
    require((reply[0] & 1) != 0 || memcmp(reply, mac, 6) == 0);
    require(reply[OPTIONS] == 53);
    size_t at = OPTIONS;
    while (reply[at] != 255) {
        at += 2u + reply[at + 1];
        require(at < len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t reply[DHCP_FRAME_MAX + 16];
    struct lease lease;
    if (size == 0 || size - 1 > DHCP_FRAME_MAX)
        return 0;
    uint8_t choice = *data++;
    size_t len = size - 1;
    make_lease(&lease, choice);
    uint8_t *frame = malloc(len + 1);
    require(frame != NULL);
    memcpy(frame, data, len);
    if ((choice & 4) != 0)
        fix_header(frame, len);
    memset(reply, 0xaa, sizeof(reply));
    struct dhcp_answer answer = dhcp_answer(&lease, mac, frame, len, (choice & 8) != 0, reply);
    require(answer.taken || answer.len == 0);
    require(!answer.taken || dhcp_is_candidate(frame, len < DHCP_PEEK ? len : DHCP_PEEK));
    if (answer.len > 0)
        check_reply(reply, answer.len);
    for (size_t i = answer.len > 0 ? DHCP_FRAME_MAX : 0; i < sizeof(reply); i++)
        require(reply[i] == 0xaa);
    free(frame);
    return 0;
}
