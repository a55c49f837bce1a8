// SPDX-License-Identifier: Apache-2.0
/* See json_names.h. Belongs to one parse, so to one thread. */
#include "json_names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int json_names_push(struct json_names *names, const char *text, uint64_t where)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity == 0 ? 64 : 2 * names->capacity;
        struct json_name *item = reallocarray(names->item, capacity, sizeof(*item));
        if (item == NULL)
            return -ENOMEM;
        names->item = item;
        names->capacity = capacity;
    }
    names->item[names->count++] = (struct json_name){.text = text, .where = where};
    return 0;
}

static int compare(const void *left, const void *right)
{
    const struct json_name *a = left, *b = right;
    int r = strcmp(a->text, b->text);
    return r != 0 ? r : (a->where > b->where) - (a->where < b->where);
}

const struct json_name *json_names_duplicate(struct json_names *names, size_t first)
{
    size_t count = names->count - first;
    if (count < 2)
        return NULL;
    qsort(names->item + first, count, sizeof(*names->item), compare);
    for (size_t i = first + 1; i < names->count; i++) {
        if (strcmp(names->item[i - 1].text, names->item[i].text) == 0)
            return &names->item[i];
    }
    return NULL;
}

void json_names_done(struct json_names *names)
{
    free(names->item);
    *names = (struct json_names){0};
}
