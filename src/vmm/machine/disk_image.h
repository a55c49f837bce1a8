// SPDX-License-Identifier: Apache-2.0
/* A disk's image and those below it, from the configuration. Main thread, before the sandbox. */
#ifndef PODVISOR_MACHINE_DISK_IMAGE_H
#define PODVISOR_MACHINE_DISK_IMAGE_H

#include "image.h"
#include <podvisor/machine_config.h>

/* Takes the descriptors from success on: image_done() closes them. 0 or a negative errno. */
int disk_image_init(struct image *image, const struct machine_disk *config, struct error *err);

#endif
