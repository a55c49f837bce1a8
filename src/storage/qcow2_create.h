// SPDX-License-Identifier: Apache-2.0
/* Making empty qcow2 images: overlays and disks that the front creates. Start-up only. */
#ifndef PODVISOR_STORAGE_QCOW2_CREATE_H
#define PODVISOR_STORAGE_QCOW2_CREATE_H

#include <podvisor/error.h>
#include <stdint.h>

struct qcow2_create_options {
    uint64_t size;         /* bytes that the guest sees; a multiple of 512 */
    uint32_t cluster_bits; /* 0: QCOW2_CLUSTER_BITS_DEFAULT, 64 KiB */
    /*
     * For an overlay: what the header says about the image below, for other programs. podvisor
     * itself only looks whether there is a name, and opens what it is told to. NULL: no overlay.
     */
    const char *backing_file;
    const char *backing_format; /* "raw" or "qcow2"; with backing_file */
};

/*
 * Writes an image of version 3 that reads as zeroes, or as what is below, into an empty regular
 * file open for writing. Returns 0 or a negative errno; the file's content is undefined then.
 */
int qcow2_create(int fd, const struct qcow2_create_options *options, struct error *err);

#endif
