/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI: discovery by vendor capabilities (virtio 1.2, 4.1.4) and the common
 * configuration structure (4.1.4.3).
 */
#include "virtio.h"

#define VIRTIO_VENDOR              0x1af4
#define VIRTIO_DEVICE_TRANSITIONAL 0x1000
#define VIRTIO_DEVICE_MODERN       0x1040
#define VIRTIO_DEVICE_LAST         0x107f
#define RESET_TIMEOUT_MS           2000

struct virtio_device virtio_devices[VIRTIO_DEVICES_MAX];
unsigned int virtio_device_count;

static const char *type_name(uint16_t type)
{
    static const char *const names[] = {
        [VIRTIO_TYPE_NET] = "net",         [VIRTIO_TYPE_BLK] = "blk",
        [VIRTIO_TYPE_CONSOLE] = "console", [VIRTIO_TYPE_RNG] = "rng",
        [VIRTIO_TYPE_BALLOON] = "balloon",
    };

    return type < ARRAY_SIZE(names) && names[type] ? names[type] : "virtio";
}

static bool read_capabilities(struct virtio_device *device)
{
    uint16_t devfn = device->pci.devfn;

    for (uint8_t at = pci_capability(devfn, PCI_CAP_VENDOR, 0); at;
         at = pci_capability(devfn, PCI_CAP_VENDOR, at)) {
        uint32_t type = pci_read(devfn, at + 3u, 1);
        struct virtio_window *window = &device->window[type];

        if (type == 0 || type >= VIRTIO_PCI_CAP_TYPES || window->at)
            continue;
        window->bar = (uint8_t)pci_read(devfn, at + 4u, 1);
        window->offset = pci_read(devfn, at + 8u, 4);
        window->length = pci_read(devfn, at + 12u, 4);
        window->at = pci_bar_map(&device->pci, window->bar, window->offset, window->length);
        if (type == VIRTIO_PCI_CAP_NOTIFY)
            device->notify_multiplier = pci_read(devfn, at + 16u, 4);
    }
    device->common = device->window[VIRTIO_PCI_CAP_COMMON].at;
    device->isr = device->window[VIRTIO_PCI_CAP_ISR].at;
    device->config = device->window[VIRTIO_PCI_CAP_DEVICE].at;
    return device->common && device->isr && device->window[VIRTIO_PCI_CAP_NOTIFY].at;
}

static void open_device(uint16_t devfn)
{
    struct virtio_device *device = &virtio_devices[virtio_device_count];
    unsigned int nth = 0;

    memset(device, 0, sizeof(*device));
    if (!pci_device_open(&device->pci, devfn) || device->pci.vendor != VIRTIO_VENDOR)
        return;
    if (device->pci.device < VIRTIO_DEVICE_TRANSITIONAL || device->pci.device > VIRTIO_DEVICE_LAST)
        return;
    if (device->pci.device >= VIRTIO_DEVICE_MODERN)
        device->type = (uint16_t)(device->pci.device - VIRTIO_DEVICE_MODERN);
    else
        device->type = (uint16_t)pci_read(devfn, PCI_SUBSYSTEM_ID, 2);
    if (!read_capabilities(device))
        return;
    for (unsigned int i = 0; i < virtio_device_count; i++)
        nth += virtio_devices[i].type == device->type;
    format_string(device->name, sizeof(device->name), "%s%u", type_name(device->type), nth);
    virtio_device_count++;
}

void virtio_discover(void)
{
    for (unsigned int slot = 0; slot < 32 && virtio_device_count < VIRTIO_DEVICES_MAX; slot++) {
        if (pci_read(PCI_DEVFN(slot, 0), PCI_VENDOR_ID, 2) == VIRTIO_VENDOR)
            open_device(PCI_DEVFN(slot, 0));
    }
}

struct virtio_device *virtio_find(uint16_t type, unsigned int nth)
{
    for (unsigned int i = 0; i < virtio_device_count; i++) {
        if (virtio_devices[i].type == type && nth-- == 0)
            return &virtio_devices[i];
    }
    return NULL;
}

void virtio_quiesce_all(void)
{
    for (unsigned int i = 0; i < virtio_device_count; i++) {
        struct virtio_device *device = &virtio_devices[i];

        if (!device->touched)
            continue;
        if (!virtio_reset(device))
            tap_fail("%s does not reset", device->name);
        if (device->pci.msix)
            msix_enable(&device->pci, false);
        device->touched = false;
    }
}

uint8_t virtio_status(const struct virtio_device *device)
{
    return mmio_read8(device->common + COMMON_DEVICE_STATUS);
}

void virtio_set_status(struct virtio_device *device, uint8_t status)
{
    device->touched = true;
    mmio_write8(device->common + COMMON_DEVICE_STATUS, status);
}

bool virtio_reset(struct virtio_device *device)
{
    uint64_t deadline = deadline_after_ms(RESET_TIMEOUT_MS);

    virtio_set_status(device, 0);
    while (virtio_status(device)) {
        if (deadline_passed(deadline))
            return false;
        delay_us(50);
    }
    return true;
}

uint64_t virtio_offered(struct virtio_device *device)
{
    uint64_t features;

    mmio_write32(device->common + COMMON_DEVICE_FEATURE_SELECT, 1);
    features = (uint64_t)mmio_read32(device->common + COMMON_DEVICE_FEATURE) << 32;
    mmio_write32(device->common + COMMON_DEVICE_FEATURE_SELECT, 0);
    return features | mmio_read32(device->common + COMMON_DEVICE_FEATURE);
}

void virtio_accept(struct virtio_device *device, uint64_t features)
{
    mmio_write32(device->common + COMMON_DRIVER_FEATURE_SELECT, 0);
    mmio_write32(device->common + COMMON_DRIVER_FEATURE, (uint32_t)features);
    mmio_write32(device->common + COMMON_DRIVER_FEATURE_SELECT, 1);
    mmio_write32(device->common + COMMON_DRIVER_FEATURE, (uint32_t)(features >> 32));
}

bool virtio_needs_reset(const struct virtio_device *device)
{
    return virtio_status(device) & VIRTIO_STATUS_NEEDS_RESET;
}

uint16_t virtio_queue_count(const struct virtio_device *device)
{
    return mmio_read16(device->common + COMMON_NUM_QUEUES);
}

uint16_t virtio_queue_size(struct virtio_device *device, uint16_t queue)
{
    mmio_write16(device->common + COMMON_QUEUE_SELECT, queue);
    return mmio_read16(device->common + COMMON_QUEUE_SIZE);
}

void virtio_write64(struct virtio_device *device, unsigned int offset, uint64_t value)
{
    mmio_write32(device->common + offset, (uint32_t)value);
    mmio_write32(device->common + offset + 4, (uint32_t)(value >> 32));
}

volatile uint8_t *virtio_notify_address(struct virtio_device *device, uint16_t queue)
{
    mmio_write16(device->common + COMMON_QUEUE_SELECT, queue);
    return device->window[VIRTIO_PCI_CAP_NOTIFY].at +
           mmio_read16(device->common + COMMON_QUEUE_NOTIFY_OFF) * device->notify_multiplier;
}

/* ACKNOWLEDGE to FEATURES_OK (3.1.1, steps 1 to 6). */
bool virtio_negotiate(struct virtio_device *device, uint64_t features)
{
    uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

    if (!virtio_reset(device)) {
        tap_fail("%s does not reset", device->name);
        return false;
    }
    virtio_set_status(device, VIRTIO_STATUS_ACKNOWLEDGE);
    virtio_set_status(device, status);
    device->features = (features & virtio_offered(device)) | VIRTIO_F_VERSION_1;
    virtio_accept(device, device->features);
    virtio_set_status(device, status | VIRTIO_STATUS_FEATURES_OK);
    if (!(virtio_status(device) & VIRTIO_STATUS_FEATURES_OK)) {
        tap_fail("%s refused features 0x%lx", device->name, device->features);
        return false;
    }
    return true;
}

bool virtio_start(struct virtio_device *device, const struct virtio_options *options,
                  struct virtq *queues, unsigned int count)
{
    if (!virtio_negotiate(device, options->features))
        return false;
    if (options->interrupts)
        msix_enable(&device->pci, true);
    for (uint16_t i = 0; i < count; i++) {
        if (!virtq_setup(device, &queues[i], i, options))
            return false;
        virtq_enable(&queues[i]);
    }
    virtio_set_status(device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
                                  VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
    return true;
}
