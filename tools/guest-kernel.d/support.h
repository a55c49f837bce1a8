/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of init.c share: lines on the console, parameters, the byte stream that they write, SHA-256. */
#ifndef GUEST_SUPPORT_H
#define GUEST_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* Opens the console and reads the command line; /dev and /proc are mounted. Before everything else here. */
void start_reporting(void);

/* One line, "GUEST " before it, written in one piece. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Reports a failure with errno, and gives the value that a test returns for it. */
int fail(const char *test, const char *what);

/* As much of the file as fits, with a NUL; "" when it cannot be opened. Returns the length. */
size_t read_file(const char *path, char *buf, size_t size);

/* 0 or -1. */
int write_file(const char *path, const char *text);

/* The rest of the line that begins with key in text, without the blanks and the colon between them; NULL if none. */
char *field(char *text, const char *key);

/* Copies the value of the word podvisor.<name>=<value>; the default if there is none. */
const char *param(const char *name, const char *otherwise);
unsigned long number(const char *name, unsigned long otherwise);

unsigned long now_us(void);

/* The byte stream that the disk and network tests write: little-endian words of a 64-bit LCG, starting from seed. */
void fill_pattern(char *buf, size_t size, uint64_t *state);

struct sha256 {
        uint32_t h[8];
        unsigned char block[64];
        size_t total;
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t size);
void sha256_end(struct sha256 *s, char hex[65]);

#endif
