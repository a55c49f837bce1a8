// SPDX-License-Identifier: Apache-2.0
/*
 * `vmm inspect`: says what a file is: a kernel, a disk image, a manifest. Headers of disk images
 * are read here for people only; how a disk is opened is always said, never guessed.
 */
#include "boot.h"
#include "manifest.h"
#include "qcow2_header.h"
#include "verbs.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/fs.h>

#define HEAD_SIZE   4096
#define SECTOR_SIZE 512

static void print_size(const char *what, uint64_t bytes)
{
    printf("%s: %llu bytes (%.1f MiB)\n", what, (unsigned long long)bytes,
           (double)bytes / (1 << 20));
}

static void print_kernel(const char *path, const struct boot_image_info *info)
{
    if (info->kind == BOOT_IMAGE_BZIMAGE) {
        printf("kernel: Linux bzImage, boot protocol %u.%02u\n", info->protocol >> 8,
               info->protocol & 0xff);
        printf("version: %s\n", info->version);
    } else {
        printf("kernel: ELF with a PVH entry\n");
        printf("segments: %u\n", info->segment_count);
    }
    printf("entry: 0x%llx\n", (unsigned long long)info->entry);
    printf("least memory: %llu MiB\n", (unsigned long long)(info->memory_end >> 20) + 1);
    printf("command line: at most %u bytes\n", info->cmdline_max);
    printf("use: vmm run --kernel %s\n", path);
}

static void print_conversion(const char *format, const char *path)
{
    printf("use: qemu-img convert -f %s -O raw %s disk.raw, then --disk path=disk.raw,format=raw\n",
           format, path);
}

/* What the header of a qcow2 image says beside its sizes. */
static void print_qcow2_features(const struct qcow2_header *h)
{
    static const struct {
        uint64_t bit;
        const char *text;
    } states[] = {
        {QCOW2_INCOMPATIBLE_DIRTY, "problem: it was not closed, its refcounts are out of date"},
        {QCOW2_INCOMPATIBLE_CORRUPT, "problem: it is marked corrupt"},
    };
    printf("refcounts: %u bits\n", 1u << h->refcount_order);
    printf("compression: %s\n", h->compression == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib");
    if (h->snapshot_count > 0)
        printf("internal snapshots: %u; they are kept, and cannot be used\n", h->snapshot_count);
    if (h->compatible & 1)
        printf("lazy refcounts: allowed; they are kept exact nevertheless\n");
    if (h->autoclear & 1)
        printf("bitmaps: yes; writing to the image makes them out of date\n");
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        if (h->incompatible & states[i].bit)
            printf("%s; read-only, or after `qemu-img check -r all`\n", states[i].text);
    }
}

static int print_qcow2(const char *path, int fd, uint64_t file_size)
{
    struct qcow2_header h;
    struct error err = ERROR_INIT;
    int r = qcow2_header_read(fd, file_size, &h, &err);
    if (r < 0) {
        printf("disk image: qcow2, which cannot be used\nproblem: %s\n", err.text);
        return EXIT_BAD_CONFIG;
    }
    printf("disk image: qcow2 version %u\n", h.version);
    print_size("virtual size", h.virtual_size);
    print_size("file", file_size);
    printf("clusters: %u bytes\n", 1u << h.cluster_bits);
    print_qcow2_features(&h);
    if (h.has_backing)
        printf("backing file: '%s'%s%s; only what is said with backing= is opened\n",
               h.backing_file, *h.backing_format != '\0' ? ", " : "", h.backing_format);
    bool readonly = (h.incompatible & (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT)) != 0;
    printf("use: vmm run --disk path=%s,format=qcow2%s%s%s\n", path,
           h.has_backing ? ",backing=FILE,backing-format=" : "",
           !h.has_backing              ? ""
           : *h.backing_format != '\0' ? h.backing_format
                                       : "FORMAT",
           readonly ? ",readonly" : "");
    return EXIT_OK;
}

static const char *foreign_disk(const uint8_t *head)
{
    if (memcmp(head, "KDMV", 4) == 0)
        return "vmdk";
    if (memcmp(head, "vhdxfile", 8) == 0)
        return "vhdx";
    if (memcmp(head, "conectix", 8) == 0)
        return "vpc";
    if (memcmp(head + 64, "\x7f\x10\xda\xbe", 4) == 0)
        return "vdi";
    return NULL;
}

/* A partition table or a file system at the start of a raw disk. */
static const char *raw_content(const uint8_t *head, size_t len)
{
    if (len >= SECTOR_SIZE + 8 && memcmp(head + SECTOR_SIZE, "EFI PART", 8) == 0)
        return "a GPT partition table";
    if (len >= 1024 + 58 && head[1024 + 56] == 0x53 && head[1024 + 57] == 0xef)
        return "an ext2/3/4 file system";
    if (len >= 4 && memcmp(head, "XFSB", 4) == 0)
        return "an XFS file system";
    if (len >= SECTOR_SIZE && head[510] == 0x55 && head[511] == 0xaa)
        return "an MBR partition table or boot sector";
    return NULL;
}

static int print_raw(const char *path, const uint8_t *head, size_t len, uint64_t size)
{
    const char *content = raw_content(head, len);
    printf("disk image: raw%s%s\n", content != NULL ? ", with " : "",
           content != NULL ? content : ", if it is one (nothing in it is known)");
    print_size("size", size);
    if (size % SECTOR_SIZE != 0) {
        printf("problem: the size is not a multiple of 512; truncate -s %%512 %s\n", path);
        return EXIT_BAD_CONFIG;
    }
    printf("use: vmm run --disk path=%s,format=raw\n", path);
    return EXIT_OK;
}

static bool is_kernel(const uint8_t *head)
{
    return memcmp(head,
                  "\x7f"
                  "ELF",
                  4) == 0 ||
           memcmp(head + 0x202, "HdrS", 4) == 0;
}

/* Linux Documentation/driver-api/early-userspace/buffer-format.rst; compressed ones are known by
 * their compressor only. */
static const char *initrd_kind(const uint8_t *head)
{
    static const struct {
        const char *magic, *kind;
        size_t len;
    } kinds[] = {
        {"070701", "initial RAM disk (cpio)", 6},
        {"\x1f\x8b", "gzip file; an initial RAM disk may be one", 2},
        {"\x28\xb5\x2f\xfd", "zstd file; an initial RAM disk may be one", 4},
        {"\xfd"
         "7zXZ",
         "xz file; an initial RAM disk may be one", 5},
        {"\x02\x21\x4c\x18", "lz4 file; an initial RAM disk may be one", 4},
    };
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (memcmp(head, kinds[i].magic, kinds[i].len) == 0)
            return kinds[i].kind;
    }
    return NULL;
}

/* Text that a person wrote: no zero byte, and a word that every manifest has. */
static bool looks_like_manifest(const uint8_t *head, size_t len)
{
    return memchr(head, 0, len) == NULL && memmem(head, len, "apiVersion", 10) != NULL;
}

static int inspect_fd(const char *path, int fd, struct error *err)
{
    uint8_t head[HEAD_SIZE] = {0};
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine %s", path);
    uint64_t size = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, &size) < 0)
            return error_sys(err, errno, "cannot ask the size of %s", path);
    } else if (!S_ISREG(st.st_mode)) {
        return error_set(err, EINVAL, "%s is neither a regular file nor a block device", path);
    }
    ssize_t len = pread(fd, head, sizeof(head), 0);
    if (len < 0)
        return error_sys(err, errno, "cannot read %s", path);
    if (len == 0)
        return error_set(err, EINVAL, "%s is empty", path);

    struct boot_image_info info;
    if (S_ISREG(st.st_mode) && is_kernel(head)) {
        int r = boot_image_identify(fd, &info, err);
        if (r < 0)
            return error_wrap(err, "%s", path);
        print_kernel(path, &info);
        return EXIT_OK;
    }
    if (memcmp(head, "QFI\xfb", 4) == 0)
        return print_qcow2(path, fd, size);
    const char *foreign = foreign_disk(head);
    if (foreign != NULL) {
        printf("disk image: %s\n", foreign);
        print_conversion(foreign, path);
        return EXIT_OK;
    }
    const char *initrd = initrd_kind(head);
    if (initrd != NULL) {
        printf("%s\nuse: vmm run --kernel KERNEL --initrd %s\n", initrd, path);
        return EXIT_OK;
    }
    if (looks_like_manifest(head, (size_t)len))
        return manifest_inspect(path, err);
    return print_raw(path, head, (size_t)len, size);
}

static int run(int argc, char **argv)
{
    struct positionals words;
    struct error err = ERROR_INIT;
    int r = flags_parse(&verb_inspect, argc, argv, NULL, &words, &err);
    if (r > 0)
        return EXIT_OK;
    if (r == 0 && words.count != 1)
        r = error_set(&err, EINVAL, "which file? `vmm inspect FILE`");
    if (r < 0)
        return report_error(&err);
    const char *path = words.word[0];
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    r = fd < 0 ? error_sys(&err, errno, "cannot open %s", path) : inspect_fd(path, fd, &err);
    return r < 0 ? report_error(&err) : r;
}

static const struct flag inspect_flags[] = {{.name = NULL}};

const struct verb verb_inspect = {
    .name = "inspect",
    .arguments = "FILE",
    .summary = "Says what a file is: a kernel, a RAM disk, a disk image, a manifest.",
    .details = "Of a manifest: which machine it describes, and what is wrong with it. What a\n"
               "disk image seems to be is only reported; `vmm run` never guesses a format.\n"
               "Exit code: 0, or 1 when the file cannot be used.",
    .flags = inspect_flags,
    .run = run,
};
