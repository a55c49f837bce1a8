// SPDX-License-Identifier: Apache-2.0
/*
 * boot_load(): finds room for kernel and RAM disk, reads both straight into guest RAM, writes the
 * command line and hands over to the boot protocol's own structures. Runs before the guest does.
 */
#include "internal.h"
#include <string.h>

static unsigned long long mib(uint64_t bytes)
{
    return (bytes + MIB - 1) / MIB;
}

static int no_room(const struct guest_memory *mem, const struct boot_image_info *info,
                   const struct boot_segment *seg, struct error *err)
{
    const int code = seg->gpa >= LAYOUT_HIGH_RAM ? ENOMEM : ENOEXEC;
    gpa_t end = seg->gpa + seg->mem_size;
    error_set(err, code, "the kernel wants guest memory 0x%llx to 0x%llx, which is not free RAM",
              (unsigned long long)seg->gpa, (unsigned long long)end);
    if (seg->gpa < LAYOUT_HIGH_RAM)
        error_hint(err, "kernels are loaded at 1 MiB or above");
    else if (info->memory_end <= LAYOUT_HOLE_BASE)
        error_hint(err, "give the VM at least %llu MiB (it has %llu MiB)", mib(info->memory_end),
                   mib(guest_memory_size(mem)));
    else
        error_hint(err, "RAM lies from 0 to 3 GiB and from 4 GiB on");
    return -code;
}

static int check_room(const struct guest_memory *mem, const struct boot_image_info *info,
                      struct error *err)
{
    for (unsigned i = 0; i < info->segment_count; i++) {
        const struct boot_segment *seg = &info->segment[i];
        if (!boot_memory_loadable(mem, seg->gpa, seg->mem_size))
            return no_room(mem, info, seg, err);
    }
    return 0;
}

/*
 * Highest page-aligned place for `size` bytes in [floor, top) that touches no segment; 0 when there
 * is none. Every round moves `top` below a segment, so it ends.
 */
static gpa_t find_place(const struct boot_image_info *info, gpa_t floor, gpa_t top, uint64_t size)
{
    while (top > floor && top - floor >= size) {
        gpa_t start = (top - size) & ~(PAGE_BYTES - 1);
        if (start < floor)
            return 0;
        bool free = true;
        for (unsigned i = 0; i < info->segment_count && free; i++) {
            const struct boot_segment *seg = &info->segment[i];
            if (start < seg->gpa + seg->mem_size && seg->gpa < start + size) {
                top = seg->gpa;
                free = false;
            }
        }
        if (free)
            return start;
    }
    return 0;
}

/*
 * As high as the kernel allows below 3 GiB. A kernel with XLF_CAN_BE_LOADED_ABOVE_4G takes a RAM
 * disk anywhere, whatever initrd_addr_max says (it is kept at 2 GiB for old loaders), but the
 * places that every kernel understands come first.
 */
static gpa_t place_initrd(const struct guest_memory *mem, const struct boot_image_info *info,
                          uint64_t size)
{
    gpa_t end = mem->region[0].base + mem->region[0].size;
    gpa_t top = end;
    bool bzimage = info->kind == BOOT_IMAGE_BZIMAGE;
    if (bzimage && top > info->initrd_addr_max)
        top = info->initrd_addr_max + 1;
    gpa_t gpa = find_place(info, LAYOUT_HIGH_RAM, top, size);
    if (gpa != 0 || !bzimage || !(info->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G))
        return gpa;
    gpa = find_place(info, LAYOUT_HIGH_RAM, end, size);
    for (unsigned i = 1; gpa == 0 && i < mem->region_count; i++) {
        const struct guest_memory_region *r = &mem->region[i];
        gpa = find_place(info, r->base, r->base + r->size, size);
    }
    return gpa;
}

static int initrd_does_not_fit(const struct guest_memory *mem, const struct boot_image_info *info,
                               uint64_t size, struct error *err)
{
    error_set(err, ENOMEM, "the initial RAM disk (%llu MiB) does not fit into guest memory",
              mib(size));
    uint64_t limit = LAYOUT_HOLE_BASE;
    if (info->kind == BOOT_IMAGE_BZIMAGE && info->initrd_addr_max < limit)
        limit = info->initrd_addr_max + 1;
    uint64_t need = round_up(info->memory_end, PAGE_BYTES) + round_up(size, PAGE_BYTES);
    if (need <= limit && need > guest_memory_size(mem))
        error_hint(err, "with this kernel the VM needs at least %llu MiB (it has %llu MiB)",
                   mib(need), mib(guest_memory_size(mem)));
    else
        error_hint(err, "this kernel takes a RAM disk only below 0x%llx; use a smaller one",
                   (unsigned long long)limit);
    return -ENOMEM;
}

static int load_initrd(const struct guest_memory *mem, const struct boot_image_info *info, int fd,
                       struct boot_loaded *loaded, struct error *err)
{
    struct boot_file file;
    int r = boot_file_open(fd, "initial RAM disk", &file, err);
    if (r < 0)
        return r;
    if (file.size == 0)
        return error_set(err, EINVAL, "the initial RAM disk is empty");
    gpa_t gpa = place_initrd(mem, info, file.size);
    void *ram = gpa != 0 ? guest_memory_at(mem, gpa, file.size) : NULL;
    if (ram == NULL)
        return initrd_does_not_fit(mem, info, file.size, err);
    r = boot_file_read(&file, 0, ram, file.size, "contents", err);
    if (r < 0)
        return r;
    loaded->initrd = gpa;
    loaded->initrd_size = file.size;
    return 0;
}

static int load_segments(const struct guest_memory *mem, const struct boot_image *image,
                         bool ram_is_zero, struct error *err)
{
    const struct boot_image_info *info = &image->info;
    for (unsigned i = 0; i < info->segment_count; i++) {
        const struct boot_segment *seg = &info->segment[i];
        uint8_t *ram = boot_structure_at(mem, seg->gpa, seg->mem_size, err);
        if (ram == NULL)
            return -ENOMEM;
        int r = boot_file_read(&image->file, seg->offset, ram, seg->file_size, "segments", err);
        if (r < 0)
            return r;
        /* The room behind a bzImage is scratch space; only ELF promises zeroes (gABI, ch. 5). */
        if (info->kind == BOOT_IMAGE_PVH && !ram_is_zero)
            memset(ram + seg->file_size, 0, seg->mem_size - seg->file_size);
    }
    return 0;
}

static int load_cmdline(const struct guest_memory *mem, const struct boot_image_info *info,
                        const char *cmdline, struct error *err)
{
    size_t len = strlen(cmdline);
    if (len > info->cmdline_max)
        return error_set(err, E2BIG,
                         "the kernel command line has %zu characters, this kernel takes %u", len,
                         info->cmdline_max);
    char *ram = boot_structure_at(mem, LAYOUT_BOOT_CMDLINE, BOOT_CMDLINE_BYTES, err);
    if (ram == NULL)
        return -ENOMEM;
    memcpy(ram, cmdline, len + 1);
    return 0;
}

int boot_load(const struct guest_memory *mem, const struct boot_source *source,
              struct boot_entry *ret_entry, struct error *err)
{
    if (mem->region_count == 0 || mem->region[0].base != 0)
        return error_set(err, EINVAL, "guest memory does not start at address 0");
    struct boot_image image;
    struct boot_loaded loaded = {.rsdp = source->rsdp};
    int r = boot_image_read(source->kernel_fd, &image, err);
    if (r == 0)
        r = check_room(mem, &image.info, err);
    if (r == 0)
        r = load_cmdline(mem, &image.info, source->cmdline, err);
    if (r == 0)
        r = load_segments(mem, &image, source->ram_is_zero, err);
    if (r == 0 && source->initrd_fd >= 0)
        r = load_initrd(mem, &image.info, source->initrd_fd, &loaded, err);
    if (r < 0)
        return r;

    struct boot_entry entry = {.rip = image.info.entry};
    if (image.info.kind == BOOT_IMAGE_BZIMAGE)
        r = linux64_setup(mem, &image, &loaded, &entry, err);
    else
        r = pvh_setup(mem, &loaded, &entry, err);
    if (r == 0)
        r = entry_write_gdt(mem, &entry, err);
    if (r < 0)
        return r;
    *ret_entry = entry;
    return 0;
}
