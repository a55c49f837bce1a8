// SPDX-License-Identifier: Apache-2.0
/*
 * podvisor-device-plugin: command line and sandbox, then the loop of plugin.h. It runs as uid 0,
 * because only an owner may change the device nodes' modes, and gives every capability away.
 */
#include "options.h"
#include "plugin.h"
#include <cap-ng.h>
#include <podvisor/cleanup.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* Before any thread. SIGTERM and SIGINT are read from a descriptor; a peer that went is an error.
 */
static void set_up_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int drop_privileges(struct error *err)
{
    umask(077);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_sys(err, errno, "cannot set no_new_privs");
    capng_get_caps_process();
    bool bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
    capng_clear(CAPNG_SELECT_ALL);
    /* Needs a capability itself, so it comes before those go. */
    if (bounds && (capng_apply(CAPNG_SELECT_BOUNDS) < 0 || capng_lock() < 0))
        return error_set(err, EPERM, "cannot empty the capability bounding set");
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return error_set(err, EPERM, "cannot give up capabilities");
    return 0;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct plugin_options options;
    log_setup("podvisor-device-plugin", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    int r = options_parse(argc, argv, &options, &err);
    if (r > 0)
        return EXIT_SUCCESS;
    if (r == 0) {
        log_setup("podvisor-device-plugin", STDERR_FILENO, options.log_format, options.log_level);
        set_up_signals();
        r = drop_privileges(&err);
    }
    if (r == 0)
        r = plugin_run(&options, &err);
    if (r < 0)
        log_error("", "%s", err.text);
    /* Without exit handlers: a thread may still be waiting for the API server. */
    _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
