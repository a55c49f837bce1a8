// SPDX-License-Identifier: Apache-2.0
/* The command line of podnet, docs/pod.md "podnet's flags". Parsed once, before anything else. */
#ifndef PODVISOR_PODNET_OPTIONS_H
#define PODVISOR_PODNET_OPTIONS_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CARD_NAME_MAX 64 /* with NUL */
#define CARD_TAP_MAX  16 /* IFNAMSIZ, with NUL */
#define CARD_PORT_MAX 256

enum binding {
    BINDING_NONE,
    BINDING_BRIDGE,     /* the guest is the pod: its MAC, its address */
    BINDING_MASQUERADE, /* the guest is behind the pod, NAT */
};

struct port {
    bool udp; /* else TCP */
    uint16_t number;
};

/* One `--interface`. IPv4 addresses are numbers in host order throughout podnet. */
struct card {
    char name[CARD_NAME_MAX];
    enum binding binding;
    bool has_mac;
    uint8_t mac[6];
    uint32_t network; /* masquerade: the first address is the pod's, the second the guest's */
    unsigned prefix;  /* 8 to 30 */
    char tap[CARD_TAP_MAX];
    unsigned port_count; /* masquerade: 0 means everything */
    struct port port[CARD_PORT_MAX];
};

struct options {
    const char *lease_dir, *hostname; /* argv's */
    bool has_uid, has_card;
    uid_t uid;
    struct card card;
};

/*
 * `argv` begins after the program's name. Returns 0, 1 when --help or --version was asked for (and
 * printed), or -EINVAL.
 */
int options_parse(int argc, char *const *argv, struct options *ret, struct error *err);

void options_print_help(FILE *out);

#endif
