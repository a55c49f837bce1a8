// SPDX-License-Identifier: Apache-2.0
/* One line of the control protocol as a checked structure. See docs/control-protocol.md. */
#ifndef PODVISOR_CONTROL_REQUEST_H
#define PODVISOR_CONTROL_REQUEST_H

#include <podvisor/error.h>
#include <podvisor/json_write.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_ID_MAX     65 /* 64 bytes of UTF-8, and NUL */
#define REQUEST_METHOD_MAX 32
#define REQUEST_DEPTH_MAX  4 /* the object, its params, and room to name what is wrong inside */

/* What the answer repeats: an integer or a string of the client's choice. */
struct request_id {
    enum { REQUEST_ID_NONE, REQUEST_ID_INTEGER, REQUEST_ID_STRING } kind;
    int64_t integer;
    char string[REQUEST_ID_MAX];
};

/* Parameters of all methods; bits of `params` in struct request. */
enum request_param {
    REQUEST_PARAM_TARGET = 1 << 0, /* balloon: bytes of RAM the guest may keep */
    REQUEST_PARAM_REPLAY = 1 << 1, /* console: begin with the past */
};

struct request {
    struct request_id id;
    char method[REQUEST_METHOD_MAX];
    unsigned params; /* set of enum request_param that were given */
    uint64_t target;
    bool replay;
};

/*
 * Reads one line (without its newline) of outside bytes. Returns 0, or a negative errno with the
 * reason in `err`; *ret_request then still holds the id if that came before the mistake.
 */
int request_parse(const char *line, size_t len, struct request *ret_request, struct error *err);

/* Writes the member "id": null when there is none. */
void request_write_id(const struct request_id *id, struct json_writer *w);

#endif
