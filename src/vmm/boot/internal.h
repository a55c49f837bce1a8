// SPDX-License-Identifier: Apache-2.0
/* What the files of this folder share: image file access, parsed images, the memory map. */
#ifndef PODVISOR_VMM_BOOT_INTERNAL_H
#define PODVISOR_VMM_BOOT_INTERNAL_H

#include "boot.h"
#include "layout.h"
#include <asm/bootparam.h>
#include <stddef.h>

#define KIB                UINT64_C(1024)
#define MIB                (KIB * KIB)
#define PAGE_BYTES         UINT64_C(4096)
#define BOOT_CMDLINE_BYTES 4096u /* at LAYOUT_BOOT_CMDLINE, with NUL */
/* First byte that a kernel may be loaded to: everything below holds our own structures. */
#define BOOT_STRUCTURES_END (LAYOUT_BOOT_CMDLINE + BOOT_CMDLINE_BYTES)

/* file.c: a file that is only ever read with pread(2). */
struct boot_file {
    int fd; /* borrowed */
    uint64_t size;
    const char *what; /* for messages: "kernel image" */
};

/* Checks that `fd` is a regular file and takes its size. Returns 0 or a negative errno. */
int boot_file_open(int fd, const char *what, struct boot_file *ret_file, struct error *err);

/*
 * Reads exactly `len` bytes at `offset`. `part` names them for the message. Returns 0, -ENOEXEC
 * when the file ends before (saying how many bytes are missing), or a negative errno.
 */
int boot_file_read(const struct boot_file *file, uint64_t offset, void *buf, uint64_t len,
                   const char *part, struct error *err);

/* A parsed image: everything in `info` is checked; `setup` (bzImage) is as the file has it. */
struct boot_image {
    struct boot_file file;
    struct boot_image_info info;
    struct setup_header setup;
};

/* image.c: opens and parses. Returns as boot_image_identify(). */
int boot_image_read(int fd, struct boot_image *ret_image, struct error *err);

/* bzimage.c, elf.c: recognise by magic; then parse image->file into image->info. */
bool bzimage_probe(const uint8_t *head, uint64_t len);
int bzimage_parse(struct boot_image *image, struct error *err);
bool elf_probe(const uint8_t *head, uint64_t len);
int elf_parse(struct boot_image *image, struct error *err);

/* memory_map.c: what is RAM and what is reserved, by ascending address; e820 type numbers. */
#define BOOT_MEMORY_RAM      1u
#define BOOT_MEMORY_RESERVED 2u
#define BOOT_MEMORY_MAP_MAX  (GUEST_MEMORY_REGION_MAX + 3)

struct boot_memory_range {
    uint64_t base, size;
    uint32_t type;
};

unsigned boot_memory_map(const struct guest_memory *mem,
                         struct boot_memory_range map[BOOT_MEMORY_MAP_MAX]);

/* True when a kernel or RAM disk may be put there: RAM, and not what the loader itself uses. */
bool boot_memory_loadable(const struct guest_memory *mem, gpa_t gpa, uint64_t size);

/* What has been put into guest RAM before the boot structures are written. */
struct boot_loaded {
    gpa_t initrd;
    uint64_t initrd_size; /* 0: none */
    gpa_t rsdp;
};

/* linux64.c, pvh.c: write the boot structures and fill entry->{mode, info, rsp, page_table}. */
int linux64_setup(const struct guest_memory *mem, const struct boot_image *image,
                  const struct boot_loaded *loaded, struct boot_entry *entry, struct error *err);
int pvh_setup(const struct guest_memory *mem, const struct boot_loaded *loaded,
              struct boot_entry *entry, struct error *err);

/* entry.c: writes the GDT that belongs to entry->mode; fills entry->{gdt, gdt_limit}. */
int entry_write_gdt(const struct guest_memory *mem, struct boot_entry *entry, struct error *err);

/* As guest_memory_at() for the loader's own structures; an error when the VM has too little RAM. */
void *boot_structure_at(const struct guest_memory *mem, gpa_t gpa, uint64_t len, struct error *err);

/* `v` rounded up to a multiple of the power of two `align`; the caller knows it cannot overflow. */
static inline uint64_t round_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

#endif
