// SPDX-License-Identifier: Apache-2.0
/*
 * v1beta1.DevicePlugin (deviceplugin.proto) for one resource; see service.h. Requests are unpacked
 * with a budget of memory, because two bytes on the wire can cost a hundred in a tree.
 */
#include "service.h"
#include "deviceplugin.pb-c.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <stdlib.h>
#include <string.h>

#define UNPACK_BUDGET (8u << 20)
#define ID_MAX        64 /* the kubelet's limit is 63 */

typedef V1beta1__AllocateRequest allocate_request;
typedef V1beta1__ContainerAllocateRequest container_request;

/* Frees come with the tree as a whole: the budget counts what was asked for. */
static void *budget_alloc(void *data, size_t size)
{
    size_t *left = data;
    if (size > *left)
        return NULL;
    *left -= size;
    return malloc(size);
}

static void budget_free(void *data, void *ptr)
{
    (void)data;
    free(ptr);
}

static void pack(const ProtobufCMessage *message, struct grpc_message *ret)
{
    grpc_message_alloc(ret, protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, grpc_message_payload(ret));
}

static enum grpc_status unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data,
                               size_t len, ProtobufCAllocator *allocator, ProtobufCMessage **ret,
                               struct error *err)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(type, allocator, len, data);
    if (message == NULL) {
        error_set(err, EINVAL, "the request is no valid %s", type->short_name);
        return GRPC_INVALID_ARGUMENT;
    }
    *ret = message;
    return GRPC_OK;
}

static enum grpc_status check_empty(const uint8_t *data, size_t len, struct error *err)
{
    size_t budget = UNPACK_BUDGET;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    ProtobufCMessage *empty;
    enum grpc_status status =
        unpack(&v1beta1__empty__descriptor, data, len, &allocator, &empty, err);
    if (status == GRPC_OK)
        protobuf_c_message_free_unpacked(empty, &allocator);
    return status;
}

enum grpc_status service_options(void *ctx, const uint8_t *request, size_t len,
                                 struct grpc_message *ret, struct error *err)
{
    (void)ctx;
    V1beta1__DevicePluginOptions options;
    v1beta1__device_plugin_options__init(&options);
    enum grpc_status status = check_empty(request, len, err);
    if (status == GRPC_OK)
        pack(&options.base, ret);
    return status;
}

/*
 * All devices, or none at all when the node cannot have them. "Unhealthy" would say the same but
 * for a kubelet that starts: until we register again it takes the capacity it had for allocatable
 * (Kubernetes 1.20: seen), and a pod that waits for the resource is sent there and fails.
 */
enum grpc_status service_list_and_watch(void *ctx, const uint8_t *request, size_t len,
                                        struct grpc_message *ret, struct error *err)
{
    const struct device_service *service = ctx;
    enum grpc_status status = check_empty(request, len, err);
    if (status != GRPC_OK)
        return status;
    unsigned count = service->stopping || !service->health.healthy ? 0 : service->device_count;
    V1beta1__ListAndWatchResponse list;
    v1beta1__list_and_watch_response__init(&list);
    cleanup_free V1beta1__Device *device = xcalloc(count + 1, sizeof(*device));
    cleanup_free V1beta1__Device **pointer = xcalloc(count + 1, sizeof(void *));
    cleanup_free char(*id)[ID_MAX] = xcalloc(count + 1, sizeof(*id));
    char healthy[] = "Healthy";
    for (unsigned i = 0; i < count; i++) {
        snprintf(id[i], sizeof(id[i]), "%s%u", service->type->name, i);
        v1beta1__device__init(&device[i]);
        device[i].id = id[i];
        device[i].health = healthy;
        pointer[i] = &device[i];
    }
    list.n_devices = count;
    list.devices = pointer;
    pack(&list.base, ret);
    return GRPC_OK;
}

/* One of NAME0 ... NAMEn-1, as we write them. */
static bool id_is_ours(const struct device_service *service, const char *id)
{
    size_t name_len = strlen(service->type->name);
    if (strncmp(id, service->type->name, name_len) != 0)
        return false;
    const char *digits = id + name_len;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 5 || digits[count] != '\0' || (digits[0] == '0' && count > 1))
        return false;
    return strtoul(digits, NULL, 10) < service->device_count;
}

static enum grpc_status check_container(const struct device_service *service,
                                        const container_request *container, struct error *err)
{
    if (container->n_devices_ids == 0) {
        error_set(err, EINVAL, "a container asks for no %s device", service->type->name);
        return GRPC_INVALID_ARGUMENT;
    }
    for (size_t i = 0; i < container->n_devices_ids; i++) {
        if (!id_is_ours(service, container->devices_ids[i])) {
            error_set(err, ENOENT, "there is no %s device '%.64s'", service->type->name,
                      container->devices_ids[i]);
            return GRPC_NOT_FOUND;
        }
    }
    return GRPC_OK;
}

static enum grpc_status check_allocate(const struct device_service *service,
                                       const allocate_request *request, struct error *err)
{
    if (service->stopping || !service->health.healthy) {
        error_set(err, ENODEV, "%s",
                  service->stopping ? "the device plugin is stopping" : service->health.reason);
        return service->stopping ? GRPC_UNAVAILABLE : GRPC_FAILED_PRECONDITION;
    }
    if (request->n_container_requests > SERVICE_CONTAINERS_MAX) {
        error_set(err, EINVAL, "%zu containers in one request; at most %d",
                  request->n_container_requests, SERVICE_CONTAINERS_MAX);
        return GRPC_INVALID_ARGUMENT;
    }
    for (size_t i = 0; i < request->n_container_requests; i++) {
        enum grpc_status status = check_container(service, request->container_requests[i], err);
        if (status != GRPC_OK)
            return status;
    }
    return GRPC_OK;
}

/* Every container gets the one node, however many units it asked for. */
static void reply_allocate(const struct device_service *service, size_t containers,
                           struct grpc_message *ret)
{
    char path[64], permissions[] = "rw";
    snprintf(path, sizeof(path), "/dev/%s", service->type->node);
    V1beta1__DeviceSpec spec;
    v1beta1__device_spec__init(&spec);
    spec.container_path = path;
    spec.host_path = path;
    spec.permissions = permissions;
    V1beta1__DeviceSpec *specs[] = {&spec};
    V1beta1__ContainerAllocateResponse container;
    v1beta1__container_allocate_response__init(&container);
    container.n_devices = 1;
    container.devices = specs;
    V1beta1__ContainerAllocateResponse *list[SERVICE_CONTAINERS_MAX];
    for (size_t i = 0; i < containers; i++)
        list[i] = &container;
    V1beta1__AllocateResponse reply;
    v1beta1__allocate_response__init(&reply);
    reply.n_container_responses = containers;
    reply.container_responses = list;
    pack(&reply.base, ret);
}

enum grpc_status service_allocate(void *ctx, const uint8_t *request, size_t len,
                                  struct grpc_message *ret, struct error *err)
{
    const struct device_service *service = ctx;
    size_t budget = UNPACK_BUDGET;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    ProtobufCMessage *message;
    enum grpc_status status =
        unpack(&v1beta1__allocate_request__descriptor, request, len, &allocator, &message, err);
    if (status != GRPC_OK)
        return status;
    const allocate_request *allocate = (const allocate_request *)(void *)message;
    status = check_allocate(service, allocate, err);
    if (status == GRPC_OK)
        reply_allocate(service, allocate->n_container_requests, ret);
    protobuf_c_message_free_unpacked(message, &allocator);
    return status;
}

void service_register_request(const struct device_type *type, const char *endpoint,
                              struct grpc_message *ret)
{
    cleanup_free char *resource = xasprintf("devices.kubevirt.io/%s", type->name);
    cleanup_free char *name = xstrdup(endpoint);
    char version[] = "v1beta1";
    V1beta1__DevicePluginOptions options;
    v1beta1__device_plugin_options__init(&options);
    V1beta1__RegisterRequest request;
    v1beta1__register_request__init(&request);
    request.version = version;
    request.endpoint = name;
    request.resource_name = resource;
    request.options = &options;
    pack(&request.base, ret);
}
