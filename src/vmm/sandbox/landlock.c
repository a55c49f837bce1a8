// SPDX-License-Identifier: Apache-2.0
/*
 * Landlock with no exceptions; any thread. Linux Documentation/userspace-api/landlock.rst. Numbers
 * and structure are written out here, because the ABI is the running kernel's and not that of the
 * headers we were built with.
 */
#include "landlock.h"
#include "sandbox.h"
#include <podvisor/cleanup.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CREATE_RULESET_VERSION 1u

struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net; /* ABI 4 */
    uint64_t scoped;             /* ABI 6 */
};

/* "Previous limitations" of the document above: which rights each ABI version added. */
#define FS_ABI_1   0x1fffull    /* execute, write, read, read_dir, remove_*, make_* */
#define FS_ABI_2   (1ull << 13) /* refer */
#define FS_ABI_3   (1ull << 14) /* truncate */
#define FS_ABI_5   (1ull << 15) /* ioctl_dev */
#define NET_ABI_4  0x3ull       /* bind_tcp, connect_tcp */
#define SCOPE_ABI6 0x3ull       /* abstract_unix_socket, signal */

int sandbox_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return abi > 0 ? (int)abi : 0;
}

static size_t attr_of(int abi, struct ruleset_attr *ret_attr)
{
    *ret_attr = (struct ruleset_attr){
        .handled_access_fs = FS_ABI_1 | (abi >= 2 ? FS_ABI_2 : 0) | (abi >= 3 ? FS_ABI_3 : 0) |
                             (abi >= 5 ? FS_ABI_5 : 0),
        .handled_access_net = abi >= 4 ? NET_ABI_4 : 0,
        .scoped = abi >= 6 ? SCOPE_ABI6 : 0,
    };
    if (abi >= 6)
        return sizeof(*ret_attr);
    return abi >= 4 ? offsetof(struct ruleset_attr, scoped)
                    : offsetof(struct ruleset_attr, handled_access_net);
}

int landlock_deny_all(struct error *err)
{
    int abi = sandbox_landlock_abi();
    if (abi == 0)
        return 0;
    struct ruleset_attr attr;
    size_t size = attr_of(abi, &attr);
    cleanup_close int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (fd < 0)
        return error_sys(err, errno, "cannot create a Landlock ruleset (ABI %d)", abi);
    if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return error_sys(err, errno, "cannot enforce the Landlock ruleset (ABI %d)", abi);
    return 0;
}
