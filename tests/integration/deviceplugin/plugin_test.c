// SPDX-License-Identifier: Apache-2.0
/*
 * The program podvisor-device-plugin, started as in a pod but with folders of its own, against a
 * fake kubelet (tests/unit/deviceplugin). Needs root, for mknod. Its path is the first argument.
 */
#include "fake_kubelet.h"
#include "kit.h"
#include "run_suite.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define RSS_MAX_KIB 12288

static const char *program;
static char *environment[] = {NULL};
static struct loop loop;
static struct fake_kubelet kubelet;
static char folder[64], plugins[96], dev[96], log_path[96];
static pid_t pid;

static void make_node(const char *name, unsigned minor_number)
{
    cleanup_free char *path = xasprintf("%s/%s", dev, name);
    ck_assert_int_eq(mknod(path, S_IFCHR | 0600, makedev(10, minor_number)), 0);
}

static void remove_node(const char *name)
{
    cleanup_free char *path = xasprintf("%s/%s", dev, name);
    ck_assert_int_eq(unlink(path), 0);
}

static mode_t node_mode(const char *name)
{
    struct stat st;
    cleanup_free char *path = xasprintf("%s/%s", dev, name);
    ck_assert_int_eq(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

/* What the program must find: this test runs under the same rules. */
static bool node_opens(const char *name)
{
    cleanup_free char *path = xasprintf("%s/%s", dev, name);
    cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 || errno == EPERM || errno == EACCES;
}

static void make_dir(const char *path)
{
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void start_program(const char *extra)
{
    posix_spawn_file_actions_t actions;
    char *argv[] = {xstrdup(program),
                    xasprintf("--plugin-dir=%s", plugins),
                    xasprintf("--dev-dir=%s", dev),
                    xstrdup("--heartbeat=0"),
                    xstrdup("--log-format=json"),
                    xstrdup(extra),
                    NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_path,
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
    ck_assert_int_eq(posix_spawn(&pid, program, &actions, NULL, argv, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; i < ARRAY_SIZE(argv); i++)
        free(argv[i]);
}

/* Ends it and returns its wait status. */
static int end_program(int signal_number)
{
    int status = 0;
    ck_assert_int_eq(kill(pid, signal_number), 0);
    bool ended = false;
    run_until(&loop, ended || (ended = waitpid(pid, &status, WNOHANG) == pid));
    pid = -1;
    return status;
}

static void read_file(const char *path, char *buf, size_t size)
{
    cleanup_fclose FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    buf[fread(buf, 1, size - 1, f)] = '\0';
}

static bool log_has(const char *text)
{
    static char buf[65536];
    read_file(log_path, buf, sizeof(buf));
    return strstr(buf, text) != NULL;
}

static void setup(void)
{
    make_folder(folder);
    snprintf(plugins, sizeof(plugins), "%s/plugins", folder);
    snprintf(dev, sizeof(dev), "%s/dev", folder);
    snprintf(log_path, sizeof(log_path), "%s/log", folder);
    make_dir(plugins);
    make_dir(dev);
    cleanup_free char *net = xasprintf("%s/net", dev);
    make_dir(net);
    make_node("kvm", 232);
    make_node("net/tun", 200);
    ck_assert_int_eq(loop_init(&loop, NULL), 0);
    pid = -1;
}

static void teardown(void)
{
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    loop_done(&loop);
    char *argv[] = {xstrdup("rm"), xstrdup("-r"), xstrdup(folder), NULL};
    pid_t rm;
    ck_assert_int_eq(posix_spawnp(&rm, "rm", NULL, NULL, argv, NULL), 0);
    waitpid(rm, NULL, 0);
    for (size_t i = 0; i < ARRAY_SIZE(argv); i++)
        free(argv[i]);
}

static struct kubelet_plugin *find(const char *name)
{
    char resource[64];
    snprintf(resource, sizeof(resource), "devices.kubevirt.io/%s", name);
    return fake_kubelet_find(&kubelet, resource);
}

/* Healthy devices in the last list. -1: no list. */
static int healthy(const char *name)
{
    const struct kubelet_plugin *p = find(name);
    V1beta1__ListAndWatchResponse *list = p != NULL ? peer_last_list(p->list) : NULL;
    if (list == NULL)
        return -1;
    int count = 0;
    for (size_t i = 0; i < list->n_devices; i++)
        count += strcmp(list->devices[i]->health, "Healthy") == 0;
    v1beta1__list_and_watch_response__free_unpacked(list, NULL);
    return count;
}

static size_t listed(const char *name)
{
    V1beta1__ListAndWatchResponse *list = peer_last_list(find(name)->list);
    size_t count = list->n_devices;
    v1beta1__list_and_watch_response__free_unpacked(list, NULL);
    return count;
}

static void start_both(void)
{
    fake_kubelet_start(&kubelet, &loop, plugins);
    start_program("--max-devices=1000");
    run_until(&loop, find("kvm") != NULL && find("tun") != NULL && find("vhost-net") != NULL);
}

START_TEST(serves_what_the_node_has)
{
    start_both();
    ck_assert_int_eq(healthy("kvm"), node_opens("kvm") ? 1000 : 0);
    ck_assert_int_eq(healthy("tun"), node_opens("net/tun") ? 1000 : 0);
    ck_assert_int_eq(healthy("vhost-net"), 0);
    ck_assert_uint_eq(listed("vhost-net"), 0);
    ck_assert_uint_eq(node_mode("kvm"), 0666);
    ck_assert_uint_eq(node_mode("net/tun"), 0666);
    ck_assert(log_has("this node has no /dev/vhost-net; load the module vhost_net"));
    static const char request[] = "\x0a\x07\x0a\x05kvm42";
    struct peer_stream *s =
        peer_call(find("kvm")->peer, "/v1beta1.DevicePlugin/Allocate", request, 9);
    run_until(&loop, s->closed);
    ck_assert_int_eq(s->grpc_status, node_opens("kvm") ? 0 : 9);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(follows_the_nodes)
{
    start_both();
    remove_node("net/tun");
    run_until(&loop, healthy("tun") == 0);
    ck_assert(log_has("this node has no /dev/net/tun"));
    cleanup_free char *net = xasprintf("%s/net", dev);
    ck_assert_int_eq(rmdir(net), 0);
    run_for(&loop, 200);
    make_dir(net);
    run_for(&loop, 200);
    make_node("net/tun", 200);
    run_until(&loop, healthy("tun") == (node_opens("net/tun") ? 1000 : 0));
    run_until(&loop, node_mode("net/tun") == 0666);
    remove_node("kvm");
    run_until(&loop, healthy("kvm") == 0);
    ck_assert(log_has("enable virtualization in the firmware"));
    make_node("kvm", 233);
    run_until(&loop, log_has("/dev/kvm is not the character device 10:232"));
    ck_assert_uint_eq(node_mode("kvm"), 0600);
    remove_node("kvm");
    make_node("kvm", 232);
    run_until(&loop, healthy("kvm") == (node_opens("kvm") ? 1000 : 0));
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(survives_the_kubelet)
{
    start_both();
    for (unsigned i = 0; i < 3; i++) {
        fake_kubelet_kill(&kubelet);
        run_for(&loop, 50);
        fake_kubelet_start(&kubelet, &loop, plugins);
        run_until(&loop, find("kvm") != NULL && find("tun") != NULL && find("vhost-net") != NULL);
    }
    ck_assert_int_eq(end_program(SIGKILL), SIGKILL);
    fake_kubelet_kill(&kubelet);
    /* The sockets of the killed one are there still. */
    fake_kubelet_start(&kubelet, &loop, plugins);
    start_program("--log-level=debug");
    run_until(&loop, find("kvm") != NULL);
    fake_kubelet_kill(&kubelet);
}
END_TEST

START_TEST(withdraws_at_sigterm)
{
    start_both();
    uint64_t before = clock_now_ns();
    ck_assert_int_eq(end_program(SIGTERM), 0);
    ck_assert_uint_lt(clock_now_ns() - before, 2 * NSEC_PER_SEC);
    run_for(&loop, 50);
    ck_assert_uint_eq(listed("kvm"), 0);
    ck_assert_uint_eq(listed("tun"), 0);
    cleanup_free char *path = xasprintf("%s/podvisor-kvm.sock", plugins);
    ck_assert_int_eq(access(path, F_OK), -1);
    fake_kubelet_kill(&kubelet);
}
END_TEST

static bool status_has(const char *line)
{
    char path[64], buf[4096];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    read_file(path, buf, sizeof(buf));
    return strstr(buf, line) != NULL;
}

START_TEST(holds_no_capability)
{
    start_both();
    ck_assert(status_has("CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
                         "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
                         "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"));
    fake_kubelet_kill(&kubelet);
}
END_TEST

#ifndef SANITIZED
START_TEST(is_small)
{
    char path[64], buf[4096];
    start_both();
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    read_file(path, buf, sizeof(buf));
    const char *line = strstr(buf, "VmRSS:");
    ck_assert_ptr_nonnull(line);
    long kib = strtol(line + 6, NULL, 10);
    printf("resident: %ld KiB\n", kib);
    ck_assert_int_lt(kib, RSS_MAX_KIB);
    fake_kubelet_kill(&kubelet);
}
END_TEST
#endif

static void expect_refusal(const char *flag, const char *text)
{
    int status;
    unlink(log_path);
    start_program(flag);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    pid = -1;
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%s: %x", flag, (unsigned)status);
    ck_assert_msg(log_has(text), "%s", flag);
}

START_TEST(refuses_bad_flags)
{
    expect_refusal("--resources=kvm,vfio", "--resources: 'vfio' is not one of kvm, tun, vhost-net");
    expect_refusal("--resources=", "'' is not one of");
    expect_refusal("--resources=kvm,kvm", "kvm is named twice");
    expect_refusal("--max-devices=0", "'0' is not a number from 1 to 10000");
    expect_refusal("--max-devices=1e3", "'1e3' is not a number");
    expect_refusal("--max-devices", "--max-devices needs a value");
    expect_refusal("--device-mode=rw", "'rw' is neither an octal mode such as 0666 nor keep");
    expect_refusal("--device-mode=1777", "neither an octal mode");
    expect_refusal("--heartbeat=-1", "'-1' is not a number");
    expect_refusal("--log-level=loud", "'loud' is not one of error, warning, info, debug");
    expect_refusal("--log-format=xml", "'xml' is not one of text, json");
    expect_refusal("--dev-dir=dev", "'dev' is no absolute path");
    expect_refusal("--nonsense=1", "unknown flag --nonsense=1");
    expect_refusal("kvm", "unexpected argument 'kvm'");
    expect_refusal("--plugin-dir=/nonexistent", "cannot watch the folder /nonexistent");
}
END_TEST

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PROGRAM\n", argv[0]);
        return EXIT_FAILURE;
    }
    program = argv[1];
    Suite *suite = suite_create("device plugin");
    TCase *tc = tcase_create("program");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 90);
    tcase_add_test(tc, serves_what_the_node_has);
    tcase_add_test(tc, follows_the_nodes);
    tcase_add_test(tc, survives_the_kubelet);
    tcase_add_test(tc, withdraws_at_sigterm);
    tcase_add_test(tc, holds_no_capability);
#ifndef SANITIZED
    tcase_add_test(tc, is_small);
#endif
    tcase_add_test(tc, refuses_bad_flags);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
