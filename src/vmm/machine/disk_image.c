// SPDX-License-Identifier: Apache-2.0
/* See disk_image.h: the chain is built from its lowest image upwards. */
#include "disk_image.h"
#include <podvisor/log.h>
#include <stdlib.h>
#include <string.h>

static enum image_format format_of(uint8_t format)
{
    return format == MACHINE_DISK_QCOW2 ? IMAGE_FORMAT_QCOW2 : IMAGE_FORMAT_RAW;
}

static void free_chain(struct image *image)
{
    if (image == NULL)
        return;
    image_done(image);
    free(image);
}

/* Puts one more image on *chain, which may be NULL. */
static int add_backing(const struct machine_backing *config, struct image **chain,
                       struct error *err)
{
    struct image_config image_config = {
        .fd = config->fd,
        .format = format_of(config->format),
        .readonly = true,
        .backing = *chain,
    };
    struct image *image = calloc(1, sizeof(*image));
    if (image == NULL)
        return error_sys(err, ENOMEM, "cannot keep an image");
    int r = image_init(image, &image_config, err);
    if (r < 0) {
        free(image);
        return error_wrap(err, "an image below it");
    }
    *chain = image;
    return 0;
}

int disk_image_init(struct image *image, const struct machine_disk *config, struct error *err)
{
    struct image *chain = NULL;
    int r = 0;
    if (config->backing_count > MACHINE_BACKING_MAX)
        return error_set(err, EINVAL, "more than %d images below it", MACHINE_BACKING_MAX);
    for (unsigned i = config->backing_count; r == 0 && i > 0; i--)
        r = add_backing(&config->backing[i - 1], &chain, err);
    struct image_config image_config = {
        .fd = config->fd,
        .format = format_of(config->format),
        .readonly = config->readonly,
        .discard = config->discard,
        .backing = chain,
    };
    if (r == 0)
        r = image_init(image, &image_config, err);
    if (r < 0)
        free_chain(chain);
    return r;
}

static void saved(struct engine_client *client, struct engine_request *req)
{
    (void)client;
    if (req->result < 0)
        log_error("disk", "an image could not be written to its end: %s", strerror(-req->result));
}

static void all_saved(struct engine_client *client)
{
    (void)client;
}

void disk_image_save(struct image *image, struct engine *engine)
{
    struct engine_client client = {.complete = saved, .completed = all_saved};
    struct engine_request req = {.client = &client, .image = image, .op = ENGINE_FLUSH};
    if (!image->readonly && image->format != IMAGE_FORMAT_RAW && !engine_submit(engine, &req))
        (void)engine_drain(engine, -1);
}
