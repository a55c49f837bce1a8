// SPDX-License-Identifier: Apache-2.0
/*
 * A guest's stream of port and MMIO accesses to the UART, the I/O APIC, the clock and the power
 * ports, with host input and EOIs in between. Each step is four bytes: what, where, value (2).
 * Checked beside memory safety: what the devices promise their users (levels change, pins exist,
 * routes precede deliveries, input stays bounded).
 */
#include "layout.h"
#include "platform/debug_exit.h"
#include "platform/ioapic.h"
#include "platform/power.h"
#include "platform/pvpanic.h"
#include "platform/rtc.h"
#include "platform/serial.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct machine {
    struct bus pio, mmio;
    struct serial serial;
    struct ioapic ioapic;
    struct rtc rtc;
    struct power power;
    struct pvpanic pvpanic;
    struct debug_exit debug_exit;
    bool com1_level;
    bool routed[LAYOUT_IOAPIC_PINS];
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void serial_output(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    (void)data;
    require(len == 1);
}

static void serial_irq(void *ctx, bool level)
{
    struct machine *m = ctx;
    require(level != m->com1_level);
    m->com1_level = level;
    ioapic_set_pin(&m->ioapic, LAYOUT_GSI_COM1, level);
}

static void serial_room(void *ctx)
{
    struct machine *m = ctx;
    require(serial_input(&m->serial, (const uint8_t *)"room", 4) == 4);
}

static void ioapic_route(void *ctx, unsigned pin, const struct msi_message *msg)
{
    struct machine *m = ctx;
    require(pin < LAYOUT_IOAPIC_PINS);
    require(msg == NULL || (msg->address >> 20) == (LAYOUT_LAPIC_BASE >> 20));
    m->routed[pin] = msg != NULL;
}

static void ioapic_deliver(void *ctx, unsigned pin, const struct msi_message *msg)
{
    struct machine *m = ctx;
    require(pin < LAYOUT_IOAPIC_PINS && m->routed[pin] && msg != NULL);
}

static void ignore(void *ctx)
{
    (void)ctx;
}

static void ged_irq(void *ctx, bool level)
{
    struct machine *m = ctx;
    ioapic_set_pin(&m->ioapic, LAYOUT_GSI_GED, level);
}

static void panic_events(void *ctx, uint8_t events)
{
    (void)ctx;
    require(events != 0);
}

static void exit_code(void *ctx, uint32_t code)
{
    (void)ctx;
    require(code & 1);
}

static const struct serial_ops serial_ops = {
    .output = serial_output,
    .set_irq = serial_irq,
    .input_room = serial_room,
};
static const struct ioapic_ops ioapic_ops = {.route = ioapic_route, .deliver = ioapic_deliver};
static const struct power_ops power_ops = {.off = ignore, .reset = ignore, .set_irq = ged_irq};

static void machine_init(struct machine *m)
{
    memset(m, 0, sizeof(*m));
    bus_init(&m->pio, "pio");
    bus_init(&m->mmio, "mmio");
    require(serial_init(&m->serial, &m->pio, LAYOUT_PORT_COM1, &serial_ops, m, NULL) == 0);
    require(ioapic_init(&m->ioapic, &m->mmio, &ioapic_ops, m, NULL) == 0);
    require(rtc_init(&m->rtc, &m->pio, NULL) == 0);
    require(power_init(&m->power, &m->pio, &power_ops, m, NULL) == 0);
    require(pvpanic_init(&m->pvpanic, &m->pio, panic_events, m, NULL) == 0);
    require(debug_exit_init(&m->debug_exit, &m->pio, exit_code, m, NULL) == 0);
}

static void machine_done(struct machine *m)
{
    serial_done(&m->serial);
    ioapic_done(&m->ioapic);
    rtc_done(&m->rtc);
}

static const uint16_t port_base[] = {
    LAYOUT_PORT_COM1,    LAYOUT_PORT_RTC_INDEX,     LAYOUT_PORT_I8042_DATA,
    LAYOUT_PORT_PVPANIC, LAYOUT_PORT_SLEEP_CONTROL, LAYOUT_PORT_DEBUG_EXIT,
};

enum step { PORT_READ, PORT_WRITE, MMIO_READ, MMIO_WRITE, INPUT, EOI, PIN, OTHER, STEP_COUNT };

/* Reset, the power button. */
static void other(struct machine *m, uint8_t what)
{
    switch (what % 4) {
    case 0:
        serial_reset(&m->serial);
        break;
    case 1:
        ioapic_reset(&m->ioapic);
        break;
    default:
        power_press_button(&m->power);
        break;
    }
}

static void run_step(struct machine *m, const uint8_t step[4])
{
    unsigned len = 1u << (step[0] >> 3 & 3);
    uint64_t value = 0;
    memcpy(&value, step + 2, 2);
    uint64_t port = port_base[(step[1] >> 3) % (sizeof(port_base) / sizeof(port_base[0]))] +
                    (uint64_t)(step[1] & 7);
    uint64_t gpa = LAYOUT_IOAPIC_BASE + step[1];
    switch ((enum step)(step[0] % STEP_COUNT)) {
    case PORT_READ:
        bus_read(&m->pio, port, &value, len);
        break;
    case PORT_WRITE:
        bus_write(&m->pio, port, &value, len);
        break;
    case MMIO_READ:
        bus_read(&m->mmio, gpa, &value, len);
        break;
    case MMIO_WRITE:
        value |= value << 32 | (value & 0xff) << 24;
        bus_write(&m->mmio, gpa, &value, len);
        break;
    case INPUT: {
        uint8_t input[256];
        memset(input, step[2], sizeof(input));
        require(serial_input(&m->serial, input, step[1]) <= step[1]);
        require(m->serial.input_len <= SERIAL_INPUT_SIZE);
        break;
    }
    case EOI:
        ioapic_eoi(&m->ioapic, step[1]);
        break;
    case PIN:
        ioapic_set_pin(&m->ioapic, 5 + step[1] % (LAYOUT_IOAPIC_PINS - 5), step[2] & 1);
        break;
    default:
        other(m, step[1]);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine machine;
    machine_init(&machine);
    for (size_t at = 0; size - at >= 4; at += 4)
        run_step(&machine, data + at);
    machine_done(&machine);
    return 0;
}
