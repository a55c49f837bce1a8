// SPDX-License-Identifier: Apache-2.0
/*
 * The methods of v1beta1.DevicePlugin for one resource, and the registration's request: protobuf
 * in, protobuf out. Loop thread only.
 */
#ifndef PODVISOR_DEVICEPLUGIN_SERVICE_H
#define PODVISOR_DEVICEPLUGIN_SERVICE_H

#include "device.h"
#include "grpc.h"
#include "grpc_server.h"

#define SERVICE_DEVICES_MAX    10000 /* a list of them stays far below a message's limit */
#define SERVICE_CONTAINERS_MAX 256   /* in one Allocate; the kubelet asks for one */

struct device_service {
    const struct device_type *type;
    unsigned device_count; /* ids are NAME0 ... NAMEn-1, stable: the kubelet remembers them */
    struct device_health health;
    bool stopping;
};

/* Handlers of the three methods that the kubelet calls; `ctx` is the struct device_service. */
grpc_handler service_options, service_list_and_watch, service_allocate;

/* The message for Register: `endpoint` is the socket's name in the plugin folder. */
void service_register_request(const struct device_type *type, const char *endpoint,
                              struct grpc_message *ret);

#endif
