// SPDX-License-Identifier: Apache-2.0
#include "simulate.h"
#include <podvisor/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: simulate nodes COUNT\n"
    "       simulate machines NAMESPACE MANIFEST COUNT TIMEOUT-SECONDS HOLD-SECONDS\n"
    "\n"
    "The cluster is that of $KUBECONFIG. For tests and tools/bench.\n";

int main(int argc, char **argv)
{
    struct kube_config_options config = {.user_agent = "podvisor-simulate/" PODVISOR_VERSION};
    struct kube_client *client = NULL;
    struct error err = ERROR_INIT;
    bool nodes = argc == 3 && strcmp(argv[1], "nodes") == 0;
    if (!nodes && (argc != 7 || strcmp(argv[1], "machines") != 0)) {
        fputs(usage, stderr);
        return 2;
    }
    log_setup("simulate", 2, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    int r = kube_client_new(&config, 5000, 5000, &client, &err);
    if (r == 0 && nodes) {
        r = simulate_nodes(client, (unsigned)atoi(argv[2]), &err);
    } else if (r == 0) {
        struct machines_options options = {argv[2], argv[3], (unsigned)atoi(argv[4]),
                                           (unsigned)atoi(argv[5]), (unsigned)atoi(argv[6])};
        r = simulate_machines(client, &options, &err);
    }
    if (client != NULL)
        kube_client_free(client);
    if (r < 0)
        log_error("simulate", "%s", err.text);
    return r < 0 ? 1 : 0;
}
