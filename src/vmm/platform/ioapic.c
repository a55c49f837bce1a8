// SPDX-License-Identifier: Apache-2.0
/*
 * I/O APIC registers and interrupt delivery; any thread, under the device's lock. Intel 82093AA
 * data sheet §3.1 (registers), §3.2 (redirection table); Intel SDM volume 3, §10.11 (the message
 * format an entry is turned into).
 */
#include "ioapic.h"
#include <string.h>

#define PAGE_BYTES 0x1000

#define OFFSET_SELECT 0x00
#define OFFSET_WINDOW 0x10
#define OFFSET_EOI    0x40

#define REG_ID          0x00
#define REG_VERSION     0x01
#define REG_ARBITRATION 0x02
#define REG_TABLE       0x10

#define VERSION_VALUE (0x20u | (LAYOUT_IOAPIC_PINS - 1) << 16)

/* Redirection table entry. */
#define RTE_VECTOR         0xffull
#define RTE_DELIVERY_SHIFT 8
#define RTE_DELIVERY       (7ull << RTE_DELIVERY_SHIFT)
#define RTE_LOGICAL        (1ull << 11)
#define RTE_REMOTE_IRR     (1ull << 14)
#define RTE_LEVEL          (1ull << 15)
#define RTE_MASKED         (1ull << 16)
#define RTE_DEST_SHIFT     56
/* Bits a driver can set: not delivery status (12), remote IRR (14) and the reserved ones. */
#define RTE_WRITABLE 0xff0000000001afffull

enum delivery_mode {
    DELIVERY_FIXED,
    DELIVERY_LOWEST_PRIORITY,
    DELIVERY_SMI,
    DELIVERY_NMI = 4,
    DELIVERY_INIT,
    DELIVERY_EXTINT = 7,
};

/* Message address and data (SDM 10.11.1, 10.11.2). */
#define MSI_ADDRESS_BASE     0xfee00000ull
#define MSI_DEST_SHIFT       12
#define MSI_REDIRECTION_HINT (1u << 3)
#define MSI_LOGICAL          (1u << 2)
#define MSI_DATA_DELIVERY    8
#define MSI_DATA_ASSERT      (1u << 14)
#define MSI_DATA_LEVEL       (1u << 15)

/* Vectors 0 to 15 are illegal to deliver (SDM 10.5.2). */
#define VECTOR_MIN 16

/* Returns false when the entry cannot be a message: reserved, or ExtINT without an 8259. */
static bool message_of(uint64_t entry, struct msi_message *ret_msg)
{
    uint32_t mode = (uint32_t)((entry & RTE_DELIVERY) >> RTE_DELIVERY_SHIFT);
    uint32_t vector = entry & RTE_VECTOR;
    switch (mode) {
    case DELIVERY_FIXED:
    case DELIVERY_LOWEST_PRIORITY:
        if (vector < VECTOR_MIN)
            return false;
        break;
    case DELIVERY_SMI:
    case DELIVERY_NMI:
    case DELIVERY_INIT:
        break;
    default:
        return false;
    }
    ret_msg->address = MSI_ADDRESS_BASE | (entry >> RTE_DEST_SHIFT) << MSI_DEST_SHIFT |
                       (entry & RTE_LOGICAL ? MSI_LOGICAL : 0) |
                       (mode == DELIVERY_LOWEST_PRIORITY ? MSI_REDIRECTION_HINT : 0);
    ret_msg->data = vector | mode << MSI_DATA_DELIVERY |
                    (entry & RTE_LEVEL ? MSI_DATA_LEVEL | MSI_DATA_ASSERT : 0);
    return true;
}

static void update_route(struct ioapic *io, unsigned pin)
{
    struct msi_message msg = {0};
    bool routed = message_of(io->pin[pin].entry, &msg);
    if (routed == io->pin[pin].routed && msg.address == io->pin[pin].msg.address &&
        msg.data == io->pin[pin].msg.data)
        return;
    io->pin[pin].routed = routed;
    io->pin[pin].msg = msg;
    io->ops->route(io->ctx, pin, routed ? &msg : NULL);
}

static void send(struct ioapic *io, unsigned pin)
{
    if (io->pin[pin].routed)
        io->ops->deliver(io->ctx, pin, &io->pin[pin].msg);
}

/* A level-triggered pin that is asserted, unmasked and not in service interrupts (again). */
static void service_level(struct ioapic *io, unsigned pin)
{
    uint64_t entry = io->pin[pin].entry;
    if (!(entry & RTE_LEVEL) || (entry & (RTE_MASKED | RTE_REMOTE_IRR)) || !io->pin[pin].level ||
        !io->pin[pin].routed)
        return;
    io->pin[pin].entry |= RTE_REMOTE_IRR;
    send(io, pin);
}

static void write_entry(struct ioapic *io, unsigned pin, bool high, uint32_t value)
{
    uint64_t entry = io->pin[pin].entry;
    uint64_t old = high ? entry & UINT32_MAX : entry & ~(uint64_t)UINT32_MAX;
    uint64_t new = high ? (uint64_t)value << 32 : value;
    entry = (((old | new) & RTE_WRITABLE) | (entry & RTE_REMOTE_IRR));
    /* Drivers for version 0x11 end an interrupt by switching the pin to edge and back. */
    if (!(entry & RTE_LEVEL))
        entry &= ~RTE_REMOTE_IRR;
    io->pin[pin].entry = entry;
    update_route(io, pin);
    service_level(io, pin);
}

static uint32_t read_register(const struct ioapic *io)
{
    unsigned pin = (io->select - REG_TABLE) / 2u;
    if (io->select >= REG_TABLE && pin < LAYOUT_IOAPIC_PINS)
        return (uint32_t)(io->pin[pin].entry >> (io->select & 1 ? 32 : 0));
    switch (io->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return (uint32_t)io->id << 24;
    case REG_VERSION:
        return VERSION_VALUE;
    default:
        return 0;
    }
}

static void write_register(struct ioapic *io, uint32_t value)
{
    unsigned pin = (io->select - REG_TABLE) / 2u;
    if (io->select >= REG_TABLE && pin < LAYOUT_IOAPIC_PINS)
        write_entry(io, pin, io->select & 1, value);
    else if (io->select == REG_ID)
        io->id = value >> 24 & 0x0f;
}

static void finish(struct ioapic *io, uint8_t vector)
{
    for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
        uint64_t entry = io->pin[pin].entry;
        if ((entry & RTE_REMOTE_IRR) && (entry & RTE_VECTOR) == vector) {
            io->pin[pin].entry &= ~RTE_REMOTE_IRR;
            service_level(io, pin);
        }
    }
}

static void ioapic_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    struct ioapic *io = ctx;
    uint32_t value = 0;
    pthread_mutex_lock(&io->lock);
    if (offset == OFFSET_SELECT)
        value = io->select;
    else if (offset == OFFSET_WINDOW)
        value = read_register(io);
    pthread_mutex_unlock(&io->lock);
    memcpy(data, &value, len);
}

static void ioapic_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    struct ioapic *io = ctx;
    uint32_t value = 0;
    memcpy(&value, data, len);
    pthread_mutex_lock(&io->lock);
    if (offset == OFFSET_SELECT)
        io->select = (uint8_t)value;
    else if (offset == OFFSET_WINDOW && len == 4) /* §3.0: registers are 32 bits, never parts */
        write_register(io, value);
    else if (offset == OFFSET_EOI)
        finish(io, (uint8_t)value);
    pthread_mutex_unlock(&io->lock);
}

static const struct bus_ops ioapic_bus_ops = {
    .read = ioapic_read,
    .write = ioapic_write,
    .width = 4,
};

int ioapic_init(struct ioapic *ioapic, struct bus *mmio, const struct ioapic_ops *ops, void *ctx,
                struct error *err)
{
    memset(ioapic, 0, sizeof(*ioapic));
    ioapic->ops = ops;
    ioapic->ctx = ctx;
    for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++)
        ioapic->pin[pin].entry = RTE_MASKED;
    int r = bus_add(mmio, "ioapic", LAYOUT_IOAPIC_BASE, PAGE_BYTES, &ioapic_bus_ops, ioapic, err);
    if (r < 0)
        return r;
    pthread_mutex_init(&ioapic->lock, NULL);
    return 0;
}

void ioapic_done(struct ioapic *ioapic)
{
    pthread_mutex_destroy(&ioapic->lock);
}

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level)
{
    pthread_mutex_lock(&ioapic->lock);
    bool rising = level && !ioapic->pin[pin].level;
    uint64_t entry = ioapic->pin[pin].entry;
    ioapic->pin[pin].level = level;
    /* §3.2.4, bit 16: edges on a masked pin are lost, a level waits. */
    if (entry & RTE_LEVEL)
        service_level(ioapic, pin);
    else if (rising && !(entry & RTE_MASKED))
        send(ioapic, pin);
    pthread_mutex_unlock(&ioapic->lock);
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector)
{
    pthread_mutex_lock(&ioapic->lock);
    finish(ioapic, vector);
    pthread_mutex_unlock(&ioapic->lock);
}

void ioapic_reset(struct ioapic *ioapic)
{
    pthread_mutex_lock(&ioapic->lock);
    ioapic->select = 0;
    ioapic->id = 0;
    for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
        ioapic->pin[pin].entry = RTE_MASKED;
        update_route(ioapic, pin);
    }
    pthread_mutex_unlock(&ioapic->lock);
}
