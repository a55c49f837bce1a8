// SPDX-License-Identifier: Apache-2.0
/*
 * A list of files to an ISO 9660 image: ECMA-119, with Rock Ridge names (SUSP 1.12, RRIP 1.10) for
 * Linux and the BSDs and Joliet names for Windows. One thread; nothing is kept.
 *
 * Our own, because nothing else fits: libisofs and libburn (750 KiB, threads, message queues) are
 * made to master disks of terabytes, mkisofs and xorriso are processes that need the files in a
 * file system, and in a pod secrets must not touch one. What is written here is a function of its
 * arguments, to the byte: all times are 2000-01-01, owner and group 0.
 */
#ifndef PODVISOR_SEED_ISO9660_H
#define PODVISOR_SEED_ISO9660_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ISO_SECTOR    2048
#define ISO_LABEL_MAX 32   /* bytes; Joliet shows the first 16 */
#define ISO_NAME_MAX  253  /* bytes of a name; what Linux reads of one, and ConfigMaps allow */
#define ISO_DEPTH_MAX 8    /* names in a path: the levels of ECMA-119 §6.8.2.1 */
#define ISO_FILES_MAX 2048 /* files; and folders */
#define ISO_DATA_MAX  (8u << 20) /* bytes of all files: eight times what a Secret can hold */

/* The first sectors are zero (ECMA-119 §6.2.1): who copies an image may leave a hole there. */
#define ISO_SYSTEM_AREA ((size_t)16 * ISO_SECTOR)

struct iso_file {
    char *path; /* relative, '/' between names; folders come of themselves */
    char *data;
    size_t len;
};

/* 1 to ISO_LABEL_MAX printable ASCII characters. */
bool iso_label_is_valid(const char *label);

/*
 * `is_private`: files and folders are for the guest's root alone (0400, 0500), else for everybody
 * (0444, 0555). *ret is for free(), *ret_len a multiple of 4096. Returns 0; -EINVAL for a label or
 * a path that cannot be (empty, "." or ".." or a control character in it, twice the same), or
 * -E2BIG beyond the limits above; the error names the file.
 */
int iso_write(const char *label, bool is_private, const struct iso_file *files, size_t count,
              uint8_t **ret, size_t *ret_len, struct error *err);

#endif
