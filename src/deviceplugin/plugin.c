// SPDX-License-Identifier: Apache-2.0
/*
 * The device plugin as a whole; see plugin.h. Device nodes are checked when something happens in
 * their folders (after a moment, so that a burst of udev's is one check) and once a minute, because
 * a driver can go without its node.
 */
#include "plugin.h"
#include "endpoint.h"
#include "folder_watch.h"
#include "node_report.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#define SETTLE_NS   (50 * NSEC_PER_MSEC)
#define CHECK_NS    (60 * NSEC_PER_SEC)
#define WITHDRAW_NS NSEC_PER_SEC         /* for the empty list and the Node's last report */
#define DRAIN_NS    (10 * NSEC_PER_MSEC) /* between two looks whether both are out */

struct plugin {
    const struct plugin_options *options;
    struct loop loop;
    struct loop_source signals;
    struct folder_watch watch;
    int plugin_wd;
    struct loop_timer check; /* the next look at the device nodes */
    struct loop_timer drain;
    uint64_t stop_deadline_ns; /* 0: not stopping */
    int result;
    struct error failure;
    struct endpoint endpoint[PLUGIN_RESOURCES_MAX];
    unsigned endpoint_count;
    struct node_report *report; /* NULL: nothing is written to the Node */
};

/* Folders of nodes come and go with modules: asking again for a watched one changes nothing. */
static void watch_device_folders(struct plugin *p)
{
    struct error err = ERROR_INIT;
    for (unsigned i = 0; i < p->endpoint_count; i++) {
        cleanup_free char *path =
            xasprintf("%s/%s", p->options->dev_dir, p->endpoint[i].service.type->node);
        *strrchr(path, '/') = '\0';
        if (folder_watch_add(&p->watch, path, &err) < 0)
            log_debug("devices", "%s", err.text);
    }
}

static void check_devices(struct loop_timer *timer)
{
    struct plugin *p = container_of(timer, struct plugin, check);
    if (p->stop_deadline_ns != 0)
        return;
    watch_device_folders(p);
    for (unsigned i = 0; i < p->endpoint_count; i++) {
        struct device_health health;
        const struct device_type *type = p->endpoint[i].service.type;
        device_check(type, p->options->dev_dir, p->options->device_mode, &health);
        endpoint_set_health(&p->endpoint[i], &health);
        if (strcmp(type->name, "kvm") == 0)
            node_report_set(p->report, health.healthy, health.healthy ? "" : health.reason);
    }
    (void)loop_timer_arm(&p->loop, timer, p->loop.now_ns() + CHECK_NS);
}

/* A name in /dev that is none of our nodes nor a folder on the way to one. */
static bool is_foreign(const struct plugin *p, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < p->endpoint_count; i++) {
        const char *node = p->endpoint[i].service.type->node;
        const char *last = strrchr(node, '/');
        if ((strncmp(node, name, len) == 0 && (node[len] == '\0' || node[len] == '/')) ||
            (last != NULL && strcmp(last + 1, name) == 0))
            return false;
    }
    return true;
}

static void folder_changed(struct folder_watch *watch, int wd, const char *name)
{
    struct plugin *p = container_of(watch, struct plugin, watch);
    if (p->stop_deadline_ns != 0)
        return;
    if (wd == p->plugin_wd || wd == -1) {
        for (unsigned i = 0; i < p->endpoint_count; i++)
            endpoint_folder_changed(&p->endpoint[i], name);
    }
    if (wd == p->plugin_wd || (name != NULL && is_foreign(p, name)))
        return;
    uint64_t soon = p->loop.now_ns() + SETTLE_NS;
    if (p->check.heap_index < 0 || p->check.deadline_ns > soon)
        (void)loop_timer_arm(&p->loop, &p->check, soon);
}

static void drain_expired(struct loop_timer *timer)
{
    struct plugin *p = container_of(timer, struct plugin, drain);
    bool drained = node_report_is_done(p->report);
    for (unsigned i = 0; i < p->endpoint_count; i++)
        drained = drained && endpoint_is_drained(&p->endpoint[i]);
    uint64_t now = p->loop.now_ns();
    if (drained || now >= p->stop_deadline_ns)
        loop_stop(&p->loop);
    else
        (void)loop_timer_arm(&p->loop, timer, now + DRAIN_NS);
}

static void stop(struct plugin *p)
{
    if (p->stop_deadline_ns != 0)
        return;
    p->stop_deadline_ns = p->loop.now_ns() + WITHDRAW_NS;
    loop_timer_disarm(&p->loop, &p->check);
    node_report_finish(p->report);
    for (unsigned i = 0; i < p->endpoint_count; i++)
        endpoint_withdraw(&p->endpoint[i]);
    (void)loop_timer_arm(&p->loop, &p->drain, p->loop.now_ns() + DRAIN_NS);
}

static void endpoint_lost(void *owner, const struct error *err)
{
    struct plugin *p = owner;
    if (p->result == 0) {
        p->failure = *err;
        p->result = -err->code;
    }
    stop(p);
}

static void signal_ready(struct loop_source *source, uint32_t events)
{
    struct plugin *p = container_of(source, struct plugin, signals);
    struct signalfd_siginfo info;
    (void)events;
    if (read(source->fd, &info, sizeof(info)) != sizeof(info))
        return;
    log_info("plugin", "%s: withdrawing the devices",
             info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
    stop(p);
}

static int watch_signals(struct plugin *p, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    cleanup_close int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return error_sys(err, errno, "cannot create a signalfd");
    p->signals = LOOP_SOURCE_INIT(signal_ready);
    int r = loop_add(&p->loop, &p->signals, fd, EPOLLIN, err);
    if (r == 0)
        (void)steal_fd(&fd);
    return r;
}

static int watch_plugin_folder(struct plugin *p, struct error *err)
{
    p->plugin_wd = folder_watch_add(&p->watch, p->options->plugin_dir, err);
    if (p->plugin_wd < 0)
        return error_hint(err, "is this the plugin folder of a kubelet? In a pod, mount it");
    return 0;
}

/* Whether the Node is told about KVM: a plugin without kvm leaves that to the one that has it. */
static bool reports_node(const struct plugin_options *o)
{
    bool has_kvm = false;
    for (unsigned i = 0; i < o->type_count; i++)
        has_kvm = has_kvm || strcmp(o->types[i]->name, "kvm") == 0;
    return has_kvm && o->node_name != NULL && o->heartbeat_s > 0;
}

static int start(struct plugin *p, struct error *err)
{
    const struct plugin_options *o = p->options;
    int r = watch_signals(p, err);
    if (r == 0)
        r = folder_watch_start(&p->watch, &p->loop, folder_changed, err);
    if (r == 0)
        r = watch_plugin_folder(p, err);
    if (r == 0 && reports_node(o))
        r = node_report_start(o->node_name, o->kubeconfig, o->heartbeat_s, &p->report, err);
    if (r < 0)
        return r;
    for (; p->endpoint_count < o->type_count; p->endpoint_count++)
        endpoint_start(&p->endpoint[p->endpoint_count], &p->loop, o->plugin_dir,
                       o->types[p->endpoint_count], o->max_devices, endpoint_lost, p);
    check_devices(&p->check);
    return 0;
}

static void finish(struct plugin *p)
{
    for (unsigned i = 0; i < p->endpoint_count; i++)
        endpoint_done(&p->endpoint[i]);
    node_report_free(p->report);
    folder_watch_done(&p->watch);
    int fd = p->signals.fd;
    loop_del(&p->loop, &p->signals);
    if (fd >= 0)
        close(fd);
    loop_done(&p->loop);
}

int plugin_run(const struct plugin_options *options, struct error *err)
{
    cleanup_free struct plugin *p = xcalloc(1, sizeof(*p));
    p->options = options;
    p->watch.fd = p->signals.fd = -1;
    p->check = LOOP_TIMER_INIT(check_devices);
    p->drain = LOOP_TIMER_INIT(drain_expired);
    int r = loop_init(&p->loop, err);
    if (r < 0)
        return r;
    r = start(p, err);
    if (r == 0)
        r = loop_run(&p->loop);
    if (r == 0 && p->result != 0) {
        if (err != NULL)
            *err = p->failure;
        r = p->result;
    }
    finish(p);
    return r;
}
