// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes on a connection to the plugin's socket, behind the client's preface and an empty
 * SETTINGS frame; a snapshot is published in the middle. Whatever comes, the server forgets the
 * connection with everything that belonged to it.
 */
#include "grpc_server.h"
#include "service.h"
#include <podvisor/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop loop;
static struct grpc_server server;
static struct device_service device;
static char folder[] = "/tmp/podvisor-fuzz-XXXXXX";
static char path[64];

static void require(bool what)
{
    if (!what)
        abort();
}

static void streams_changed(void *ctx, unsigned open)
{
    (void)ctx;
    require(open <= GRPC_SERVER_STREAM_MAX);
}

static void remove_folder(void)
{
    grpc_server_close(&server);
    rmdir(folder);
}

static void start(void)
{
    static const struct grpc_method methods[] = {
        {"/v1beta1.DevicePlugin/GetDevicePluginOptions", service_options, false},
        {"/v1beta1.DevicePlugin/ListAndWatch", service_list_and_watch, true},
        {"/v1beta1.DevicePlugin/Allocate", service_allocate, false},
        {.path = NULL},
    };
    static const struct grpc_service service = {methods, streams_changed};
    log_setup("fuzz", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    device = (struct device_service){
        .type = device_type_find("kvm"), .device_count = 3, .health = {.healthy = true}};
    require(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/s", folder);
    require(loop_init(&loop, NULL) == 0);
    require(grpc_server_listen(&server, &loop, path, &service, &device, NULL) == 0);
    atexit(remove_folder);
}

static void turn(unsigned times)
{
    while (times-- > 0)
        require(loop_run_once(&loop, 0) == 0);
}

static void put(int fd, const void *data, size_t size)
{
    /* A peer that was refused is gone. */
    (void)!send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    turn(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    if (server.loop == NULL)
        start();
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
    put(fd, preface, sizeof(preface) - 1);
    put(fd, data, size / 2);
    grpc_server_publish(&server);
    put(fd, data + size / 2, size - size / 2);
    close(fd);
    turn(4);
    require(server.conn_count == 0 && server.open_streams == 0 && server.buffered == 0);
    return 0;
}
