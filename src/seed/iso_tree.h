// SPDX-License-Identifier: Apache-2.0
/* Files and folders of an image on the way to sectors: between iso_tree.c and iso9660.c. */
#ifndef PODVISOR_SEED_ISO_TREE_H
#define PODVISOR_SEED_ISO_TREE_H

#include "iso9660.h"
#include <podvisor/vec.h>

/* The two hierarchies of an image: identifiers and records differ, the files' sectors are shared.
 */
enum iso_tree { ISO_PRIMARY, ISO_JOLIET, ISO_TREES };

#define ISO_ID_MAX 128 /* bytes; Joliet: 64 characters */

struct iso_node {
    char *name;                  /* "" for the root */
    struct iso_node *parent;     /* the root is its own */
    const struct iso_file *file; /* NULL: a folder */
    struct {
        uint8_t id[ISO_ID_MAX];
        uint8_t id_len;
        VEC(struct iso_node *) children; /* by identifier */
        uint32_t extent;                 /* first sector; 0 for an empty file */
        uint32_t size;                   /* bytes */
        uint16_t number;                 /* of a folder, in the path tables */
    } in[ISO_TREES];
    uint32_t rest; /* offset of the name's end in the continuation area, if it has one there */
};

struct iso_forest {
    VEC(struct iso_node *) nodes;              /* all, the root first; to free them */
    VEC(struct iso_node *) folders[ISO_TREES]; /* in the order of the path tables */
};

/* Checks paths and limits, names everything. `forest` is zero; iso_forest_done() also on errors. */
int iso_forest_build(struct iso_forest *forest, const struct iso_file *files, size_t count,
                     struct error *err);
void iso_forest_done(struct iso_forest *forest);

#endif
