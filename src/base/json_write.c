// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON writer of podvisor/json_write.h (RFC 8259). Once a byte did not fit nothing more is
 * written, so that the text in the buffer is always a prefix of the whole. Any thread, one at a
 * time.
 */
#include <assert.h>
#include <math.h>
#include <podvisor/json_scan.h>
#include <podvisor/json_write.h>
#include <podvisor/utf8.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_write_init(struct json_writer *w, char *buf, size_t size)
{
    assert(size > 0);
    *w = (struct json_writer){.buf = buf, .size = size};
}

static void put(struct json_writer *w, const char *s, size_t len)
{
    w->needed += len;
    if (w->overflow || len > w->size - 1 - w->len) {
        w->overflow = true;
        return;
    }
    memcpy(w->buf + w->len, s, len);
    w->len += len;
}

static void put_string(struct json_writer *w, const char *s)
{
    put(w, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void put_format(struct json_writer *w, const char *fmt,
                                                             ...)
{
    char text[32];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    put_string(w, text);
}

/* One character at `s`; returns how many bytes of input it took. */
static size_t put_escaped(struct json_writer *w, const char *s, size_t len)
{
    static const char escape[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
    };
    unsigned char c = (unsigned char)s[0];
    if (c == '"' || c == '\\') {
        put(w, (const char[]){'\\', (char)c}, 2);
    } else if (c < sizeof(escape) && escape[c] != 0) {
        put(w, (const char[]){'\\', escape[c]}, 2);
    } else if (c < 0x20 || c == 0x7f) {
        put_format(w, "\\u%04x", c);
    } else {
        size_t n = utf8_length(s, len);
        if (n == 0) {
            put_string(w, "\\ufffd");
            return 1;
        }
        put(w, s, n);
        return n;
    }
    return 1;
}

static void put_quoted(struct json_writer *w, const char *s, size_t len)
{
    put(w, "\"", 1);
    for (size_t i = 0; i < len;)
        i += put_escaped(w, s + i, len - i);
    put(w, "\"", 1);
}

static bool in_object(const struct json_writer *w)
{
    return w->depth > 0 && (w->object_bits >> (w->depth - 1) & 1) != 0;
}

/* What stands before every value: a comma, and in an object its name. */
static void begin_value(struct json_writer *w, const char *name)
{
    assert(in_object(w) == (name != NULL));
    if (w->comma)
        put(w, ",", 1);
    w->comma = true;
    if (name != NULL) {
        put_quoted(w, name, strlen(name));
        put(w, ":", 1);
    }
}

static void open_container(struct json_writer *w, const char *name, bool object)
{
    begin_value(w, name);
    assert(w->depth < JSON_DEPTH_MAX);
    uint64_t bit = UINT64_C(1) << w->depth++;
    w->object_bits = object ? w->object_bits | bit : w->object_bits & ~bit;
    w->comma = false;
    put(w, object ? "{" : "[", 1);
}

void json_write_object(struct json_writer *w, const char *name)
{
    open_container(w, name, true);
}

void json_write_array(struct json_writer *w, const char *name)
{
    open_container(w, name, false);
}

void json_write_end(struct json_writer *w)
{
    assert(w->depth > 0);
    put(w, in_object(w) ? "}" : "]", 1);
    w->depth--;
    w->comma = true;
}

void json_write_string_n(struct json_writer *w, const char *name, const char *str, size_t len)
{
    begin_value(w, name);
    put_quoted(w, str, len);
}

void json_write_string(struct json_writer *w, const char *name, const char *str)
{
    if (str == NULL)
        json_write_null(w, name);
    else
        json_write_string_n(w, name, str, strlen(str));
}

void json_write_int64(struct json_writer *w, const char *name, int64_t value)
{
    begin_value(w, name);
    put_format(w, "%lld", (long long)value);
}

void json_write_uint64(struct json_writer *w, const char *name, uint64_t value)
{
    begin_value(w, name);
    put_format(w, "%llu", (unsigned long long)value);
}

void json_write_double(struct json_writer *w, const char *name, double value)
{
    if (!isfinite(value)) {
        json_write_null(w, name);
        return;
    }
    begin_value(w, name);
    char text[JSON_DOUBLE_TEXT_MAX];
    json_format_double(value, text);
    put_string(w, text);
}

void json_write_bool(struct json_writer *w, const char *name, bool value)
{
    begin_value(w, name);
    put_string(w, value ? "true" : "false");
}

void json_write_null(struct json_writer *w, const char *name)
{
    begin_value(w, name);
    put_string(w, "null");
}

void json_write_raw(struct json_writer *w, const char *name, const char *json, size_t len)
{
    begin_value(w, name);
    put(w, json, len);
}

void json_format_double(double value, char ret_text[JSON_DOUBLE_TEXT_MAX])
{
    /* 17 digits always suffice for a binary64; most values that people write need fewer. */
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(ret_text, JSON_DOUBLE_TEXT_MAX, "%.*g", digits, value);
        if (strtod(ret_text, NULL) == value)
            break;
    }
}

int json_write_finish(struct json_writer *w, size_t *ret_len)
{
    assert(w->depth == 0);
    w->buf[w->len] = '\0';
    if (w->overflow)
        return -ENOSPC;
    *ret_len = w->len;
    return 0;
}
