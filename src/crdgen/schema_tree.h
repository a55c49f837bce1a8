// SPDX-License-Identifier: Apache-2.0
/*
 * OpenAPI v3 structural schemas of VirtualMachine and VirtualMachineInstance: fields and types from
 * the table of src/vmspec/schema.c, texts and limits from this folder's YAML files.
 *
 * fields.yaml has a section for each table: a field's path, without [] for lists, to its text, or
 * to an object:
 *     text       what `kubectl explain` says (mandatory)
 *     type       only where the table does not look into the field; see below
 *     required   true: the parent must have it
 *     enum, minimum, maximum, maxItems, nullable    as in OpenAPI
 *     keys       members that identify an element: x-kubernetes-list-type: map
 * types.yaml has named types: each member's name to such an object, with a type.
 *
 * A type is a word of `words` in schema_tree.c, or a name of types.yaml, or [that name]: a list.
 */
#ifndef PODVISOR_CRDGEN_SCHEMA_TREE_H
#define PODVISOR_CRDGEN_SCHEMA_TREE_H

#include "schema.h"
#include <podvisor/error.h>
#include <podvisor/json.h>

struct used_entry {
    const cJSON *entry;
};

struct schema_source {
    const cJSON *fields;         /* fields.yaml */
    const cJSON *types;          /* types.yaml */
    VEC(struct used_entry) used; /* what of both was read; vec_free() it */
};

/*
 * The schema of a kind, "VirtualMachine" or "VirtualMachineInstance", in a tree of the caller's.
 * -EINVAL: a field without a text, an unknown attribute or type; the error names it.
 */
int schema_tree(struct schema_source *source, const char *kind, cJSON **ret, struct error *err);

/* -EINVAL when fields.yaml or types.yaml has something that no schema_tree() has read. */
int schema_source_check_used(const struct schema_source *source, struct error *err);

#endif
