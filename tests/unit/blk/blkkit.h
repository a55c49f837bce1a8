// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk in a box: the kit's guest memory and driver, a real file, the engine of threads. What
 * the disk should hold is kept in a shadow buffer.
 */
#ifndef PODVISOR_TESTS_BLKKIT_H
#define PODVISOR_TESTS_BLKKIT_H

#include "blk.h"
#include "vkit.h"
#include <check.h>
#include <linux/virtio_blk.h>
#include <podvisor/cleanup.h>

#define DISK_SIZE    ((uint64_t)2 << 20)
#define SECTOR       ((uint64_t)512)
#define DISK_SECTORS (DISK_SIZE / SECTOR)
#define FEATURE(bit) (UINT64_C(1) << (bit))
#define ALL_FEATURES                                                                  \
    (VKIT_FEATURES | FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) | \
     FEATURE(VIRTIO_BLK_F_FLUSH) | FEATURE(VIRTIO_BLK_F_TOPOLOGY) |                   \
     FEATURE(VIRTIO_BLK_F_DISCARD) | FEATURE(VIRTIO_BLK_F_WRITE_ZEROES))
#define STATUS_UNTOUCHED 0xee

extern struct vkit kit;
extern struct virtio_blk blk;
extern struct image img;
extern struct engine *engine;
extern char disk_path[64];
extern uint8_t *shadow; /* DISK_SIZE bytes: what the disk should hold */

/* ---- fixtures ---- */

extern struct virtio_blk_options
    disk_options; /* what make_device() shall not choose; until teardown */

/* A device that is not started. */
void make_device(bool readonly, unsigned queues);

/* One queue, all features, started. */
void setup(void);
void teardown(void);

/* Adds a test case with that fixture. */
TCase *add_case(Suite *s, const char *name, SFun before);

/* ---- an image that a test can hold, fail and watch ---- */

extern struct blkkit_probe {
    atomic_bool hold, fail, slow_reads; /* slow_reads, set at first: no read is done in one step */
    atomic_int flushes, waiting;
} probe;

/* Puts the probe between device and file. */
void use_probe(void);

/* ---- requests ---- */

struct answer {
    uint8_t status;
    uint32_t len; /* of the used element */
};

/* Parts of a request, in guest memory: the status byte begins as STATUS_UNTOUCHED. */
gpa_t put_header(uint32_t type, uint64_t sector);
gpa_t put_status(void);
uint8_t get_status(gpa_t gpa);

/* The usual three descriptors (two without data). `data_out` tells the data's direction. */
struct answer request(uint32_t type, uint64_t sector, gpa_t data, uint32_t len, bool data_out);

/* Discard or write zeroes, of one range. */
struct answer range_request(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags);

void expect(struct answer a, uint8_t status, uint32_t len);

/* That part of the file is as the shadow says. */
void expect_disk(uint64_t offset, uint64_t len);

/* ---- test_blk_flight.c ---- */

void add_flight_tests(Suite *s);

/* ---- test_blk_policy.c ---- */

void add_policy_tests(Suite *s);

#endif
