// SPDX-License-Identifier: Apache-2.0
/* The smallest kernels that the loader takes, built in memory, for tests to load and to break. */
#ifndef PODVISOR_TESTS_BOOT_IMAGES_H
#define PODVISOR_TESTS_BOOT_IMAGES_H

#include <asm/bootparam.h>
#include <elf.h>
#include <podvisor/guest_memory.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX 8192

/* bzImage: two sectors of setup, then 1 KiB of kernel filled with IMAGE_FILL. */
#define IMAGE_SETUP_BYTES  1024u
#define IMAGE_KERNEL_BYTES 1024u
#define IMAGE_VERSION_AT   0x300u
#define IMAGE_VERSION      "9.8.7-test (a@b) #1"
#define IMAGE_PREF_ADDRESS 0x1000000u
#define IMAGE_ALIGNMENT    0x200000u
#define IMAGE_INIT_SIZE    0x10000u
#define IMAGE_FILL         0x5a

/* ELF: header, PT_NOTE and PT_LOAD, the notes, then 256 bytes of kernel filled with IMAGE_FILL. */
#define IMAGE_NOTE_AT      0x100u
#define IMAGE_SEGMENT_AT   0x200u
#define IMAGE_SEGMENT_SIZE 256u
#define IMAGE_SEGMENT_MEM  UINT64_C(0x3000)
#define IMAGE_SEGMENT_GPA  0x200000u
#define IMAGE_ENTRY        0x200010u

struct image {
    size_t size;
    uint8_t data[IMAGE_MAX] __attribute__((aligned(8)));
};

void image_bzimage(struct image *image);
void image_elf64(struct image *image);
void image_elf32(struct image *image);

/* Parts of what is in image->data. */
struct setup_header *image_setup(struct image *image);
Elf64_Ehdr *image_ehdr(struct image *image);
Elf64_Phdr *image_phdr(struct image *image, unsigned index);
Elf64_Nhdr *image_note(struct image *image);

/* A new memfd with the first `size` bytes of the image. The caller closes it. */
int image_fd(const struct image *image, size_t size);

/* A new memfd of `size` zero bytes, sparse. The caller closes it. */
int image_sparse_fd(uint64_t size);

#endif
