// SPDX-License-Identifier: Apache-2.0
/* The way from image.c to the format, over image_geometry.c. */
#ifndef PODVISOR_STORAGE_QCOW2_OPEN_H
#define PODVISOR_STORAGE_QCOW2_OPEN_H

#include "image.h"
#include "qcow2_header.h"

/*
 * image_geometry_read(), with the header that the size is from (raw: untouched). It is read once:
 * whoever has the file can change it between two readings, of which then only one was checked.
 */
int image_geometry_and_header(int fd, enum image_format format, struct image_geometry *ret_geometry,
                              struct qcow2_header *ret_header, struct error *err);

/*
 * For an overlay: requests go to both files, so they are as the stricter one wants them, and so are
 * the image's own. Returns 0, or -EINVAL when the overlay has not the clusters or the size for it.
 */
int image_geometry_lie_on(struct image_geometry *g, const struct qcow2_header *header,
                          const struct image_geometry *below, struct error *err);

/*
 * Makes a qcow2 image of one whose descriptor, geometry and flags are set: its ops and what they
 * need. `header` is the one that the geometry is from. Start-up only. Returns 0 or a negative
 * errno; nothing is left then.
 */
int qcow2_open(struct image *img, const struct qcow2_header *header, bool has_backing,
               struct error *err);

#endif
