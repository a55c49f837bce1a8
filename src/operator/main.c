// SPDX-License-Identifier: Apache-2.0
/*
 * The operator's life: caches, then leadership, then controllers; in reverse at the end
 * (the order of controller-runtime's manager). A lost lease ends the process at once: another
 * replica may be writing already.
 *
 * Threads: main waits for signals; caches, lease, events, HTTP and workers have their own, and so
 * has the end, which cuts off calls that nobody answers.
 */
#include "http.h"
#include "identity.h"
#include "kubevirt.h"
#include "operator.h"
#include "options.h"
#include <malloc.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/kube_lease.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Two dozen threads that wait for answers need no heap each; what one frees, another may take. */
#define HEAPS_MAX 2

#define LEASE_NAME    "podvisor-operator"
#define SYNC_PATIENCE (10 * NSEC_PER_SEC) /* then it says what it waits for, and goes on */

#define KUBEVIRT_LOOK (120 * NSEC_PER_SEC) /* whether it was installed meanwhile */
#define KUBEVIRT_WAIT (30 * NSEC_PER_SEC)  /* whether it is gone */

/* At the end: for events that wait, and for all calls that are under way; those are cut off then.
 */
#define EVENT_DRAIN  (1 * NSEC_PER_SEC)
#define END_PATIENCE (3 * NSEC_PER_SEC)

/* One operator a process. */
static struct operator op;
static struct kube_lease *_Atomic lease;
static atomic_bool synced, leading, beside_kubevirt;
static pthread_t cutter; /* while `ending` */
static sem_t ended;
static bool ending;

static void acquired(void *user)
{
    (void)user;
    log_info("operator", "leading");
    atomic_store(&leading, true);
    kill(getpid(), SIGUSR1); /* main starts the controllers */
}

static void lost(void *user)
{
    (void)user;
    log_error("operator", "lost the lease %s: ending, another replica may lead", LEASE_NAME);
    _exit(1);
}

static int start_lease(const struct options *options, const char *identity, struct error *err)
{
    struct kube_lease *started;
    struct kube_lease_options lease_options = {.namespace_ = options->lease_namespace != NULL
                                                                 ? options->lease_namespace
                                                                 : kube_client_namespace(op.client),
                                               .name = LEASE_NAME,
                                               .identity = identity,
                                               .acquired = acquired,
                                               .lost = lost};
    int r = kube_lease_start(op.client, &lease_options, &started, err);
    if (r == 0)
        atomic_store(&lease, started);
    return r;
}

/* Waits for one of the set's signals: its number, or 0 when none came in time. */
static int wait_signal(uint64_t timeout_ns, sigset_t *set)
{
    struct timespec timeout = {(time_t)(timeout_ns / NSEC_PER_SEC),
                               (long)(timeout_ns % NSEC_PER_SEC)};
    int signal = sigtimedwait(set, NULL, &timeout);
    return signal < 0 ? 0 : signal;
}

/* True when the caches are filled; false when a signal says to end. */
static bool wait_synced(sigset_t *set)
{
    uint64_t said = clock_now_ns();
    while (!kube_caches_wait_synced(op.caches, 200 * NSEC_PER_MSEC)) {
        int signal = wait_signal(0, set);
        if (signal == SIGTERM || signal == SIGINT)
            return false;
        if (clock_now_ns() - said > SYNC_PATIENCE) {
            said = clock_now_ns();
            log_warn("operator",
                     "still waiting for %s to list what is watched; are the CRDs there?",
                     kube_client_server(op.client));
        }
    }
    atomic_store(&synced, true);
    return true;
}

static int run_controllers(unsigned workers, struct error *err)
{
    int r = controller_start(&op.vmi, workers, err);
    if (r == 0)
        r = controller_start(&op.vm, workers, err);
    return r;
}

/* Two operators of different makers would fight over every machine: who was there first works. */
static int look_for_kubevirt(bool running, struct error *err)
{
    bool there = kubevirt_is_installed(&op);
    atomic_store(&beside_kubevirt, there);
    if (there && running)
        return error_set(err, EBUSY, "KubeVirt has been installed in this cluster");
    if (there)
        log_error("operator", "KubeVirt is installed in this cluster: podvisor does nothing until "
                              "it is removed, with its kind " KUBEVIRT_KIND ".kubevirt.io");
    return 0;
}

static int lead_until_signal(const struct options *options, const char *identity, sigset_t *set,
                             struct error *err)
{
    bool running = false;
    int r = 0, signal = 0;
    if (!options->leader_elect)
        acquired(NULL);
    else
        r = start_lease(options, identity, err);
    while (r == 0 && signal != SIGTERM && signal != SIGINT) {
        r = look_for_kubevirt(running, err);
        bool wait = atomic_load(&beside_kubevirt);
        if (r == 0 && !running && !wait && atomic_load(&leading)) {
            running = true;
            r = run_controllers(options->workers, err);
        }
        if (r == 0)
            signal = wait_signal(wait ? KUBEVIRT_WAIT : KUBEVIRT_LOOK, set);
    }
    log_info("operator", "ending");
    return r;
}

/* A reconcile may end at any call, so an API server that does not answer does not hold us. */
static void *cut_off(void *arg)
{
    uint64_t end = clock_now_ns() + END_PATIENCE;
    struct timespec until = {(time_t)(end / NSEC_PER_SEC), (long)(end % NSEC_PER_SEC)};
    (void)arg;
    if (sem_clockwait(&ended, CLOCK_MONOTONIC, &until) < 0) {
        log_warn("operator", "cutting off calls that %s does not answer",
                 kube_client_server(op.client));
        kube_client_interrupt(op.client);
    }
    return NULL;
}

static void begin_end(void)
{
    sem_init(&ended, 0, 0);
    ending = pthread_create(&cutter, NULL, cut_off, NULL) == 0;
    if (!ending) /* at once, then */
        kube_client_interrupt(op.client);
}

static void finish_end(void)
{
    if (!ending)
        return;
    sem_post(&ended);
    pthread_join(cutter, NULL);
}

static int run(const struct options *options, const char *identity, sigset_t *set,
               struct error *err)
{
    struct http_server *server = NULL;
    struct http_options http = {
        options->listen_address, options->listen_port, &op, &lease, &synced, &leading,
        &beside_kubevirt};
    int r = 0;
    if (options->listen_port != 0)
        r = http_start(&http, &server, err);
    if (r == 0)
        r = kube_caches_start(op.caches, err);
    if (r == 0 && wait_synced(set))
        r = lead_until_signal(options, identity, set, err);
    begin_end();
    controllers_stop(&op);
    http_stop(server);
    return r;
}

static int set_up(const struct options *options, const char *identity, struct error *err)
{
    struct kube_config_options config = {options->kubeconfig, options->context,
                                         "podvisor-operator/" PODVISOR_VERSION};
    op.pod = options->pod;
    int r = kube_client_new(&config, options->qps, options->burst, &op.client, err);
    if (r == 0)
        r = kube_events_start(op.client, "podvisor-operator", identity, &op.events, err);
    if (r == 0)
        r = kube_caches_new(op.client, &op.caches, err);
    if (r < 0)
        return r;
    controllers_init(&op);
    operator_add_caches(&op);
    log_info("operator", "podvisor-operator " PODVISOR_VERSION " at %s",
             kube_client_server(op.client));
    return 0;
}

/* The lease goes last: nobody else writes before our last write. */
static void tear_down(void)
{
    if (op.events != NULL)
        kube_events_stop(op.events, EVENT_DRAIN);
    finish_end();
    if (op.caches != NULL)
        kube_caches_free(op.caches);
    if (atomic_load(&lease) != NULL)
        kube_lease_stop(atomic_load(&lease));
    if (op.vm.queue != NULL)
        controllers_done(&op);
    if (op.client != NULL)
        kube_client_free(op.client);
}

static void block_signals(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGTERM);
    sigaddset(ret, SIGINT);
    sigaddset(ret, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, ret, NULL); /* before there are threads: they inherit it */
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    struct options options;
    struct error err = ERROR_INIT;
    sigset_t set;
    int r = options_parse(argc, argv, &options, &err);
    if (r > 0)
        return 0;
    (void)mallopt(M_ARENA_MAX, HEAPS_MAX);
    log_setup("operator", STDERR_FILENO, options.log_format, options.log_level);
    if (r == 0) {
        block_signals(&set);
        cleanup_free char *identity = operator_identity();
        r = set_up(&options, identity, &err);
        if (r == 0)
            r = run(&options, identity, &set, &err);
        tear_down();
    }
    if (r < 0)
        log_error("operator", "%s", err.text);
    return r < 0 ? 1 : 0;
}
