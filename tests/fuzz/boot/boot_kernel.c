// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel loader on hostile images: identifies the input and loads it, with a RAM disk, into
 * 64 MiB of RAM and a little above 4 GiB, as the monitor would. Besides the sanitizers, it checks
 * what the rest of the monitor relies on.
 */
#include "boot.h"
#include <podvisor/cleanup.h>
#include <podvisor/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB         UINT64_C(0x100000)
#define LOW_BYTES   (64 * MIB)
#define HIGH_BYTES  (2 * MIB)
#define HIGH_BASE   UINT64_C(0x100000000)
#define INITRD_SIZE 5000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guest_memory mem;
static int kernel_fd, initrd_fd;

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "violated: %s\n", what);
    abort();
}

static uint8_t *map_ram(uint64_t size)
{
    uint8_t *hva = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(hva != MAP_FAILED, "memory");
    return hva;
}

static void set_up_once(void)
{
    if (mem.region_count > 0)
        return;
    kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
    initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
    require(kernel_fd >= 0 && initrd_fd >= 0 && ftruncate(initrd_fd, INITRD_SIZE) == 0, "memfd");
    mem.region[0] = (struct guest_memory_region){0, LOW_BYTES, map_ram(LOW_BYTES)};
    mem.region[1] = (struct guest_memory_region){HIGH_BASE, HIGH_BYTES, map_ram(HIGH_BYTES)};
    mem.region_count = 2;
}

static void check_info(const struct boot_image_info *info, size_t size)
{
    require(info->file_size == size, "size of the file");
    require(info->segment_count >= 1 && info->segment_count <= BOOT_SEGMENT_MAX, "segment count");
    for (unsigned i = 0; i < info->segment_count; i++) {
        const struct boot_segment *s = &info->segment[i];
        require(s->offset <= size && s->file_size <= size - s->offset, "segment inside the file");
        require(s->file_size <= s->mem_size, "file size within memory size");
        require(s->gpa + s->mem_size >= s->gpa, "no wrap");
        require(s->gpa + s->mem_size <= info->memory_end, "below the end");
        for (unsigned j = 0; j < i; j++) {
            const struct boot_segment *t = &info->segment[j];
            require(s->gpa >= t->gpa + t->mem_size || t->gpa >= s->gpa + s->mem_size, "no overlap");
        }
    }
    require(memchr(info->version, '\0', sizeof(info->version)) != NULL, "version is a string");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up_once();
    require(ftruncate(kernel_fd, (off_t)size) == 0, "ftruncate");
    require(pwrite(kernel_fd, data, size, 0) == (ssize_t)size, "pwrite");

    struct boot_image_info info;
    struct error err = ERROR_INIT;
    int identified = boot_image_identify(kernel_fd, &info, &err);
    if (identified == 0)
        check_info(&info, size);
    else
        require(err.code == -identified && err.text[0] != '\0', "errors are explained");

    const struct boot_source source = {.kernel_fd = kernel_fd,
                                       .initrd_fd = size % 2 == 0 ? initrd_fd : -1,
                                       .cmdline = "quiet",
                                       .rsdp = 0xe0000,
                                       .ram_is_zero = size % 4 < 2};
    struct boot_entry entry;
    err = ERROR_INIT;
    int loaded = boot_load(&mem, &source, &entry, &err);
    if (loaded < 0) {
        require(err.code == -loaded && err.text[0] != '\0', "errors are explained");
        return 0;
    }
    require(identified == 0, "what is loaded was identified");
    require(guest_memory_at(&mem, entry.rip, 1) != NULL, "the entry is in RAM");
    struct kvm_sregs sregs = {0};
    struct kvm_regs regs;
    boot_entry_sregs(&entry, &sregs, &regs);
    require(regs.rip == entry.rip, "registers");
    return 0;
}
