// SPDX-License-Identifier: Apache-2.0
/*
 * Sockets and registrations of endpoint.h; kubelet: pkg/kubelet/cm/devicemanager.
 *
 * Theory of operation. Whatever is missing is made by attempt(): the listening socket first, then
 * the registration, which is a call that the loop does not wait for (the kubelet connects to our
 * socket before it answers). A failure, a ListAndWatch stream that ended or one that never came arm
 * `retry`; a kubelet that starts removes every socket in the folder and makes its own, and both are
 * events of the folder that come through endpoint_folder_changed() and skip the wait.
 */
#include "endpoint.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <string.h>

#define KUBELET_SOCKET      "kubelet.sock"
#define REGISTER_METHOD     "/v1beta1.Registration/Register"
#define BACKOFF_MIN_NS      NSEC_PER_SEC
#define BACKOFF_MAX_NS      (30 * NSEC_PER_SEC)
#define REGISTER_TIMEOUT_NS (20 * NSEC_PER_SEC) /* the kubelet itself waits 10 s for our socket */
#define CONFIRM_NS          (30 * NSEC_PER_SEC) /* from its answer to its ListAndWatch */

static void arm_retry(struct endpoint *ep, uint64_t after_ns)
{
    if (loop_timer_arm(ep->loop, &ep->retry, ep->loop->now_ns() + after_ns) < 0)
        log_error(ep->service.type->name, "no timer is left: registration is not tried again");
}

/* Says a failure once, not at every attempt. */
static void try_later(struct endpoint *ep, const char *text)
{
    if (strcmp(ep->complaint, text) != 0) {
        snprintf(ep->complaint, sizeof(ep->complaint), "%s", text);
        log_warn(ep->service.type->name, "%s; trying again until it works", text);
    }
    arm_retry(ep, ep->backoff_ns);
    ep->backoff_ns = ep->backoff_ns * 2 < BACKOFF_MAX_NS ? ep->backoff_ns * 2 : BACKOFF_MAX_NS;
}

static void registration_done(struct grpc_call *call, int status, const char *text)
{
    struct endpoint *ep = container_of(call, struct endpoint, registration);
    if (status == GRPC_OK) {
        ep->registered = true;
        ep->complaint[0] = '\0';
        ep->backoff_ns = BACKOFF_MIN_NS;
        log_info(ep->service.type->name, "registered with the kubelet");
        arm_retry(ep, CONFIRM_NS);
        return;
    }
    char line[ERROR_TEXT_MAX];
    snprintf(line, sizeof(line), "the kubelet did not take the registration: %s (%d): %s",
             grpc_status_name(status), status, text);
    try_later(ep, line);
}

static void register_now(struct endpoint *ep)
{
    struct error err = ERROR_INIT;
    struct grpc_message request;
    service_register_request(ep->service.type, ep->socket_name, &request);
    if (grpc_call_start(&ep->registration, ep->loop, ep->kubelet_path, REGISTER_METHOD, &request,
                        REGISTER_TIMEOUT_NS, registration_done, &err) < 0) {
        error_wrap(&err, "the kubelet cannot be reached");
        try_later(ep, err.text);
    }
}

static void streams_changed(void *ctx, unsigned open)
{
    struct endpoint *ep = container_of((struct device_service *)ctx, struct endpoint, service);
    log_debug(ep->service.type->name, "ListAndWatch streams: %u", open);
    if (open == 0 && !ep->service.stopping) {
        log_info(ep->service.type->name, "the kubelet no longer watches the devices");
        ep->registered = false;
        if (!ep->registration.active)
            arm_retry(ep, ep->backoff_ns);
    }
}

static int listen_now(struct endpoint *ep, struct error *err)
{
    static const struct grpc_method methods[] = {
        {"/v1beta1.DevicePlugin/GetDevicePluginOptions", service_options, false},
        {"/v1beta1.DevicePlugin/ListAndWatch", service_list_and_watch, true},
        {"/v1beta1.DevicePlugin/Allocate", service_allocate, false},
        {.path = NULL},
    };
    static const struct grpc_service service = {methods, streams_changed};
    return grpc_server_listen(&ep->server, ep->loop, ep->socket_path, &service, &ep->service, err);
}

static void attempt(struct endpoint *ep)
{
    struct error err = ERROR_INIT;
    if (ep->service.stopping)
        return;
    if (ep->server.fd < 0) {
        int r = listen_now(ep, &err);
        if (r == -ENOENT) {
            error_hint(&err, "the kubelet's plugin folder %s is gone", ep->folder);
            ep->lost(ep->owner, &err);
            return;
        }
        if (r < 0) {
            try_later(ep, err.text);
            return;
        }
    }
    bool watched = ep->registered && ep->server.open_streams > 0;
    if (!watched && !ep->registration.active)
        register_now(ep);
}

static void retry_expired(struct loop_timer *timer)
{
    struct endpoint *ep = container_of(timer, struct endpoint, retry);
    if (ep->registered && ep->server.open_streams == 0)
        log_warn(ep->service.type->name,
                 "the kubelet took the registration but does not watch the devices");
    attempt(ep);
}

/* Makes everything anew without waiting. */
static void start_over(struct endpoint *ep)
{
    grpc_call_cancel(&ep->registration);
    ep->registered = false;
    ep->backoff_ns = BACKOFF_MIN_NS;
    attempt(ep);
}

void endpoint_start(struct endpoint *ep, struct loop *loop, const char *folder,
                    const struct device_type *type, unsigned count,
                    void (*lost)(void *owner, const struct error *err), void *owner)
{
    *ep = (struct endpoint){.loop = loop,
                            .folder = folder,
                            .service = {.type = type, .device_count = count},
                            .server = GRPC_SERVER_INIT,
                            .registration = GRPC_CALL_INIT,
                            .retry = LOOP_TIMER_INIT(retry_expired),
                            .backoff_ns = BACKOFF_MIN_NS,
                            .lost = lost,
                            .owner = owner};
    ep->socket_name = xasprintf("podvisor-%s.sock", type->name);
    ep->socket_path = xasprintf("%s/%s", folder, ep->socket_name);
    ep->kubelet_path = xasprintf("%s/" KUBELET_SOCKET, folder);
    arm_retry(ep, 0);
}

void endpoint_set_health(struct endpoint *ep, const struct device_health *health)
{
    struct device_health *mine = &ep->service.health;
    if (mine->healthy == health->healthy && strcmp(mine->reason, health->reason) == 0)
        return;
    bool was_healthy = mine->healthy;
    *mine = *health;
    if (!health->healthy)
        log_warn(ep->service.type->name, "unhealthy: %s", health->reason);
    else if (health->reason[0] != '\0')
        log_info(ep->service.type->name, "healthy: %s", health->reason);
    else
        log_info(ep->service.type->name, "healthy");
    if (was_healthy != health->healthy)
        grpc_server_publish(&ep->server);
}

static void check_socket(struct endpoint *ep)
{
    if (ep->server.fd < 0)
        return;
    enum grpc_socket_state state = grpc_server_socket_state(&ep->server);
    if (state == GRPC_SOCKET_REPLACED) {
        struct error err = ERROR_INIT;
        error_set(&err, EADDRINUSE, "another program has taken %s; one device plugin a node",
                  ep->socket_path);
        ep->lost(ep->owner, &err);
    } else if (state == GRPC_SOCKET_GONE) {
        log_info(ep->service.type->name, "%s was removed: listening anew", ep->socket_path);
        grpc_server_close(&ep->server);
        start_over(ep);
    }
}

void endpoint_folder_changed(struct endpoint *ep, const char *name)
{
    if (ep->service.stopping)
        return;
    if (name == NULL || strcmp(name, ep->socket_name) == 0)
        check_socket(ep);
    /* Its removal is an event too; then the attempt fails and waits for the next one. */
    if (name == NULL || strcmp(name, KUBELET_SOCKET) == 0)
        start_over(ep);
}

void endpoint_withdraw(struct endpoint *ep)
{
    ep->service.stopping = true;
    loop_timer_disarm(ep->loop, &ep->retry);
    grpc_call_cancel(&ep->registration);
    grpc_server_publish(&ep->server);
}

bool endpoint_is_drained(const struct endpoint *ep)
{
    return grpc_server_is_drained(&ep->server);
}

void endpoint_done(struct endpoint *ep)
{
    ep->service.stopping = true;
    loop_timer_disarm(ep->loop, &ep->retry);
    grpc_call_cancel(&ep->registration);
    grpc_server_close(&ep->server);
    free(steal_ptr(ep->socket_name));
    free(steal_ptr(ep->socket_path));
    free(steal_ptr(ep->kubelet_path));
}
