// SPDX-License-Identifier: Apache-2.0
/* ELF kernels with a PVH entry: what a good one says, and each way to be a bad one. */
#include "check_main.h"

START_TEST(describes_a_good_one)
{
    struct image image;
    struct boot_image_info info;
    struct error err = ERROR_INIT;
    if (_i == 0)
        image_elf64(&image);
    else
        image_elf32(&image);
    ck_assert_msg(identify(&image, image.size, &info, &err) == 0, "%s", err.text);
    ck_assert_int_eq(info.kind, BOOT_IMAGE_PVH);
    ck_assert_uint_eq(info.entry, IMAGE_ENTRY);
    ck_assert_uint_eq(info.memory_end, IMAGE_SEGMENT_GPA + IMAGE_SEGMENT_MEM);
    ck_assert_uint_eq(info.cmdline_max, 4095);
    ck_assert_uint_eq(info.segment_count, 1);
    ck_assert_uint_eq(info.segment[0].offset, IMAGE_SEGMENT_AT);
    ck_assert_uint_eq(info.segment[0].file_size, IMAGE_SEGMENT_SIZE);
    ck_assert_uint_eq(info.segment[0].mem_size, IMAGE_SEGMENT_MEM);
    ck_assert_uint_eq(info.segment[0].gpa, IMAGE_SEGMENT_GPA);
    ck_assert_str_eq(info.version, "");
    ck_assert_uint_eq(info.protocol, 0);
}
END_TEST

START_TEST(no_shorter_file_is_taken)
{
    struct image image;
    struct boot_image_info info;
    if (_i == 0)
        image_elf64(&image);
    else
        image_elf32(&image);
    for (size_t size = 0; size < image.size; size++)
        ck_assert_int_eq(identify(&image, size, &info, NULL), -ENOEXEC);
    image.size -= 100;
    expect_refusal(&image, "truncated: 100 of the 256 bytes of segment 1");
}
END_TEST

#define EHDR(f) offsetof(Elf64_Ehdr, f), sizeof(((Elf64_Ehdr *)0)->f)
#define PHDR(i, f)                                                           \
    sizeof(Elf64_Ehdr) + (i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, f), \
        sizeof(((Elf64_Phdr *)0)->f)
#define NOTE(f) IMAGE_NOTE_AT + offsetof(Elf64_Nhdr, f), 4
#define DESC    IMAGE_NOTE_AT + sizeof(Elf64_Nhdr) + 4, 8

static const struct {
    size_t offset, len;
    uint64_t value;
    const char *text;
} malformations[] = {
    {EI_CLASS, 1, 3, "unknown class 3"},
    {EI_DATA, 1, ELFDATA2MSB, "big-endian"},
    {EHDR(e_machine), EM_AARCH64, "arm64"},
    {EHDR(e_machine), EM_386, "32-bit x86"},
    {EHDR(e_machine), 9999, "another machine (e_machine 9999)"},
    {EHDR(e_type), ET_REL, "type 1, not an executable"},
    {EHDR(e_type), ET_CORE, "type 4, not an executable"},
    {EHDR(e_phentsize), 32, "program headers have 32 bytes"},
    {EHDR(e_phnum), 0, "0 program headers"},
    {EHDR(e_phnum), 65, "65 program headers"},
    {EHDR(e_phnum), 0xffff, "65535 program headers"},
    {EHDR(e_phoff), 0x300, "truncated"},
    {EHDR(e_phoff), UINT64_MAX, "beyond any file"},
    {EHDR(e_phoff), UINT64_MAX - 55, "beyond any file"}, /* the second one would wrap to 0 */
    {PHDR(1, p_offset), 0x10000, "truncated: 256 of the 256 bytes"},
    {PHDR(1, p_offset), UINT64_MAX, "truncated"},
    {PHDR(1, p_filesz), IMAGE_SEGMENT_MEM + 1, "larger in the file than in memory"},
    {PHDR(1, p_memsz), 255, "larger in the file than in memory"},
    {PHDR(1, p_memsz), UINT64_MAX, "past the end of the address space"},
    {PHDR(1, p_paddr), UINT64_MAX - 0x1000, "past the end of the address space"},
    {PHDR(1, p_paddr), 0x300000, "entry 0x200010 lies outside"},
    {PHDR(1, p_type), PT_NULL, "entry 0x200010 lies outside"},
    {PHDR(0, p_type), PT_NULL, "no PVH entry point; build it with CONFIG_PVH=y"},
    {PHDR(0, p_filesz), 8, "no PVH entry point"},
    {PHDR(0, p_filesz), 0, "no PVH entry point"},
    {PHDR(0, p_filesz), 5000, "notes have 5000 bytes"},
    {PHDR(0, p_filesz), 20, "runs past its segment"},
    {PHDR(0, p_offset), 0x10000, "truncated"},
    {NOTE(n_type), 17, "no PVH entry point"},
    {NOTE(n_namesz), 3, "no PVH entry point"},
    {NOTE(n_namesz), UINT32_MAX, "runs past its segment"},
    {NOTE(n_descsz), UINT32_MAX, "runs past its segment"},
    {NOTE(n_descsz), 2, "entry note has 2 bytes"},
    {NOTE(n_descsz), 0, "entry note has 0 bytes"},
    {DESC, IMAGE_SEGMENT_GPA - 1, "lies outside"},
    {DESC, IMAGE_SEGMENT_GPA + IMAGE_SEGMENT_SIZE, "lies outside"}, /* in .bss */
    {DESC, UINT64_MAX, "lies outside"},
};

START_TEST(refuses_malformed)
{
    struct image image;
    image_elf64(&image);
    memcpy(image.data + malformations[_i].offset, &malformations[_i].value, malformations[_i].len);
    expect_refusal(&image, malformations[_i].text);
}
END_TEST

START_TEST(entry_is_below_4_gib)
{
    struct image image;
    image_elf64(&image);
    image_phdr(&image, 1)->p_paddr = UINT64_C(0x100000000);
    const uint64_t entry = UINT64_C(0x100000010);
    memcpy((uint8_t *)(image_note(&image) + 1) + 4, &entry, sizeof(entry));
    expect_refusal(&image, "lies outside");
}
END_TEST

/* Moves the notes behind the segment, to have room for more program headers. */
static void add_segments(struct image *image, unsigned count, uint64_t gap)
{
    image_elf64(image);
    const size_t table = IMAGE_SEGMENT_AT + IMAGE_SEGMENT_SIZE;
    const Elf64_Phdr note = *image_phdr(image, 0), load = *image_phdr(image, 1);
    image_ehdr(image)->e_phoff = table;
    image_ehdr(image)->e_phnum = (uint16_t)(count + 1);
    Elf64_Phdr *ph = (Elf64_Phdr *)(void *)(image->data + table);
    ph[0] = note;
    for (unsigned i = 0; i < count; i++) {
        ph[1 + i] = load;
        ph[1 + i].p_paddr += i * gap;
    }
    image->size = table + (count + 1) * sizeof(Elf64_Phdr);
}

START_TEST(segments_are_counted)
{
    struct image image;
    struct boot_image_info info;
    add_segments(&image, BOOT_SEGMENT_MAX, IMAGE_SEGMENT_MEM);
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_uint_eq(info.segment_count, BOOT_SEGMENT_MAX);
    ck_assert_uint_eq(info.memory_end, IMAGE_SEGMENT_GPA + BOOT_SEGMENT_MAX * IMAGE_SEGMENT_MEM);
    add_segments(&image, BOOT_SEGMENT_MAX + 1, IMAGE_SEGMENT_MEM);
    expect_refusal(&image, "more than 32 segments");
}
END_TEST

START_TEST(segments_do_not_overlap)
{
    struct image image;
    add_segments(&image, 2, IMAGE_SEGMENT_MEM - 1);
    expect_refusal(&image, "segment 2 of the ELF kernel overlaps another one at 0x200000");
    add_segments(&image, 2, 0);
    expect_refusal(&image, "overlaps");
    add_segments(&image, 2, (uint64_t)1 - IMAGE_SEGMENT_MEM); /* the second one lower */
    expect_refusal(&image, "overlaps");
}
END_TEST

START_TEST(empty_segments_are_ignored)
{
    struct image image;
    struct boot_image_info info;
    add_segments(&image, 2, 0);
    Elf64_Phdr *ph = (Elf64_Phdr *)(void *)(image.data + IMAGE_SEGMENT_AT + IMAGE_SEGMENT_SIZE);
    ph[2].p_filesz = ph[2].p_memsz = 0;
    ck_assert_int_eq(identify(&image, image.size, &info, NULL), 0);
    ck_assert_uint_eq(info.segment_count, 1);
}
END_TEST

/* A note of another kind before, with the paddings that 4 and 8 byte alignment give. */
START_TEST(entry_is_found_behind_other_notes)
{
    const bool wide = _i == 1;
    struct image image;
    struct boot_image_info info;
    struct error err = ERROR_INIT;
    image_elf64(&image);
    uint8_t *p = image.data + IMAGE_NOTE_AT;
    uint8_t xen[24];
    memcpy(xen, p, sizeof(xen));
    const Elf64_Nhdr other = {.n_namesz = 5, .n_descsz = 9, .n_type = 18};
    memset(p, 0, 64);
    memcpy(p, &other, sizeof(other));
    memcpy(p + sizeof(other), "Xenx", 5);
    /* 12 + 5 = 17: descriptor at 20 or 24, next note at 32 or 40. */
    const size_t next = wide ? 40 : 32;
    memcpy(p + next, xen, sizeof(xen));
    image_phdr(&image, 0)->p_align = wide ? 8 : 4;
    image_phdr(&image, 0)->p_filesz = next + sizeof(xen);
    ck_assert_msg(identify(&image, image.size, &info, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(info.entry, IMAGE_ENTRY);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("boot-elf");
    TCase *tc = tcase_create("parse");
    tcase_add_loop_test(tc, describes_a_good_one, 0, 2);
    tcase_add_loop_test(tc, no_shorter_file_is_taken, 0, 2);
    tcase_add_loop_test(tc, refuses_malformed, 0, sizeof(malformations) / sizeof(malformations[0]));
    tcase_add_test(tc, entry_is_below_4_gib);
    tcase_add_test(tc, segments_are_counted);
    tcase_add_test(tc, segments_do_not_overlap);
    tcase_add_test(tc, empty_segments_are_ignored);
    tcase_add_loop_test(tc, entry_is_found_behind_other_notes, 0, 2);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
