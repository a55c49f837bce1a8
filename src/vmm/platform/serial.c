// SPDX-License-Identifier: Apache-2.0
/*
 * 16550A UART; owns its registers, FIFO and input buffer. Register accesses come from vCPU threads,
 * input from the main loop. National Semiconductor PC16550D data sheet, §8 "Registers"; the bit
 * names are those of <linux/serial_reg.h>.
 */
#include "serial.h"
#include <linux/serial_reg.h>
#include <string.h>

#define IER_MASK    (UART_IER_MSI | UART_IER_RLSI | UART_IER_THRI | UART_IER_RDI)
#define MCR_MASK    (UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_OUT1 | UART_MCR_RTS | UART_MCR_DTR)
#define IIR_FIFO_ON 0xc0
#define MSR_LINES   (UART_MSR_DCD | UART_MSR_RI | UART_MSR_DSR | UART_MSR_CTS)
#define MSR_READY   (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS) /* a terminal is attached */

#define DIVISOR_RESET 12 /* 9600 baud of a 1.8432 MHz clock; the data sheet leaves it undefined */

static unsigned fifo_capacity(const struct serial *s)
{
    return s->fifo_enabled ? SERIAL_FIFO_SIZE : 1;
}

static void fifo_put(struct serial *s, uint8_t byte)
{
    s->fifo[(s->fifo_head + s->fifo_len) % SERIAL_FIFO_SIZE] = byte;
    s->fifo_len++;
}

static uint8_t fifo_take(struct serial *s)
{
    if (s->fifo_len == 0)
        return 0;
    uint8_t byte = s->fifo[s->fifo_head];
    s->fifo_head = (s->fifo_head + 1) % SERIAL_FIFO_SIZE;
    s->fifo_len--;
    return byte;
}

/* Moves waiting input into the FIFO. In loopback the receiver is cut off from the outside. */
static void refill(struct serial *s)
{
    if (s->mcr & UART_MCR_LOOP)
        return;
    while (s->input_len > 0 && s->fifo_len < fifo_capacity(s)) {
        fifo_put(s, s->input[s->input_head]);
        s->input_head = (s->input_head + 1) % SERIAL_INPUT_SIZE;
        s->input_len--;
    }
}

/*
 * The interrupt of the highest priority (table 6 of the data sheet). A FIFO below its trigger level
 * reports a character timeout at once: the next character may never come.
 */
static uint8_t interrupt_id(const struct serial *s)
{
    if ((s->ier & UART_IER_RLSI) && s->lsr_errors != 0)
        return UART_IIR_RLSI;
    if ((s->ier & UART_IER_RDI) && s->fifo_len > 0)
        return s->fifo_len >= s->fifo_trigger ? UART_IIR_RDI : UART_IIR_RX_TIMEOUT;
    if ((s->ier & UART_IER_THRI) && s->thr_interrupt)
        return UART_IIR_THRI;
    if ((s->ier & UART_IER_MSI) && (s->msr & UART_MSR_ANY_DELTA))
        return UART_IIR_MSI;
    return UART_IIR_NO_INT;
}

static void update_irq(struct serial *s)
{
    bool level = interrupt_id(s) != UART_IIR_NO_INT;
    if (level != s->irq_level) {
        s->irq_level = level;
        s->ops->set_irq(s->ctx, level);
    }
}

/* The modem inputs: those of an attached terminal, or in loopback our own outputs. */
static uint8_t modem_lines(const struct serial *s)
{
    if (!(s->mcr & UART_MCR_LOOP))
        return MSR_READY;
    return (uint8_t)((s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
                     (s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
                     (s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
                     (s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

static void update_modem_lines(struct serial *s)
{
    uint8_t lines = modem_lines(s);
    unsigned changed = (unsigned)(lines ^ s->msr) & MSR_LINES;
    /* Of the ring indicator only the trailing edge counts. */
    if (lines & UART_MSR_RI)
        changed &= ~(unsigned)UART_MSR_RI;
    s->msr = (uint8_t)(lines | (s->msr & UART_MSR_ANY_DELTA) | changed >> 4);
}

static void transmit(struct serial *s, uint8_t byte)
{
    if (!(s->mcr & UART_MCR_LOOP))
        s->ops->output(s->ctx, &byte, 1);
    else if (s->fifo_len < fifo_capacity(s))
        fifo_put(s, byte);
    else
        s->lsr_errors |= UART_LSR_OE;
    s->thr_interrupt = true;
}

static void write_ier(struct serial *s, uint8_t value)
{
    uint8_t enabled = value & IER_MASK & (uint8_t)~s->ier;
    s->ier = value & IER_MASK;
    /* Enabling the interrupt while THR is empty (it always is) raises it: drivers start so. */
    if (enabled & UART_IER_THRI)
        s->thr_interrupt = true;
}

static void write_fcr(struct serial *s, uint8_t value)
{
    static const uint8_t trigger[] = {1, 4, 8, 14};
    bool enable = value & UART_FCR_ENABLE_FIFO;
    if (enable != s->fifo_enabled || (enable && (value & UART_FCR_CLEAR_RCVR)))
        s->fifo_len = 0;
    s->fifo_enabled = enable;
    s->fifo_trigger = enable ? trigger[value >> 6] : 1;
}

static uint8_t read_iir(struct serial *s)
{
    uint8_t id = interrupt_id(s);
    if (id == UART_IIR_THRI)
        s->thr_interrupt = false;
    return id | (s->fifo_enabled ? IIR_FIFO_ON : 0);
}

static uint8_t read_lsr(struct serial *s)
{
    uint8_t value = (uint8_t)(UART_LSR_TEMT | UART_LSR_THRE | s->lsr_errors |
                              (s->fifo_len > 0 ? UART_LSR_DR : 0));
    s->lsr_errors = 0;
    return value;
}

static uint8_t read_msr(struct serial *s)
{
    uint8_t value = s->msr;
    s->msr &= MSR_LINES;
    return value;
}

static uint8_t read_register(struct serial *s, unsigned reg)
{
    bool divisor_latch = s->lcr & UART_LCR_DLAB;
    switch (reg) {
    case UART_RX:
        return divisor_latch ? s->divisor_low : fifo_take(s);
    case UART_IER:
        return divisor_latch ? s->divisor_high : s->ier;
    case UART_IIR:
        return read_iir(s);
    case UART_LCR:
        return s->lcr;
    case UART_MCR:
        return s->mcr;
    case UART_LSR:
        return read_lsr(s);
    case UART_MSR:
        return read_msr(s);
    default:
        return s->scr;
    }
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
    bool divisor_latch = s->lcr & UART_LCR_DLAB;
    switch (reg) {
    case UART_TX:
        if (divisor_latch)
            s->divisor_low = value;
        else
            transmit(s, value);
        break;
    case UART_IER:
        if (divisor_latch)
            s->divisor_high = value;
        else
            write_ier(s, value);
        break;
    case UART_FCR:
        write_fcr(s, value);
        break;
    case UART_LCR:
        s->lcr = value;
        break;
    case UART_MCR:
        s->mcr = value & MCR_MASK;
        update_modem_lines(s);
        break;
    case UART_SCR:
        s->scr = value;
        break;
    default: /* LSR and MSR are read-only outside the factory */
        break;
    }
}

/* After any access: the FIFO may have room, the interrupt may have changed. Unlocks. */
static void settle_and_unlock(struct serial *s)
{
    refill(s);
    update_irq(s);
    /* Half empty, so that one call is worth a read from the console and not one a byte. */
    bool tell = s->input_refused && s->input_len <= SERIAL_INPUT_SIZE / 2;
    if (tell)
        s->input_refused = false;
    pthread_mutex_unlock(&s->lock);
    if (tell)
        s->ops->input_room(s->ctx);
}

static void serial_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    (void)len;
    struct serial *s = ctx;
    pthread_mutex_lock(&s->lock);
    *(uint8_t *)data = read_register(s, (unsigned)offset);
    settle_and_unlock(s);
}

static void serial_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    (void)len;
    struct serial *s = ctx;
    pthread_mutex_lock(&s->lock);
    write_register(s, (unsigned)offset, *(const uint8_t *)data);
    settle_and_unlock(s);
}

static const struct bus_ops serial_bus_ops = {
    .read = serial_read,
    .write = serial_write,
    .width = 1,
};

static void set_defaults(struct serial *s)
{
    s->ier = s->lcr = s->mcr = s->lsr_errors = s->scr = 0;
    s->msr = MSR_READY;
    s->divisor_low = DIVISOR_RESET;
    s->divisor_high = 0;
    s->fifo_enabled = false;
    s->fifo_trigger = 1;
    s->thr_interrupt = false;
    s->fifo_head = s->fifo_len = 0;
    s->input_head = s->input_len = 0;
}

int serial_init(struct serial *s, struct bus *pio, uint16_t port, const struct serial_ops *ops,
                void *ctx, struct error *err)
{
    memset(s, 0, sizeof(*s));
    s->ops = ops;
    s->ctx = ctx;
    set_defaults(s);
    int r = bus_add(pio, "serial", port, SERIAL_PORTS, &serial_bus_ops, s, err);
    if (r < 0)
        return r;
    pthread_mutex_init(&s->lock, NULL);
    return 0;
}

void serial_done(struct serial *s)
{
    pthread_mutex_destroy(&s->lock);
}

size_t serial_input(struct serial *s, const uint8_t *data, size_t len)
{
    pthread_mutex_lock(&s->lock);
    size_t room = SERIAL_INPUT_SIZE - s->input_len;
    size_t taken = len < room ? len : room;
    for (size_t i = 0; i < taken; i++)
        s->input[(s->input_head + s->input_len + i) % SERIAL_INPUT_SIZE] = data[i];
    s->input_len += (unsigned)taken;
    if (taken < len)
        s->input_refused = true;
    refill(s);
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

void serial_reset(struct serial *s)
{
    pthread_mutex_lock(&s->lock);
    set_defaults(s);
    settle_and_unlock(s);
}
