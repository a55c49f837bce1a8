// SPDX-License-Identifier: Apache-2.0
/*
 * The sandbox as the kernel enforces it: every test confines a child process and looks at how it
 * ends, or at what /proc says about it. Children use raw system calls, because libc and the
 * sanitizers make more of them than they were asked for.
 */
#include "run_suite.h"
#include "sandbox.h"
#include <check.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <podvisor/cleanup.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

/* SYS_exit: the one way to end that every class allows but main, whose is exit_group. */
static void leave(int status)
{
    syscall(SYS_exit, status);
    syscall(SYS_exit_group, status);
}

/* Not libc's fork(): ThreadSanitizer would start a thread of its own in the child. */
static pid_t raw_fork(void)
{
    fflush(NULL);
    return (pid_t)syscall(SYS_fork);
}

static int in_child(void (*fn)(void *arg), void *arg)
{
    pid_t pid = raw_fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        fn(arg);
        leave(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static bool killed_by_filter(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool clean(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* --- Thread filters ------------------------------------------------------------------------ */

struct attempt {
    enum sandbox_class thread_class;
    enum machine_sandbox mode;
    long nr, arg[6];
    long expect; /* result, or negative errno, if it returns */
};

static void attempt_call(void *arg)
{
    const struct attempt *a = arg;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (sandbox_thread(a->thread_class, a->mode, NULL) < 0)
        _exit(101);
    long r = syscall(a->nr, a->arg[0], a->arg[1], a->arg[2], a->arg[3], a->arg[4], a->arg[5]);
    if (r < 0)
        r = -errno;
    if (a->thread_class == SANDBOX_MAIN)
        syscall(SYS_exit_group, r == a->expect ? 0 : 102);
    syscall(SYS_exit, r == a->expect ? 0 : 102);
}

static const struct attempt allowed[] = {
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_write, {-1, 0, 0}, -EBADF},
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_ioctl, {-1, KVM_RUN}, -EBADF},
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_ioctl, {-1, KVM_SET_GSI_ROUTING}, -EBADF},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_preadv2, {-1, 0, 0, -1, -1, 0}, -EBADF},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_io_uring_enter, {-1, 0, 0, 0, 0, 0}, -EBADF},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_io_submit, {0, 0, 0}, -EINVAL},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_madvise, {0, 0, MADV_DONTNEED}, 0},
    {SANDBOX_WORKER, MACHINE_SANDBOX_ON, SYS_fdatasync, {-1}, -EBADF},
    {SANDBOX_WORKER, MACHINE_SANDBOX_ON, SYS_preadv2, {-1, 0, 0, 0, 0, 0}, -EBADF},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_accept4, {-1, 0, 0, 0}, -EBADF},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_close, {-1}, -EBADF},
    /* Log mode and no sandbox: anything goes. */
    {SANDBOX_VCPU, MACHINE_SANDBOX_LOG, SYS_dup, {-1}, -EBADF},
    {SANDBOX_MAIN, MACHINE_SANDBOX_LOG, SYS_dup, {-1}, -EBADF},
    {SANDBOX_VCPU, MACHINE_SANDBOX_OFF, SYS_dup, {-1}, -EBADF},
};

static const struct attempt forbidden[] = {
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_dup, {-1}, 0},
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_openat, {AT_FDCWD, 0, 0}, 0},
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_ioctl, {-1, KVM_CREATE_VM}, 0},
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_ioctl, {-1, KVM_SET_USER_MEMORY_REGION}, 0},
    {SANDBOX_VCPU, MACHINE_SANDBOX_ON, SYS_accept4, {-1, 0, 0, 0}, 0},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_ioctl, {-1, KVM_RUN}, 0},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_madvise, {0, 0, MADV_MERGEABLE}, 0},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_io_uring_setup, {1, 0}, 0},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_io_uring_register, {-1, 0, 0, 0}, 0},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_io_setup, {1, 0}, 0},
    {SANDBOX_IO, MACHINE_SANDBOX_ON, SYS_mmap, {0, 0, PROT_READ, 0, -1}, 0},
    {SANDBOX_WORKER, MACHINE_SANDBOX_ON, SYS_fallocate, {-1, 0, 0, 0}, 0},
    {SANDBOX_WORKER, MACHINE_SANDBOX_ON, SYS_epoll_ctl, {-1, 0, 0, 0}, 0},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_socket, {AF_UNIX, SOCK_STREAM, 0}, 0},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_newfstatat, {AT_FDCWD, 0, 0, AT_EMPTY_PATH}, 0},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_mmap, {0, 0, PROT_READ, 0, -1}, 0},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_brk, {0}, 0},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_mprotect, {0, 0, PROT_EXEC}, 0},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_execve, {0, 0, 0}, 0},
    {SANDBOX_MAIN, MACHINE_SANDBOX_ON, SYS_tgkill, {0, 0, SIGKILL}, 0},
};

START_TEST(allowed_calls_return)
{
    struct attempt a = allowed[_i];
    int status = in_child(attempt_call, &a);
    ck_assert_msg(clean(status), "class %d, call %ld: status 0x%x", a.thread_class, a.nr, status);
}
END_TEST

START_TEST(forbidden_calls_kill)
{
    struct attempt a = forbidden[_i];
    int status = in_child(attempt_call, &a);
    ck_assert_msg(killed_by_filter(status), "class %d, call %ld: status 0x%x", a.thread_class, a.nr,
                  status);
}
END_TEST

/* --- The process ---------------------------------------------------------------------------- */

struct confined {
    int ready[2], go[2]; /* pipes: child to parent, parent to child */
};

/* A step that failed shows as the exit status. */
static void expect(bool condition, int status)
{
    if (!condition)
        _exit(status);
}

static void confine(const struct confined *c, enum machine_sandbox mode)
{
    const int keep[] = {c->go[0], -1, c->ready[1], STDERR_FILENO};
    struct sandbox_config config = {
        .mode = mode,
        .keep_fds = keep,
        .keep_fd_count = ARRAY_SIZE(keep),
        .fd_limit = 64,
    };
    struct error err = ERROR_INIT;
    if (sandbox_process(&config, &err) < 0) {
        dprintf(STDERR_FILENO, "%s\n", err.text);
        _exit(100);
    }
}

/* Descriptors, limits, files and network as the confined process finds them. */
static void look_around(void *arg)
{
    const struct confined *c = arg;
    int stray = fcntl(STDERR_FILENO, F_DUPFD, 40);
    expect(stray >= 40, 1);
    confine(c, MACHINE_SANDBOX_ON);

    expect(fcntl(stray, F_GETFD) == -1 && fcntl(c->ready[0], F_GETFD) == -1, 2);
    expect(fcntl(c->ready[1], F_GETFD) >= 0 && fcntl(c->go[0], F_GETFD) >= 0, 3);
    struct stat st;
    expect(fstat(STDIN_FILENO, &st) == 0 && st.st_rdev == makedev(1, 3), 4);
    expect(fstat(STDOUT_FILENO, &st) == 0 && st.st_rdev == makedev(1, 3), 5);

    struct rlimit limit;
    expect(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0, 6);
    expect(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max == 64, 7);
    expect(prctl(PR_GET_DUMPABLE) == 0, 8);

    char byte = 'r';
    expect(write(c->ready[1], &byte, 1) == 1 && read(c->go[0], &byte, 1) == 1, 9);
}

static void look_at_files(void *arg)
{
    (void)arg;
    expect(open("/proc/self/status", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES, 1);
    expect(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) == -1 && errno == EACCES, 2);
    expect(mkdir("/tmp/podvisor-sandbox-test", 0700) == -1 && errno == EACCES, 3);
    char *const argv[] = {NULL};
    expect(execv("/bin/true", argv) == -1 && errno == EACCES, 4);
}

static void look_at_files_confined(void *arg)
{
    confine(arg, MACHINE_SANDBOX_ON);
    look_at_files(NULL);
    /* And so does what it starts. */
    expect(clean(in_child(look_at_files, NULL)), 5);
}

static void bind_tcp_confined(void *arg)
{
    confine(arg, MACHINE_SANDBOX_ON);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect(fd >= 0, 1);
    const struct sockaddr_in any = {.sin_family = AF_INET};
    expect(bind(fd, (const struct sockaddr *)&any, sizeof(any)) == -1 && errno == EACCES, 2);
}

static void change_nothing(void *arg)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD, 40);
    confine(arg, MACHINE_SANDBOX_OFF);
    expect(fcntl(fd, F_GETFD) >= 0, 1);
    expect(open("/proc/self/status", O_RDONLY | O_CLOEXEC) >= 0, 2);
}

static struct confined pipes;

static void setup(void)
{
    ck_assert_int_eq(pipe(pipes.ready), 0);
    ck_assert_int_eq(pipe(pipes.go), 0);
}

static void teardown(void)
{
    for (int i = 0; i < 2; i++) {
        close(pipes.ready[i]);
        close(pipes.go[i]);
    }
}

/* The value of one line of /proc/PID/status. */
static void status_field(const char *status, const char *key, char *ret_value, size_t size)
{
    const char *line = strstr(status, key);
    ck_assert_ptr_nonnull(line);
    line += strlen(key);
    line += strspn(line, ":\t ");
    size_t len = strcspn(line, "\n");
    ck_assert_uint_lt(len, size);
    memcpy(ret_value, line, len);
    ret_value[len] = '\0';
}

static void check_status(const char *status)
{
    static const char *const none[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};
    char value[128];
    for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
        status_field(status, none[i], value, sizeof(value));
        ck_assert_str_eq(value, "0000000000000000");
    }
    status_field(status, "NoNewPrivs", value, sizeof(value));
    ck_assert_str_eq(value, "1");
    if (geteuid() != 0)
        return;
    status_field(status, "CapBnd", value, sizeof(value));
    ck_assert_str_eq(value, "0000000000000000");
    status_field(status, "\nUid", value, sizeof(value));
    ck_assert_str_eq(value, "107\t107\t107\t107");
    status_field(status, "\nGid", value, sizeof(value));
    ck_assert_str_eq(value, "107\t107\t107\t107");
    status_field(status, "\nGroups", value, sizeof(value));
    ck_assert_uint_eq(strspn(value, " "), strlen(value));
}

START_TEST(privileges_are_gone)
{
    pid_t pid = raw_fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        look_around(&pipes);
        _exit(0);
    }
    close(pipes.ready[1]);
    char byte, path[64], status[4096];
    ck_assert_int_eq(read(pipes.ready[0], &byte, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    size_t len = fread(status, 1, sizeof(status) - 1, f);
    status[len] = '\0';
    fclose(f);
    check_status(status);
    ck_assert_int_eq(write(pipes.go[1], "g", 1), 1);
    int wait_status;
    ck_assert_int_eq(waitpid(pid, &wait_status, 0), pid);
    ck_assert_msg(clean(wait_status), "the confined process ended with 0x%x", wait_status);
    pipes.ready[1] = dup(pipes.ready[0]);
}
END_TEST

START_TEST(files_are_out_of_reach)
{
    if (sandbox_landlock_abi() == 0)
        return; /* a kernel without Landlock: nothing to prove */
    int status = in_child(look_at_files_confined, &pipes);
    ck_assert_msg(clean(status), "status 0x%x", status);
}
END_TEST

START_TEST(network_is_out_of_reach)
{
    if (sandbox_landlock_abi() < 4)
        return;
    int status = in_child(bind_tcp_confined, &pipes);
    ck_assert_msg(clean(status), "status 0x%x", status);
}
END_TEST

START_TEST(off_means_off)
{
    int status = in_child(change_nothing, &pipes);
    ck_assert_msg(clean(status), "status 0x%x", status);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sandbox");
    TCase *tc = tcase_create("threads");
    tcase_add_loop_test(tc, allowed_calls_return, 0, ARRAY_SIZE(allowed));
    tcase_add_loop_test(tc, forbidden_calls_kill, 0, ARRAY_SIZE(forbidden));
    suite_add_tcase(s, tc);
    tc = tcase_create("process");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, privileges_are_gone);
    tcase_add_test(tc, files_are_out_of_reach);
    tcase_add_test(tc, network_is_out_of_reach);
    tcase_add_test(tc, off_means_off);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
