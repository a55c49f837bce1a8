/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio driver over PCI (virtio 1.2: 2.1, 2.7, 3.1, 4.1), open to misuse: the hostile tests
 * write its rings and registers themselves.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "payload.h"
#include "pci.h"

#define VIRTIO_TYPE_NET     1
#define VIRTIO_TYPE_BLK     2
#define VIRTIO_TYPE_CONSOLE 3
#define VIRTIO_TYPE_RNG     4
#define VIRTIO_TYPE_BALLOON 5

#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER      0x02
#define VIRTIO_STATUS_DRIVER_OK   0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED      0x80

#define VIRTIO_F_INDIRECT_DESC (1ul << 28)
#define VIRTIO_F_EVENT_IDX     (1ul << 29)
#define VIRTIO_F_VERSION_1     (1ul << 32)
#define VIRTIO_NO_VECTOR       0xffff

/* struct virtio_pci_common_cfg (4.1.4.3) */
#define COMMON_DEVICE_FEATURE_SELECT 0
#define COMMON_DEVICE_FEATURE        4
#define COMMON_DRIVER_FEATURE_SELECT 8
#define COMMON_DRIVER_FEATURE        12
#define COMMON_CONFIG_MSIX_VECTOR    16
#define COMMON_NUM_QUEUES            18
#define COMMON_DEVICE_STATUS         20
#define COMMON_CONFIG_GENERATION     21
#define COMMON_QUEUE_SELECT          22
#define COMMON_QUEUE_SIZE            24
#define COMMON_QUEUE_MSIX_VECTOR     26
#define COMMON_QUEUE_ENABLE          28
#define COMMON_QUEUE_NOTIFY_OFF      30
#define COMMON_QUEUE_DESC            32
#define COMMON_QUEUE_DRIVER          40
#define COMMON_QUEUE_DEVICE          48
#define COMMON_SIZE                  56

/* cfg_type of a vendor capability (4.1.4) */
#define VIRTIO_PCI_CAP_COMMON 1
#define VIRTIO_PCI_CAP_NOTIFY 2
#define VIRTIO_PCI_CAP_ISR    3
#define VIRTIO_PCI_CAP_DEVICE 4
#define VIRTIO_PCI_CAP_TYPES  5

struct virtio_window {
    uint8_t bar;
    uint32_t offset, length;
    volatile uint8_t *at;
};

struct virtio_device {
    char name[16];
    uint16_t type;
    struct pci_device pci;
    struct virtio_window window[VIRTIO_PCI_CAP_TYPES]; /* by cfg_type */
    volatile uint8_t *common, *isr, *config;           /* config is NULL if the device has none */
    uint32_t notify_multiplier;
    uint64_t features; /* negotiated by virtio_start() */
    bool touched;      /* to be reset after the test */
};

#define VIRTIO_DEVICES_MAX 16
extern struct virtio_device virtio_devices[VIRTIO_DEVICES_MAX];
extern unsigned int virtio_device_count;

void virtio_discover(void);
struct virtio_device *virtio_find(uint16_t type, unsigned int nth);
/* Resets every device that the test used and turns its interrupts off. */
void virtio_quiesce_all(void);

/* ---- registers ---- */
uint8_t virtio_status(const struct virtio_device *device);
void virtio_set_status(struct virtio_device *device, uint8_t status);
/* Writes 0 and waits until the device reads 0. */
bool virtio_reset(struct virtio_device *device);
uint64_t virtio_offered(struct virtio_device *device);
void virtio_accept(struct virtio_device *device, uint64_t features);
bool virtio_needs_reset(const struct virtio_device *device);
uint16_t virtio_queue_count(const struct virtio_device *device);
/* Selects the queue and returns its size register. */
uint16_t virtio_queue_size(struct virtio_device *device, uint16_t queue);
void virtio_write64(struct virtio_device *device, unsigned int offset, uint64_t value);
/* Where to notify the selected queue. */
volatile uint8_t *virtio_notify_address(struct virtio_device *device, uint16_t queue);

/* ---- split virtqueues (2.7) ---- */
#define DESC_NEXT          1
#define DESC_WRITE         2
#define DESC_INDIRECT      4
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1
#define INDIRECT_ENTRIES   64

struct virtq_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

struct virtq_used_elem {
    uint32_t id, len;
};

struct virtq_segment {
    const void *at;
    uint32_t len;
};

struct virtq {
    struct virtio_device *device;
    uint16_t index, size;
    struct virtq_desc *desc;
    volatile uint16_t *avail; /* flags, idx, ring[size], used_event */
    volatile uint16_t *used;  /* flags, idx, struct virtq_used_elem[size], avail_event */
    volatile uint8_t *notify;
    uint16_t avail_idx, kicked_idx, used_idx;
    uint16_t free_head, free_count;
    struct virtq_desc *indirect; /* INDIRECT_ENTRIES for each head; NULL: chains in the table */
    bool event_idx;
    uint64_t kicks;
};

/* Options of virtio_start(). */
struct virtio_options {
    uint64_t features;  /* wanted beside VERSION_1; those not offered are left out */
    uint16_t queue_max; /* largest queue size to use, 0 for the device's */
    bool interrupts;    /* queue n raises VECTOR_DEVICE + n; otherwise none */
};

/* The whole initialisation of 3.1.1 with queues 0 to count - 1; false leaves a failed TAP point. */
bool virtio_start(struct virtio_device *device, const struct virtio_options *options,
                  struct virtq *queues, unsigned int count);
/* The parts of it, for tests that stop half-way. */
bool virtio_negotiate(struct virtio_device *device, uint64_t features);
bool virtq_setup(struct virtio_device *device, struct virtq *queue, uint16_t index,
                 const struct virtio_options *options);
void virtq_enable(struct virtq *queue);

/* Makes a chain of `out` readable and then `in` writable segments available; returns its head, or
 * -1 if full. */
int virtq_add(struct virtq *queue, const struct virtq_segment *segments, unsigned int out,
              unsigned int in);
/* Publishes a head that the caller has built. */
void virtq_publish(struct virtq *queue, uint16_t head);
/* Notifies unless the device asked not to be. */
void virtq_kick(struct virtq *queue);
void virtq_notify(struct virtq *queue);
/* Takes one used element; frees nothing. */
bool virtq_pop_raw(struct virtq *queue, struct virtq_used_elem *ret_elem);
/* Takes one used element and frees its chain. */
bool virtq_pop(struct virtq *queue, struct virtq_used_elem *ret_elem);
bool virtq_wait(struct virtq *queue, struct virtq_used_elem *ret_elem, uint64_t milliseconds);
/* One request, submitted and waited for. */
bool virtq_request(struct virtq *queue, const struct virtq_segment *segments, unsigned int out,
                   unsigned int in, uint32_t *ret_len);
/* Polling: ask for no interrupts. */
void virtq_interrupts(struct virtq *queue, bool wanted);

#define REQUEST_TIMEOUT_MS 5000

#endif
