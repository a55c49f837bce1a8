// SPDX-License-Identifier: Apache-2.0
/*
 * Emits ACPI Machine Language (ACPI 6.4 §20) and resource descriptors (§6.4) into a buffer of the
 * caller. What does not fit is dropped and sets `overflow`, so that only the end needs a check.
 *
 * aml_begin_*() opens something whose length is known later and returns a mark for aml_end(). Names
 * are segments of four characters, relative to the scope that is open.
 */
#ifndef PODVISOR_VMM_ACPI_AML_H
#define PODVISOR_VMM_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
    uint8_t *data; /* borrowed */
    size_t len, max;
    bool overflow;
};

/* Objects (§20.2.5). A package holds what is emitted up to its end, `count` elements. */
size_t aml_begin_scope(struct aml *a, const char *name);
size_t aml_begin_device(struct aml *a, const char *name);
size_t aml_begin_method(struct aml *a, const char *name, uint8_t arguments);
size_t aml_begin_name_package(struct aml *a, const char *name, uint8_t count);
void aml_end(struct aml *a, size_t mark);

/* Name (name, value): an integer, a string, EisaId ("PNP0A08"). */
void aml_name_integer(struct aml *a, const char *name, uint32_t value);
void aml_name_string(struct aml *a, const char *name, const char *value);
void aml_name_eisaid(struct aml *a, const char *name, const char *id);

/* An integer constant in its shortest form, up to 32 bits. */
void aml_integer(struct aml *a, uint32_t value);

/* Notify (object, value) */
void aml_notify(struct aml *a, const char *object, uint8_t value);

/* Name (_CRS, ResourceTemplate () { ... }), at most 255 bytes of descriptors. */
size_t aml_begin_resources(struct aml *a);
void aml_end_resources(struct aml *a, size_t mark);

/* Consumed by the device: I/O ports (§6.4.2.5), memory (§6.4.3.4), an interrupt (§6.4.3.6). */
void aml_io(struct aml *a, uint16_t base, uint8_t len);
void aml_memory32_fixed(struct aml *a, uint32_t base, uint32_t len);
void aml_interrupt_edge(struct aml *a, uint32_t gsi);

/* Produced by a bridge (§6.4.3.5): bus numbers, a window of 32-bit memory. */
void aml_bus_window(struct aml *a, uint16_t first, uint16_t last);
void aml_memory32_window(struct aml *a, uint32_t base, uint32_t len);

#endif
