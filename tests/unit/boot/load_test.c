// SPDX-License-Identifier: Apache-2.0
/* boot_load() into fake guest memory: what lies where, and what does not fit. */
#include "check_main.h"
#include "layout.h"
#include "pvh.h"
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>

#define MIB           UINT64_C(0x100000)
#define GIB           (1024 * MIB)
#define INITRD_FILL   0xc3
#define DIRTY         0xdd
#define RSDP          LAYOUT_ACPI_BASE
#define COMMAND_LINE  "console=ttyS0 panic=-1"
#define HIGH_RAM_BASE LAYOUT_HOLE_END

static struct guest_memory mem;
static struct image kernel;
static struct boot_entry entry;
static struct error err;
static struct boot_source source;

static void add_region(gpa_t base, uint64_t size)
{
    uint8_t *hva = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(hva, MAP_FAILED);
    mem.region[mem.region_count++] =
        (struct guest_memory_region){.base = base, .size = size, .hva = hva};
}

static void setup(void)
{
    mem.region_count = 0;
    err = ERROR_INIT;
    source = (struct boot_source){
        .kernel_fd = -1, .initrd_fd = -1, .cmdline = COMMAND_LINE, .rsdp = RSDP};
}

static void teardown(void)
{
    for (unsigned i = 0; i < mem.region_count; i++)
        munmap(mem.region[i].hva, mem.region[i].size);
    if (source.initrd_fd >= 0)
        close(source.initrd_fd);
}

static int load(void)
{
    source.kernel_fd = image_fd(&kernel, kernel.size);
    int r = boot_load(&mem, &source, &entry, &err);
    close(source.kernel_fd);
    return r;
}

static void expect_load(void)
{
    int r = load();
    ck_assert_msg(r == 0, "%s", err.text);
}

static void expect_failure(int code, const char *text)
{
    entry.rip = 77;
    ck_assert_int_eq(load(), -code);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' does not say '%s'", err.text, text);
    ck_assert_uint_eq(entry.rip, 77);
}

static void *at(gpa_t gpa, uint64_t len)
{
    void *p = guest_memory_at(&mem, gpa, len);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void expect_bytes(gpa_t gpa, uint8_t value, uint64_t len)
{
    const uint8_t *p = at(gpa, len);
    for (uint64_t i = 0; i < len; i++)
        ck_assert_msg(p[i] == value, "0x%02x at 0x%llx", p[i], (unsigned long long)(gpa + i));
}

static void with_initrd(uint64_t size)
{
    source.initrd_fd = image_sparse_fd(size);
    const uint8_t first = INITRD_FILL;
    ck_assert_int_eq(pwrite(source.initrd_fd, &first, 1, 0), 1);
    ck_assert_int_eq(pwrite(source.initrd_fd, &first, 1, (off_t)size - 1), 1);
}

static uint64_t initrd_of(const struct boot_params *bp, uint64_t *ret_size)
{
    *ret_size = bp->hdr.ramdisk_size | (uint64_t)bp->ext_ramdisk_size << 32;
    return bp->hdr.ramdisk_image | (uint64_t)bp->ext_ramdisk_image << 32;
}

/* Loads the bzImage with a RAM disk of `size` and expects it at `gpa`. */
static void expect_initrd_at(gpa_t gpa, uint64_t size)
{
    with_initrd(size);
    expect_load();
    uint64_t got;
    ck_assert_uint_eq(initrd_of(at(LAYOUT_BOOT_PARAMS, 4096), &got), gpa);
    ck_assert_uint_eq(got, size);
    expect_bytes(gpa, INITRD_FILL, 1);
    expect_bytes(gpa + size - 1, INITRD_FILL, 1);
}

START_TEST(bzimage_zero_page)
{
    add_region(0, 64 * MIB);
    memset(mem.region[0].hva, DIRTY, MIB); /* what was there before must not show through */
    image_bzimage(&kernel);
    image_setup(&kernel)->setup_data = 0x1234;
    image_setup(&kernel)->hardware_subarch = 0x77;
    expect_load();
    ck_assert_int_eq(entry.mode, BOOT_ENTRY_LONG64);
    ck_assert_uint_eq(entry.rip, IMAGE_PREF_ADDRESS + 0x200);
    ck_assert_uint_eq(entry.info, LAYOUT_BOOT_PARAMS);
    ck_assert_uint_eq(entry.rsp, LAYOUT_BOOT_STACK);
    expect_bytes(IMAGE_PREF_ADDRESS, IMAGE_FILL, IMAGE_KERNEL_BYTES);

    struct boot_params *bp = at(entry.info, sizeof(*bp));
    ck_assert_uint_eq(bp->hdr.header, 0x53726448);
    ck_assert_uint_eq(bp->hdr.hardware_subarch, 0x77); /* the kernel's own, copied */
    ck_assert_uint_eq(bp->hdr.setup_data, 0);
    ck_assert_uint_eq(bp->hdr.type_of_loader, 0xff);
    ck_assert_uint_eq(bp->hdr.cmd_line_ptr, LAYOUT_BOOT_CMDLINE);
    ck_assert_uint_eq(bp->ext_cmd_line_ptr, 0);
    ck_assert_str_eq(at(LAYOUT_BOOT_CMDLINE, 4096), COMMAND_LINE);
    ck_assert_uint_eq(bp->acpi_rsdp_addr, RSDP);
    ck_assert_uint_eq(bp->sentinel, 0);
    ck_assert_uint_eq(bp->hdr.ramdisk_image, 0);
    ck_assert_uint_eq(bp->hdr.ramdisk_size, 0);
    ck_assert_uint_eq(bp->screen_info.orig_video_isVGA, 0);
}
END_TEST

static const struct boot_e820_entry expected_map[] = {
    {0, LAYOUT_LOW_RAM_END, 1},     {LAYOUT_ACPI_BASE, LAYOUT_ACPI_SIZE, 2},
    {LAYOUT_HIGH_RAM, 63 * MIB, 1}, {LAYOUT_ECAM_BASE, LAYOUT_ECAM_SIZE, 2},
    {HIGH_RAM_BASE, 16 * MIB, 1},
};

/* Loop: 0 with low RAM only, 1 with RAM above 4 GiB. */
START_TEST(bzimage_memory_map)
{
    add_region(0, 64 * MIB);
    if (_i == 1)
        add_region(HIGH_RAM_BASE, 16 * MIB);
    image_bzimage(&kernel);
    expect_load();
    struct boot_params *bp = at(entry.info, sizeof(*bp));
    ck_assert_uint_eq(bp->e820_entries, 4 + (unsigned)_i);
    ck_assert_mem_eq(bp->e820_table, expected_map, sizeof(expected_map[0]) * (size_t)(4 + _i));
}
END_TEST

/* Walks the tables as the CPU would. */
static uint64_t walk(uint64_t address)
{
    uint64_t table = entry.page_table;
    for (int level = 3; level >= 1; level--) {
        uint64_t *t = at(table, 4096);
        uint64_t e = t[address >> (12 + 9 * level) & 511];
        if ((e & 3) != 3)
            return UINT64_MAX;
        if (e & 0x80)
            return (e & ~UINT64_C(0x1fffff)) | (address & 0x1fffff);
        table = e & ~UINT64_C(0xfff);
    }
    return UINT64_MAX;
}

START_TEST(bzimage_identity_map)
{
    add_region(0, 64 * MIB);
    memset(mem.region[0].hva, 0xff, MIB);
    image_bzimage(&kernel);
    expect_load();
    for (uint64_t a = 0; a < 4 * GIB; a += 2 * MIB - 4096 + 8)
        ck_assert_uint_eq(walk(a), a);
    ck_assert_uint_eq(walk(4 * GIB - 1), 4 * GIB - 1);
    ck_assert_uint_eq(walk(4 * GIB), UINT64_MAX);
    ck_assert_uint_eq(walk(UINT64_C(0xffff800000000000)), UINT64_MAX);
}
END_TEST

/* Loop: both kinds; the GDT in memory must agree with the hidden segment registers. */
START_TEST(gdt_matches_registers)
{
    add_region(0, 64 * MIB);
    if (_i == 0)
        image_bzimage(&kernel);
    else
        image_elf64(&kernel);
    expect_load();
    ck_assert_uint_eq(entry.gdt, LAYOUT_BOOT_GDT);
    struct kvm_sregs sregs = {0};
    struct kvm_regs regs;
    boot_entry_sregs(&entry, &sregs, &regs);
    const uint64_t *gdt = at(entry.gdt, entry.gdt_limit + 1u);
    ck_assert_uint_eq(gdt[0], 0);
    const struct kvm_segment *segs[] = {&sregs.cs, &sregs.ss, &sregs.tr};
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_le(segs[i]->selector + 7u, entry.gdt_limit);
        uint64_t d = gdt[segs[i]->selector / 8];
        ck_assert_uint_eq(d >> 40 & 0xf, segs[i]->type);
        ck_assert_uint_eq(d >> 44 & 1, segs[i]->s);
        ck_assert_uint_eq(d >> 47 & 1, 1);
        ck_assert_uint_eq(d >> 53 & 1, segs[i]->l);
        ck_assert_uint_eq(d >> 54 & 1, segs[i]->db);
        ck_assert_uint_eq(d >> 55 & 1, segs[i]->g);
    }
}
END_TEST

START_TEST(initrd_goes_to_the_top)
{
    add_region(0, 64 * MIB);
    image_bzimage(&kernel);
    expect_initrd_at(64 * MIB - 8192, 5000);
}
END_TEST

START_TEST(initrd_respects_the_kernels_limit)
{
    add_region(0, 3 * GIB);
    image_bzimage(&kernel);
    expect_initrd_at(2 * GIB - 4096, 4096);
}
END_TEST

START_TEST(initrd_goes_below_the_kernel)
{
    add_region(0, 64 * MIB);
    image_bzimage(&kernel);
    image_setup(&kernel)->init_size = 48 * MIB; /* up to the end of RAM */
    expect_initrd_at(16 * MIB - 8192, 5000);
}
END_TEST

START_TEST(initrd_beyond_the_limit_when_the_kernel_can)
{
    add_region(0, 64 * MIB);
    image_bzimage(&kernel);
    image_setup(&kernel)->initrd_addr_max = 2 * MIB - 1;
    expect_initrd_at(62 * MIB, 2 * MIB);
}
END_TEST

START_TEST(initrd_above_4_gib_when_the_kernel_can)
{
    add_region(0, 64 * MIB);
    add_region(HIGH_RAM_BASE, 64 * MIB);
    image_bzimage(&kernel);
    expect_initrd_at(HIGH_RAM_BASE + 14 * MIB, 50 * MIB);
    close(source.initrd_fd);
    image_setup(&kernel)->xloadflags = XLF_KERNEL_64;
    with_initrd(50 * MIB);
    expect_failure(ENOMEM, "below 0x80000000");
}
END_TEST

START_TEST(initrd_does_not_fit)
{
    add_region(0, 32 * MIB);
    image_bzimage(&kernel);
    with_initrd(100 * MIB);
    /* kernel end 16 MiB + 64 KiB, and the disk */
    expect_failure(ENOMEM, "at least 117 MiB (it has 32 MiB)");
}
END_TEST

START_TEST(initrd_that_would_fit_by_size_alone)
{
    add_region(0, 32 * MIB);
    image_bzimage(&kernel);
    with_initrd(16 * MIB);
    expect_failure(ENOMEM, "at least 33 MiB");
}
END_TEST

START_TEST(initrd_is_empty_or_no_file)
{
    add_region(0, 32 * MIB);
    image_bzimage(&kernel);
    source.initrd_fd = image_sparse_fd(0);
    expect_failure(EINVAL, "RAM disk is empty");
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    close(source.initrd_fd);
    close(fds[1]);
    source.initrd_fd = fds[0];
    expect_failure(EINVAL, "not a regular file");
}
END_TEST

START_TEST(kernel_does_not_fit)
{
    add_region(0, 16 * MIB);
    image_bzimage(&kernel);
    expect_failure(ENOMEM, "at least 17 MiB (it has 16 MiB)");
}
END_TEST

START_TEST(kernel_in_the_hole)
{
    add_region(0, 16 * MIB);
    image_bzimage(&kernel);
    image_setup(&kernel)->pref_address = 0xd0000000;
    expect_failure(ENOMEM, "RAM lies from 0 to 3 GiB");
}
END_TEST

START_TEST(memory_must_start_at_zero)
{
    image_bzimage(&kernel);
    expect_failure(EINVAL, "does not start at address 0");
    add_region(HIGH_RAM_BASE, 16 * MIB);
    expect_failure(EINVAL, "does not start at address 0");
}
END_TEST

START_TEST(command_line_limits)
{
    add_region(0, 64 * MIB);
    image_bzimage(&kernel);
    image_setup(&kernel)->cmdline_size = 10;
    source.cmdline = "0123456789";
    expect_load();
    ck_assert_str_eq(at(LAYOUT_BOOT_CMDLINE, 4096), "0123456789");
    source.cmdline = "0123456789a";
    expect_failure(E2BIG, "has 11 characters, this kernel takes 10");

    char line[4097];
    memset(line, 'x', sizeof(line));
    line[4095] = '\0';
    source.cmdline = line;
    image_elf64(&kernel);
    expect_load();
    line[4095] = 'x';
    line[4096] = '\0';
    expect_failure(E2BIG, "has 4096 characters, this kernel takes 4095");
}
END_TEST

START_TEST(pvh_start_info)
{
    add_region(0, 64 * MIB);
    add_region(HIGH_RAM_BASE, 16 * MIB);
    memset(mem.region[0].hva, DIRTY, MIB);
    image_elf64(&kernel);
    with_initrd(5000);
    expect_load();
    ck_assert_int_eq(entry.mode, BOOT_ENTRY_PVH32);
    ck_assert_uint_eq(entry.rip, IMAGE_ENTRY);
    ck_assert_uint_eq(entry.page_table, 0);

    struct hvm_start_info *info = at(entry.info, sizeof(*info));
    ck_assert_uint_eq(info->magic, HVM_START_MAGIC_VALUE);
    ck_assert_uint_eq(info->version, 1);
    ck_assert_uint_eq(info->flags, 0);
    ck_assert_uint_eq(info->rsdp_paddr, RSDP);
    ck_assert_str_eq(at(info->cmdline_paddr, 4096), COMMAND_LINE);
    ck_assert_uint_eq(info->nr_modules, 1);
    struct hvm_modlist_entry *module = at(info->modlist_paddr, sizeof(*module));
    ck_assert_uint_eq(module->paddr, 64 * MIB - 8192);
    ck_assert_uint_eq(module->size, 5000);
    ck_assert_uint_eq(module->cmdline_paddr, 0);
    expect_bytes(module->paddr, INITRD_FILL, 1);

    ck_assert_uint_eq(info->memmap_entries, 5);
    struct hvm_memmap_table_entry *map = at(info->memmap_paddr, 5 * sizeof(*map));
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(map[i].addr, expected_map[i].addr);
        ck_assert_uint_eq(map[i].size, expected_map[i].size);
        ck_assert_uint_eq(map[i].type, expected_map[i].type);
        ck_assert_uint_eq(map[i].reserved, 0);
    }
}
END_TEST

START_TEST(pvh_without_initrd)
{
    add_region(0, 64 * MIB);
    image_elf32(&kernel);
    source.rsdp = 0;
    expect_load();
    struct hvm_start_info *info = at(entry.info, sizeof(*info));
    ck_assert_uint_eq(info->nr_modules, 0);
    ck_assert_uint_eq(info->modlist_paddr, 0);
    ck_assert_uint_eq(info->rsdp_paddr, 0);
}
END_TEST

/* A reset leaves RAM dirty: .bss is cleared, unless the caller has done so; nothing else is. */
START_TEST(pvh_bss)
{
    add_region(0, 64 * MIB);
    image_elf64(&kernel);
    uint8_t *ram = at(IMAGE_SEGMENT_GPA, 2 * IMAGE_SEGMENT_MEM);
    memset(ram, DIRTY, 2 * IMAGE_SEGMENT_MEM);
    source.ram_is_zero = true;
    expect_load();
    expect_bytes(IMAGE_SEGMENT_GPA, IMAGE_FILL, IMAGE_SEGMENT_SIZE);
    expect_bytes(IMAGE_SEGMENT_GPA + IMAGE_SEGMENT_SIZE, DIRTY, 4096);
    source.ram_is_zero = false;
    expect_load();
    expect_bytes(IMAGE_SEGMENT_GPA, IMAGE_FILL, IMAGE_SEGMENT_SIZE);
    expect_bytes(IMAGE_SEGMENT_GPA + IMAGE_SEGMENT_SIZE, 0, IMAGE_SEGMENT_MEM - IMAGE_SEGMENT_SIZE);
    expect_bytes(IMAGE_SEGMENT_GPA + IMAGE_SEGMENT_MEM, DIRTY, 4096);
}
END_TEST

/* Loop over places where a segment must not go. */
static const struct {
    gpa_t gpa;
    int code;
} forbidden[] = {
    {0, ENOEXEC},
    {LAYOUT_BOOT_PARAMS, ENOEXEC},
    {LAYOUT_BOOT_CMDLINE + 4095, ENOEXEC},
    {LAYOUT_LOW_RAM_END - IMAGE_SEGMENT_MEM + 1, ENOEXEC},
    {LAYOUT_ACPI_BASE, ENOEXEC},
    {LAYOUT_HIGH_RAM - 1, ENOEXEC},
    {64 * MIB - IMAGE_SEGMENT_MEM + 1, ENOMEM},
    {64 * MIB, ENOMEM},
    {LAYOUT_ECAM_BASE, ENOMEM},
};

START_TEST(pvh_forbidden_places)
{
    add_region(0, 64 * MIB);
    image_elf64(&kernel);
    image_phdr(&kernel, 1)->p_paddr = forbidden[_i].gpa;
    const uint64_t pvh_entry = forbidden[_i].gpa;
    memcpy((uint8_t *)(image_note(&kernel) + 1) + 4, &pvh_entry, sizeof(pvh_entry));
    expect_failure(forbidden[_i].code, "which is not free RAM");
}
END_TEST

START_TEST(pvh_low_memory)
{
    add_region(0, 64 * MIB);
    image_elf64(&kernel);
    const uint64_t gpa = LAYOUT_BOOT_CMDLINE + 4096;
    image_phdr(&kernel, 1)->p_paddr = gpa;
    memcpy((uint8_t *)(image_note(&kernel) + 1) + 4, &gpa, sizeof(gpa));
    expect_load();
    ck_assert_uint_eq(entry.rip, gpa);
    expect_bytes(gpa, IMAGE_FILL, IMAGE_SEGMENT_SIZE);
}
END_TEST

START_TEST(malformed_kernel_is_refused)
{
    add_region(0, 64 * MIB);
    image_elf64(&kernel);
    kernel.size = 100;
    expect_failure(ENOEXEC, "truncated");
}
END_TEST

static void add_failure_tests(TCase *tc)
{
    tcase_add_test(tc, initrd_does_not_fit);
    tcase_add_test(tc, initrd_that_would_fit_by_size_alone);
    tcase_add_test(tc, initrd_is_empty_or_no_file);
    tcase_add_test(tc, kernel_does_not_fit);
    tcase_add_test(tc, kernel_in_the_hole);
    tcase_add_test(tc, memory_must_start_at_zero);
    tcase_add_test(tc, command_line_limits);
    tcase_add_test(tc, malformed_kernel_is_refused);
    tcase_add_loop_test(tc, pvh_forbidden_places, 0, sizeof(forbidden) / sizeof(forbidden[0]));
}

int main(void)
{
    Suite *s = suite_create("boot-load");
    TCase *tc = tcase_create("load");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bzimage_zero_page);
    tcase_add_loop_test(tc, bzimage_memory_map, 0, 2);
    tcase_add_test(tc, bzimage_identity_map);
    tcase_add_loop_test(tc, gdt_matches_registers, 0, 2);
    tcase_add_test(tc, initrd_goes_to_the_top);
    tcase_add_test(tc, initrd_respects_the_kernels_limit);
    tcase_add_test(tc, initrd_goes_below_the_kernel);
    tcase_add_test(tc, initrd_beyond_the_limit_when_the_kernel_can);
    tcase_add_test(tc, initrd_above_4_gib_when_the_kernel_can);
    tcase_add_test(tc, pvh_start_info);
    tcase_add_test(tc, pvh_without_initrd);
    tcase_add_test(tc, pvh_bss);
    tcase_add_test(tc, pvh_low_memory);
    add_failure_tests(tc);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
