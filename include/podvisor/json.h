// SPDX-License-Identifier: Apache-2.0
/*
 * cJSON trees behind a strict gate, for the front and the operator (the monitor links none of
 * this). Trees are built by our own scanner (podvisor/json_scan.h), never by cJSON_Parse(), and
 * printed by json_print(), never by cJSON_Print(): cJSON reads and writes every number as a double
 * and would change 9007199254740993 and print 10^15 as 1e+15, which Go refuses as an integer.
 *
 * A number item holds its double as usual. When it is an integer of 2^53 or more (either sign) its
 * exact digits are in valuestring too, which cJSON_Duplicate() and cJSON_Delete() carry along; read
 * integers with json_int64(), make them with json_create_int64(), and replace an item instead of
 * cJSON_SetNumberValue().
 *
 * Readers: JSON null counts as absent, as in Go. Messages begin with the path of the value.
 */
#ifndef PODVISOR_JSON_H
#define PODVISOR_JSON_H

#include <cjson/cJSON.h>
#include <podvisor/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_limits {
    size_t bytes;   /* 0: 4 MiB */
    unsigned depth; /* 0: JSON_DEPTH_MAX (64), which is also the most */
};

static inline void cleanup_json_fn(cJSON **json)
{
    cJSON_Delete(*json);
}

/* A local cJSON * with this attribute is deleted when its scope ends. */
#define cleanup_json __attribute__((cleanup(cleanup_json_fn)))

static inline const cJSON *json_first_child(const cJSON *parent)
{
    return parent != NULL ? parent->child : NULL;
}

/* Runs over the children of an object or array (NULL: none). */
#define json_for_each(item, parent)                                                             \
    for (const cJSON *item = json_first_child(parent); /* NOLINT(bugprone-macro-parentheses) */ \
         (item) != NULL; (item) = (item)->next)

/*
 * Parses one JSON text of `len` bytes; everything json_scan.h refuses is refused. `limits` may be
 * NULL. The tree is the caller's. Returns 0, -EINVAL, -E2BIG or -ENOMEM.
 */
int json_parse(const char *text, size_t len, const struct json_limits *limits, cJSON **ret,
               struct error *err);

/*
 * Prints without white space; integers exactly, whatever their size. *ret is a NUL-terminated
 * string for free(); `ret_len` may be NULL. Returns 0, -EINVAL for a tree that is no JSON (a
 * non-finite number, deeper than JSON_DEPTH_MAX) or -ENOMEM.
 */
int json_print(const cJSON *json, char **ret, size_t *ret_len, struct error *err);

/* A number item with this exact value. NULL when out of memory. */
cJSON *json_create_int64(int64_t value);

/* A number item with the exact digits `text` (an integer literal of JSON). NULL: out of memory. */
cJSON *json_create_integer(const char *text, size_t len);

/* True, with the exact value, when `item` is a number that is an integer within int64. */
bool json_int64(const cJSON *item, int64_t *ret);

/*
 * Where a value is, as a chain of frames on the stack, outermost last:
 *     struct json_path disks = {.parent = &devices, .key = "disks"};
 *     struct json_path disk = {.parent = &disks, .index = i};
 */
struct json_path {
    const struct json_path *parent; /* NULL: the outermost */
    const char *key;                /* NULL: element `index` of an array */
    unsigned index;
};

#define JSON_PATH_MAX 512

/* Writes "spec.disks[1].name" into `buf`; cut with "..." when it does not fit. Returns `buf`. */
const char *json_path_text(const struct json_path *path, char *buf, size_t size);

/* The member of an object by its exact name, or NULL when absent or null, or `obj` is no object. */
const cJSON *json_get(const cJSON *obj, const char *key);

/*
 * Typed access to a member. Each returns 1 with the value, 0 when it is absent or null (*ret is
 * left alone), or -EINVAL with "PATH.KEY: must be a string, not a number". `path` is that of `obj`
 * and may be NULL. Strings and trees are borrowed from the tree.
 */
int json_get_string(const cJSON *obj, const char *key, const struct json_path *path,
                    const char **ret, struct error *err);
int json_get_int64(const cJSON *obj, const char *key, const struct json_path *path, int64_t *ret,
                   struct error *err);
int json_get_bool(const cJSON *obj, const char *key, const struct json_path *path, bool *ret,
                  struct error *err);
int json_get_object(const cJSON *obj, const char *key, const struct json_path *path,
                    const cJSON **ret, struct error *err);
int json_get_array(const cJSON *obj, const char *key, const struct json_path *path,
                   const cJSON **ret, struct error *err);

/* "a string", "an object"...: what an item is, for messages. */
const char *json_item_type_name(const cJSON *item);

#endif
