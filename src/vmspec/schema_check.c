// SPDX-License-Identifier: Apache-2.0
/* The walk over a manifest with the table of schema.h. Recursion is as deep as the table. */
#include "schema.h"

#include <podvisor/str.h>

static void report(struct vmspec_diagnostics *diag, enum vmspec_severity severity,
                   const struct json_path *path, const char *what)
{
    char text[JSON_PATH_MAX];
    vmspec_diagnose(diag, severity, json_path_text(path, text, sizeof(text)), "%s", what);
}

static void report_unknown(struct vmspec_diagnostics *diag, const struct json_path *path,
                           const struct field *fields)
{
    const char *best = NULL;
    unsigned best_distance = 3;
    for (const struct field *f = fields; f->name != NULL; f++) {
        unsigned distance = str_distance(path->key, f->name, 2);
        if (distance < best_distance) {
            best_distance = distance;
            best = f->name;
        }
    }
    char text[JSON_PATH_MAX];
    json_path_text(path, text, sizeof(text));
    if (best != NULL)
        vmspec_diagnose(diag, VMSPEC_ERROR, text, "unknown field; did you mean '%s'?", best);
    else
        vmspec_diagnose(diag, VMSPEC_ERROR, text, "unknown field");
}

/* NULL when the item has the field's type, else what it must be. */
static const char *wrong_type(const cJSON *item, enum field_type type)
{
    int64_t value;
    switch (type) {
    case FIELD_STRING:
        return cJSON_IsString(item) ? NULL : "a string";
    case FIELD_BOOL:
        return cJSON_IsBool(item) ? NULL : "true or false";
    case FIELD_INTEGER:
        return json_int64(item, &value) ? NULL : "an integer";
    case FIELD_QUANTITY:
        return cJSON_IsString(item) || cJSON_IsNumber(item) ? NULL : "a quantity";
    case FIELD_OBJECT:
    case FIELD_STRING_MAP:
    case FIELD_QUANTITY_MAP:
        return cJSON_IsObject(item) ? NULL : "an object";
    case FIELD_LIST:
    case FIELD_STRINGS:
        return cJSON_IsArray(item) ? NULL : "a list";
    default:
        return NULL;
    }
}

static bool check_type(struct vmspec_diagnostics *diag, const cJSON *item, enum field_type type,
                       const struct json_path *path)
{
    const char *wanted = wrong_type(item, type);
    if (wanted == NULL)
        return true;
    char text[JSON_PATH_MAX];
    vmspec_diagnose(diag, VMSPEC_ERROR, json_path_text(path, text, sizeof(text)),
                    "must be %s, not %s", wanted, json_item_type_name(item));
    return false;
}

/* True when what stands there is not supported. */
static bool is_refused(const cJSON *item, enum field_use use)
{
    const cJSON *enabled = json_get(item, "enabled");
    switch (use) {
    case USE_WARN:
    case USE_REFUSE:
        return true;
    case USE_WARN_TRUE:
    case USE_REFUSE_TRUE:
        return cJSON_IsTrue(item);
    case USE_WARN_FALSE:
        return cJSON_IsFalse(item);
    case USE_WARN_ENABLED:
        return !cJSON_IsFalse(enabled);
    case USE_WARN_DISABLED:
        return cJSON_IsFalse(enabled);
    default:
        return false;
    }
}

/* One diagnostic for each element of a list, so that its path says which. */
static void report_refused(struct vmspec_diagnostics *diag, const cJSON *item,
                           const struct field *field, const struct json_path *path)
{
    enum vmspec_severity severity =
        field->use == USE_REFUSE || field->use == USE_REFUSE_TRUE ? VMSPEC_ERROR : VMSPEC_WARNING;
    if (field->type != FIELD_LIST) {
        report(diag, severity, path, field->why);
        return;
    }
    struct json_path element = {.parent = path};
    json_for_each (child, item) {
        report(diag, severity, &element, field->why);
        element.index++;
    }
}

static void check_members(struct vmspec_diagnostics *diag, const cJSON *obj,
                          const struct field *fields, const struct json_path *path);

static void check_elements(struct vmspec_diagnostics *diag, const cJSON *list,
                           const struct field *field, const struct json_path *path)
{
    struct json_path element = {.parent = path};
    json_for_each (child, list) {
        if (field->type == FIELD_STRINGS)
            check_type(diag, child, FIELD_STRING, &element);
        else if (check_type(diag, child, FIELD_OBJECT, &element) && field->members != NULL)
            check_members(diag, child, field->members, &element);
        element.index++;
    }
}

static void check_map(struct vmspec_diagnostics *diag, const cJSON *map, enum field_type type,
                      const struct json_path *path)
{
    json_for_each (child, map) {
        struct json_path member = {.parent = path, .key = child->string};
        check_type(diag, child, type, &member);
    }
}

static void check_field(struct vmspec_diagnostics *diag, const cJSON *item,
                        const struct field *field, const struct json_path *path)
{
    if (!check_type(diag, item, field->type, path))
        return;
    if (is_refused(item, field->use)) {
        report_refused(diag, item, field, path);
        return;
    }
    if (field->type == FIELD_LIST || field->type == FIELD_STRINGS)
        check_elements(diag, item, field, path);
    else if (field->type == FIELD_STRING_MAP)
        check_map(diag, item, FIELD_STRING, path);
    else if (field->type == FIELD_QUANTITY_MAP)
        check_map(diag, item, FIELD_QUANTITY, path);
    else if (field->type == FIELD_OBJECT && field->members != NULL)
        check_members(diag, item, field->members, path);
}

static void check_members(struct vmspec_diagnostics *diag, const cJSON *obj,
                          const struct field *fields, const struct json_path *path)
{
    json_for_each (child, obj) {
        struct json_path member = {.parent = path, .key = child->string};
        const struct field *field = fields;
        while (field->name != NULL && !str_equal(field->name, child->string))
            field++;
        if (field->name == NULL)
            report_unknown(diag, &member, fields);
        else if (!cJSON_IsNull(child))
            check_field(diag, child, field, &member);
    }
}

void schema_check(const cJSON *obj, const struct field *fields, struct vmspec_diagnostics *diag)
{
    check_members(diag, obj, fields, NULL);
}
