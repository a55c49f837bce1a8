// SPDX-License-Identifier: Apache-2.0
/*
 * An API server that follows a script, for tests of src/kube: HTTP/1.1 on a loopback port, a thread
 * a connection. Each request takes the first reply of the script that fits and is recorded; a
 * reply may be cut at any byte, late, slow, endless (a watch) or never come.
 *
 * Any thread may call these functions. A mistake of the script is a failed test, by the recorded
 * requests or by a 501 that says what was not expected.
 */
#ifndef PODVISOR_TESTS_KUBE_SERVER_H
#define PODVISOR_TESTS_KUBE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kube_reply_kind {
    KUBE_REPLY_BODY,   /* status, headers, body with its length */
    KUBE_REPLY_STREAM, /* chunked; body first, then what is pushed until kube_server_end_stream() */
    KUBE_REPLY_HANG,   /* the request is read and never answered, the connection stays */
    KUBE_REPLY_CLOSE,  /* closed without a byte */
    KUBE_REPLY_RESET,  /* the same with RST */
};

struct kube_reply {
    const char *request; /* beginning of "GET /api/v1/pods?limit=500"; NULL: any request */
    enum kube_reply_kind kind;
    int status;          /* 0: 200 */
    const char *headers; /* more header lines, each with "\r\n"; NULL: none */
    const char *body;    /* NULL: "" */
    size_t body_len;     /* 0: strlen(body) */
    size_t cut_at;       /* cut after cut_at - 1 bytes of the response; 0: is not */
    bool cut_with_reset; /* ... with RST, not FIN */
    unsigned delay_ms;   /* before the first byte */
    size_t piece;        /* bytes a write; 0: all */
    unsigned piece_delay_ms;
    unsigned times; /* how many requests it answers; 0: one; KUBE_REPLY_ALWAYS */
};

#define KUBE_REPLY_ALWAYS 0xffffffffu

struct kube_recorded {
    const char *line;    /* "POST /api/v1/namespaces/default/pods" */
    const char *headers; /* as received, after the request line */
    const char *body;
    unsigned connection; /* 1 for the first that was accepted, 2... */
    uint64_t at_ns;      /* CLOCK_MONOTONIC */
};

struct kube_server;

/* What a server with TLS shows and asks for, PEM. `client_ca` NULL: no client certificate. */
struct kube_server_tls {
    const char *cert, *key, *client_ca;
};

/* Listens on a port of 127.0.0.1 that the kernel chooses. `tls` NULL: plain HTTP. Aborts when it
 * cannot. */
struct kube_server *kube_server_start(const struct kube_server_tls *tls);

/* Ends all connections and threads, frees the records. */
void kube_server_stop(struct kube_server *server);

uint16_t kube_server_port(const struct kube_server *server);

/* "http://127.0.0.1:PORT" or "https://127.0.0.1:PORT". */
const char *kube_server_url(const struct kube_server *server);

/*
 * The path of a kubeconfig for this server, for kube_config_options.kubeconfig; it goes when the
 * server stops. `cluster` and `user` are more YAML for their entries, each a flow mapping's inside
 * ("token: abc"); NULL: none.
 */
const char *kube_server_kubeconfig(struct kube_server *server, const char *cluster,
                                   const char *user);

/* Appends to the script (copied). */
void kube_server_add(struct kube_server *server, const struct kube_reply *reply);

/* Takes everything that is not used yet out of the script. */
void kube_server_clear(struct kube_server *server);

/* Requests so far, and one of them (valid until the server stops). */
size_t kube_server_requests(struct kube_server *server);
struct kube_recorded kube_server_request(struct kube_server *server, size_t index);

/* Requests that no reply fitted: answered with 501. */
size_t kube_server_unexpected(struct kube_server *server);

/* Waits until there were `count` requests; false after `timeout_ms`. */
bool kube_server_wait(struct kube_server *server, size_t count, unsigned timeout_ms);

/* True when the header of a recorded request has exactly this value. */
bool kube_recorded_has(const struct kube_recorded *recorded, const char *header, const char *value);

/*
 * To the open stream whose request line begins with `request` (NULL: the newest stream): one chunk
 * of `text`. False when there is none.
 */
bool kube_server_push(struct kube_server *server, const char *request, const char *text);

/* The regular end of that stream (last chunk); with `cut` the connection just ends. */
bool kube_server_end_stream(struct kube_server *server, const char *request, bool cut);

/* Open streams. Waits until there are `count`; false after `timeout_ms`. */
bool kube_server_wait_streams(struct kube_server *server, size_t count, unsigned timeout_ms);

/* Connections accepted so far. */
unsigned kube_server_connections(struct kube_server *server);

/* The certificate's common name that the client showed on its newest connection; "" none. Borrowed
 * until the server stops. */
const char *kube_server_client_name(struct kube_server *server);

#endif
