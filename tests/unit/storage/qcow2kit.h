// SPDX-License-Identifier: Apache-2.0
/*
 * What the tests of qcow2 share: a folder, QEMU's tools as the oracle, whole transfers, and numbers
 * that look random and are the same in every run.
 */
#ifndef PODVISOR_TEST_QCOW2KIT_H
#define PODVISOR_TEST_QCOW2KIT_H

#include "image.h"

#define KIT_PATH_MAX 64

/* Makes and enters a folder of the test's own; kit_leave() removes it. */
void kit_enter(void);
void kit_leave(void);

/* Runs a shell command; the test fails when it does. */
void kit_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The exit code of a shell command. */
int kit_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Opens an image by name, with `backing` (may be NULL; owned by it afterwards). */
struct image *kit_open(const char *name, enum image_format format, bool readonly,
                       struct image *backing);

/* The same, with whatever flags open(2) knows. The error is in `err`; NULL then. */
struct image *kit_try_open(const char *name, enum image_format format, int flags,
                           struct image *backing, struct error *err);

/* Closes and frees it, with what is below; what was not flushed may be lost. */
void kit_close(struct image *img);

/* Whole transfers in several parts, as an engine does them. 0 or a negative errno. */
int kit_read(struct image *img, uint64_t offset, void *buf, uint64_t len);
int kit_write(struct image *img, uint64_t offset, const void *buf, uint64_t len);
int kit_zero(struct image *img, uint64_t offset, uint64_t len);

/* The next number of a sequence. */
uint64_t kit_random(uint64_t *state);

/* Bytes that tell where they belong and when they were written. */
void kit_fill(uint8_t *buf, uint64_t len, uint64_t offset, uint64_t stamp);

#endif
