// SPDX-License-Identifier: Apache-2.0
/* gRPC messages and status texts; see grpc.h. Any thread: no state but the caller's. */
#include "grpc.h"
#include <endian.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define READER_FIRST 512

void grpc_message_alloc(struct grpc_message *message, size_t len)
{
    uint32_t be = htobe32((uint32_t)len);
    message->len = GRPC_PREFIX_SIZE + len;
    message->data = xcalloc(1, message->len);
    memcpy(message->data + 1, &be, sizeof(be));
}

void grpc_message_free(struct grpc_message *message)
{
    free(message->data);
    *message = (struct grpc_message){.data = NULL};
}

static enum grpc_status read_prefix(struct grpc_reader *reader, struct error *err)
{
    uint32_t be;
    if (reader->prefix[0] != 0) {
        error_set(err, EPROTONOSUPPORT, "the message is compressed; only identity is supported");
        return GRPC_UNIMPLEMENTED;
    }
    memcpy(&be, reader->prefix + 1, sizeof(be));
    reader->expected = be32toh(be);
    if (reader->expected > GRPC_MESSAGE_MAX) {
        error_set(err, EMSGSIZE, "a message of %zu bytes is larger than %u", reader->expected,
                  GRPC_MESSAGE_MAX);
        return GRPC_RESOURCE_EXHAUSTED;
    }
    return GRPC_OK;
}

/* Room for `more` bytes, which are within what the prefix announced. */
static void reserve(struct grpc_reader *reader, size_t more)
{
    size_t need = reader->len + more;
    if (need <= reader->capacity)
        return;
    size_t capacity = reader->capacity > 0 ? reader->capacity : READER_FIRST;
    while (capacity < need)
        capacity *= 2;
    uint8_t *data = realloc(reader->data, capacity);
    if (data == NULL)
        out_of_memory();
    reader->data = data;
    reader->capacity = capacity;
}

enum grpc_status grpc_reader_feed(struct grpc_reader *reader, const uint8_t *data, size_t len,
                                  struct error *err)
{
    while (len > 0 && reader->prefix_len < GRPC_PREFIX_SIZE) {
        reader->prefix[reader->prefix_len++] = *data++;
        len--;
        if (reader->prefix_len < GRPC_PREFIX_SIZE)
            continue;
        enum grpc_status status = read_prefix(reader, err);
        if (status != GRPC_OK)
            return status;
    }
    if (len == 0)
        return GRPC_OK;
    if (len > reader->expected - reader->len) {
        error_set(err, EPROTO, "more than one message in a request that has one");
        return GRPC_UNIMPLEMENTED;
    }
    reserve(reader, len);
    memcpy(reader->data + reader->len, data, len);
    reader->len += len;
    return GRPC_OK;
}

enum grpc_status grpc_reader_finish(const struct grpc_reader *reader, struct error *err)
{
    if (reader->prefix_len == 0) {
        error_set(err, EPROTO, "no message in a request that has one");
        return GRPC_UNIMPLEMENTED;
    }
    if (reader->prefix_len < GRPC_PREFIX_SIZE || reader->len < reader->expected) {
        error_set(err, EPROTO, "the stream ends within a message");
        return GRPC_INTERNAL;
    }
    return GRPC_OK;
}

void grpc_reader_free(struct grpc_reader *reader)
{
    free(reader->data);
    *reader = (struct grpc_reader){.data = NULL};
}

size_t grpc_text_encode(const char *text, char ret[GRPC_TEXT_MAX])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = 0;
    for (; *text != '\0' && len + 4 <= GRPC_TEXT_MAX; text++) {
        uint8_t c = (uint8_t)*text;
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            ret[len++] = (char)c;
        } else {
            ret[len++] = '%';
            ret[len++] = hex[c >> 4];
            ret[len++] = hex[c & 15];
        }
    }
    ret[len] = '\0';
    return len;
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

size_t grpc_text_decode(const uint8_t *text, size_t len, char ret[GRPC_TEXT_MAX])
{
    size_t out = 0;
    for (size_t i = 0; i < len && out + 1 < GRPC_TEXT_MAX; i++) {
        unsigned c = text[i];
        if (c == '%' && i + 2 < len && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
            c = (unsigned)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            c = '?';
        ret[out++] = (char)c;
    }
    ret[out] = '\0';
    return out;
}

const char *grpc_status_name(int status)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
    return status >= 0 && (size_t)status < ARRAY_SIZE(names) ? names[status] : "status";
}
