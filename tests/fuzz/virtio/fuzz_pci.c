// SPDX-License-Identifier: Apache-2.0
/*
 * A virtio PCI function as a guest reaches it: configuration space and BAR accesses of any width at
 * any place, guest memory as it likes, with the entropy device's loop running in between.
 */
#include "rng.h"
#include "vfuzz.h"
#include "virtio_pci.h"
#include <stdlib.h>
#include <string.h>

#define STEP_MAX 1024
#define VECTORS  2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct virtio_rng rng;
static struct virtio_pci vp;
static bool routed[VECTORS];
static uint64_t kick_gpa;

static void route(void *ctx, unsigned vector, const struct msi_message *msg)
{
    (void)ctx;
    if (vector >= VECTORS)
        abort();
    routed[vector] = msg != NULL;
}

static void raise_vector(void *ctx, unsigned vector)
{
    (void)ctx;
    if (vector >= VECTORS || !routed[vector])
        abort(); /* it would go where the guest never asked for it */
}

/* Exactly one place at a time, and what is removed is what was added. */
static void set_kick(void *ctx, bool add, uint64_t gpa, int fd)
{
    (void)ctx;
    if (fd != rng.dev.queue[0].kick_fd || (add ? kick_gpa != 0 : kick_gpa != gpa))
        abort();
    kick_gpa = add ? gpa : 0;
}

static unsigned width(uint8_t choice)
{
    return 1u << (choice % 4);
}

/* Mostly where something is: the common configuration, else any 4 bytes of the rest. */
static uint64_t bar_offset(struct vfuzz_input *in, unsigned len)
{
    uint16_t where = vfuzz_u16(in);
    uint64_t offset = (where & 0x8000) != 0 ? where % 64u : where % VIRTIO_PCI_BAR_SIZE;
    return offset + len <= VIRTIO_PCI_BAR_SIZE ? offset : VIRTIO_PCI_BAR_SIZE - len;
}

static void access_bar(struct vfuzz_input *in, bool write)
{
    uint8_t data[8];
    unsigned len = width(vfuzz_u8(in));
    uint64_t offset = bar_offset(in, len);
    if (write) {
        vfuzz_bytes(in, data, len);
        vp.fn.ops->bar_write(&vp.fn, VIRTIO_PCI_BAR, offset, data, len);
    } else {
        vp.fn.ops->bar_read(&vp.fn, VIRTIO_PCI_BAR, offset, data, len);
    }
}

static void access_config(struct vfuzz_input *in, bool write)
{
    unsigned len = width(vfuzz_u8(in) % 3);
    unsigned offset = vfuzz_u8(in);
    if (write)
        pci_config_write(&vp.fn, offset, len, vfuzz_u32(in));
    else
        pci_config_read(&vp.fn, offset, len);
}

static void write_memory(struct vkit *kit, struct vfuzz_input *in)
{
    uint8_t bytes[16];
    gpa_t gpa = vfuzz_u16(in);
    vfuzz_bytes(in, bytes, sizeof(bytes));
    memcpy(vkit_at(kit, gpa, sizeof(bytes)), bytes, sizeof(bytes));
}

static void step(struct vkit *kit, struct vfuzz_input *in)
{
    uint8_t what = vfuzz_u8(in);
    switch (what % 8) {
    case 0:
        access_config(in, false);
        break;
    case 1:
        access_config(in, true);
        break;
    case 2:
        access_bar(in, false);
        break;
    case 3:
    case 4:
        access_bar(in, true);
        break;
    case 5:
        write_memory(kit, in);
        break;
    case 6:
        vkit_run(kit);
        break;
    case 7:
        if (what == 0xff)
            virtio_pci_reset(&vp);
        else
            virtio_device_config_changed(&rng.dev, 0, "", 0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pci_irq_ops irq_ops = {.route = route, .raise = raise_vector};
    static const struct virtio_pci_kick_ops kick_ops = {.set = set_kick};
    struct vfuzz_input in = {.data = data, .left = size};
    struct vkit *kit = vfuzz_kit();
    memset(routed, 0, sizeof(routed));
    kick_gpa = 0;
    memset(vkit_at(kit, 0, 0x10010), 0, 0x10010);
    if (virtio_rng_init(&rng, "rng", &kit->mem, &kit->loop, NULL) < 0 ||
        virtio_pci_init(&vp, &rng.dev, &irq_ops, NULL, &kick_ops, NULL, NULL) < 0)
        abort();
    pci_assign_bar(&vp.fn, VIRTIO_PCI_BAR, 0xc0000000);
    for (unsigned i = 0; i < STEP_MAX && in.left > 0; i++)
        step(kit, &in);
    virtio_pci_reset(&vp);
    vkit_run(kit);
    if (virtio_device_get_status(&rng.dev) != 0 || kick_gpa == 0)
        abort();
    virtio_rng_done(&rng);
    return 0;
}
