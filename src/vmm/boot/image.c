// SPDX-License-Identifier: Apache-2.0
/*
 * Recognises kernel images by their magic, and names what is none, so that the message helps the
 * user who gave the wrong file. Runs on the thread that starts the machine, and in the front.
 */
#include "internal.h"
#include <podvisor/cleanup.h>
#include <string.h>

#define HEAD_BYTES 1024u /* covers every magic below */

struct known_format {
    unsigned offset, len;
    const char *magic;
    const char *name;
    const char *way_out;
};

#define FORMAT(off, bytes, format_name, hint)                \
    {                                                        \
        (off), sizeof(bytes) - 1, (bytes), format_name, hint \
    }
#define DECOMPRESS    "decompress it; a bzImage (vmlinuz) of x86-64 is taken as it is"
#define OTHER_MACHINE "a kernel for x86-64 is needed"

/* First match wins: kernels with an EFI stub start with "MZ" on every architecture. */
static const struct known_format known_formats[] = {
    FORMAT(0x38, "ARM\x64", "an arm64 kernel", OTHER_MACHINE),
    FORMAT(0x38, "RSC\x05", "a RISC-V kernel", OTHER_MACHINE),
    FORMAT(0x24, "\x18\x28\x6f\x01", "a 32-bit ARM kernel", OTHER_MACHINE),
    FORMAT(4, "zimg", "an EFI zboot image, which no x86 kernel is", OTHER_MACHINE),
    FORMAT(0, "\x27\x05\x19\x56", "a U-Boot image", OTHER_MACHINE),
    FORMAT(0, "\xd0\x0d\xfe\xed", "a device tree or FIT image", OTHER_MACHINE),
    FORMAT(0, "\x1f\x8b", "gzip-compressed data", DECOMPRESS),
    FORMAT(0,
           "\xfd"
           "7zXZ",
           "xz-compressed data", DECOMPRESS),
    FORMAT(0, "\x28\xb5\x2f\xfd", "zstd-compressed data", DECOMPRESS),
    FORMAT(0, "\x04\x22\x4d\x18", "LZ4-compressed data", DECOMPRESS),
    FORMAT(0, "\x02\x21\x4c\x18", "LZ4-compressed data", DECOMPRESS),
    FORMAT(0, "BZh", "bzip2-compressed data", DECOMPRESS),
    FORMAT(0, "\x5d\0\0", "LZMA-compressed data", DECOMPRESS),
    FORMAT(0, "07070", "a cpio archive", "did you mean it as the initial RAM disk?"),
    FORMAT(0, "QFI\xfb", "a qcow2 disk image", "give it as a disk, not as the kernel"),
    FORMAT(0, "MZ", "an EFI program without the Linux boot header",
           "take the kernel out of a unified image with `objcopy -O binary "
           "--only-section=.linux`, or boot it through firmware"),
    FORMAT(0x1fe, "\x55\xaa", "a boot sector or disk image",
           "give it as a disk, not as the kernel"),
};

static int reject(const uint8_t *head, uint64_t len, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(known_formats); i++) {
        const struct known_format *f = &known_formats[i];
        if (f->offset + f->len > len || memcmp(head + f->offset, f->magic, f->len) != 0)
            continue;
        error_set(err, ENOEXEC, "the kernel image is %s", f->name);
        error_hint(err, "%s", f->way_out);
        return -ENOEXEC;
    }
    error_set(err, ENOEXEC, "the kernel image is neither a Linux bzImage nor an ELF file");
    error_hint(err, "give a bzImage (vmlinuz) or a vmlinux built with CONFIG_PVH=y");
    return -ENOEXEC;
}

int boot_image_read(int fd, struct boot_image *ret_image, struct error *err)
{
    struct boot_image image = {0};
    int r = boot_file_open(fd, "kernel image", &image.file, err);
    if (r < 0)
        return r;
    if (image.file.size == 0)
        return error_set(err, ENOEXEC, "the kernel image is empty");

    uint8_t head[HEAD_BYTES];
    uint64_t len = image.file.size < sizeof(head) ? image.file.size : sizeof(head);
    r = boot_file_read(&image.file, 0, head, len, "header", err);
    if (r < 0)
        return r;
    image.info.file_size = image.file.size;
    if (bzimage_probe(head, len))
        r = bzimage_parse(&image, err);
    else if (elf_probe(head, len))
        r = elf_parse(&image, err);
    else
        r = reject(head, len, err);
    if (r < 0)
        return r;
    *ret_image = image;
    return 0;
}

int boot_image_identify(int fd, struct boot_image_info *ret_info, struct error *err)
{
    struct boot_image image;
    int r = boot_image_read(fd, &image, err);
    if (r < 0)
        return r;
    *ret_info = image.info;
    return 0;
}
