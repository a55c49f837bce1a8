// SPDX-License-Identifier: Apache-2.0
/* rules.def as an array of constants. */
#include "rules.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define VCPU   (1u << SANDBOX_VCPU)
#define IO     (1u << SANDBOX_IO)
#define WORKER (1u << SANDBOX_WORKER)
#define MAIN   (1u << SANDBOX_MAIN)
#define ALL    (VCPU | IO | WORKER | MAIN)

#define ANY .conditional = false
#define MASKED(n, m, v) \
    .conditional = true, .arg = (n), .mask = (uint32_t)(m), .value = (uint32_t)(v)
#define EQ(n, v) MASKED(n, UINT32_MAX, v)

/* Stringified before any macro in the condition is expanded: KVM_RUN stays KVM_RUN. */
#define RULE(threads, name, cond, reason) \
    {.classes = (threads),                \
     .nr = SYS_##name,                    \
     .syscall = #name,                    \
     .condition = #cond,                  \
     .why = (reason),                     \
     cond},

static const struct sandbox_rule rules[] = {
#include "rules.def"
};

const struct sandbox_rule *sandbox_rules(size_t *ret_count)
{
    *ret_count = sizeof(rules) / sizeof(rules[0]);
    return rules;
}

const char *sandbox_class_name(enum sandbox_class thread_class)
{
    static const char *const name[SANDBOX_CLASS_COUNT] = {
        [SANDBOX_VCPU] = "vcpu",
        [SANDBOX_IO] = "io",
        [SANDBOX_WORKER] = "worker",
        [SANDBOX_MAIN] = "main",
    };
    return name[thread_class];
}
