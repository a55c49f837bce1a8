/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload's runtime: memory, strings, time, serial output, parameters, TAP results and the
 * table of tests.
 */
#ifndef GUEST_PAYLOAD_H
#define GUEST_PAYLOAD_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io.h"

#define PAGE_SIZE     4096ul
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))

/* ---- strings (lib/string.c) ---- */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s);
bool string_equal(const char *a, const char *b);
/* A 32-bit mixing step: reproducible data for buffers and offsets. */
uint32_t random_next(uint32_t *state);
void fill_pattern(void *to, size_t size, uint32_t seed);
bool match_pattern(const void *at, size_t size, uint32_t seed);

/* ---- memory (lib/memory.c) ---- */
struct hvm_start_info;
void memory_init(const struct hvm_start_info *info);
uint64_t memory_low_ram_end(void);
/* Where RAM above 4 GiB starts; 0 if there is none. */
uint64_t memory_high_ram(void);
/* Zeroed, page aligned, identity mapped; lives until memory_release() goes back to an earlier mark.
 */
void *page_alloc(size_t size);
uint64_t memory_mark(void);
void memory_release(uint64_t mark);
/* A pointer through which [physical, physical + size) can be reached, mapping it if it lies above 4
 * GiB. */
volatile uint8_t *physical_map(uint64_t physical, uint64_t size);
static inline uint64_t physical_address(const void *at)
{
    return (uintptr_t)at;
}

/* ---- time (lib/time.c) ---- */
void time_init(void);
extern uint64_t tsc_khz;
uint64_t deadline_after_ms(uint64_t milliseconds);
bool deadline_passed(uint64_t deadline);
void delay_us(uint64_t microseconds);
uint64_t cycles_to_ns(uint64_t cycles);

/* ---- serial output and ending (lib/serial.c) ---- */
void serial_init(void);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_va(const char *format, va_list arguments);
/* Fills at most `size` bytes, always terminated. */
void format_string(char *to, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void format_va(char *to, size_t size, const char *format, va_list arguments);
_Noreturn void machine_exit(uint8_t value);

/* ---- parameters: words `name=value` of the kernel command line (lib/parameter.c) ---- */
void parameter_init(const char *command_line);
/* The value up to the next blank, or NULL. */
const char *parameter(const char *name);
uint64_t parameter_number(const char *name, uint64_t otherwise);
bool parameter_is(const char *name, const char *value);
/* Is `word` among the comma separated words of the parameter? */
bool parameter_lists(const char *name, const char *word);
/* `option=value` among the comma separated words of the parameter: the value, or NULL. */
const char *parameter_option(const char *name, const char *option);
uint64_t parameter_option_number(const char *name, const char *option, uint64_t otherwise);

/* ---- interrupts (lib/interrupt.c) ---- */
#define VECTOR_DEVICE   0x40 /* up to 0x5f: MSI-X of the device under test */
#define VECTOR_SERIAL   0x60
#define VECTOR_TIMER    0x61
#define VECTOR_SPURIOUS 0xff
extern volatile uint32_t irq_count[256];
void interrupt_init(void);
uint32_t lapic_read(uint32_t reg);
void lapic_write(uint32_t reg, uint32_t value);
bool interrupt_wait(uint8_t vector, uint32_t count, uint64_t milliseconds);
/* Halts unless the counter has moved on from `seen` (boot/entry.S does the HLT at CPL 0). */
static inline void halt_unless(const volatile uint32_t *counter, uint32_t seen)
{
    __asm__ volatile("hlt" : : "D"(counter), "S"(seen) : "memory");
}

/* ---- TAP (lib/tap.c) ---- */
struct virtio_device;

struct test {
    const char *name;
    void (*run)(void);
};

struct suite {
    const char *name;
    /* 0: run once. Otherwise run for each virtio device of this type, VIRTIO_TYPE_ANY for every
     * one. */
    uint16_t device_type;
    const struct test *tests;
    unsigned int count;
};

#define VIRTIO_TYPE_ANY 0xffff

/* The device that the running test is for; NULL in suites without a device type. */
extern struct virtio_device *dut;

void tap_start(void);
void tap_run(const struct suite *suite);
unsigned int tap_finish(void);
void tap_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tap_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool tap_failed(void);
void diagnostic(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Are we on a monitor whose known differences are excused (ref=qemu)? */
bool reference_is_qemu(void);

/* Ends the test function with a failure unless the condition holds. */
#define CHECK(condition, ...)      \
    do {                           \
        if (!(condition)) {        \
            tap_fail(__VA_ARGS__); \
            return;                \
        }                          \
    } while (0)

#define SKIP_IF(condition, ...)    \
    do {                           \
        if (condition) {           \
            tap_skip(__VA_ARGS__); \
            return;                \
        }                          \
    } while (0)

/* A known difference of the reference, explained in DIFFERENCES.md. */
#define SKIP_ON_QEMU(why) SKIP_IF(reference_is_qemu(), "qemu: " why)

#endif
