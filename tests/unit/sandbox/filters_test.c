// SPDX-License-Identifier: Apache-2.0
/*
 * The compiled filters against the table they come from: the BPF programs run here, in an
 * interpreter, on every system call number and on every argument near a rule's. Also what the table
 * must never contain, and the sizes that the project promises.
 */
#include "filters.h"
#include "rules.h"
#include "run_suite.h"
#include <check.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define SYSCALL_MAX 600
#define X32_BIT     0x40000000

static uint32_t run_bpf(const struct sandbox_program *program, const struct seccomp_data *data)
{
    uint32_t acc = 0;
    for (unsigned pc = 0; pc < program->len; pc++) {
        const struct sock_filter *insn = &program->code[pc];
        switch (insn->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            ck_assert_uint_le(insn->k, sizeof(*data) - sizeof(acc));
            memcpy(&acc, (const char *)data + insn->k, sizeof(acc));
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            acc &= insn->k;
            break;
        case BPF_JMP | BPF_JA:
            pc += insn->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += acc == insn->k ? insn->jt : insn->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            pc += acc > insn->k ? insn->jt : insn->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += acc >= insn->k ? insn->jt : insn->jf;
            break;
        case BPF_RET | BPF_K:
            return insn->k;
        default:
            ck_abort_msg("instruction 0x%x is new to this test", insn->code);
        }
    }
    ck_abort_msg("the program does not end");
}

/* What the table says, read as plainly as possible. */
static bool table_allows(unsigned thread_class, const struct seccomp_data *data)
{
    size_t count;
    const struct sandbox_rule *rule = sandbox_rules(&count);
    for (; count > 0; count--, rule++) {
        if ((rule->classes & 1u << thread_class) && rule->nr == data->nr &&
            (!rule->conditional || ((uint32_t)data->args[rule->arg] & rule->mask) == rule->value))
            return true;
    }
    return false;
}

static void compare(unsigned thread_class, const struct seccomp_data *data)
{
    bool allowed = table_allows(thread_class, data);
    const struct sandbox_filter *filter = &sandbox_filters[thread_class];
    uint32_t kill = run_bpf(&filter->kill, data);
    uint32_t log = run_bpf(&filter->log, data);
    if (kill != (allowed ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_PROCESS) ||
        log != (allowed ? SECCOMP_RET_ALLOW : SECCOMP_RET_LOG))
        ck_abort_msg("%s: system call %d, arguments %llx %llx %llx %llx: kill mode 0x%x, log 0x%x",
                     sandbox_class_name(thread_class), data->nr, (unsigned long long)data->args[0],
                     (unsigned long long)data->args[1], (unsigned long long)data->args[2],
                     (unsigned long long)data->args[3], kill, log);
}

START_TEST(every_number)
{
    for (int nr = -1; nr < SYSCALL_MAX; nr++) {
        struct seccomp_data data = {.nr = nr, .arch = AUDIT_ARCH_X86_64};
        compare((unsigned)_i, &data);
        memset(data.args, 0xff, sizeof(data.args));
        compare((unsigned)_i, &data);
    }
}
END_TEST

/* Each rule's own value, each of its bits flipped, and rubbish above the 32 bits that count. */
START_TEST(every_condition)
{
    size_t count;
    const struct sandbox_rule *rule = sandbox_rules(&count);
    for (; count > 0; count--, rule++) {
        for (unsigned bit = 0; rule->conditional && bit <= 64; bit++) {
            struct seccomp_data data = {.nr = rule->nr, .arch = AUDIT_ARCH_X86_64};
            data.args[rule->arg] = rule->value ^ (bit < 64 ? 1ull << bit : 0);
            compare((unsigned)_i, &data);
            data.args[rule->arg] |= ~(uint64_t)rule->mask;
            compare((unsigned)_i, &data);
        }
    }
}
END_TEST

START_TEST(foreign_tables_kill)
{
    const struct sandbox_filter *filter = &sandbox_filters[_i];
    for (int nr = 0; nr < SYSCALL_MAX; nr++) {
        struct seccomp_data x32 = {.nr = nr | X32_BIT, .arch = AUDIT_ARCH_X86_64};
        ck_assert_uint_eq(run_bpf(&filter->kill, &x32), SECCOMP_RET_KILL_PROCESS);
        ck_assert_uint_eq(run_bpf(&filter->log, &x32), SECCOMP_RET_KILL_PROCESS);
        struct seccomp_data i386 = {.nr = nr, .arch = AUDIT_ARCH_I386};
        ck_assert_uint_eq(run_bpf(&filter->kill, &i386), SECCOMP_RET_KILL_PROCESS);
    }
}
END_TEST

static const int never[] = {
    SYS_clone,
    SYS_clone3,
    SYS_fork,
    SYS_vfork,
    SYS_execve,
    SYS_execveat,
    SYS_open,
    SYS_openat,
    SYS_openat2,
    SYS_creat,
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_ptrace,
    SYS_bpf,
    SYS_seccomp,
    SYS_prctl,
    SYS_setuid,
    SYS_setresuid,
    SYS_capset,
    SYS_mount,
    SYS_unlink,
    SYS_rename,
    SYS_kill,
    SYS_io_uring_setup,
    SYS_userfaultfd,
    SYS_dup,
    SYS_memfd_create,
    SYS_pidfd_getfd,
    SYS_process_vm_writev,
    SYS_mprotect,
    SYS_shmat,
    SYS_personality,
    SYS_arch_prctl,
};

START_TEST(never_allowed)
{
    size_t count;
    const struct sandbox_rule *rule = sandbox_rules(&count);
    ck_assert_uint_gt(count, 0);
    for (; count > 0; count--, rule++) {
        for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++)
            ck_assert_msg(rule->nr != never[i], "%s is in the table", rule->syscall);
        /* Calls whose arguments decide everything must have conditions. */
        ck_assert(rule->nr != SYS_ioctl || (rule->conditional && rule->arg == 1));
        ck_assert_int_ne(rule->nr, SYS_mmap);
        ck_assert(rule->nr != SYS_tgkill || rule->conditional);
        /* A value outside its mask could never match. */
        ck_assert_uint_eq(rule->value & ~rule->mask, 0);
        ck_assert_uint_ne(rule->classes, 0);
        ck_assert_uint_gt(strlen(rule->why), 0);
    }
}
END_TEST

/* The figures that docs/figures.md holds the project to. */
START_TEST(promised_sizes)
{
    static const unsigned most[SANDBOX_CLASS_COUNT] = {
        [SANDBOX_VCPU] = 14,
        [SANDBOX_IO] = 16,
        [SANDBOX_WORKER] = 16,
        [SANDBOX_MAIN] = 40,
    };
    struct sandbox_info info = sandbox_describe((enum sandbox_class)_i);
    ck_assert_uint_le(info.syscalls, most[_i]);
    ck_assert_uint_gt(info.syscalls, 0);
    ck_assert_uint_ge(info.rules, info.syscalls);
    ck_assert_uint_eq(info.instructions, sandbox_filters[_i].kill.len);

    unsigned distinct = 0;
    for (int nr = 0; nr < SYSCALL_MAX; nr++) {
        size_t count;
        const struct sandbox_rule *rule = sandbox_rules(&count);
        while (count > 0 && !((rule->classes & 1u << _i) && rule->nr == nr)) {
            count--;
            rule++;
        }
        distinct += count > 0;
    }
    ck_assert_uint_eq(info.syscalls, distinct);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sandbox-filters");
    TCase *tc = tcase_create("filters");
    tcase_add_loop_test(tc, every_number, 0, SANDBOX_CLASS_COUNT);
    tcase_add_loop_test(tc, every_condition, 0, SANDBOX_CLASS_COUNT);
    tcase_add_loop_test(tc, foreign_tables_kill, 0, SANDBOX_CLASS_COUNT);
    tcase_add_test(tc, never_allowed);
    tcase_add_loop_test(tc, promised_sizes, 0, SANDBOX_CLASS_COUNT);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
