// SPDX-License-Identifier: Apache-2.0
/*
 * Parses an ELF kernel that has the entry point of the Xen x86/HVM direct boot ABI ("PVH"): ELF
 * (System V gABI, chapter 5: program loading), 32 or 64 bit, and in one of its notes
 * XEN_ELFNOTE_PHYS32_ENTRY (xen: public/elfnote.h), the physical address of a 32-bit entry.
 * Both classes are turned into the 64-bit structures first, so each check exists once.
 */
#include "internal.h"
#include <elf.h>
#include <podvisor/cleanup.h>
#include <string.h>

#define PHDR_MAX         64u
#define NOTE_BYTES_MAX   4096u
#define XEN_NOTE_NAME    "Xen"
#define XEN_PHYS32_ENTRY 18u

/* What is needed of the ELF header, of either class. */
struct elf_header {
    bool is_64bit;
    uint16_t type, machine, phdr_count, phdr_size;
    uint64_t phdr_offset;
};

struct machine_name {
    uint16_t machine;
    const char *name;
};

static const struct machine_name machine_names[] = {
    {EM_386, "32-bit x86"}, {EM_X86_64, "x86-64 in a 32-bit file"},
    {EM_AARCH64, "arm64"},  {EM_ARM, "32-bit ARM"},
    {EM_RISCV, "RISC-V"},   {EM_PPC64, "64-bit PowerPC"},
    {EM_S390, "s390"},      {EM_MIPS, "MIPS"},
    {258, "LoongArch"},
};

bool elf_probe(const uint8_t *head, uint64_t len)
{
    return len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static int read_header(const struct boot_file *file, struct elf_header *h, struct error *err)
{
    union {
        unsigned char ident[EI_NIDENT];
        Elf32_Ehdr e32;
        Elf64_Ehdr e64;
    } u;
    int r = boot_file_read(file, 0, u.ident, sizeof(u.ident), "ELF header", err);
    if (r < 0)
        return r;
    if (u.ident[EI_DATA] != ELFDATA2LSB)
        return error_set(err, ENOEXEC, "the kernel is a big-endian ELF file");
    if (u.ident[EI_CLASS] != ELFCLASS64 && u.ident[EI_CLASS] != ELFCLASS32)
        return error_set(err, ENOEXEC, "the kernel is an ELF file of unknown class %u",
                         u.ident[EI_CLASS]);
    h->is_64bit = u.ident[EI_CLASS] == ELFCLASS64;
    if (h->is_64bit) {
        r = boot_file_read(file, 0, &u.e64, sizeof(u.e64), "ELF header", err);
        if (r < 0)
            return r;
        h->type = u.e64.e_type;
        h->machine = u.e64.e_machine;
        h->phdr_count = u.e64.e_phnum;
        h->phdr_size = u.e64.e_phentsize;
        h->phdr_offset = u.e64.e_phoff;
    } else {
        r = boot_file_read(file, 0, &u.e32, sizeof(u.e32), "ELF header", err);
        if (r < 0)
            return r;
        h->type = u.e32.e_type;
        h->machine = u.e32.e_machine;
        h->phdr_count = u.e32.e_phnum;
        h->phdr_size = u.e32.e_phentsize;
        h->phdr_offset = u.e32.e_phoff;
    }
    return 0;
}

static int check_header(const struct elf_header *h, struct error *err)
{
    if (h->machine != (h->is_64bit ? EM_X86_64 : EM_386)) {
        const char *name = "another machine";
        for (size_t i = 0; i < ARRAY_SIZE(machine_names); i++) {
            if (machine_names[i].machine == h->machine)
                name = machine_names[i].name;
        }
        error_set(err, ENOEXEC, "the kernel is an ELF file for %s (e_machine %u)", name,
                  h->machine);
        error_hint(err, "a kernel for x86-64 is needed");
        return -ENOEXEC;
    }
    if (h->type != ET_EXEC && h->type != ET_DYN)
        return error_set(err, ENOEXEC, "the kernel is an ELF file of type %u, not an executable",
                         h->type);
    if (h->phdr_size != (h->is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return error_set(err, ENOEXEC, "the ELF kernel's program headers have %u bytes each",
                         h->phdr_size);
    if (h->phdr_count == 0 || h->phdr_count > PHDR_MAX)
        return error_set(err, ENOEXEC, "the ELF kernel has %u program headers, 1 to %u are allowed",
                         h->phdr_count, PHDR_MAX);
    return 0;
}

static int read_phdr(const struct boot_file *file, const struct elf_header *h, unsigned index,
                     Elf64_Phdr *ph, struct error *err)
{
    /* A wrapped sum would only name other bytes of the file; boot_file_read() checks the range. */
    uint64_t offset = h->phdr_offset + (uint64_t)index * h->phdr_size;
    if (h->is_64bit)
        return boot_file_read(file, offset, ph, sizeof(*ph), "program headers", err);
    Elf32_Phdr p32;
    int r = boot_file_read(file, offset, &p32, sizeof(p32), "program headers", err);
    if (r < 0)
        return r;
    *ph = (Elf64_Phdr){
        .p_type = p32.p_type,
        .p_offset = p32.p_offset,
        .p_paddr = p32.p_paddr,
        .p_filesz = p32.p_filesz,
        .p_memsz = p32.p_memsz,
        .p_align = p32.p_align,
    };
    return 0;
}

static int check_segment(const struct boot_image_info *info, unsigned index,
                         const struct boot_segment *seg, struct error *err)
{
    if (seg->file_size > seg->mem_size)
        return error_set(err, ENOEXEC,
                         "segment %u of the ELF kernel is larger in the file than in memory",
                         index);
    if (seg->gpa > UINT64_MAX - seg->mem_size)
        return error_set(err, ENOEXEC,
                         "segment %u of the ELF kernel runs past the end of the address space",
                         index);
    if (seg->offset > info->file_size || seg->file_size > info->file_size - seg->offset) {
        uint64_t have = seg->offset < info->file_size ? info->file_size - seg->offset : 0;
        error_set(err, ENOEXEC,
                  "the kernel image is truncated: %llu of the %llu bytes of segment %u are missing",
                  (unsigned long long)(seg->file_size - have), (unsigned long long)seg->file_size,
                  index);
        error_hint(err, "copy or download it again");
        return -ENOEXEC;
    }
    for (unsigned i = 0; i < info->segment_count; i++) {
        const struct boot_segment *other = &info->segment[i];
        if (seg->gpa < other->gpa + other->mem_size && other->gpa < seg->gpa + seg->mem_size)
            return error_set(err, ENOEXEC,
                             "segment %u of the ELF kernel overlaps another one at 0x%llx", index,
                             (unsigned long long)other->gpa);
    }
    return 0;
}

static int add_segment(struct boot_image_info *info, unsigned index, const Elf64_Phdr *ph,
                       struct error *err)
{
    struct boot_segment seg = {
        .offset = ph->p_offset,
        .file_size = ph->p_filesz,
        .mem_size = ph->p_memsz,
        .gpa = ph->p_paddr,
    };
    int r = check_segment(info, index, &seg, err);
    if (r < 0 || seg.mem_size == 0)
        return r;
    if (info->segment_count == BOOT_SEGMENT_MAX)
        return error_set(err, ENOEXEC, "the ELF kernel has more than %u segments to load",
                         BOOT_SEGMENT_MAX);
    info->segment[info->segment_count++] = seg;
    if (seg.gpa + seg.mem_size > info->memory_end)
        info->memory_end = seg.gpa + seg.mem_size;
    return 0;
}

/* The value of the PVH entry note: as wide as a pointer of the kernel that has it. */
static int read_entry(const uint8_t *desc, uint32_t size, gpa_t *ret_entry, struct error *err)
{
    if (size != 4 && size != 8)
        return error_set(err, ENOEXEC, "the kernel's PVH entry note has %u bytes", size);
    gpa_t entry = 0;
    memcpy(&entry, desc, size);
    *ret_entry = entry;
    return 1;
}

/*
 * Looks for the entry among the notes in buf[0..len) (gABI, "Note Section": three words, name,
 * descriptor; descriptor and next note start at multiples of `align`). Returns 1 and the entry, 0
 * when it is not there, -ENOEXEC when a note runs past the end.
 */
static int find_entry(const uint8_t *buf, uint64_t len, uint64_t align, gpa_t *ret_entry,
                      struct error *err)
{
    for (uint64_t pos = 0; pos < len && len - pos >= sizeof(Elf64_Nhdr);) {
        Elf64_Nhdr nh; /* three 32-bit words in both classes */
        memcpy(&nh, buf + pos, sizeof(nh));
        uint64_t name = pos + sizeof(nh);
        uint64_t desc = round_up(name + nh.n_namesz, align); /* sums of 32-bit numbers */
        uint64_t end = desc + nh.n_descsz;
        if (end > len)
            return error_set(err, ENOEXEC, "a note of the ELF kernel runs past its segment");
        if (nh.n_type == XEN_PHYS32_ENTRY && nh.n_namesz == sizeof(XEN_NOTE_NAME) &&
            memcmp(buf + name, XEN_NOTE_NAME, sizeof(XEN_NOTE_NAME)) == 0)
            return read_entry(buf + desc, nh.n_descsz, ret_entry, err);
        pos = round_up(end, align); /* the last one need not be padded */
    }
    return 0;
}

/* Returns as find_entry(), for the notes of one PT_NOTE segment. */
static int search_notes(const struct boot_file *file, const Elf64_Phdr *ph, gpa_t *ret_entry,
                        struct error *err)
{
    uint8_t buf[NOTE_BYTES_MAX];
    if (ph->p_filesz > sizeof(buf))
        return error_set(err, ENOEXEC, "the ELF kernel's notes have %llu bytes, %u are allowed",
                         (unsigned long long)ph->p_filesz, NOTE_BYTES_MAX);
    int r = boot_file_read(file, ph->p_offset, buf, ph->p_filesz, "notes", err);
    if (r < 0)
        return r;
    return find_entry(buf, ph->p_filesz, ph->p_align == 8 ? 8 : 4, ret_entry, err);
}

/* The entry is the kernel's first instruction, so it lies in bytes that come from the file. */
static int check_entry(const struct boot_image_info *info, struct error *err)
{
    for (unsigned i = 0; i < info->segment_count; i++) {
        const struct boot_segment *seg = &info->segment[i];
        if (info->entry >= seg->gpa && info->entry - seg->gpa < seg->file_size &&
            info->entry <= UINT32_MAX)
            return 0;
    }
    return error_set(err, ENOEXEC, "the kernel's PVH entry 0x%llx lies outside of what is loaded",
                     (unsigned long long)info->entry);
}

int elf_parse(struct boot_image *image, struct error *err)
{
    struct boot_image_info *info = &image->info;
    struct elf_header h = {0};
    int r = read_header(&image->file, &h, err);
    if (r == 0)
        r = check_header(&h, err);
    if (r < 0)
        return r;
    bool found = false;
    for (unsigned i = 0; i < h.phdr_count; i++) {
        Elf64_Phdr ph;
        r = read_phdr(&image->file, &h, i, &ph, err);
        if (r == 0 && ph.p_type == PT_LOAD)
            r = add_segment(info, i, &ph, err);
        else if (r == 0 && ph.p_type == PT_NOTE && !found)
            r = search_notes(&image->file, &ph, &info->entry, err);
        if (r < 0)
            return r;
        found |= r > 0;
    }
    if (!found) {
        error_set(err, ENOEXEC, "the ELF kernel has no PVH entry point");
        error_hint(err, "build it with CONFIG_PVH=y, or give the bzImage of the same build");
        return -ENOEXEC;
    }
    info->kind = BOOT_IMAGE_PVH;
    info->cmdline_max = BOOT_CMDLINE_BYTES - 1;
    return check_entry(info, err);
}
