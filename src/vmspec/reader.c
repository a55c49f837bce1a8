// SPDX-License-Identifier: Apache-2.0
/* Helpers of the readers; see reader.h. One thread at a time. */
#include "reader.h"

#include <podvisor/json_write.h>
#include <podvisor/quantity.h>
#include <podvisor/str.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void report(struct reader *r, enum vmspec_severity severity, const struct json_path *path,
            const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *message = xvasprintf(fmt, ap);
    va_end(ap);
    vmspec_diagnose(r->diag, severity, PATH_TEXT(path), "%s", message);
    free(message);
}

const char *read_text(const cJSON *obj, const char *key)
{
    const cJSON *item = json_get(obj, key);
    return cJSON_IsString(item) && item->valuestring[0] != '\0' ? item->valuestring : NULL;
}

bool read_flag(const cJSON *obj, const char *key, bool otherwise)
{
    const cJSON *item = json_get(obj, key);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : otherwise;
}

int64_t read_integer(const cJSON *obj, const char *key, int64_t otherwise)
{
    int64_t value;
    return json_int64(json_get(obj, key), &value) ? value : otherwise;
}

uint32_t read_count(struct reader *r, const cJSON *obj, const char *key,
                    const struct json_path *path, uint32_t otherwise)
{
    int64_t value = read_integer(obj, key, otherwise);
    if (value == otherwise)
        return otherwise;
    if (value < 1 || value > UINT32_MAX) {
        report(r, VMSPEC_ERROR, AT_KEY(path, key), "must be at least 1 and at most %u", UINT32_MAX);
        return otherwise;
    }
    return (uint32_t)value;
}

const char *read_quantity_text(const cJSON *obj, const char *key, char buf[32])
{
    const cJSON *item = json_get(obj, key);
    int64_t value;
    if (cJSON_IsString(item))
        return item->valuestring;
    if (!cJSON_IsNumber(item))
        return NULL;
    if (json_int64(item, &value))
        snprintf(buf, 32, "%lld", (long long)value);
    else
        json_format_double(item->valuedouble, buf);
    return buf;
}

static bool read_amount(struct reader *r, const cJSON *obj, const char *key,
                        const struct json_path *path, uint64_t *ret,
                        int (*parse)(const char *, uint64_t *, struct error *))
{
    char buf[32];
    const char *text = read_quantity_text(obj, key, buf);
    if (text == NULL)
        return false;
    struct error err = ERROR_INIT;
    if (*text == '-')
        report(r, VMSPEC_ERROR, AT_KEY(path, key), "%s '%s': must be greater than or equal to 0.",
               PATH_TEXT(AT_KEY(path, key)), text);
    else if (parse(text, ret, &err) < 0)
        report(r, VMSPEC_ERROR, AT_KEY(path, key), "%s", err.text);
    else
        return true;
    return false;
}

bool read_quantity(struct reader *r, const cJSON *obj, const char *key,
                   const struct json_path *path, uint64_t *ret)
{
    return read_amount(r, obj, key, path, ret, quantity_parse);
}

bool read_milli(struct reader *r, const cJSON *obj, const char *key, const struct json_path *path,
                uint64_t *ret)
{
    return read_amount(r, obj, key, path, ret, quantity_parse_milli);
}

const char *read_name(struct reader *r, const cJSON *obj, const struct json_path *path)
{
    const char *name = read_text(obj, "name");
    if (name == NULL)
        report(r, VMSPEC_ERROR, AT_KEY(path, "name"), "must be set");
    return name;
}

static bool has_relative_part(const char *path)
{
    for (const char *s = path; *s == '/';) {
        size_t len = strcspn(++s, "/");
        bool dots = (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.');
        /* One slash at the end is fine, an empty part before it is not. */
        if (dots || (len == 0 && *s != '\0'))
            return true;
        s += len;
    }
    return false;
}

void check_image_path(struct reader *r, const struct json_path *path, const char *value)
{
    if (strcmp(value, "/") == 0)
        report(r, VMSPEC_ERROR, path, "%s must not point to root", PATH_TEXT(path));
    else if (value[0] != '/' || has_relative_part(value))
        report(r, VMSPEC_ERROR, path,
               "%s must be an absolute path to a file without relative components",
               PATH_TEXT(path));
}
