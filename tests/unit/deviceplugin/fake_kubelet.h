// SPDX-License-Identifier: Apache-2.0
/*
 * A kubelet's side of the device plugin API for tests: nghttp2 without the plugin's own transport,
 * in the test's loop. Like the real one it calls the plugin back before it answers a registration.
 */
#ifndef PODVISOR_TESTS_FAKE_KUBELET_H
#define PODVISOR_TESTS_FAKE_KUBELET_H

#include "deviceplugin.pb-c.h"
#include <nghttp2/nghttp2.h>
#include <podvisor/loop.h>

#define PEER_STREAMS_MAX 256

/* One stream, as either side sees it. */
struct peer_stream {
    struct peer *peer;
    int32_t id;
    char path[128];
    char content_type[64];
    uint8_t *in; /* all DATA */
    size_t in_len;
    int http_status, grpc_status; /* -1: none seen */
    char grpc_message[512];
    bool ended;  /* END_STREAM came */
    bool closed; /* the stream is over */
    uint32_t reset_code;
    uint8_t *out;
    size_t out_len, out_sent;
    bool out_ends; /* END_STREAM behind `out` */
};

/* One connection. */
struct peer {
    struct loop *loop;
    struct loop_source source;
    int fd; /* -1: closed */
    nghttp2_session *session;
    bool server;
    char authority[128];    /* the socket's path, as grpc-go of Kubernetes 1.20 has it */
    bool no_window_updates; /* the stream's window stays used up until peer_open_windows() */
    struct peer_stream *stream[PEER_STREAMS_MAX];
    unsigned stream_count;
    void (*request)(struct peer_stream *stream, void *ctx); /* server: a request is whole */
    void *ctx;
};

/* Connects to a plugin. NULL when that fails. */
struct peer *peer_connect(struct loop *loop, const char *path);
/* Sends a request with these headers and raw body bytes. */
struct peer_stream *peer_request(struct peer *peer, const char *method, const char *path,
                                 const char *content_type, const void *body, size_t len, bool end);
/* The same for a gRPC method with one message. */
struct peer_stream *peer_call(struct peer *peer, const char *path, const void *message, size_t len);
void peer_open_windows(struct peer *peer);
void peer_flush(struct peer *peer);
void peer_close(struct peer *peer); /* the connection; its streams stay to be looked at */
void peer_free(struct peer *peer);

/* Number of whole gRPC messages received, and the payload of one of them. */
unsigned peer_messages(const struct peer_stream *stream);
const uint8_t *peer_message(const struct peer_stream *stream, unsigned index, size_t *ret_len);
/* The last list of a ListAndWatch stream, for free_unpacked. NULL: none yet. */
V1beta1__ListAndWatchResponse *peer_last_list(const struct peer_stream *stream);

#define KUBELET_PLUGINS_MAX 16

/* A plugin that has registered. */
struct kubelet_plugin {
    char resource[64], endpoint[64], version[16];
    struct peer *peer; /* our connection to it */
    struct peer_stream *options, *list, *registration;
    bool answered;
};

struct fake_kubelet {
    struct loop *loop;
    char folder[80], socket_path[128];
    int fd;
    struct loop_source source;
    struct peer *server[KUBELET_PLUGINS_MAX];
    unsigned server_count;
    struct kubelet_plugin plugin[KUBELET_PLUGINS_MAX];
    unsigned registrations;
    int refuse_status; /* not 0: registrations are refused with it */
    bool mute;         /* registrations are never answered */
};

/* Starts as the kubelet does: removes every socket in the folder, then makes its own. */
void fake_kubelet_start(struct fake_kubelet *kubelet, struct loop *loop, const char *folder);
/* Ends as a killed kubelet does: its socket's name stays. */
void fake_kubelet_kill(struct fake_kubelet *kubelet);
/* The newest registration of a resource whose first list has come; NULL: none. */
struct kubelet_plugin *fake_kubelet_find(struct fake_kubelet *kubelet, const char *resource);

#endif
