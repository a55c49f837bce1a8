// SPDX-License-Identifier: Apache-2.0
/*
 * Strings for the front and the operator: allocation that never fails (a process that is out of
 * memory there says so and aborts; it is started again), names after RFC 1123, and proposals for
 * misspelt words. Any thread.
 */
#ifndef PODVISOR_STR_H
#define PODVISOR_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Says "out of memory" on standard error and aborts. */
_Noreturn void out_of_memory(void);

/* Zeroed memory for free(); never NULL. */
void *xcalloc(size_t count, size_t size) __attribute__((alloc_size(1, 2), malloc));

/* A copy for free(); NULL for NULL. */
char *xstrdup(const char *str);

/* printf into a string for free(); never NULL. */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *xvasprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* Both NULL, or both the same. */
bool str_equal(const char *a, const char *b);
bool str_starts_with(const char *str, const char *prefix);

/* RFC 1123 label: 1 to 63 of a-z 0-9 '-', first and last not '-'. */
bool str_is_dns_label(const char *str);

/* RFC 1123 subdomain: labels joined by '.', at most 253 characters (a Kubernetes object's name). */
bool str_is_dns_subdomain(const char *str);

/*
 * Damerau-Levenshtein distance (insert, delete, replace, swap neighbours; letters' case ignored),
 * or `max` + 1 when it is more than `max`, or a word is longer than 63 characters.
 */
unsigned str_distance(const char *a, const char *b, unsigned max);

#endif
