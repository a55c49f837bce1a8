// SPDX-License-Identifier: Apache-2.0
/*
 * Deep equality as the API sees it: members in any order, numbers by value (integers beyond 2^53
 * too), null the same as absent. No state, any thread. Depth is bounded by the reader of the trees.
 */
#include <podvisor/kube.h>
#include <string.h>

static bool is_null(const cJSON *item)
{
    return item == NULL || cJSON_IsNull(item);
}

static bool equal_numbers(const cJSON *a, const cJSON *b)
{
    int64_t x, y;
    bool a_integer = json_int64(a, &x), b_integer = json_int64(b, &y);
    if (a_integer && b_integer)
        return x == y;
    if (a_integer != b_integer)
        return false;
    /* Both fractions, or both beyond int64, whose exact digits are in valuestring. */
    if (a->valuestring != NULL && b->valuestring != NULL)
        return strcmp(a->valuestring, b->valuestring) == 0;
    return a->valuestring == b->valuestring && !(a->valuedouble < b->valuedouble) &&
           !(a->valuedouble > b->valuedouble);
}

static bool equal_arrays(const cJSON *a, const cJSON *b)
{
    const cJSON *x = a->child, *y = b->child;
    for (; x != NULL && y != NULL; x = x->next, y = y->next) {
        if (!kube_equal(x, y))
            return false;
    }
    return x == NULL && y == NULL;
}

static size_t count_members(const cJSON *object)
{
    size_t count = 0;
    json_for_each (item, object)
        count += is_null(item) ? 0 : 1;
    return count;
}

static bool equal_objects(const cJSON *a, const cJSON *b)
{
    if (count_members(a) != count_members(b))
        return false;
    const cJSON *guess = b->child; /* the same order is the common case */
    json_for_each (item, a) {
        if (is_null(item))
            continue;
        const cJSON *other = guess != NULL && strcmp(guess->string, item->string) == 0
                                 ? guess
                                 : json_get(b, item->string);
        if (other == NULL || !kube_equal(item, other))
            return false;
        guess = other->next;
    }
    return true;
}

bool kube_equal(const cJSON *a, const cJSON *b)
{
    if (is_null(a) || is_null(b))
        return is_null(a) && is_null(b);
    if (cJSON_IsObject(a))
        return cJSON_IsObject(b) && equal_objects(a, b);
    if (cJSON_IsArray(a))
        return cJSON_IsArray(b) && equal_arrays(a, b);
    if (cJSON_IsString(a))
        return cJSON_IsString(b) && strcmp(a->valuestring, b->valuestring) == 0;
    if (cJSON_IsNumber(a))
        return cJSON_IsNumber(b) && equal_numbers(a, b);
    return cJSON_IsBool(a) && cJSON_IsBool(b) && cJSON_IsTrue(a) == cJSON_IsTrue(b);
}
