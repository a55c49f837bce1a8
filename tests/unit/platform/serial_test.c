// SPDX-License-Identifier: Apache-2.0
/* The UART as a driver sees it: Linux 8250's probe steps, both directions, interrupts, limits. */
#include "platform/serial.h"
#include "run_suite.h"
#include <check.h>
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>

#define PORT 0x3f8

static struct bus bus;
static struct serial serial;
static struct {
    uint8_t output[256];
    size_t output_len;
    bool level;
    unsigned edges, room_calls;
} host;

static void host_output(void *ctx, const uint8_t *data, size_t len)
{
    (void)ctx;
    ck_assert_uint_le(host.output_len + len, sizeof(host.output));
    memcpy(host.output + host.output_len, data, len);
    host.output_len += len;
}

static void host_set_irq(void *ctx, bool level)
{
    (void)ctx;
    ck_assert(level != host.level); /* told of changes only */
    host.level = level;
    host.edges += level;
}

static void host_input_room(void *ctx)
{
    (void)ctx;
    host.room_calls++;
    ck_assert_uint_eq(serial_input(&serial, (const uint8_t *)"", 0), 0); /* callable: no lock */
}

static const struct serial_ops ops = {
    .output = host_output,
    .set_irq = host_set_irq,
    .input_room = host_input_room,
};

static uint8_t in(unsigned reg)
{
    uint8_t value;
    bus_read(&bus, PORT + reg, &value, 1);
    return value;
}

static void out(unsigned reg, uint8_t value)
{
    bus_write(&bus, PORT + reg, &value, 1);
}

static void setup(void)
{
    memset(&host, 0, sizeof(host));
    bus_init(&bus, "pio");
    ck_assert_int_eq(serial_init(&serial, &bus, PORT, &ops, NULL, NULL), 0);
}

static void teardown(void)
{
    serial_done(&serial);
}

START_TEST(probes_as_16550a)
{
    /* serial8250 autoconfig: scratch, IER's upper bits, FIFO bits, no 16650/16750 features */
    out(UART_SCR, 0x5a);
    ck_assert_uint_eq(in(UART_SCR), 0x5a);
    out(UART_IER, 0xff);
    ck_assert_uint_eq(in(UART_IER), 0x0f);
    out(UART_IER, 0);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    ck_assert_uint_eq(in(UART_IIR), 0xc1);
    out(UART_LCR, UART_LCR_CONF_MODE_B);
    ck_assert_uint_ne(in(UART_EFR), 0);
    out(UART_LCR, 0);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
    ck_assert_uint_eq(in(UART_IIR)&0x20, 0);
    /* and loopback: outputs appear on the inputs */
    out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
    ck_assert_uint_eq(in(UART_MSR)&0xf0, UART_MSR_DCD | UART_MSR_CTS);
}
END_TEST

START_TEST(divisor_latch_hides_data_and_ier)
{
    out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
    out(UART_DLL, 1);
    out(UART_DLM, 2);
    ck_assert_uint_eq(in(UART_DLL), 1);
    ck_assert_uint_eq(in(UART_DLM), 2);
    out(UART_LCR, UART_LCR_WLEN8);
    ck_assert_uint_eq(in(UART_IER), 0);
    ck_assert_uint_eq(host.output_len, 0);
    ck_assert_uint_eq(in(UART_LCR), UART_LCR_WLEN8);
}
END_TEST

START_TEST(transmits_at_once)
{
    for (const char *c = "hello"; *c != '\0'; c++) {
        ck_assert_uint_eq(in(UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
        out(UART_TX, (uint8_t)*c);
    }
    ck_assert_uint_eq(host.output_len, 5);
    ck_assert_mem_eq(host.output, "hello", 5);
    ck_assert(!host.level);
}
END_TEST

START_TEST(transmit_interrupt)
{
    /* 8250 start-up looks for UART_BUG_TXEN and UART_BUG_THRE: enabling must raise, twice. */
    for (int i = 0; i < 2; i++) {
        out(UART_IER, UART_IER_THRI);
        ck_assert(host.level);
        ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_THRI);
        ck_assert(!host.level); /* reading IIR acknowledges */
        ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
        out(UART_IER, 0);
    }
    out(UART_IER, UART_IER_THRI);
    (void)in(UART_IIR);
    out(UART_TX, 'x');
    ck_assert(host.level);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_THRI);
    /* Writing IER again without a change is no reason for another one. */
    out(UART_IER, UART_IER_THRI);
    ck_assert(!host.level);
}
END_TEST

START_TEST(receives_and_interrupts)
{
    out(UART_IER, UART_IER_RDI);
    ck_assert_uint_eq(serial_input(&serial, (const uint8_t *)"ab", 2), 2);
    ck_assert(host.level);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_RDI);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, UART_LSR_DR);
    ck_assert_uint_eq(in(UART_RX), 'a');
    ck_assert(host.level);
    ck_assert_uint_eq(in(UART_RX), 'b');
    ck_assert(!host.level);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
    ck_assert_uint_eq(in(UART_RX), 0);
}
END_TEST

START_TEST(trigger_level_and_timeout)
{
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
    out(UART_IER, UART_IER_RDI);
    serial_input(&serial, (const uint8_t *)"1234567", 7);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_RX_TIMEOUT);
    serial_input(&serial, (const uint8_t *)"8", 1);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_RDI);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
    ck_assert(!host.level);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
}
END_TEST

START_TEST(interrupt_priority)
{
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_MCR, UART_MCR_LOOP);
    out(UART_IER, 0x0f);
    for (int i = 0; i < SERIAL_FIFO_SIZE + 1; i++)
        out(UART_TX, 'x'); /* one too many */
    ck_assert_uint_eq(host.output_len, 0);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_RLSI);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, UART_LSR_OE);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, 0);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_RDI);
    out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_THRI);
    /* Loopback took the modem inputs away: deltas wait behind everything else. */
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_MSI);
    ck_assert_uint_eq(in(UART_MSR), UART_MSR_DDCD | UART_MSR_DDSR | UART_MSR_DCTS);
    ck_assert_uint_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
    ck_assert(!host.level);
}
END_TEST

START_TEST(loopback_holds_input_back)
{
    out(UART_MCR, UART_MCR_LOOP);
    serial_input(&serial, (const uint8_t *)"i", 1);
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
    out(UART_TX, 'o');
    ck_assert_uint_eq(in(UART_RX), 'o');
    out(UART_MCR, 0);
    ck_assert_uint_eq(in(UART_RX), 'i');
}
END_TEST

START_TEST(ring_indicator_counts_its_trailing_edge)
{
    out(UART_MCR, UART_MCR_LOOP);
    (void)in(UART_MSR);
    out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
    ck_assert_uint_eq(in(UART_MSR), UART_MSR_RI);
    out(UART_MCR, UART_MCR_LOOP);
    ck_assert_uint_eq(in(UART_MSR), UART_MSR_TERI);
}
END_TEST

/* CVE-2020-27174: whatever the host sends, what waits for the guest is bounded. */
START_TEST(input_is_bounded)
{
    static uint8_t data[4 * SERIAL_INPUT_SIZE];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    size_t taken = serial_input(&serial, data, sizeof(data));
    ck_assert_uint_eq(taken, SERIAL_INPUT_SIZE);
    taken += serial_input(&serial, data + taken, sizeof(data) - taken);
    ck_assert_uint_eq(taken, SERIAL_INPUT_SIZE + 1); /* one went on into the receive register */
    ck_assert_uint_eq(serial_input(&serial, data + taken, sizeof(data) - taken), 0);

    /* Drained in order, across the rings' ends, and we hear of room once. */
    for (size_t i = 0; i < taken; i++) {
        ck_assert_uint_eq(host.room_calls, i >= SERIAL_INPUT_SIZE / 2 ? 1 : 0);
        ck_assert_uint_eq(in(UART_RX), data[i]);
    }
    ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
    ck_assert_uint_eq(host.room_calls, 1);
}
END_TEST

START_TEST(wide_access_touches_each_register)
{
    uint32_t value = 0;
    out(UART_SCR, 0x77);
    bus_read(&bus, PORT + 4, &value, 4); /* MCR, LSR, MSR, SCR */
    ck_assert_uint_eq(value, 0x77b06000);
    bus_read(&bus, PORT + 6, &value, 4);
    ck_assert_uint_eq(value, UINT32_MAX);
}
END_TEST

START_TEST(reset_restores_everything)
{
    out(UART_IER, 0x0f);
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_LCR, 0x83);
    out(UART_SCR, 1);
    static uint8_t data[2 * SERIAL_INPUT_SIZE];
    serial_input(&serial, data, sizeof(data));
    ck_assert(host.level);
    serial_reset(&serial);
    ck_assert(!host.level);
    ck_assert_uint_eq(host.room_calls, 1);
    ck_assert_uint_eq(in(UART_IER), 0);
    ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
    ck_assert_uint_eq(in(UART_LCR), 0);
    ck_assert_uint_eq(in(UART_SCR), 0);
    ck_assert_uint_eq(in(UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serial");
    TCase *tc = tcase_create("16550A");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, probes_as_16550a);
    tcase_add_test(tc, divisor_latch_hides_data_and_ier);
    tcase_add_test(tc, transmits_at_once);
    tcase_add_test(tc, transmit_interrupt);
    tcase_add_test(tc, receives_and_interrupts);
    tcase_add_test(tc, trigger_level_and_timeout);
    tcase_add_test(tc, interrupt_priority);
    tcase_add_test(tc, loopback_holds_input_back);
    tcase_add_test(tc, ring_indicator_counts_its_trailing_edge);
    tcase_add_test(tc, input_is_bounded);
    tcase_add_test(tc, wide_access_touches_each_register);
    tcase_add_test(tc, reset_restores_everything);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
