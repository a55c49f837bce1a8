// SPDX-License-Identifier: Apache-2.0
/*
 * Error chains. A function that can fail returns 0 or a negative errno and, when the caller passed
 * one, fills a `struct error` with one line for a person: outermost context first, root cause last,
 * then the way out. No allocation: the chain is text in a buffer that the caller owns, so that it
 * works before start-up is complete and inside the sandbox.
 */
#ifndef PODVISOR_ERROR_H
#define PODVISOR_ERROR_H

#include <errno.h>

#define ERROR_TEXT_MAX 1024

struct error {
    int code; /* positive errno; 0 while nothing failed */
    char text[ERROR_TEXT_MAX];
};

#define ERROR_INIT ((struct error){.code = 0, .text = ""})

/*
 * Sets the root cause. `code` is a positive errno that classifies the error for the program; the
 * text is all that a person sees. Returns -code. `err` may be NULL everywhere in this header.
 */
int error_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* As error_set(), and appends ": " and the system's text for `code`. */
int error_sys(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Puts "context: " before what is there already. Returns -err->code (or -EIO when err is NULL). */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* Appends "; hint": the way out, in words that the user can act on. Returns like error_wrap(). */
int error_hint(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

#endif
