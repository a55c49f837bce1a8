// SPDX-License-Identifier: Apache-2.0
/* The operator's command line; what is not given there comes from the environment of its
 * Deployment. */
#ifndef PODVISOR_OPERATOR_OPTIONS_H
#define PODVISOR_OPERATOR_OPTIONS_H

#include "pod.h"
#include <podvisor/error.h>
#include <podvisor/log.h>
#include <stdint.h>

struct options {
    const char *kubeconfig; /* NULL: in-cluster, $KUBECONFIG, ~/.kube/config */
    const char *context;
    struct pod_config pod;
    bool leader_elect;
    const char *lease_namespace; /* NULL: the client's own */
    const char *listen_address;  /* numeric */
    uint16_t listen_port;        /* 0: no HTTP server */
    unsigned workers;            /* a controller */
    unsigned qps, burst;
    enum log_format log_format;
    enum log_level log_level;
};

/* 0: run; 1: help or version was printed; -EINVAL. Strings are borrowed from argv and environ. */
int options_parse(int argc, char **argv, struct options *ret, struct error *err);

#endif
