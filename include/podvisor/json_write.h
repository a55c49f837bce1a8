// SPDX-License-Identifier: Apache-2.0
/*
 * Writer of JSON text (RFC 8259) into a buffer of the caller's, without allocation: control
 * responses, metrics, the termination message. What does not fit is noticed once, at
 * json_write_finish(). Used by one thread.
 *
 *     json_write_init(&w, buf, sizeof(buf));
 *     json_write_object(&w, NULL);
 *     json_write_int64(&w, "id", id);
 *     json_write_string(&w, "status", "running");
 *     json_write_end(&w);
 *     r = json_write_finish(&w, &len);
 *
 * `name` is the member's name inside an object and NULL elsewhere; mixing that up, or closing what
 * is not open, is a mistake of the program and asserted.
 */
#ifndef PODVISOR_JSON_WRITE_H
#define PODVISOR_JSON_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer {
    char *buf;
    size_t size, len; /* one byte of size is kept for NUL */
    size_t needed;    /* length of the whole text so far, also of what did not fit */
    bool overflow;
    unsigned depth;
    uint64_t object_bits; /* bit n: the container at depth n + 1 is an object */
    bool comma;           /* the next value of this container is not its first */
};

/* Starts a text in `buf` (borrowed) of `size` bytes, at least 1. */
void json_write_init(struct json_writer *w, char *buf, size_t size);

/* Opens an object or an array, at most 64 deep; json_write_end() closes the innermost. */
void json_write_object(struct json_writer *w, const char *name);
void json_write_array(struct json_writer *w, const char *name);
void json_write_end(struct json_writer *w);

/* `str` NULL writes null. Bytes that are not UTF-8 become U+FFFD: a guest may have chosen them. */
void json_write_string(struct json_writer *w, const char *name, const char *str);
void json_write_string_n(struct json_writer *w, const char *name, const char *str, size_t len);
void json_write_int64(struct json_writer *w, const char *name, int64_t value);
void json_write_uint64(struct json_writer *w, const char *name, uint64_t value);

/* The shortest form that reads back as the same double; null when it is not finite. */
void json_write_double(struct json_writer *w, const char *name, double value);
void json_write_bool(struct json_writer *w, const char *name, bool value);
void json_write_null(struct json_writer *w, const char *name);

/* `len` bytes that are one JSON value already, such as a number kept as text. */
void json_write_raw(struct json_writer *w, const char *name, const char *json, size_t len);

/*
 * Ends the text with NUL and stores its length. Everything must be closed. Returns 0, or -ENOSPC
 * when the buffer was too small (w->needed + 1 would do); the text is cut then, not to be sent.
 */
int json_write_finish(struct json_writer *w, size_t *ret_len);

#define JSON_DOUBLE_TEXT_MAX 32

/* The text json_write_double() writes for a finite value. */
void json_format_double(double value, char ret_text[JSON_DOUBLE_TEXT_MAX]);

#endif
