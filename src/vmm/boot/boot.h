// SPDX-License-Identifier: Apache-2.0
/*
 * Direct kernel boot: recognises a kernel image, puts it with its initial RAM disk and command line
 * into guest RAM, and says in which state the first vCPU starts. Two kinds are understood:
 *  - bzImage by the 64-bit Linux/x86 boot protocol, 2.12 and later
 * (Documentation/arch/x86/boot.rst),
 *  - ELF by the Xen x86/HVM direct boot ABI, called PVH (xen: docs/misc/pvh.pandoc).
 *
 * Images are hostile: every field is checked before use, files are only read with pread(2), so a
 * file that shrinks meanwhile is an error and not a SIGBUS. Nothing here allocates or touches KVM.
 * Runs on the thread that builds or resets the machine, while no vCPU runs. The front uses
 * boot_image_identify() alone, the monitor the rest.
 */
#ifndef PODVISOR_VMM_BOOT_H
#define PODVISOR_VMM_BOOT_H

#include <linux/kvm.h>
#include <podvisor/error.h>
#include <podvisor/guest_memory.h>
#include <stdbool.h>
#include <stdint.h>

#define BOOT_SEGMENT_MAX 32
#define BOOT_VERSION_MAX 128 /* with NUL */

enum boot_image_kind { BOOT_IMAGE_BZIMAGE, BOOT_IMAGE_PVH };

/* A part of the file and the guest memory it goes to. The ranges of one image never overlap. */
struct boot_segment {
    uint64_t offset;    /* in the file; offset + file_size lies inside it */
    uint64_t file_size; /* bytes */
    uint64_t mem_size;  /* bytes, >= file_size; gpa + mem_size does not overflow */
    gpa_t gpa;
};

struct boot_image_info {
    enum boot_image_kind kind;
    uint64_t file_size;
    gpa_t entry;          /* where the first instruction will be */
    gpa_t memory_end;     /* end of the highest segment: the least RAM that holds the kernel */
    uint32_t cmdline_max; /* longest command line, bytes without NUL */
    unsigned segment_count;
    struct boot_segment segment[BOOT_SEGMENT_MAX];

    /* bzImage only, 0 and "" otherwise. */
    char version[BOOT_VERSION_MAX]; /* printable ASCII: "6.1.0-13-amd64 (...) #1 SMP ..." */
    uint16_t protocol;              /* 0x020f: 2.15 */
    uint16_t xloadflags;            /* XLF_* */
    bool relocatable;
    uint64_t pref_address;
    uint32_t alignment;
    uint32_t init_size;       /* bytes needed from the load address on until the kernel is up */
    uint64_t initrd_addr_max; /* highest address that the RAM disk may occupy */
};

/*
 * Says what the kernel image `fd` (a regular file, borrowed; its offset is not used) is. Returns 0,
 * -ENOEXEC when it is nothing that can be booted (the text names what it is and the way out), or
 * another negative errno when it cannot be read.
 */
int boot_image_identify(int fd, struct boot_image_info *ret_info, struct error *err);

struct boot_source {
    int kernel_fd;       /* borrowed, a regular file */
    int initrd_fd;       /* likewise; -1: none */
    const char *cmdline; /* never NULL */
    gpa_t rsdp;          /* from acpi_build(); 0: no ACPI */
    /* RAM is known to read as zero: the zero-filled ends of segments are then not written. */
    bool ram_is_zero;
};

enum boot_entry_mode {
    BOOT_ENTRY_LONG64, /* 64-bit mode, identity paging of the first 4 GiB */
    BOOT_ENTRY_PVH32,  /* 32-bit protected mode, paging off */
};

struct boot_entry {
    enum boot_entry_mode mode;
    gpa_t rip;
    gpa_t rsp;
    gpa_t info;       /* LONG64: struct boot_params, in RSI; PVH32: struct hvm_start_info, in EBX */
    gpa_t page_table; /* PML4; 0 when paging is off */
    gpa_t gdt;
    uint16_t gdt_limit;
};

/*
 * Loads everything into `mem`, whose first region starts at 0 (src/vmm/layout.h). Call again after
 * a system reset, with RAM in any state unless ram_is_zero. Returns 0, -ENOEXEC for a bad image,
 * -ENOMEM when RAM is too small (the text says how much is needed), -E2BIG for a command line that
 * is too long, or another negative errno. On failure guest memory is undefined.
 */
int boot_load(const struct guest_memory *mem, const struct boot_source *source,
              struct boot_entry *ret_entry, struct error *err);

/*
 * Turns an entry into registers of the boot vCPU: changes segments, tables, CR0, CR3, CR4 and EFER
 * of *sregs (as KVM_GET_SREGS gave it; all else is kept) and fills *ret_regs. Pure.
 */
void boot_entry_sregs(const struct boot_entry *entry, struct kvm_sregs *sregs,
                      struct kvm_regs *ret_regs);

#endif
