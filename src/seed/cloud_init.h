// SPDX-License-Identifier: Apache-2.0
/*
 * The files by which cloud-init finds its data: the NoCloud and the ConfigDrive (OpenStack) layout,
 * with the metadata that KubeVirt gives (pkg/cloud-init/cloud-init.go). One thread.
 */
#ifndef PODVISOR_SEED_CLOUD_INIT_H
#define PODVISOR_SEED_CLOUD_INIT_H

#include "files.h"

#define CLOUD_INIT_NO_CLOUD_LABEL     "cidata"
#define CLOUD_INIT_CONFIG_DRIVE_LABEL "config-2"

struct cloud_init {
    bool config_drive;                        /* else NoCloud */
    const char *name, *namespace_, *hostname; /* of the instance; namespace_ NULL: "default" */
    uint8_t uuid[16];                         /* of its firmware */
    const struct iso_file *user_data, *network_data; /* NULL: none; their paths do not count */
    const struct iso_file *keys;                     /* SSH public keys, one or more in each */
    size_t key_count;
};

/*
 * Adds the files of the layout. User data that is absent is an empty file, as cloud-init wants.
 * Returns 0 or a negative errno.
 */
int cloud_init_files(const struct cloud_init *cloud_init, struct seed_files *files,
                     struct error *err);

/*
 * Base64 as Go's StdEncoding decodes it: RFC 4648 §4, padded, line ends inside of it do not count.
 * *ret is for free(). Returns 0 or -EINVAL.
 */
int cloud_init_decode(const char *base64, char **ret, size_t *ret_len, struct error *err);

#endif
