// SPDX-License-Identifier: Apache-2.0
/*
 * The message layer of gRPC over HTTP/2 (grpc: doc/PROTOCOL-HTTP2.md): length-prefixed messages,
 * status codes, and the percent-encoding of grpc-message. No input or output here.
 */
#ifndef PODVISOR_DEVICEPLUGIN_GRPC_H
#define PODVISOR_DEVICEPLUGIN_GRPC_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRPC_MESSAGE_MAX (4u << 20) /* bytes; what grpc-go takes too */
#define GRPC_PREFIX_SIZE 5          /* compressed flag, length in network order */
#define GRPC_TEXT_MAX    512        /* of a grpc-message, encoded, with its NUL */

/* doc/statuscodes.md */
enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
};

/* A framed message to be sent: prefix and payload. */
struct grpc_message {
    uint8_t *data; /* NULL: none */
    size_t len;
};

/* Room for a payload of `len` bytes (at most GRPC_MESSAGE_MAX) behind its prefix; never fails. */
void grpc_message_alloc(struct grpc_message *message, size_t len);
void grpc_message_free(struct grpc_message *message);

static inline uint8_t *grpc_message_payload(const struct grpc_message *message)
{
    return message->data + GRPC_PREFIX_SIZE;
}

/*
 * Puts one message together from the DATA frames of a stream. Memory grows with what arrived,
 * never with what a prefix announces. Zero-initialised is empty.
 */
struct grpc_reader {
    uint8_t prefix[GRPC_PREFIX_SIZE];
    unsigned prefix_len;
    uint8_t *data;
    size_t len, capacity;
    size_t expected; /* by the prefix */
};

/*
 * Takes `len` bytes. Returns GRPC_OK, or the status to answer with and its text in `err`: a
 * compressed or too long message, or more bytes than one message.
 */
enum grpc_status grpc_reader_feed(struct grpc_reader *reader, const uint8_t *data, size_t len,
                                  struct error *err);

/* At the stream's end: GRPC_OK when exactly one whole message is there, in data and len. */
enum grpc_status grpc_reader_finish(const struct grpc_reader *reader, struct error *err);

void grpc_reader_free(struct grpc_reader *reader);

/* Percent-encodes `text` for grpc-message; cut when it does not fit. Returns its length. */
size_t grpc_text_encode(const char *text, char ret[GRPC_TEXT_MAX]);

/* The reverse, for what a server said: control characters become '?'. Returns its length. */
size_t grpc_text_decode(const uint8_t *text, size_t len, char ret[GRPC_TEXT_MAX]);

/* "UNAVAILABLE"...; codes that this program has no name for are "status". */
const char *grpc_status_name(int status);

#endif
