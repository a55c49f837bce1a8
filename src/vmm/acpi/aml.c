// SPDX-License-Identifier: Apache-2.0
/* AML and resource descriptors into the caller's buffer: see aml.h. Runs before the guest does. */
#include "aml.h"
#include <string.h>

/* ACPI 6.4 §20.2 (grammar), §20.3 (opcodes). */
#define OP_ZERO     0x00
#define OP_ONE      0x01
#define OP_NAME     0x08
#define OP_BYTE     0x0a
#define OP_WORD     0x0b
#define OP_DWORD    0x0c
#define OP_STRING   0x0d
#define OP_SCOPE    0x10
#define OP_BUFFER   0x11
#define OP_PACKAGE  0x12
#define OP_METHOD   0x14
#define OP_EXTENDED 0x5b
#define OP_EXT_DEV  0x82
#define OP_NOTIFY   0x86

/* Resource descriptors, ACPI 6.4 §6.4. */
#define RES_IO             0x47 /* small, type 8, 7 bytes */
#define RES_END_TAG        0x79 /* small, type 15, 1 byte */
#define RES_MEMORY32_FIXED 0x86
#define RES_DWORD_ADDRESS  0x87
#define RES_WORD_ADDRESS   0x88
#define RES_INTERRUPT      0x89

#define RES_DECODE16      0x01
#define RES_READ_WRITE    0x01
#define RES_TYPE_MEMORY   0x00
#define RES_TYPE_BUS      0x02
#define RES_MIN_MAX_FIXED 0x0c /* and positively decoded, resource producer */
#define RES_INT_CONSUMER  0x01
#define RES_INT_EDGE      0x02 /* active high, exclusive */

static void put(struct aml *a, const void *data, size_t len)
{
    if (len > a->max - a->len) {
        a->overflow = true;
        return;
    }
    memcpy(a->data + a->len, data, len);
    a->len += len;
}

static void put8(struct aml *a, uint8_t v)
{
    put(a, &v, sizeof(v));
}

static void put16(struct aml *a, uint16_t v)
{
    put(a, &v, sizeof(v));
}

static void put32(struct aml *a, uint32_t v)
{
    put(a, &v, sizeof(v));
}

static void put_name(struct aml *a, const char *name)
{
    put(a, name, strlen(name));
}

/* Leaves one byte for PkgLength; aml_end() makes room for a second one when it needs it. */
static size_t begin_package(struct aml *a)
{
    size_t mark = a->len;
    put8(a, 0);
    return mark;
}

/*
 * PkgLength (§20.2.4) counts itself. One byte holds up to 63; in two bytes, the first holds the low
 * four bits and how many bytes follow, the second the rest up to 4095.
 */
void aml_end(struct aml *a, size_t mark)
{
    if (a->overflow)
        return;
    size_t len = a->len - mark;
    if (len < 0x40) {
        a->data[mark] = (uint8_t)len;
        return;
    }
    len++;
    put8(a, 0);
    if (a->overflow || len > 0xfff) {
        a->overflow = true;
        return;
    }
    memmove(a->data + mark + 2, a->data + mark + 1, len - 2);
    a->data[mark] = (uint8_t)(0x40 | (len & 0x0f));
    a->data[mark + 1] = (uint8_t)(len >> 4);
}

size_t aml_begin_scope(struct aml *a, const char *name)
{
    put8(a, OP_SCOPE);
    size_t mark = begin_package(a);
    put_name(a, name);
    return mark;
}

size_t aml_begin_device(struct aml *a, const char *name)
{
    put8(a, OP_EXTENDED);
    put8(a, OP_EXT_DEV);
    size_t mark = begin_package(a);
    put_name(a, name);
    return mark;
}

size_t aml_begin_method(struct aml *a, const char *name, uint8_t arguments)
{
    put8(a, OP_METHOD);
    size_t mark = begin_package(a);
    put_name(a, name);
    put8(a, arguments); /* MethodFlags: count in bits 0 to 2, not serialised */
    return mark;
}

size_t aml_begin_name_package(struct aml *a, const char *name, uint8_t count)
{
    put8(a, OP_NAME);
    put_name(a, name);
    put8(a, OP_PACKAGE);
    size_t mark = begin_package(a);
    put8(a, count);
    return mark;
}

void aml_integer(struct aml *a, uint32_t value)
{
    if (value <= 1) {
        put8(a, value == 0 ? OP_ZERO : OP_ONE);
    } else if (value <= UINT8_MAX) {
        put8(a, OP_BYTE);
        put8(a, (uint8_t)value);
    } else if (value <= UINT16_MAX) {
        put8(a, OP_WORD);
        put16(a, (uint16_t)value);
    } else {
        put8(a, OP_DWORD);
        put32(a, value);
    }
}

void aml_name_integer(struct aml *a, const char *name, uint32_t value)
{
    put8(a, OP_NAME);
    put_name(a, name);
    aml_integer(a, value);
}

void aml_name_string(struct aml *a, const char *name, const char *value)
{
    put8(a, OP_NAME);
    put_name(a, name);
    put8(a, OP_STRING);
    put(a, value, strlen(value) + 1);
}

static uint8_t hex_digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* §19.3.4: three letters of five bits and four hexadecimal digits, big-endian. */
void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
    uint32_t v = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
                 (uint32_t)(id[2] - '@') << 16;
    for (unsigned i = 0; i < 4; i++)
        v |= (uint32_t)hex_digit(id[3 + i]) << (12 - 4 * i);
    put8(a, OP_NAME);
    put_name(a, name);
    put8(a, OP_DWORD);
    put32(a, __builtin_bswap32(v));
}

void aml_notify(struct aml *a, const char *object, uint8_t value)
{
    put8(a, OP_NOTIFY);
    put_name(a, object);
    aml_integer(a, value);
}

/* The buffer's own size follows its PkgLength, as a byte constant that is filled in at the end. */
size_t aml_begin_resources(struct aml *a)
{
    put8(a, OP_NAME);
    put_name(a, "_CRS");
    put8(a, OP_BUFFER);
    size_t mark = begin_package(a);
    put8(a, OP_BYTE);
    put8(a, 0);
    return mark;
}

void aml_end_resources(struct aml *a, size_t mark)
{
    put8(a, RES_END_TAG);
    put8(a, 0); /* checksum: 0 means that there is none */
    const size_t first = mark + 3;
    if (a->overflow || a->len - first > UINT8_MAX) {
        a->overflow = true;
        return;
    }
    a->data[mark + 2] = (uint8_t)(a->len - first);
    aml_end(a, mark);
}

void aml_io(struct aml *a, uint16_t base, uint8_t len)
{
    put8(a, RES_IO);
    put8(a, RES_DECODE16);
    put16(a, base); /* lowest and highest possible base: it is fixed */
    put16(a, base);
    put8(a, 1); /* alignment */
    put8(a, len);
}

void aml_memory32_fixed(struct aml *a, uint32_t base, uint32_t len)
{
    put8(a, RES_MEMORY32_FIXED);
    put16(a, 9);
    put8(a, RES_READ_WRITE);
    put32(a, base);
    put32(a, len);
}

void aml_interrupt_edge(struct aml *a, uint32_t gsi)
{
    put8(a, RES_INTERRUPT);
    put16(a, 6);
    put8(a, RES_INT_CONSUMER | RES_INT_EDGE);
    put8(a, 1); /* one interrupt */
    put32(a, gsi);
}

void aml_bus_window(struct aml *a, uint16_t first, uint16_t last)
{
    put8(a, RES_WORD_ADDRESS);
    put16(a, 13);
    put8(a, RES_TYPE_BUS);
    put8(a, RES_MIN_MAX_FIXED);
    put8(a, 0);  /* type-specific flags: none for buses */
    put16(a, 0); /* granularity */
    put16(a, first);
    put16(a, last);
    put16(a, 0); /* translation */
    put16(a, (uint16_t)(last - first + 1));
}

void aml_memory32_window(struct aml *a, uint32_t base, uint32_t len)
{
    put8(a, RES_DWORD_ADDRESS);
    put16(a, 23);
    put8(a, RES_TYPE_MEMORY);
    put8(a, RES_MIN_MAX_FIXED);
    put8(a, RES_READ_WRITE); /* not cacheable */
    put32(a, 0);             /* granularity */
    put32(a, base);
    put32(a, base + (len - 1));
    put32(a, 0); /* translation */
    put32(a, len);
}
