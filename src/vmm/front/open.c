// SPDX-License-Identifier: Apache-2.0
/* The order in which things are opened, /dev/kvm, and the files of the kernel. See open.h. */
#include "open.h"
#include "boot.h"
#include "kvm.h"
#include <fcntl.h>
#include <grp.h>
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/stat.h>

void created_add(struct created *created, const char *path)
{
    created->path[created->count++] = path;
}

void created_undo(struct created *created)
{
    while (created->count > 0)
        unlink(created->path[--created->count]);
}

/* Says who may open the device, by the names this host gives them. */
static int no_kvm_permission(struct error *err)
{
    struct stat st;
    struct group *group = NULL;
    error_set(err, EACCES, "no permission to open /dev/kvm");
    if (stat("/dev/kvm", &st) == 0 && (st.st_mode & 060) == 060 && st.st_gid != 0)
        group = getgrgid(st.st_gid);
    if (group != NULL)
        return error_hint(err, "join its group: `sudo usermod -aG %s $USER`, then log in again",
                          group->gr_name);
    return error_hint(err, "give it to a group that you are in: `sudo chgrp kvm /dev/kvm && sudo "
                           "chmod 660 /dev/kvm`, or a udev rule with GROUP=\"kvm\", MODE=\"0660\"");
}

int open_kvm(int *ret_fd, struct error *err)
{
    cleanup_close int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return no_kvm_permission(err);
    if (fd < 0) {
        int r = error_sys(err, errno, "cannot open /dev/kvm");
        error_hint(err, "`modprobe kvm_intel` (or kvm_amd), and switch on VT-x or SVM in the "
                        "firmware; in a pod, ask for the kvm device; `vmm check` says more");
        return r;
    }
    int version = kvm_sys_get_api_version(fd);
    if (version != KVM_API_VERSION)
        return error_set(err, ENOTSUP,
                         "/dev/kvm speaks API version %d, not %d; a Linux kernel of 4.20 or later "
                         "is needed",
                         version, KVM_API_VERSION);
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* O_NONBLOCK: opening a FIFO by mistake must not wait for its other end. */
static int open_boot_file(const char *path, const char *what, int *ret_fd, struct error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_sys(err, errno, "cannot open the %s %s", what, path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine the %s %s", what, path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "the %s %s is not a regular file", what, path);
    if (st.st_size == 0)
        return error_set(err, EINVAL, "the %s %s is empty", what, path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int check_kernel(const struct plan *plan, struct machine_config *config, struct error *err)
{
    struct boot_image_info info;
    int r = boot_image_identify(config->kernel_fd, &info, err);
    if (r < 0)
        return error_wrap(err, "the kernel %s", plan->kernel);
    if (info.memory_end > plan->memory)
        return error_set(err, ENOMEM,
                         "the kernel %s needs %llu MiB of memory; give more with "
                         "--memory",
                         plan->kernel, (unsigned long long)(info.memory_end >> 20) + 1);
    if (strlen(plan->cmdline) > info.cmdline_max)
        return error_set(err, E2BIG,
                         "the kernel %s takes a command line of %u bytes, and this one "
                         "has %zu; shorten --cmdline",
                         plan->kernel, info.cmdline_max, strlen(plan->cmdline));
    return 0;
}

static int open_kernel(const struct plan *plan, struct machine_config *config, struct error *err)
{
    int r = 0;
    if (plan->kernel_image == NULL)
        r = open_boot_file(plan->kernel, "kernel", &config->kernel_fd, err);
    if (r == 0 && plan->kernel_image == NULL)
        r = check_kernel(plan, config, err);
    if (r == 0 && plan->initrd != NULL && plan->initrd_image == NULL)
        r = open_boot_file(plan->initrd, "initial RAM disk", &config->initrd_fd, err);
    return r;
}

static int want_images(const struct plan *plan, struct images *images, struct error *err)
{
    int r = 0;
    if (plan->kernel_image != NULL)
        r = images_want(images, IMAGE_KERNEL_BOOT, IMAGE_KERNEL, plan->kernel_image, err);
    if (r == 0 && plan->initrd_image != NULL)
        r = images_want(images, IMAGE_KERNEL_BOOT, IMAGE_INITRD, plan->initrd_image, err);
    for (unsigned i = 0; r == 0 && i < plan->disk_count; i++) {
        const struct plan_disk *disk = &plan->disk[i];
        if (disk->source == PLAN_IMAGE)
            r = images_want(images, IMAGE_VOLUME, disk->name, disk->image, err);
    }
    return r;
}

/* Waits for what comes by descriptor, and checks it as what was opened here. */
static int take_images(const struct plan *plan, struct images *images,
                       struct machine_config *config, struct error *err)
{
    int r = want_images(plan, images, err);
    if (r == 0)
        r = images_receive(images, err);
    if (r < 0)
        return r;
    config->keep_fd_count = images_keep(images, config->keep_fd);
    if (plan->initrd_image != NULL)
        config->initrd_fd = images_take(images, IMAGE_KERNEL_BOOT, IMAGE_INITRD);
    if (plan->kernel_image != NULL) {
        config->kernel_fd = images_take(images, IMAGE_KERNEL_BOOT, IMAGE_KERNEL);
        r = check_kernel(plan, config, err);
        if (r < 0)
            return error_wrap(err, "image %s", plan->kernel_image);
    }
    return take_image_disks(plan, images, config, err);
}

static int open_termination(const char *path, int *ret_fd, struct created *created,
                            struct error *err)
{
    bool is_new = access(path, F_OK) != 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0)
        return error_sys(err, errno, "cannot write the termination message %s", path);
    if (is_new)
        created_add(created, path);
    *ret_fd = fd;
    return 0;
}

static void fill_config(const struct plan *plan, struct machine_config *config)
{
    memset(config, 0, sizeof(*config));
    config->magic = MACHINE_CONFIG_MAGIC;
    config->version = MACHINE_CONFIG_VERSION;
    config->size = sizeof(*config);
    memcpy(config->name, plan->name, sizeof(config->name));
    memcpy(config->uuid, plan->uuid, sizeof(config->uuid));
    config->cpus = plan->cpus;
    config->no_hypercalls = access("/sys/module/kvm_pvm", F_OK) == 0;
    config->memory = plan->memory;
    config->memory_backing = plan->memory_backing;
    config->kvm_fd = config->kernel_fd = config->initrd_fd = -1;
    snprintf(config->cmdline, sizeof(config->cmdline), "%s", plan->cmdline);
    config->rng = plan->rng;
    config->balloon = plan->balloon;
    config->balloon_deflate_on_oom = plan->balloon;
    config->free_page_reporting = plan->balloon;
    config->console_device = plan->console_device;
    config->console_in_fd = config->console_out_fd = -1;
    config->control_fd = config->termination_fd = -1;
    config->grace_period_seconds = plan->grace_period_seconds;
    config->log_format = plan->log_format;
    config->log_level = plan->log_level;
    config->sandbox = plan->sandbox;
    config->debug_exit = plan->debug_exit;
    config->start_paused = plan->start_paused;
    config->reboot_terminates = plan->reboot_terminates;
}

static int open_existing(const struct plan *plan, struct machine_config *config, struct error *err)
{
    int r = open_kvm(&config->kvm_fd, err);
    if (r == 0)
        r = open_kernel(plan, config, err);
    if (r == 0)
        r = open_existing_disks(plan, config, err);
    if (r == 0)
        r = open_taps(plan, config, err);
    return r;
}

int open_machine(const struct plan *plan, struct images *images, struct machine_config *config,
                 struct created *created, struct error *err)
{
    created->count = 0;
    fill_config(plan, config);
    int r = open_existing(plan, config, err);
    if (r == 0 && images != NULL) {
        r = take_images(plan, images, config, err);
        images->failed = r < 0 && images->stop_signal == 0;
    }
    if (r == 0)
        r = create_missing_disks(plan, config, created, err);
    if (r == 0)
        r = open_console(plan, config, created, err);
    if (r == 0 && plan->termination_message != NULL)
        r = open_termination(plan->termination_message, &config->termination_fd, created, err);
    if (r == 0 && plan->control != NULL)
        r = open_control(plan->control, &config->control_fd, created, err);
    if (r < 0)
        created_undo(created);
    return r;
}
