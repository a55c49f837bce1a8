// SPDX-License-Identifier: Apache-2.0
/* A disk's image and those below it, from the configuration. Main thread, before the sandbox. */
#ifndef PODVISOR_MACHINE_DISK_IMAGE_H
#define PODVISOR_MACHINE_DISK_IMAGE_H

#include "engine.h"
#include "image.h"
#include <podvisor/machine_config.h>

/* Takes the descriptors from success on: image_done() closes them. 0 or a negative errno. */
int disk_image_init(struct image *image, const struct machine_disk *config, struct error *err);

/*
 * At the end, on the loop's thread, when no request is left: has what the image still keeps in
 * memory written to its file, by a thread of the engine, and waits for it.
 */
void disk_image_save(struct image *image, struct engine *engine);

#endif
