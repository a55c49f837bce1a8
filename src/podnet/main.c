// SPDX-License-Identifier: Apache-2.0
/*
 * podnet, the init container that connects a pod's network to the tap of its machine (docs/pod.md,
 * podnet(8)). It does what needs NET_ADMIN first, then gives that up and never has it while it
 * reads or writes a file. Exit code 0, or 1 with a line on standard error; running it again is
 * safe.
 */
#include "connect.h"
#include <cap-ng.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>
#include <sys/prctl.h>

static int drop_capabilities(struct error *err)
{
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return error_set(err, EPERM, "cannot give up the capabilities");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_sys(err, errno, "cannot give up the capabilities");
    return 0;
}

static int run(const struct options *options, struct error *err)
{
    static struct resolv resolv;
    static struct pod_network pod;
    struct lease_values lease;
    int r = connect_card(&options->card, options->uid, &pod, &lease, err);
    if (r < 0)
        return error_wrap(err, "network card %s", options->card.name);
    r = drop_capabilities(err);
    if (r == 0)
        r = resolv_read(&resolv, err);
    if (r < 0)
        return r;
    if (resolv.left_out > 0)
        log_warn("", "%u of the servers and domains in " RESOLV_PATH " cannot be told to the guest",
                 resolv.left_out);
    lease.hostname = options->hostname;
    lease.resolv = &resolv;
    return lease_write(options->lease_dir, &lease, err);
}

int main(int argc, char **argv)
{
    static struct options options;
    struct error err = ERROR_INIT;
    log_setup("podnet", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    int r = options_parse(argc - 1, argv + 1, &options, &err);
    if (r > 0)
        return EXIT_SUCCESS;
    if (r == 0)
        r = run(&options, &err);
    if (r < 0) {
        log_error("", "%s", err.text);
        return EXIT_FAILURE;
    }
    log_info("", "network card %s: %s on tap %s", options.card.name,
             options.card.binding == BINDING_BRIDGE ? "bridge" : "masquerade", options.card.tap);
    return EXIT_SUCCESS;
}
