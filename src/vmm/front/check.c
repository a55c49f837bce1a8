// SPDX-License-Identifier: Apache-2.0
/*
 * `vmm check`: what this host can do for machines, what is missing, and how to mend it. Only looks;
 * exit code 0 when machines can run.
 */
#include "exec.h"
#include "kvm.h"
#include "open.h"
#include "sandbox.h"
#include "verbs.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>

enum verdict { VERDICT_OK, VERDICT_NOTE, VERDICT_FAIL };

struct checker {
    bool failed;
};

static void say(struct checker *c, enum verdict verdict, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct checker *c, enum verdict verdict, const char *what, const char *fmt, ...)
{
    static const char *const word[] = {
        [VERDICT_OK] = "ok", [VERDICT_NOTE] = "note", [VERDICT_FAIL] = "FAIL"};
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    printf("%-4s  %-14s  %s\n", word[verdict], what, text);
    c->failed = c->failed || verdict == VERDICT_FAIL;
}

/* The first line of a small file of /sys or /proc; "" when it cannot be read. */
static const char *read_line(const char *path, char *buf, size_t size)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : 0;
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    return buf;
}

static void check_capabilities(struct checker *c, int kvm_fd)
{
    for (size_t i = 0; i < kvm_capability_count; i++) {
        const struct kvm_capability *cap = &kvm_capabilities[i];
        bool there = kvm_sys_check_extension(kvm_fd, cap->id) > 0;
        enum verdict verdict = there ? VERDICT_OK : cap->required ? VERDICT_FAIL : VERDICT_NOTE;
        say(c, verdict, "  capability", "%s: %s%s", cap->name, cap->purpose,
            there           ? ""
            : cap->required ? "; missing, a newer Linux kernel has it"
                            : "; missing, done without");
    }
    int vcpus = kvm_sys_check_extension(kvm_fd, KVM_CAP_NR_VCPUS);
    int most = kvm_sys_check_extension(kvm_fd, KVM_CAP_MAX_VCPUS);
    say(c, VERDICT_OK, "  vCPUs", "%d recommended and %d possible in one machine, %d in ours",
        vcpus, most, MACHINE_CPU_MAX);
}

static void check_kvm(struct checker *c)
{
    struct error err = ERROR_INIT;
    cleanup_close int fd = -1;
    if (open_kvm(&fd, &err) < 0) {
        say(c, VERDICT_FAIL, "kvm", "%s", err.text);
        return;
    }
    say(c, VERDICT_OK, "kvm", "/dev/kvm, API version %d", kvm_sys_get_api_version(fd));
    if (access("/sys/module/kvm_pvm", F_OK) == 0)
        say(c, VERDICT_NOTE, "  kvm_pvm",
            "virtualisation without VT-x or SVM: a guest's kernel is emulated and slow, only its "
            "user code is fast; a distribution's kernel does not boot here");
    check_capabilities(c, fd);
}

static void check_tun(struct checker *c)
{
    cleanup_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        say(c, VERDICT_OK, "tun", "/dev/net/tun: network cards on taps");
    else if (errno == ENOENT)
        say(c, VERDICT_NOTE, "tun", "no /dev/net/tun, so no network; `sudo modprobe tun`");
    else
        say(c, VERDICT_NOTE, "tun",
            "cannot open /dev/net/tun, so no network; `sudo chmod 666 /dev/net/tun`");
    if (access("/dev/vhost-net", R_OK | W_OK) == 0)
        say(c, VERDICT_OK, "vhost-net", "/dev/vhost-net; not used");
    else
        say(c, VERDICT_NOTE, "vhost-net", "not there; not needed");
}

static void check_huge_pages(struct checker *c)
{
    static const struct {
        const char *folder, *backing;
    } pools[] = {{"2048kB", "hugetlb-2M"}, {"1048576kB", "hugetlb-1G"}};
    char buf[128], path[128];
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", buf, sizeof(buf));
    if (strstr(buf, "[never]") != NULL || buf[0] == '\0')
        say(c, VERDICT_NOTE, "huge pages",
            "no transparent huge pages: guests are slower; `echo madvise | sudo tee "
            "/sys/kernel/mm/transparent_hugepage/enabled`");
    else
        say(c, VERDICT_OK, "huge pages", "transparent: %s", buf);
    for (size_t i = 0; i < ARRAY_SIZE(pools); i++) {
        snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%s/free_hugepages",
                 pools[i].folder);
        read_line(path, buf, sizeof(buf));
        say(c, VERDICT_OK, "  reserved", "%s of %s free, for --memory-backing %s",
            buf[0] != '\0' ? buf : "none", pools[i].folder, pools[i].backing);
    }
}

static void check_sandbox(struct checker *c)
{
    static const struct {
        const char *name;
        enum sandbox_class class;
    } classes[] = {{"vCPU", SANDBOX_VCPU},
                   {"I/O", SANDBOX_IO},
                   {"block worker", SANDBOX_WORKER},
                   {"main", SANDBOX_MAIN}};
    char actions[256];
    int abi = sandbox_landlock_abi();
    if (abi > 0)
        say(c, VERDICT_OK, "landlock", "ABI %d", abi);
    else
        say(c, VERDICT_NOTE, "landlock",
            "not there, system call filters still hold; boot with lsm=landlock,...");
    read_line("/proc/sys/kernel/seccomp/actions_avail", actions, sizeof(actions));
    if (strstr(actions, "kill_process") == NULL) {
        say(c, VERDICT_FAIL, "seccomp",
            "the kernel cannot filter system calls; one with CONFIG_SECCOMP_FILTER can, or accept "
            "--sandbox off");
        return;
    }
    say(c, VERDICT_OK, "seccomp", "a filter for each kind of thread");
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        struct sandbox_info info = sandbox_describe(classes[i].class);
        say(c, VERDICT_OK, "  filter", "%s: %u system calls, %u rules, %u instructions",
            classes[i].name, info.syscalls, info.rules, info.instructions);
    }
}

static void check_io_uring(struct checker *c)
{
    /* No such address: EFAULT says that the call is there and allowed. */
    long r = syscall(SYS_io_uring_setup, 1, NULL);
    if (r < 0 && (errno == EFAULT || errno == EINVAL))
        say(c, VERDICT_OK, "io_uring", "there");
    else
        say(c, VERDICT_NOTE, "io_uring", "not allowed here; Linux AIO or threads do its work");
}

static void check_monitor(struct checker *c)
{
    char path[PLAN_PATH_MAX];
    struct error err = ERROR_INIT;
    if (find_monitor(path, sizeof(path), &err) < 0)
        say(c, VERDICT_FAIL, "monitor", "%s", err.text);
    else
        say(c, VERDICT_OK, "monitor", "%s", path);
}

static int run(int argc, char **argv)
{
    struct positionals words;
    struct error err = ERROR_INIT;
    struct checker checker = {.failed = false};
    int r = flags_parse(&verb_check, argc, argv, NULL, &words, &err);
    if (r > 0)
        return EXIT_OK;
    if (r == 0 && words.count > 0)
        r = error_set(&err, EINVAL, "check takes no argument: %s", words.word[0]);
    if (r < 0)
        return report_error(&err);
    check_kvm(&checker);
    check_monitor(&checker);
    check_tun(&checker);
    check_huge_pages(&checker);
    check_sandbox(&checker);
    check_io_uring(&checker);
    printf("%s\n", checker.failed ? "Machines cannot run here." : "Machines can run here.");
    return checker.failed ? EXIT_BAD_CONFIG : EXIT_OK;
}

static const struct flag check_flags[] = {{.name = NULL}};

const struct verb verb_check = {
    .name = "check",
    .arguments = "",
    .summary = "Says what this host can do, and how to mend what is missing.",
    .details = "Exit code: 0 when machines can run, 1 when they cannot.",
    .flags = check_flags,
    .run = run,
};
