// SPDX-License-Identifier: Apache-2.0
/* Requests of the control protocol (docs/control-protocol.md) over the strict scanner; pure. */
#include "request.h"
#include <podvisor/json_scan.h>
#include <string.h>

static int parse_id(const struct json_token *value, struct request_id *ret, struct error *err)
{
    int r;
    if (value->type == JSON_STRING) {
        r = json_token_string(value, ret->string, sizeof(ret->string), NULL, err);
        if (r == 0)
            ret->kind = REQUEST_ID_STRING;
    } else {
        r = json_token_int64(value, &ret->integer, err);
        if (r == 0)
            ret->kind = REQUEST_ID_INTEGER;
    }
    return r < 0 ? error_wrap(err, "id must be an integer or a string of at most %d bytes",
                              REQUEST_ID_MAX - 1)
                 : 0;
}

static int parse_params(struct json_scan *scan, const struct json_token *value,
                        struct request *request, struct error *err)
{
    if (value->type != JSON_OBJECT)
        return error_set(err, EINVAL, "params must be an object, not %s",
                         json_type_name(value->type));
    struct json_token name, member;
    int r;
    while ((r = json_scan_member(scan, &name, &member, err)) > 0) {
        if (json_token_is(&name, "target")) {
            r = json_token_uint64(&member, &request->target, err);
            request->params |= REQUEST_PARAM_TARGET;
        } else if (json_token_is(&name, "replay")) {
            r = json_token_bool(&member, &request->replay, err);
            request->params |= REQUEST_PARAM_REPLAY;
        } else {
            r = error_set(err, EINVAL, "unknown parameter '%.*s'",
                          name.len < 64 ? (int)name.len : 64, name.text);
        }
        if (r < 0)
            return error_wrap(err, "params");
    }
    return r;
}

static int parse_member(struct json_scan *scan, const struct json_token *name,
                        const struct json_token *value, struct request *request, struct error *err)
{
    if (json_token_is(name, "id"))
        return parse_id(value, &request->id, err);
    if (json_token_is(name, "params"))
        return parse_params(scan, value, request, err);
    if (!json_token_is(name, "method"))
        return error_set(err, EINVAL, "unknown member '%.*s'", name->len < 64 ? (int)name->len : 64,
                         name->text);
    int r = json_token_string(value, request->method, sizeof(request->method), NULL, err);
    return r < 0 ? error_wrap(err, "method") : 0;
}

int request_parse(const char *line, size_t len, struct request *ret_request, struct error *err)
{
    struct json_scan scan;
    const struct json_scan_limits limits = {.depth = REQUEST_DEPTH_MAX};
    *ret_request = (struct request){.id.kind = REQUEST_ID_NONE};
    json_scan_init(&scan, line, len, &limits);
    int r = json_scan_object(&scan, err);
    struct json_token name, value;
    while (r == 0 && (r = json_scan_member(&scan, &name, &value, err)) > 0)
        r = parse_member(&scan, &name, &value, ret_request, err);
    if (r < 0)
        return r;
    if (ret_request->id.kind == REQUEST_ID_NONE)
        return error_set(err, EINVAL, "the member 'id' is missing");
    if (ret_request->method[0] == '\0')
        return error_set(err, EINVAL, "the member 'method' is missing");
    return 0;
}

void request_write_id(const struct request_id *id, struct json_writer *w)
{
    if (id->kind == REQUEST_ID_INTEGER)
        json_write_int64(w, "id", id->integer);
    else if (id->kind == REQUEST_ID_STRING)
        json_write_string(w, "id", id->string);
    else
        json_write_null(w, "id");
}
