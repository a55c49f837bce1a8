// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net in a box: the device test kit with one end of a socket pair in the tap's place. A
 * SOCK_SEQPACKET socket keeps frames apart and cuts what does not fit, as a tap does, and needs no
 * privilege. ioctl() is the kit's own, so that a test sees which offloads the tap was set to. Frame
 * contents follow from a number, which tells which frame arrived.
 */
#ifndef PODVISOR_TESTS_NETKIT_H
#define PODVISOR_TESTS_NETKIT_H

#include "net.h"
#include "vkit.h"
#include <check.h>
#include <linux/virtio_net.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define HEADER_SIZE  12u
#define RX           0
#define TX           1
#define NETKIT_MTU   1500

extern struct vkit kit;
extern struct virtio_net net;
extern int wire; /* the other end of the "tap" */

/* What TUNSETOFFLOAD was called with, in order, and from which call on it works. */
extern struct netkit_offloads {
    unsigned flags[8], count;
    bool refuse; /* anything but 0 */
} offloads;

/* Fixtures: a device that is not started; with MRG_RXBUF; without it. */
void netkit_setup(void);
void netkit_setup_merge(void);
void netkit_setup_plain(void);
void netkit_teardown(void);

/* Replaces the device by one with these options (tap_fd and mac are filled in). */
void netkit_remake(struct virtio_net_options options);

/* Runs the loop until it sleeps; fails when it does not come to rest. */
void settle(void);

/* True when the loop has nothing to do now. */
bool asleep(void);

/* ---- the wire ---- */

/* Header (zero) and content of frame `number`; returns HEADER_SIZE + len. `to` NULL: only that. */
size_t make_frame(uint8_t *to, unsigned number, size_t len);

/* Puts a frame of `len` bytes on the wire. */
void wire_send(unsigned number, size_t len);

/* Takes one off it. Returns its bytes with the header, or -1 when there is none. */
ssize_t wire_receive(uint8_t *to, size_t size);

/* Takes one off the wire and checks it. */
void expect_on_wire(unsigned number, size_t len);

/* ---- the driver ---- */

/* Makes a receive chain of `count` buffers of these lengths available. Returns its head. */
int post(const uint32_t *lens, unsigned count);
int post_indirect(const uint32_t *lens, unsigned count);

/* `n` receive chains of one buffer. */
void post_many(unsigned n, uint32_t len);

/*
 * Takes the next frame that was received and checks it: content, used lengths, num_buffers. Returns
 * the number of chains, or 0 when there is none.
 */
unsigned receive_frame(unsigned number, size_t len);

/* Takes the next frame that was received, whatever is in it. Returns its length, 0: none. */
size_t receive_bytes(uint8_t *to, unsigned *ret_chains);

/* Makes a chain with these bytes available, header included, cut into `count` pieces. */
void transmit_bytes(const uint8_t *bytes, const uint32_t *lens, unsigned count, bool indirect);

/* Makes a chain with a frame available, cut into `count` pieces. */
void transmit_pieces(unsigned number, const uint32_t *lens, unsigned count, bool indirect);

/* Likewise in one piece of HEADER_SIZE + len bytes. */
void transmit_one(unsigned number, size_t len);

/* Takes `n` used elements of the transmit queue; there must not be more. */
void expect_sent(unsigned n);

uint64_t counter(const atomic_uint_fast64_t *c);

TCase *add_case(Suite *s, const char *name, SFun setup);
void add_tx_tests(Suite *s);
void add_rx_tests(Suite *s);
void add_dhcp_tests(Suite *s);

#endif
