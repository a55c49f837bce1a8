// SPDX-License-Identifier: Apache-2.0
/*
 * A 16550A UART (National Semiconductor PC16550D data sheet, §8): the guest's COM1. Bytes that the
 * guest sends go to a callback at once, so the transmitter is always empty; bytes for the guest
 * wait in a bounded buffer behind the 16-byte receive FIFO.
 *
 * Registers are touched by vCPU threads, serial_input() is called by the main loop; `lock`
 * serialises both. Not modelled, because nothing is on the wire: baud rate, parity, break, and the
 * time that characters take. The INTR pin is not gated by OUT2 (that gate is PC wiring, and lines
 * are not shared here).
 */
#ifndef PODVISOR_VMM_SERIAL_H
#define PODVISOR_VMM_SERIAL_H

#include "bus.h"
#include <podvisor/error.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_PORTS      8
#define SERIAL_FIFO_SIZE  16
#define SERIAL_INPUT_SIZE 1024 /* host side, a power of two */

/* `output` and `set_irq` run under the UART's lock: they must not call back into it. */
struct serial_ops {
    /* vCPU thread: the guest sent these bytes, in this order. */
    void (*output)(void *ctx, const uint8_t *data, size_t len);
    /* Any thread: the interrupt pin changed its level. */
    void (*set_irq)(void *ctx, bool level);
    /* vCPU thread, no lock: serial_input() had taken less than offered, and now there is room. */
    void (*input_room)(void *ctx);
};

struct serial {
    const struct serial_ops *ops;
    void *ctx;
    pthread_mutex_t lock; /* all that follows */
    uint8_t ier, lcr, mcr, lsr_errors, msr, scr;
    uint8_t divisor_low, divisor_high;
    bool fifo_enabled;
    uint8_t fifo_trigger; /* received bytes that raise the interrupt */
    bool thr_interrupt;   /* THR went empty and the guest has not been told */
    bool irq_level;
    uint8_t fifo[SERIAL_FIFO_SIZE]; /* a ring from fifo_head */
    unsigned fifo_head, fifo_len;
    uint8_t input[SERIAL_INPUT_SIZE]; /* likewise */
    unsigned input_head, input_len;
    bool input_refused;
};

/*
 * Claims the eight ports at `port` on `pio`. All is borrowed for the UART's life. Returns 0 or a
 * negative errno.
 */
int serial_init(struct serial *s, struct bus *pio, uint16_t port, const struct serial_ops *ops,
                void *ctx, struct error *err);

/* Frees what init made; no vCPU runs any more. */
void serial_done(struct serial *s);

/*
 * Any thread: offers bytes to the guest. Returns how many were taken; when that is less than `len`,
 * ops->input_room() says when to offer the rest.
 */
size_t serial_input(struct serial *s, const uint8_t *data, size_t len);

/* System reset, vCPUs stopped. Input that the guest has not read is dropped. */
void serial_reset(struct serial *s);

#endif
