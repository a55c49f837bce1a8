// SPDX-License-Identifier: Apache-2.0
/* Writes the seeds of the fuzz target boot-kernel: one small image for each path of the loader. */
#include "images.h"
#include <stdio.h>
#include <string.h>

static int write_seed(const char *folder, const char *name, const struct image *image)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    size_t written = fwrite(image->data, 1, image->size, f);
    return fclose(f) != 0 || written != image->size;
}

static int write_bzimages(const char *folder)
{
    struct image image;
    image_bzimage(&image);
    int failed = write_seed(folder, "bzimage", &image);
    image.size += 1; /* with something behind; loaded without a RAM disk */
    failed |= write_seed(folder, "bzimage-trailer", &image);
    image_setup(&image)->relocatable_kernel = 0;
    image_setup(&image)->initrd_addr_max = 0;
    image.size -= 1;
    failed |= write_seed(folder, "bzimage-fixed", &image);
    image_setup(&image)->xloadflags = 0;
    return failed | write_seed(folder, "bzimage-32", &image);
}

static int write_elfs(const char *folder)
{
    struct image image;
    image_elf32(&image);
    int failed = write_seed(folder, "elf32", &image);
    image_elf64(&image);
    failed |= write_seed(folder, "elf64", &image);
    image.size += 2; /* another mode of the fuzz target: RAM is dirty */
    failed |= write_seed(folder, "elf64-dirty", &image);
    /* Notes behind the segment leave room for a second segment. */
    image_ehdr(&image)->e_phnum = 3;
    *image_phdr(&image, 2) = *image_phdr(&image, 1);
    image_phdr(&image, 2)->p_paddr += IMAGE_SEGMENT_MEM;
    const size_t moved = IMAGE_SEGMENT_AT + IMAGE_SEGMENT_SIZE;
    memcpy(image.data + moved, image_note(&image), 24);
    image_phdr(&image, 0)->p_offset = moved;
    image.size = moved + 24;
    failed |= write_seed(folder, "elf64-segments", &image);
    image_phdr(&image, 0)->p_type = PT_NULL;
    return failed | write_seed(folder, "elf64-no-note", &image);
}

static int write_other(const char *folder)
{
    struct image image = {.size = 64, .data = "MZ"};
    memcpy(image.data + 0x38, "ARM\x64", 4);
    return write_seed(folder, "arm64", &image);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    return write_bzimages(argv[1]) | write_elfs(argv[1]) | write_other(argv[1]);
}
