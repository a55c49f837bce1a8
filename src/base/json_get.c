// SPDX-License-Identifier: Apache-2.0
/* Typed access to cJSON trees with the path in every message; see podvisor/json.h. Any thread. */
#include <podvisor/json.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *buf;
    size_t size, len;
};

static void put(struct text *t, const char *str)
{
    int n = snprintf(t->buf + t->len, t->size - t->len, "%s", str);
    t->len += (size_t)n;
    if (t->len >= t->size)
        t->len = t->size - 1;
}

static void put_path(struct text *t, const struct json_path *path)
{
    if (path == NULL)
        return;
    put_path(t, path->parent);
    if (path->key == NULL) {
        char index[16];
        snprintf(index, sizeof(index), "[%u]", path->index);
        put(t, index);
    } else if (strpbrk(path->key, "./[]") != NULL) { /* a label's name and the like */
        put(t, "[");
        put(t, path->key);
        put(t, "]");
    } else {
        if (t->len > 0)
            put(t, ".");
        put(t, path->key);
    }
}

const char *json_path_text(const struct json_path *path, char *buf, size_t size)
{
    struct text t = {.buf = buf, .size = size};
    buf[0] = '\0';
    put_path(&t, path);
    if (t.len == size - 1 && size > 4)
        memcpy(buf + size - 4, "...", 4);
    return buf;
}

const char *json_item_type_name(const cJSON *item)
{
    if (cJSON_IsString(item))
        return "a string";
    if (cJSON_IsNumber(item))
        return "a number";
    if (cJSON_IsBool(item))
        return "a boolean";
    if (cJSON_IsObject(item))
        return "an object";
    if (cJSON_IsArray(item))
        return "an array";
    return "null";
}

const cJSON *json_get(const cJSON *obj, const char *key)
{
    if (!cJSON_IsObject(obj))
        return NULL;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(obj, key);
    return cJSON_IsNull(item) ? NULL : item;
}

static int wrong_type(const cJSON *item, const char *key, const struct json_path *path,
                      const char *wanted, struct error *err)
{
    char text[JSON_PATH_MAX];
    struct json_path member = {.parent = path, .key = key};
    return error_set(err, EINVAL, "%s: must be %s, not %s",
                     json_path_text(&member, text, sizeof(text)), wanted,
                     json_item_type_name(item));
}

int json_get_string(const cJSON *obj, const char *key, const struct json_path *path,
                    const char **ret, struct error *err)
{
    const cJSON *item = json_get(obj, key);
    if (item == NULL)
        return 0;
    if (!cJSON_IsString(item))
        return wrong_type(item, key, path, "a string", err);
    *ret = item->valuestring;
    return 1;
}

int json_get_int64(const cJSON *obj, const char *key, const struct json_path *path, int64_t *ret,
                   struct error *err)
{
    const cJSON *item = json_get(obj, key);
    if (item == NULL)
        return 0;
    int64_t value;
    if (!cJSON_IsNumber(item))
        return wrong_type(item, key, path, "an integer", err);
    if (!json_int64(item, &value)) {
        char text[JSON_PATH_MAX];
        struct json_path member = {.parent = path, .key = key};
        return error_set(err, EINVAL, "%s: must be an integer of at most 64 bits",
                         json_path_text(&member, text, sizeof(text)));
    }
    *ret = value;
    return 1;
}

int json_get_bool(const cJSON *obj, const char *key, const struct json_path *path, bool *ret,
                  struct error *err)
{
    const cJSON *item = json_get(obj, key);
    if (item == NULL)
        return 0;
    if (!cJSON_IsBool(item))
        return wrong_type(item, key, path, "true or false", err);
    *ret = cJSON_IsTrue(item);
    return 1;
}

int json_get_object(const cJSON *obj, const char *key, const struct json_path *path,
                    const cJSON **ret, struct error *err)
{
    const cJSON *item = json_get(obj, key);
    if (item == NULL)
        return 0;
    if (!cJSON_IsObject(item))
        return wrong_type(item, key, path, "an object", err);
    *ret = item;
    return 1;
}

int json_get_array(const cJSON *obj, const char *key, const struct json_path *path,
                   const cJSON **ret, struct error *err)
{
    const cJSON *item = json_get(obj, key);
    if (item == NULL)
        return 0;
    if (!cJSON_IsArray(item))
        return wrong_type(item, key, path, "an array", err);
    *ret = item;
    return 1;
}
