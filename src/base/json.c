// SPDX-License-Identifier: Apache-2.0
/*
 * cJSON trees from the scanner's tokens, and back to text through the writer; see podvisor/json.h.
 * No recursion while reading: the open containers are a fixed stack. Any thread.
 */
#include "json_names.h"

#include <math.h>
#include <podvisor/cleanup.h>
#include <podvisor/json.h>
#include <podvisor/json_scan.h>
#include <podvisor/json_write.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BYTES ((size_t)4 << 20)
#define EXACT_MAX     (INT64_C(1) << 53) /* a double holds every integer up to here */

struct parser {
    struct json_scan scan;
    struct json_names names;
    struct {
        cJSON *item;
        size_t first_name;
    } open[JSON_DEPTH_MAX];
    unsigned depth;
    cJSON *root;
    char *name; /* of the member whose value comes next, from cJSON_malloc() */
};

cJSON *json_create_integer(const char *text, size_t len)
{
    char *digits = cJSON_malloc(len + 1);
    if (digits == NULL)
        return NULL;
    memcpy(digits, text, len);
    digits[len] = '\0';
    cJSON *item = cJSON_CreateNumber(strtod(digits, NULL));
    if (item == NULL || fabs(item->valuedouble) < (double)EXACT_MAX)
        cJSON_free(digits);
    else
        item->valuestring = digits;
    return item;
}

cJSON *json_create_int64(int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%lld", (long long)value);
    return json_create_integer(text, (size_t)len);
}

bool json_int64(const cJSON *item, int64_t *ret)
{
    if (!cJSON_IsNumber(item))
        return false;
    if (item->valuestring != NULL) {
        char *end;
        errno = 0;
        long long value = strtoll(item->valuestring, &end, 10);
        if (errno != 0 || *end != '\0')
            return false;
        *ret = value;
        return true;
    }
    double value = item->valuedouble;
    if (!(fabs(value) <= (double)EXACT_MAX) || value != trunc(value))
        return false;
    *ret = (int64_t)value;
    return true;
}

static int no_memory(struct error *err)
{
    return error_set(err, ENOMEM, "out of memory");
}

/* The token's string in memory that cJSON can free. NULL when there is none. */
static char *copy_string(const struct json_token *token)
{
    char *str = cJSON_malloc(token->len + 1);
    if (str != NULL)
        json_token_string(token, str, token->len + 1, NULL, NULL);
    return str;
}

static cJSON *create_string(const struct json_token *token)
{
    char *str = copy_string(token);
    if (str == NULL)
        return NULL;
    /* A reference first, then made the owner: cJSON_CreateString() would copy once more. */
    cJSON *item = cJSON_CreateStringReference(str);
    if (item == NULL)
        cJSON_free(str);
    else
        item->type &= ~cJSON_IsReference;
    return item;
}

static cJSON *create_item(const struct json_token *token)
{
    switch (token->type) {
    case JSON_OBJECT:
        return cJSON_CreateObject();
    case JSON_ARRAY:
        return cJSON_CreateArray();
    case JSON_STRING:
        return create_string(token);
    case JSON_NUMBER: {
        double value = 0; /* the scanner has checked that it is finite */
        if (json_token_is_integer(token))
            return json_create_integer(token->text, token->len);
        json_token_double(token, &value, NULL);
        return cJSON_CreateNumber(value);
    }
    case JSON_NULL:
        return cJSON_CreateNull();
    default:
        return cJSON_CreateBool(token->type == JSON_TRUE);
    }
}

static int add_item(struct parser *p, const struct json_token *token, struct error *err)
{
    cJSON *item = create_item(token);
    if (item == NULL)
        return no_memory(err);
    item->string = steal_ptr(p->name);
    if (p->depth == 0)
        p->root = item;
    else
        cJSON_AddItemToArray(p->open[p->depth - 1].item, item); /* links members as well */
    if (token->type == JSON_OBJECT || token->type == JSON_ARRAY) {
        p->open[p->depth].item = item;
        p->open[p->depth++].first_name = p->names.count;
    }
    return 0;
}

static int add_name(struct parser *p, const struct json_token *token, struct error *err)
{
    p->name = copy_string(token);
    if (p->name == NULL || json_names_push(&p->names, p->name, token->offset) < 0)
        return no_memory(err);
    return 0;
}

static int close_item(struct parser *p, struct error *err)
{
    size_t first = p->open[--p->depth].first_name;
    const struct json_name *twice = json_names_duplicate(&p->names, first);
    if (twice != NULL)
        return json_scan_error(&p->scan, twice->where, EINVAL, err, "duplicate member name");
    p->names.count = first;
    return 0;
}

static int parse(struct parser *p, struct error *err)
{
    for (;;) {
        struct json_token token;
        int r = json_scan_next(&p->scan, &token, err);
        if (r < 0)
            return r;
        if (token.type == JSON_END)
            return 0;
        if (token.type == JSON_NAME)
            r = add_name(p, &token, err);
        else if (token.type == JSON_OBJECT_END || token.type == JSON_ARRAY_END)
            r = close_item(p, err);
        else
            r = add_item(p, &token, err);
        if (r < 0)
            return r;
    }
}

int json_parse(const char *text, size_t len, const struct json_limits *limits, cJSON **ret,
               struct error *err)
{
    struct json_scan_limits scan_limits = {.bytes = DEFAULT_BYTES, .names_by_caller = true};
    if (limits != NULL && limits->bytes != 0)
        scan_limits.bytes = limits->bytes;
    if (limits != NULL)
        scan_limits.depth = limits->depth;
    struct parser *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return no_memory(err);
    json_scan_init(&p->scan, text, len, &scan_limits);
    int r = parse(p, err);
    if (r == 0)
        *ret = steal_ptr(p->root);
    cJSON_Delete(p->root);
    cJSON_free(p->name);
    json_names_done(&p->names);
    free(p);
    return r;
}

static int print_number(struct json_writer *w, const cJSON *item, struct error *err)
{
    int64_t value;
    if (item->valuestring != NULL)
        json_write_raw(w, item->string, item->valuestring, strlen(item->valuestring));
    else if (json_int64(item, &value))
        json_write_int64(w, item->string, value);
    else if (isfinite(item->valuedouble))
        json_write_double(w, item->string, item->valuedouble);
    else
        return error_set(err, EINVAL, "a number of the tree is not finite");
    return 0;
}

static int print_item(struct json_writer *w, const cJSON *item, unsigned depth, struct error *err)
{
    if (cJSON_IsString(item)) {
        json_write_string(w, item->string, item->valuestring);
    } else if (cJSON_IsNumber(item)) {
        return print_number(w, item, err);
    } else if (cJSON_IsBool(item)) {
        json_write_bool(w, item->string, cJSON_IsTrue(item));
    } else if (cJSON_IsNull(item)) {
        json_write_null(w, item->string);
    } else if (cJSON_IsObject(item) || cJSON_IsArray(item)) {
        if (depth == JSON_DEPTH_MAX)
            return error_set(err, EINVAL, "the tree is deeper than %d", JSON_DEPTH_MAX);
        bool object = cJSON_IsObject(item);
        if (object)
            json_write_object(w, item->string);
        else
            json_write_array(w, item->string);
        json_for_each (child, item) {
            if (object != (child->string != NULL))
                return error_set(err, EINVAL, "a name is missing, or too many, in the tree");
            int r = print_item(w, child, depth + 1, err);
            if (r < 0)
                return r;
        }
        json_write_end(w);
    } else {
        return error_set(err, EINVAL, "an item of the tree has an invalid type");
    }
    return 0;
}

/* The tree that is printed may be a member of another: its own name does not count. */
static int print_tree(struct json_writer *w, const cJSON *json, struct error *err)
{
    cJSON root = *json;
    root.string = NULL;
    return print_item(w, &root, 0, err);
}

int json_print(const cJSON *json, char **ret, size_t *ret_len, struct error *err)
{
    struct json_writer w;
    char nothing[1];
    json_write_init(&w, nothing, sizeof(nothing)); /* first only to learn the length */
    int r = print_tree(&w, json, err);
    if (r < 0)
        return r;
    size_t size = w.needed + 1, len = 0;
    char *text = malloc(size);
    if (text == NULL)
        return no_memory(err);
    json_write_init(&w, text, size);
    (void)print_tree(&w, json, err); /* cannot fail the second time */
    (void)json_write_finish(&w, &len);
    *ret = text;
    if (ret_len != NULL)
        *ret_len = len;
    return 0;
}
