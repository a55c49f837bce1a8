// SPDX-License-Identifier: Apache-2.0
/*
 * Device nodes; see device.h. A node is reached through one O_PATH descriptor, so that what was
 * looked at is what is changed and opened, and no link is followed out of the host's /dev. Numbers:
 * Linux Documentation/admin-guide/devices.txt.
 */
#include "device.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

const struct device_type device_types[] = {
    {"kvm", "kvm", 10, 232,
     "enable virtualization in the firmware (or nested virtualization for this node), and load "
     "the module kvm_intel or kvm_amd"},
    {"tun", "net/tun", 10, 200, "load the module tun"},
    {"vhost-net", "vhost-net", 10, 238, "load the module vhost_net"},
    {.name = NULL},
};

const struct device_type *device_type_find(const char *name)
{
    for (const struct device_type *type = device_types; type->name != NULL; type++) {
        if (strcmp(type->name, name) == 0)
            return type;
    }
    return NULL;
}

__attribute__((format(printf, 3, 4))) static void verdict(struct device_health *ret, bool healthy,
                                                          const char *fmt, ...)
{
    va_list ap;
    ret->healthy = healthy;
    va_start(ap, fmt);
    vsnprintf(ret->reason, sizeof(ret->reason), fmt, ap);
    va_end(ap);
}

static bool machine_can_open(const struct stat *st)
{
    unsigned shift = st->st_uid == DEVICE_MACHINE_UID   ? 6
                     : st->st_gid == DEVICE_MACHINE_UID ? 3
                                                        : 0;
    return (st->st_mode >> shift & 06) == 06;
}

/* Returns false with a verdict when machines will not be able to open the node. */
static bool set_mode(const struct device_type *type, const char *fd_path, const struct stat *st,
                     mode_t mode, struct device_health *ret)
{
    if (mode == DEVICE_MODE_KEEP || (st->st_mode & 07777) == mode || chmod(fd_path, mode) == 0)
        return true;
    int code = errno;
    bool usable = machine_can_open(st);
    verdict(ret, usable,
            "the mode of /dev/%s stays 0%03o instead of 0%03o: %s; it belongs to uid %u, and "
            "without capabilities only an owner may change it%s",
            type->node, (unsigned)(st->st_mode & 07777), (unsigned)mode, strerror(code),
            (unsigned)st->st_uid,
            usable ? ""
                   : "; machines run as uid 107 and cannot open it: set the mode on the host with "
                     "a udev rule");
    return usable;
}

/* 0 or a positive errno. */
static int try_open(const char *fd_path)
{
    cleanup_close int fd = open(fd_path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd >= 0 ? 0 : errno;
}

static void judge_open(const struct device_type *type, int code, struct device_health *ret)
{
    switch (code) {
    case 0:
        ret->healthy = true;
        break;
    case EPERM:  /* the device list of our own container's cgroup */
    case EACCES: /* likewise a security module, or a mode that only leaves out this process */
        ret->healthy = true;
        if (ret->reason[0] == '\0')
            verdict(ret, true, "/dev/%s is there; this container may not open it to try",
                    type->node);
        break;
    case ENODEV:
    case ENXIO:
        verdict(ret, false, "/dev/%s has no driver behind it (%s); %s", type->node, strerror(code),
                type->missing_hint);
        break;
    default:
        verdict(ret, false, "cannot open /dev/%s: %s", type->node, strerror(code));
    }
}

void device_check(const struct device_type *type, const char *dev_dir, mode_t mode,
                  struct device_health *ret)
{
    char path[4096], fd_path[64];
    struct stat st;
    *ret = (struct device_health){.healthy = false};
    snprintf(path, sizeof(path), "%s/%s", dev_dir, type->node);
    cleanup_close int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        verdict(ret, false, "this node has no /dev/%s; %s", type->node, type->missing_hint);
        return;
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        verdict(ret, false, "cannot look at /dev/%s: %s", type->node, strerror(errno));
        return;
    }
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(type->major, type->minor)) {
        verdict(ret, false, "/dev/%s is not the character device %u:%u", type->node, type->major,
                type->minor);
        return;
    }
    snprintf(fd_path, sizeof(fd_path), "/proc/self/fd/%d", fd);
    if (set_mode(type, fd_path, &st, mode, ret))
        judge_open(type, try_open(fd_path), ret);
}
