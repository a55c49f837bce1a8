// SPDX-License-Identifier: Apache-2.0
/*
 * What the readers of a manifest share. They run after schema_check() on the same tree, so a value
 * of the wrong type has its diagnostic already and counts as absent here.
 */
#ifndef PODVISOR_VMSPEC_READER_H
#define PODVISOR_VMSPEC_READER_H

#include <podvisor/vmspec.h>

struct reader {
    struct vmspec *spec;
    struct vmspec_diagnostics *diag;
    const cJSON *vmi;             /* the VirtualMachineInstance's spec, or the template's */
    const struct json_path *path; /* of vmi: "spec" or "spec.template.spec" */
};

/* Frames of a path below `parent`, for the compound literals that report() takes. */
#define AT_KEY(parent_, key_)     (&(struct json_path){.parent = (parent_), .key = (key_)})
#define AT_INDEX(parent_, index_) (&(struct json_path){.parent = (parent_), .index = (index_)})

/* Adds a diagnostic at `path`. */
void report(struct reader *r, enum vmspec_severity severity, const struct json_path *path,
            const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* A path as text, for messages that name one. The buffer lives as long as the caller's block. */
#define PATH_TEXT(path_) json_path_text((path_), (char[JSON_PATH_MAX]){0}, JSON_PATH_MAX)

/* NULL when absent, or empty: Go's clients do not tell these apart. */
const char *read_text(const cJSON *obj, const char *key);
bool read_flag(const cJSON *obj, const char *key, bool otherwise);
int64_t read_integer(const cJSON *obj, const char *key, int64_t otherwise);

/* An integer of 1..UINT32_MAX, or `otherwise` when absent; reports one out of range. */
uint32_t read_count(struct reader *r, const cJSON *obj, const char *key,
                    const struct json_path *path, uint32_t otherwise);

/* A quantity, as a string for messages: NULL when absent. `buf` is used for a bare number. */
const char *read_quantity_text(const cJSON *obj, const char *key, char buf[32]);

/* True with the quantity in units (or thousandths); reports an invalid one. */
bool read_quantity(struct reader *r, const cJSON *obj, const char *key,
                   const struct json_path *path, uint64_t *ret);
bool read_milli(struct reader *r, const cJSON *obj, const char *key, const struct json_path *path,
                uint64_t *ret);

/* The name of element `index` of disks, volumes...; reports one that is missing. NULL then. */
const char *read_name(struct reader *r, const cJSON *obj, const struct json_path *path);

/* KubeVirt's rule for paths inside images: absolute, a file, nothing relative in it. */
void check_image_path(struct reader *r, const struct json_path *path, const char *value);

/* Parts, in the order they must be read: networks and disks join what came before. */
void read_volumes(struct reader *r);
void read_disks(struct reader *r);
void read_networks(struct reader *r);
void read_credentials(struct reader *r);

#endif
