// SPDX-License-Identifier: Apache-2.0
/*
 * Strict pull scanner of JSON text (RFC 8259), without allocation: the one JSON reader of podvisor.
 * The monitor reads requests of its control socket with it, json_parse() builds cJSON trees from
 * it, and json_check() only validates.
 *
 * Stricter than the RFC's grammar where its §4, §7, §8.1 and §9 leave room and where other readers
 * disagree with each other: UTF-8 is checked (no overlong form, no surrogate, no BOM), \u0000 and
 * lone surrogate escapes are refused, member names of an object must differ, nothing but white
 * space follows the value, and size, depth and the length of a number have a bound.
 *
 * A scanner is used by one thread; it and its tokens point into the caller's text.
 */
#ifndef PODVISOR_JSON_SCAN_H
#define PODVISOR_JSON_SCAN_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX      64  /* objects and arrays inside each other */
#define JSON_NUMBER_MAX     128 /* characters; a double that round-trips needs 24 */
#define JSON_SCAN_NAMES_MAX 256 /* member names of all open objects, see json_scan_limits */

enum json_type {
    JSON_OBJECT, /* its '{'; members follow as JSON_NAME and a value each, then JSON_OBJECT_END */
    JSON_OBJECT_END,
    JSON_ARRAY, /* its '['; values follow, then JSON_ARRAY_END */
    JSON_ARRAY_END,
    JSON_NAME, /* a member's name; same contents as JSON_STRING */
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
    JSON_END, /* the text is over and was valid */
};

struct json_token {
    enum json_type type;
    const char *text; /* string: between the quotes, still escaped; number: its characters */
    size_t len;
    size_t offset; /* of the token in the text, bytes */
    bool escaped;  /* the string holds at least one backslash */
};

struct json_scan_limits {
    size_t bytes;   /* 0: 64 KiB */
    unsigned depth; /* 0: JSON_DEPTH_MAX, which is also the most */
    /*
     * Duplicate names are found with a table of JSON_SCAN_NAMES_MAX entries inside the scanner; a
     * text that needs more is refused. With `names_by_caller` the scanner checks none and has no
     * such bound: the caller does it.
     */
    bool names_by_caller;
};

struct json_scan {
    const char *text;
    size_t len, pos;
    struct json_scan_limits limits;
    uint64_t object_bits; /* bit n: the container at depth n + 1 is an object */
    unsigned depth;
    uint8_t expect; /* what the grammar allows next; private */
    unsigned name_count;
    struct {
        uint32_t hash, offset, len;
    } name[JSON_SCAN_NAMES_MAX];
    unsigned first_name[JSON_DEPTH_MAX]; /* index in name[] of each open object's first */
};

/*
 * Starts on `len` bytes of `text` (borrowed, need not end in NUL). `limits` may be NULL. Nothing
 * can fail yet; a text over its bound makes the first json_scan_next() fail.
 */
void json_scan_init(struct json_scan *scan, const char *text, size_t len,
                    const struct json_scan_limits *limits);

/*
 * Reads the next token. Returns 0, -EINVAL for a text that is not JSON, -E2BIG for one over a
 * limit; the error says line and column. After JSON_END it returns JSON_END again; after an error
 * the scanner is of no more use.
 */
int json_scan_next(struct json_scan *scan, struct json_token *ret, struct error *err);

/* Passes over the rest of the value that `token` began (nothing to do for a scalar). As next(). */
int json_scan_skip(struct json_scan *scan, const struct json_token *token, struct error *err);

/*
 * As json_scan_skip(), by brackets and quotes alone: for an array or object whose text is checked
 * by who reads it, and must not make the text around it unreadable.
 */
int json_scan_pass(struct json_scan *scan, const struct json_token *token, struct error *err);

/*
 * A flat reader for request objects:
 *
 *     json_scan_init(&scan, line, len, NULL);
 *     r = json_scan_object(&scan, &err);
 *     while (r == 0 && (r = json_scan_member(&scan, &name, &value, &err)) > 0) {
 *         if (json_token_is(&name, "execute"))
 *             r = json_token_string(&value, verb, sizeof(verb), NULL, &err);
 *         else
 *             r = json_scan_skip(&scan, &value, &err);
 *     }
 *
 * json_scan_object() takes the '{' that the text (or the value being read) must begin with.
 * json_scan_member() returns 1 with a member, 0 at the object's end (for the outermost object the
 * text's end has been checked too), or a negative errno. A value that is an object or an array has
 * only begun: read it with these functions, or json_scan_skip() it.
 */
int json_scan_object(struct json_scan *scan, struct error *err);
int json_scan_member(struct json_scan *scan, struct json_token *ret_name,
                     struct json_token *ret_value, struct error *err);

/*
 * The whole text in one pass: 0 when it is one valid JSON value within the limits, else as
 * json_scan_next().
 */
int json_check(const char *text, size_t len, const struct json_scan_limits *limits,
               struct error *err);

/* True when the token is a string or name and, unescaped, equals `str`. */
bool json_token_is(const struct json_token *token, const char *str);

/*
 * Unescapes a string or name into `buf` of `size` bytes, and ends it with NUL (the string itself
 * holds none). `ret_len` may be NULL. Returns 0, -EINVAL for another type, -E2BIG when it does not
 * fit. `size` = token->len + 1 always suffices.
 */
int json_token_string(const struct json_token *token, char *buf, size_t size, size_t *ret_len,
                      struct error *err);

/*
 * Exact integers: digits with an optional minus sign, no fraction, no exponent. Returns 0, -EINVAL
 * for another type or form, -ERANGE when the value does not fit.
 */
int json_token_int64(const struct json_token *token, int64_t *ret, struct error *err);
int json_token_uint64(const struct json_token *token, uint64_t *ret, struct error *err);

/* True when a number token is written as an integer: no '.', no exponent. */
bool json_token_is_integer(const struct json_token *token);

/* Any number that is finite as a double. Returns 0, -EINVAL or -ERANGE. The locale must be "C". */
int json_token_double(const struct json_token *token, double *ret, struct error *err);

/* Returns 0, or -EINVAL when the token is neither true nor false. */
int json_token_bool(const struct json_token *token, bool *ret, struct error *err);

/*
 * Sets an error at `offset` of the text, for readers that find a value wrong: "line 1, column 7:
 * WHAT". Returns -code.
 */
int json_scan_error(const struct json_scan *scan, size_t offset, int code, struct error *err,
                    const char *what);

/* "an object", "a string"...: for messages. */
const char *json_type_name(enum json_type type);

#endif
