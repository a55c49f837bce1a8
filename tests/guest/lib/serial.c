/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output on the first 16550 UART, and the ways to end the machine. Every port access is a VM exit,
 * so the transmitter is asked for room once per FIFO's worth of bytes.
 */
#include "payload.h"

#define COM1            0x3f8
#define UART_THR        (COM1 + 0)
#define UART_IER        (COM1 + 1)
#define UART_FCR        (COM1 + 2)
#define UART_LCR        (COM1 + 3)
#define UART_MCR        (COM1 + 4)
#define UART_LSR        (COM1 + 5)
#define UART_LSR_THRE   0x20
#define UART_FIFO_SIZE  16
#define UART_POLL_LIMIT 1000000

#define DEBUG_EXIT_PORT    0xf4
#define RESET_CONTROL_PORT 0xcf9
#define LINE_SIZE          512

void serial_init(void)
{
    out8(UART_IER, 0);
    out8(UART_LCR, 0x03); /* 8n1 */
    out8(UART_FCR, 0x07); /* FIFOs on and empty */
    out8(UART_MCR, 0x0b); /* DTR, RTS, OUT2 */
}

static void serial_write(const char *text)
{
    for (size_t i = 0; text[i]; i++) {
        if (i % UART_FIFO_SIZE == 0) {
            for (int tries = 0; !(in8(UART_LSR) & UART_LSR_THRE) && tries < UART_POLL_LIMIT;
                 tries++)
                cpu_relax();
        }
        out8(UART_THR, (uint8_t)text[i]);
    }
}

struct sink {
    char *to;
    size_t size, used;
};

static void put(struct sink *sink, char c)
{
    if (sink->used + 1 < sink->size)
        sink->to[sink->used++] = c;
}

static void put_number(struct sink *sink, uint64_t value, unsigned int base, unsigned int width)
{
    char digits[20];
    unsigned int count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    for (unsigned int i = count; i < width; i++)
        put(sink, '0');
    while (count)
        put(sink, digits[--count]);
}

/* %s %c %d %u %x and %ld %lu %lx, with %0Nx for leading zeros. */
void format_va(char *to, size_t size, const char *format, va_list arguments)
{
    struct sink sink = {.to = to, .size = size};

    for (; *format; format++) {
        unsigned int width = 0;
        bool wide = false;

        if (*format != '%') {
            put(&sink, *format);
            continue;
        }
        for (format++; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (unsigned int)(*format - '0');
        if (*format == 'l') {
            wide = true;
            format++;
        }
        if (*format == 's') {
            for (const char *s = va_arg(arguments, const char *); *s; s++)
                put(&sink, *s);
        } else if (*format == 'c') {
            put(&sink, (char)va_arg(arguments, int));
        } else if (*format == 'd') {
            int64_t value = wide ? va_arg(arguments, int64_t) : va_arg(arguments, int);

            if (value < 0)
                put(&sink, '-');
            put_number(&sink, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, width);
        } else if (*format == 'u' || *format == 'x') {
            uint64_t value = wide ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned int);

            put_number(&sink, value, *format == 'x' ? 16 : 10, width);
        } else {
            put(&sink, *format);
        }
    }
    sink.to[sink.used] = '\0';
}

void format_string(char *to, size_t size, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    format_va(to, size, format, arguments);
    va_end(arguments);
}

void print_va(const char *format, va_list arguments)
{
    char line[LINE_SIZE];

    format_va(line, sizeof(line), format, arguments);
    serial_write(line);
}

void print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_va(format, arguments);
    va_end(arguments);
}

/* The debug exit device ends the monitor with (value << 1) | 1. Where there is none: reset, which a
 * test monitor takes for the end, then halt. */
_Noreturn void machine_exit(uint8_t value)
{
    out8(DEBUG_EXIT_PORT, value);
    out8(RESET_CONTROL_PORT, 0x06);
    for (;;)
        halt_unless(&irq_count[0], 0);
}
