// SPDX-License-Identifier: Apache-2.0
/* The way from image.c to the format. */
#ifndef PODVISOR_STORAGE_QCOW2_OPEN_H
#define PODVISOR_STORAGE_QCOW2_OPEN_H

#include "image.h"

/*
 * Makes a qcow2 image of one whose descriptor, geometry and flags are set: its ops and what they
 * need. Start-up only. Returns 0 or a negative errno; nothing is left then.
 */
int qcow2_open(struct image *img, bool has_backing, struct error *err);

#endif
