// SPDX-License-Identifier: Apache-2.0
/* Builds the images of images.h. */
#include "images.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADER_AT  0x1f1
#define NOTE_BYTES (sizeof(Elf64_Nhdr) + 4 + 8)

struct setup_header *image_setup(struct image *image)
{
    return (struct setup_header *)(image->data + HEADER_AT);
}

Elf64_Ehdr *image_ehdr(struct image *image)
{
    return (Elf64_Ehdr *)(void *)image->data;
}

Elf64_Phdr *image_phdr(struct image *image, unsigned index)
{
    return (Elf64_Phdr *)(void *)(image->data + sizeof(Elf64_Ehdr)) + index;
}

Elf64_Nhdr *image_note(struct image *image)
{
    return (Elf64_Nhdr *)(void *)(image->data + IMAGE_NOTE_AT);
}

void image_bzimage(struct image *image)
{
    memset(image, 0, sizeof(*image));
    image->size = IMAGE_SETUP_BYTES + IMAGE_KERNEL_BYTES;
    *image_setup(image) = (struct setup_header){
        .setup_sects = 1,
        .syssize = IMAGE_KERNEL_BYTES / 16,
        .boot_flag = 0xaa55,
        .jump = 0x6aeb, /* jmp to 0x202 + 0x6a, the end of the header */
        .header = 0x53726448,
        .version = 0x020f,
        .kernel_version = IMAGE_VERSION_AT - 0x200,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = IMAGE_ALIGNMENT,
        .relocatable_kernel = 1,
        .xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
        .cmdline_size = 2047,
        .pref_address = IMAGE_PREF_ADDRESS,
        .init_size = IMAGE_INIT_SIZE,
    };
    memcpy(image->data + IMAGE_VERSION_AT, IMAGE_VERSION, sizeof(IMAGE_VERSION));
    memset(image->data + IMAGE_SETUP_BYTES, IMAGE_FILL, IMAGE_KERNEL_BYTES);
}

static void put_note_and_segment(struct image *image, uint32_t desc_size)
{
    Elf64_Nhdr *note = image_note(image);
    *note = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = desc_size, .n_type = 18};
    memcpy(note + 1, "Xen", 4);
    const uint64_t entry = IMAGE_ENTRY;
    memcpy((uint8_t *)(note + 1) + 4, &entry, desc_size);
    memset(image->data + IMAGE_SEGMENT_AT, IMAGE_FILL, IMAGE_SEGMENT_SIZE);
    image->size = IMAGE_SEGMENT_AT + IMAGE_SEGMENT_SIZE;
}

void image_elf64(struct image *image)
{
    memset(image, 0, sizeof(*image));
    *image_ehdr(image) = (Elf64_Ehdr){
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    *image_phdr(image, 0) = (Elf64_Phdr){
        .p_type = PT_NOTE, .p_offset = IMAGE_NOTE_AT, .p_filesz = NOTE_BYTES, .p_align = 4};
    *image_phdr(image, 1) = (Elf64_Phdr){
        .p_type = PT_LOAD,
        .p_offset = IMAGE_SEGMENT_AT,
        .p_paddr = IMAGE_SEGMENT_GPA,
        .p_filesz = IMAGE_SEGMENT_SIZE,
        .p_memsz = IMAGE_SEGMENT_MEM,
    };
    put_note_and_segment(image, 8);
}

void image_elf32(struct image *image)
{
    memset(image, 0, sizeof(*image));
    *(Elf32_Ehdr *)(void *)image->data = (Elf32_Ehdr){
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_386,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf32_Ehdr),
        .e_ehsize = sizeof(Elf32_Ehdr),
        .e_phentsize = sizeof(Elf32_Phdr),
        .e_phnum = 2,
    };
    Elf32_Phdr *ph = (Elf32_Phdr *)(void *)(image->data + sizeof(Elf32_Ehdr));
    ph[0] = (Elf32_Phdr){
        .p_type = PT_NOTE, .p_offset = IMAGE_NOTE_AT, .p_filesz = NOTE_BYTES - 4, .p_align = 4};
    ph[1] = (Elf32_Phdr){.p_type = PT_LOAD,
                         .p_offset = IMAGE_SEGMENT_AT,
                         .p_paddr = IMAGE_SEGMENT_GPA,
                         .p_filesz = IMAGE_SEGMENT_SIZE,
                         .p_memsz = IMAGE_SEGMENT_MEM};
    put_note_and_segment(image, 4);
}

static int new_memfd(void)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0) {
        perror("memfd_create");
        abort();
    }
    return fd;
}

int image_fd(const struct image *image, size_t size)
{
    int fd = new_memfd();
    if (write(fd, image->data, size) != (ssize_t)size) {
        perror("write");
        abort();
    }
    return fd;
}

int image_sparse_fd(uint64_t size)
{
    int fd = new_memfd();
    if (ftruncate(fd, (off_t)size) < 0) {
        perror("ftruncate");
        abort();
    }
    return fd;
}
