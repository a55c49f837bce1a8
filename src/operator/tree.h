// SPDX-License-Identifier: Apache-2.0
/*
 * Building and comparing JSON trees for objects of the API. Everything here aborts when out of
 * memory (podvisor/str.h): an operator is started again. Any thread; a tree belongs to one at a
 * time.
 */
#ifndef PODVISOR_OPERATOR_TREE_H
#define PODVISOR_OPERATOR_TREE_H

#include <podvisor/json.h>

cJSON *tree_object(void);
cJSON *tree_array(void);
cJSON *tree_copy(const cJSON *json);

/* Put a member, in place of one of that name, into an object. Return the item. */
cJSON *tree_put(cJSON *object, const char *key, cJSON *item);
cJSON *tree_put_string(cJSON *object, const char *key, const char *value);
cJSON *tree_put_format(cJSON *object, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
cJSON *tree_put_int(cJSON *object, const char *key, int64_t value);
cJSON *tree_put_bool(cJSON *object, const char *key, bool value);
/* A copy of `item`; nothing when it is NULL. */
void tree_put_copy(cJSON *object, const char *key, const cJSON *item);
/* Copies of all members of `from`; nothing when that is no object. */
void tree_put_members(cJSON *object, const cJSON *from);
/* The object or array under the key, made when it is absent. */
cJSON *tree_need_object(cJSON *object, const char *key);
cJSON *tree_need_array(cJSON *object, const char *key);

/* Append to an array. Return the item. */
cJSON *tree_push(cJSON *array, cJSON *item);
cJSON *tree_push_string(cJSON *array, const char *value);

/* The text of a string, or `otherwise`. */
const char *tree_text(const cJSON *item, const char *otherwise);

#endif
