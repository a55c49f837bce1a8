// SPDX-License-Identifier: Apache-2.0
/*
 * Parses a Linux bzImage: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" and
 * "64-bit Boot Protocol". A file is boot sector and setup code (setup_sects + 1 sectors of 512
 * bytes, not used by a 64-bit loader but for the header in it), then the protected-mode kernel of
 * syssize 16-byte units, then perhaps a signature.
 */
#include "internal.h"
#include <string.h>

#define SECTOR_BYTES       512u
#define HEADER_OFFSET      0x1f1u      /* struct setup_header in the file */
#define HEADER_MAGIC       0x53726448u /* "HdrS" at 0x202 */
#define HEADER_MAGIC_AT    0x202u
#define BOOT_FLAG          0xaa55u
#define PROTOCOL_MIN       0x020cu /* 2.12: xloadflags */
#define DEFAULT_SETUP_SECT 4u
#define ENTRY64_OFFSET     0x200u
/* "The end of setup header can be calculated as 0x0202 + byte value at offset 0x0201." */
#define HEADER_END_BASE 0x202u

bool bzimage_probe(const uint8_t *head, uint64_t len)
{
    uint32_t magic;
    if (len < HEADER_MAGIC_AT + sizeof(magic))
        return false;
    memcpy(&magic, head + HEADER_MAGIC_AT, sizeof(magic));
    return magic == HEADER_MAGIC;
}

/* Reads as much of the header as this kernel's version of it has; the rest stays zero. */
static int read_header(struct boot_image *image, struct error *err)
{
    struct setup_header *h = &image->setup;
    const size_t base = HEADER_END_BASE - HEADER_OFFSET;
    int r = boot_file_read(&image->file, HEADER_OFFSET, h, base, "setup header", err);
    if (r < 0)
        return r;
    size_t len = base + (h->jump >> 8); /* the operand of the short jump at 0x200 */
    if (len > sizeof(*h))
        len = sizeof(*h);
    if (len < offsetof(struct setup_header, init_size) + sizeof(h->init_size))
        return error_set(err, ENOEXEC, "the kernel's setup header is only %zu bytes long", len);
    return boot_file_read(&image->file, HEADER_OFFSET, h, len, "setup header", err);
}

static int check_kind(const struct setup_header *h, struct error *err)
{
    if (h->boot_flag != BOOT_FLAG)
        return error_set(err, ENOEXEC, "the kernel's boot flag is 0x%04x instead of 0xaa55",
                         h->boot_flag);
    if (h->version < PROTOCOL_MIN) {
        error_set(err, ENOEXEC, "the kernel speaks boot protocol %u.%02u, 2.12 is needed",
                  h->version >> 8, h->version & 0xffu);
        error_hint(err, "use Linux 3.8 or later");
        return -ENOEXEC;
    }
    if (!(h->loadflags & LOADED_HIGH))
        return error_set(err, ENOEXEC, "the kernel is a zImage; build a bzImage");
    if (!(h->xloadflags & XLF_KERNEL_64)) {
        error_set(err, ENOEXEC, "the kernel is a 32-bit bzImage without a 64-bit entry point");
        error_hint(err, "use an x86-64 kernel, or a vmlinux built with CONFIG_PVH=y");
        return -ENOEXEC;
    }
    return 0;
}

/*
 * One segment: the protected-mode kernel with the room that it wants (init_size) for unpacking
 * itself. Linux moves itself up to pref_address when it is loaded lower, so a lower place would
 * save nothing: it is loaded there or not at all.
 */
static int parse_segment(struct boot_image *image, struct error *err)
{
    const struct setup_header *h = &image->setup;
    struct boot_image_info *info = &image->info;
    uint64_t setup_sects = h->setup_sects != 0 ? h->setup_sects : DEFAULT_SETUP_SECT;
    struct boot_segment seg = {
        .offset = (setup_sects + 1) * SECTOR_BYTES,
        .file_size = (uint64_t)h->syssize * 16,
        .mem_size = h->init_size,
        .gpa = h->pref_address,
    };
    if (seg.offset + seg.file_size > info->file_size) {
        error_set(err, ENOEXEC, "the kernel image is truncated: %llu of %llu bytes are missing",
                  (unsigned long long)(seg.offset + seg.file_size - info->file_size),
                  (unsigned long long)(seg.offset + seg.file_size));
        error_hint(err, "copy or download it again");
        return -ENOEXEC;
    }
    if (seg.file_size <= ENTRY64_OFFSET || seg.file_size > seg.mem_size)
        return error_set(err, ENOEXEC,
                         "the kernel's sizes contradict each other: %llu bytes in the file, "
                         "init_size %llu",
                         (unsigned long long)seg.file_size, (unsigned long long)seg.mem_size);
    if (h->pref_address > UINT32_MAX)
        return error_set(err, ENOEXEC, "the kernel wants to be loaded at 0x%llx, above 4 GiB",
                         (unsigned long long)h->pref_address);
    if (h->relocatable_kernel) {
        uint64_t align = h->kernel_alignment;
        if (align == 0 || (align & (align - 1)) != 0)
            return error_set(err, ENOEXEC, "the kernel's alignment 0x%llx is no power of two",
                             (unsigned long long)align);
        if (seg.gpa < LAYOUT_HIGH_RAM)
            seg.gpa = LAYOUT_HIGH_RAM;
        seg.gpa = round_up(seg.gpa, align);
    }
    info->segment[0] = seg;
    info->segment_count = 1;
    info->memory_end = seg.gpa + seg.mem_size;
    info->entry = seg.gpa + ENTRY64_OFFSET;
    return 0;
}

/* The version is text inside the setup code: for people, so anything unprintable is made visible.
 */
static int read_version(struct boot_image *image, struct error *err)
{
    const struct setup_header *h = &image->setup;
    char *version = image->info.version;
    uint64_t offset = (uint64_t)h->kernel_version + 0x200;
    uint64_t setup_end = image->info.segment[0].offset;
    if (h->kernel_version == 0 || offset >= setup_end)
        return 0;
    uint64_t len = setup_end - offset;
    if (len > BOOT_VERSION_MAX - 1)
        len = BOOT_VERSION_MAX - 1;
    int r = boot_file_read(&image->file, offset, version, len, "version", err);
    if (r < 0)
        return r;
    version[len] = '\0';
    for (char *p = version; *p != '\0'; p++) {
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    }
    return 0;
}

int bzimage_parse(struct boot_image *image, struct error *err)
{
    const struct setup_header *h = &image->setup;
    struct boot_image_info *info = &image->info;
    int r = read_header(image, err);
    if (r == 0)
        r = check_kind(h, err);
    if (r == 0)
        r = parse_segment(image, err);
    if (r == 0)
        r = read_version(image, err);
    if (r < 0)
        return r;
    info->kind = BOOT_IMAGE_BZIMAGE;
    info->protocol = h->version;
    info->xloadflags = h->xloadflags;
    info->relocatable = h->relocatable_kernel != 0;
    info->pref_address = h->pref_address;
    info->alignment = h->kernel_alignment;
    info->init_size = h->init_size;
    info->initrd_addr_max = h->initrd_addr_max;
    info->cmdline_max = h->cmdline_size;
    if (info->cmdline_max > BOOT_CMDLINE_BYTES - 1)
        info->cmdline_max = BOOT_CMDLINE_BYTES - 1;
    return 0;
}
