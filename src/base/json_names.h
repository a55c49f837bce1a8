// SPDX-License-Identifier: Apache-2.0
/*
 * The member names of all objects that a parser has open, as one stack: finds duplicates by sorting
 * an object's part of it when the object ends, which no choice of names makes slow.
 */
#ifndef PODVISOR_BASE_JSON_NAMES_H
#define PODVISOR_BASE_JSON_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct json_name {
    const char *text; /* borrowed from the tree */
    uint64_t where;   /* grows along the text; the parser knows what it means */
};

struct json_names {
    struct json_name *item;
    size_t count, capacity;
};

/* Returns 0 or -ENOMEM. */
int json_names_push(struct json_names *names, const char *text, uint64_t where);

/*
 * Sorts the names from `first` on and returns one that stands twice (its later place), or NULL. The
 * caller then cuts the stack back to `first`.
 */
const struct json_name *json_names_duplicate(struct json_names *names, size_t first);

void json_names_done(struct json_names *names);

#endif
