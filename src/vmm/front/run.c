// SPDX-License-Identifier: Apache-2.0
/*
 * `vmm run`: flags and manifest to a plan, the plan to open descriptors, and those to the monitor,
 * which takes this process over. Returns only when something is wrong, or a signal came first.
 */
#include "exec.h"
#include "manifest.h"
#include "open.h"
#include "pod.h"
#include "verbs.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/json_write.h>
#include <podvisor/log.h>
#include <string.h>

#define MONITOR_PATH_MAX 4608

/* Large, so not on the stack. */
static struct plan plan;
static struct machine_config config;
static struct images images;

/* The reason also goes where the machine's would: the kubelet shows it as the pod's. */
static void write_termination(const char *path, int exit_code, const char *reason,
                              const struct error *err)
{
    char line[ERROR_TEXT_MAX + 128];
    size_t len;
    struct json_writer w;
    cleanup_close int fd =
        open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NONBLOCK); /* never made for this */
    if (fd < 0)
        return;
    json_write_init(&w, line, sizeof(line) - 1);
    json_write_object(&w, NULL);
    json_write_int64(&w, "exitCode", exit_code);
    json_write_string(&w, "reason", reason);
    json_write_string(&w, "message", err->text);
    json_write_end(&w);
    if (json_write_finish(&w, &len) < 0)
        return;
    line[len] = '\n';
    (void)!write(fd, line, len + 1);
}

static int start(const struct run_options *options, uint64_t started, struct error *err)
{
    char monitor[MONITOR_PATH_MAX];
    struct created created;
    int r = plan_make(options, &plan, err);
    if (r == 0)
        r = find_monitor(monitor, sizeof(monitor), err);
    if (r == 0)
        r = open_machine(&plan, options->pod ? &images : NULL, &config, &created, err);
    if (r < 0)
        return r;
    manifest_log_warnings();
    warn_taps_down(&plan);
    if (plan.console == CONSOLE_STDIO && isatty(STDIN_FILENO))
        log_info("", "the console is this terminal; Ctrl-] three times ends the machine");
    config.exec_time_ns = started;
    r = exec_monitor(monitor, &config, err);
    created_undo(&created);
    return r;
}

/* Why the machine did not start; returns the exit code. */
static int end(const struct run_options *options, const struct error *err)
{
    bool stopped = images.stop_signal != 0;
    const char *reason = stopped ? "Stopped" : images.failed ? "ImageFailed" : "BadConfiguration";
    int exit_code = stopped ? EXIT_OK : EXIT_BAD_CONFIG;
    if (options->termination_message != NULL)
        write_termination(options->termination_message, exit_code, reason, err);
    if (!stopped)
        return report_error(err);
    log_info("", "%s", err->text);
    return exit_code;
}

static int run(int argc, char **argv)
{
    uint64_t started = clock_now_ns();
    static struct run_options options;
    struct positionals words;
    struct error err = ERROR_INIT, pod_err = ERROR_INIT;
    run_options_init(&options);
    images = IMAGES_INIT;
    int r = flags_parse(&verb_run, argc, argv, &options, &words, &err);
    if (r > 0)
        return EXIT_OK;
    if (r == 0 && words.count > 1)
        r = error_set(&err, EINVAL, "one manifest at a time: %s", words.word[1]);
    if (r == 0)
        options.manifest = words.count > 0 ? words.word[0] : NULL;
    /* Also after bad flags: whoever waits for the image socket shall find it. */
    if (options.pod && pod_begin(&options, &images, &pod_err) < 0 && r == 0) {
        err = pod_err;
        r = -err.code;
    }
    log_setup("vmm", STDERR_FILENO, options.log_format, options.log_level);
    if (r == 0)
        start(&options, started, &err);
    return end(&options, &err);
}

const struct verb verb_run = {
    .name = "run",
    .arguments = "[MANIFEST]",
    .summary = "Runs a virtual machine from flags, a KubeVirt manifest, or both.",
    .details = "MANIFEST is a VirtualMachine or VirtualMachineInstance, YAML or JSON; flags win\n"
               "over it. Exit code: 0 clean power-off, 1 bad configuration, 2 guest crash,\n"
               "3 internal error.",
    .flags = run_flags,
    .run = run,
};
