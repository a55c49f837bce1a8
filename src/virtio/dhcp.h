// SPDX-License-Identifier: Apache-2.0
/*
 * A DHCP server for one client, RFC 2131: the guest behind a network card. It sees the frames that
 * the guest sends before the tap does, and answers those that ask for the guest's own lease, so
 * that no process of the pod has to, and nothing that the guest broadcasts leaves the pod.
 *
 * There is no state: a lease (podvisor/lease.h) never changes, is never taken back and belongs to
 * one MAC address. Pure functions, any thread; no allocation, no system call.
 */
#ifndef PODVISOR_VIRTIO_DHCP_H
#define PODVISOR_VIRTIO_DHCP_H

#include <podvisor/lease.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DHCP_FRAME_MIN 282 /* headers and a message without options */
#define DHCP_FRAME_MAX                                                                    \
    1514             /* of those looked at, and of replies: Ethernet without jumbo frames \
                      */
#define DHCP_PEEK 82 /* Ethernet, the longest IPv4 header, UDP */

/*
 * True when these first bytes of a frame (DHCP_PEEK suffice) are from a datagram to the port of
 * DHCP servers, at whatever address. Everything else is none of dhcp_answer()'s business.
 */
bool dhcp_is_candidate(const uint8_t *frame, size_t len);

struct dhcp_answer {
    bool taken;       /* a request of this guest's; else the frame goes its way */
    size_t len;       /* of the reply; 0: none is due */
    const char *note; /* what a person should know of it, a literal; NULL: nothing */
};

/*
 * Answers the Ethernet frame of `len` bytes, a copy that the guest cannot change any more, that the
 * card with address `mac` sent. `unfinished`: the guest left the UDP checksum to us
 * (VIRTIO_NET_HDR_F_NEEDS_CSUM), so it is not looked at. `reply` has room for DHCP_FRAME_MAX bytes.
 */
struct dhcp_answer dhcp_answer(const struct lease *lease, const uint8_t mac[6],
                               const uint8_t *frame, size_t len, bool unfinished, uint8_t *reply);

#endif
