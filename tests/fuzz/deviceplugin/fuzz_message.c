// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as the DATA of a call: framing, protobuf, and the methods. The first byte chooses the
 * method and how the rest is cut into frames. What is answered with OK must be a whole message that
 * the other side can read.
 */
#include "deviceplugin.pb-c.h"
#include "grpc.h"
#include "service.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool what)
{
    if (!what)
        abort();
}

/* Feeds `size` bytes in frames of `cut` and finishes. */
static enum grpc_status read_message(struct grpc_reader *reader, const uint8_t *data, size_t size,
                                     size_t cut, struct error *err)
{
    enum grpc_status status = GRPC_OK;
    for (size_t at = 0; status == GRPC_OK && at < size; at += cut)
        status = grpc_reader_feed(reader, data + at, size - at < cut ? size - at : cut, err);
    return status == GRPC_OK ? grpc_reader_finish(reader, err) : status;
}

static void check_reply(grpc_handler *handler, const struct grpc_message *reply)
{
    const ProtobufCMessageDescriptor *type =
        handler == service_allocate  ? &v1beta1__allocate_response__descriptor
        : handler == service_options ? &v1beta1__device_plugin_options__descriptor
                                     : &v1beta1__list_and_watch_response__descriptor;
    require(reply->len >= GRPC_PREFIX_SIZE);
    ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, reply->len - GRPC_PREFIX_SIZE,
                                                          grpc_message_payload(reply));
    require(message != NULL);
    protobuf_c_message_free_unpacked(message, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static grpc_handler *const handlers[] = {service_allocate, service_options,
                                             service_list_and_watch, service_allocate};
    if (size == 0)
        return 0;
    struct device_service service = {
        .type = device_type_find("kvm"), .device_count = 10, .health = {.healthy = true}};
    grpc_handler *handler = handlers[data[0] & 3];
    struct grpc_reader reader = {.data = NULL}, whole = {.data = NULL};
    struct grpc_message reply = {.data = NULL};
    struct error err = ERROR_INIT;
    enum grpc_status status = read_message(&reader, data + 1, size - 1, 1 + (data[0] >> 2), &err);
    /* How the bytes were cut makes no difference. */
    require(read_message(&whole, data + 1, size - 1, size, NULL) == status);
    if (status == GRPC_OK)
        status = handler(&service, reader.data, reader.len, &reply, &err);
    require((status == GRPC_OK) == (reply.data != NULL));
    if (status == GRPC_OK)
        check_reply(handler, &reply);
    else
        require(err.text[0] != '\0');
    char encoded[GRPC_TEXT_MAX], decoded[GRPC_TEXT_MAX];
    grpc_text_encode(err.text, encoded);
    grpc_text_decode(data, size, decoded);
    grpc_message_free(&reply);
    grpc_reader_free(&reader);
    grpc_reader_free(&whole);
    return 0;
}
