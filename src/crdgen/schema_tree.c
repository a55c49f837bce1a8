// SPDX-License-Identifier: Apache-2.0
/* Builder of schema_tree.h. Recursion is as deep as the table and types.yaml, which has no cycle.
 */
#include "schema_tree.h"

#include <podvisor/cleanup.h>
#include <podvisor/str.h>

#define PATH_MAX_LENGTH 256
#define TYPE_DEPTH_MAX  16

/* As apimachinery's resource.Quantity parses. */
#define QUANTITY_PATTERN                                                                \
    "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?" \
    "(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$"

/* --- JSON that cannot fail --- */

static void add(cJSON *obj, const char *name, cJSON *item)
{
    if (item == NULL || !cJSON_AddItemToObject(obj, name, item))
        out_of_memory();
}

static void add_string(cJSON *obj, const char *name, const char *value)
{
    add(obj, name, cJSON_CreateString(value));
}

static void add_copy(cJSON *obj, const char *name, const cJSON *item)
{
    add(obj, name, cJSON_Duplicate(item, true));
}

static cJSON *typed(const char *type)
{
    cJSON *schema = cJSON_CreateObject();
    if (type != NULL)
        add_string(schema, "type", type);
    return schema;
}

/* --- leaves --- */

static cJSON *int_or_string(const char *pattern)
{
    cJSON *schema = typed(NULL), *any_of = cJSON_CreateArray();
    cJSON_AddItemToArray(any_of, typed("integer"));
    cJSON_AddItemToArray(any_of, typed("string"));
    add(schema, "anyOf", any_of);
    if (pattern != NULL)
        add_string(schema, "pattern", pattern);
    add(schema, "x-kubernetes-int-or-string", cJSON_CreateTrue());
    return schema;
}

static cJSON *list_of(cJSON *items)
{
    cJSON *schema = typed("array");
    add(schema, "items", items);
    return schema;
}

static cJSON *map_of(cJSON *values)
{
    cJSON *schema = typed("object");
    add(schema, "additionalProperties", values);
    return schema;
}

static cJSON *time_schema(void)
{
    cJSON *schema = typed("string");
    add_string(schema, "format", "date-time");
    return schema;
}

/* An object whose members are not described: they reach the operator as they are. */
static cJSON *any_object(void)
{
    cJSON *schema = typed("object");
    add(schema, "x-kubernetes-preserve-unknown-fields", cJSON_CreateTrue());
    return schema;
}

/* NULL when it is none of the words. */
static cJSON *word_schema(const char *word)
{
    if (str_equal(word, "string") || str_equal(word, "boolean") || str_equal(word, "integer"))
        return typed(word);
    if (str_equal(word, "quantity"))
        return int_or_string(QUANTITY_PATTERN);
    if (str_equal(word, "int-or-string"))
        return int_or_string(NULL);
    if (str_equal(word, "time"))
        return time_schema();
    if (str_equal(word, "strings"))
        return list_of(typed("string"));
    if (str_equal(word, "integers"))
        return list_of(typed("integer"));
    if (str_equal(word, "string-map"))
        return map_of(typed("string"));
    if (str_equal(word, "integer-map"))
        return map_of(typed("integer"));
    if (str_equal(word, "quantity-map"))
        return map_of(int_or_string(QUANTITY_PATTERN));
    if (str_equal(word, "empty"))
        return typed("object");
    if (str_equal(word, "object"))
        return any_object();
    if (str_equal(word, "objects"))
        return list_of(any_object());
    return NULL;
}

static cJSON *table_schema(enum field_type type)
{
    static const char *const words[] = {
        [FIELD_STRING] = "string",
        [FIELD_BOOL] = "boolean",
        [FIELD_INTEGER] = "integer",
        [FIELD_QUANTITY] = "quantity",
        [FIELD_OBJECT] = "object",
        [FIELD_LIST] = "objects",
        [FIELD_STRINGS] = "strings",
        [FIELD_STRING_MAP] = "string-map",
        [FIELD_QUANTITY_MAP] = "quantity-map",
    };
    return word_schema(words[type]);
}

/* --- texts --- */

static const cJSON *lookup(struct schema_source *source, const cJSON *section, const char *name)
{
    const cJSON *entry = json_get(section, name);
    if (entry != NULL)
        vec_add(&source->used)->entry = entry;
    return entry;
}

/* What the operator does with the field, appended to its text. NULL: what the text says. */
static const char *use_phrase(enum field_use use)
{
    switch (use) {
    case USE_WARN:
        return "Not supported, with a warning";
    case USE_WARN_TRUE:
        return "true is not supported, with a warning";
    case USE_WARN_FALSE:
        return "false is not supported, with a warning";
    case USE_WARN_ENABLED:
        return "Enabling it is not supported, with a warning";
    case USE_WARN_DISABLED:
        return "Disabling it is not supported, with a warning";
    case USE_REFUSE:
        return "Refused";
    case USE_REFUSE_TRUE:
        return "true is refused";
    default:
        return NULL;
    }
}

static char *description_of(const char *text, const struct field *field)
{
    const char *phrase = field != NULL ? use_phrase(field->use) : NULL;
    if (phrase == NULL)
        return xstrdup(text);
    return xasprintf("%s %s: %s.", text, phrase, field->why);
}

/* --- one field --- */

struct spot {
    const char *section, *path; /* for messages */
    const cJSON *entry;         /* a text, or an object */
    const struct field *field;  /* NULL in types.yaml */
};

static int complain(const struct spot *spot, struct error *err, const char *what)
{
    return error_set(err, EINVAL, "%s, %s: %s", spot->section, spot->path, what);
}

static int check_attributes(const struct spot *spot, struct error *err)
{
    static const char *const known[] = {"text",    "type",     "required", "enum", "minimum",
                                        "maximum", "maxItems", "nullable", "keys"};
    json_for_each (attribute, spot->entry) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            found |= str_equal(attribute->string, known[i]);
        if (!found)
            return error_set(err, EINVAL, "%s, %s: unknown attribute %s", spot->section, spot->path,
                             attribute->string);
    }
    return 0;
}

/* Puts description, then limits, around what `schema` has; its list type last. */
static int describe(const struct spot *spot, cJSON *schema, struct error *err)
{
    const char *text = cJSON_GetStringValue(
        cJSON_IsString(spot->entry) ? spot->entry : json_get(spot->entry, "text"));
    if (text == NULL || text[0] == '\0')
        return complain(spot, err, "has no text");
    cleanup_free char *whole = description_of(text, spot->field);
    cJSON *description = cJSON_CreateString(whole);
    if (description == NULL)
        out_of_memory();
    description->string = xstrdup("description");
    cJSON_InsertItemInArray(schema, 0, description);
    if (cJSON_IsString(spot->entry))
        return 0;
    static const char *const copied[] = {"enum", "minimum", "maximum", "maxItems", "nullable"};
    for (size_t i = 0; i < ARRAY_SIZE(copied); i++) {
        const cJSON *value = json_get(spot->entry, copied[i]);
        if (value != NULL)
            add_copy(schema, copied[i], value);
    }
    const cJSON *keys = json_get(spot->entry, "keys");
    if (keys != NULL) {
        add_copy(schema, "x-kubernetes-list-map-keys", keys);
        add_string(schema, "x-kubernetes-list-type", "map");
    }
    return check_attributes(spot, err);
}

/* Adds the finished `schema` (taken over) to `properties`, and its name to `required`. */
static int add_property(const struct spot *spot, const char *name, cJSON *schema, cJSON *properties,
                        cJSON *required, struct error *err)
{
    add(properties, name, schema);
    if (cJSON_IsTrue(json_get(spot->entry, "required")))
        cJSON_AddItemToArray(required, cJSON_CreateString(name));
    return describe(spot, schema, err);
}

/* An object schema of both, which are taken over. */
static cJSON *object_of(cJSON *properties, cJSON *required)
{
    cJSON *schema = typed("object");
    if (properties->child != NULL)
        add(schema, "properties", properties);
    else
        cJSON_Delete(properties);
    if (required->child != NULL)
        add(schema, "required", required);
    else
        cJSON_Delete(required);
    return schema;
}

/* --- types.yaml --- */

static int named_type(struct schema_source *source, const char *name, unsigned depth, cJSON **ret,
                      struct error *err);

/* The schema of a "type" attribute: a word, a name, or [name]. */
static int type_schema(struct schema_source *source, const cJSON *type, unsigned depth, cJSON **ret,
                       struct error *err)
{
    bool is_list = cJSON_IsArray(type);
    const char *name = cJSON_GetStringValue(is_list ? type->child : type);
    if (name == NULL)
        return error_set(err, EINVAL, "a type is a word or a list of one word");
    cleanup_json cJSON *schema = word_schema(name);
    if (schema == NULL) {
        int r = named_type(source, name, depth, &schema, err);
        if (r < 0)
            return r;
    }
    cJSON *taken = steal_ptr(schema);
    *ret = is_list ? list_of(taken) : taken;
    return 0;
}

static int named_type(struct schema_source *source, const char *name, unsigned depth, cJSON **ret,
                      struct error *err)
{
    const cJSON *members = lookup(source, source->types, name);
    if (members == NULL || depth == TYPE_DEPTH_MAX)
        return error_set(err, EINVAL, "there is no type %s", name);
    cleanup_json cJSON *properties = cJSON_CreateObject(), *required = cJSON_CreateArray();
    json_for_each (entry, members) {
        struct spot spot = {.section = name, .path = entry->string, .entry = entry};
        cJSON *schema = NULL;
        int r = type_schema(source, json_get(entry, "type"), depth + 1, &schema, err);
        if (r < 0)
            return error_wrap(err, "%s, %s", name, entry->string);
        r = add_property(&spot, entry->string, schema, properties, required, err);
        if (r < 0)
            return r;
    }
    *ret = object_of(steal_ptr(properties), steal_ptr(required));
    return 0;
}

/* --- fields.yaml and the table --- */

struct place {
    const char *section;
    const char *path; /* "" for the section's root */
};

static int table_object(struct schema_source *source, const struct field *fields,
                        const struct place *place, cJSON **ret, struct error *err);

/* The members of the instance's spec are a section of their own: a machine's template has them too.
 */
static bool is_instance_spec(const struct field *field)
{
    const struct field *spec = schema_instance;
    while (!str_equal(spec->name, "spec"))
        spec++;
    return field->members == spec->members;
}

static int field_schema(struct schema_source *source, const struct field *field,
                        const struct place *place, const cJSON *entry, cJSON **ret,
                        struct error *err)
{
    const cJSON *type = json_get(entry, "type");
    if (field->members == NULL) {
        if (type != NULL)
            return type_schema(source, type, 0, ret, err);
        *ret = table_schema(field->type);
        return 0;
    }
    if (type != NULL)
        return error_set(err, EINVAL, "%s, %s: its type is in the table", place->section,
                         place->path);
    struct place instance_spec = {"VirtualMachineInstanceSpec", ""};
    cJSON *object = NULL;
    int r = table_object(source, field->members, is_instance_spec(field) ? &instance_spec : place,
                         &object, err);
    if (r < 0)
        return r;
    *ret = field->type == FIELD_LIST ? list_of(object) : object;
    return 0;
}

static int table_object(struct schema_source *source, const struct field *fields,
                        const struct place *place, cJSON **ret, struct error *err)
{
    const cJSON *section = json_get(source->fields, place->section);
    cleanup_json cJSON *properties = cJSON_CreateObject(), *required = cJSON_CreateArray();
    for (const struct field *field = fields; field->name != NULL; field++) {
        char path[PATH_MAX_LENGTH];
        snprintf(path, sizeof(path), "%s%s%s", place->path, place->path[0] != '\0' ? "." : "",
                 field->name);
        if (str_equal(path, "metadata")) { /* the API server's own, which it describes itself */
            add(properties, path, typed("object"));
            continue;
        }
        struct place at = {place->section, path};
        struct spot spot = {place->section, path, lookup(source, section, path), field};
        if (spot.entry == NULL)
            return complain(&spot, err, "is not in fields.yaml");
        cJSON *schema = NULL;
        int r = field_schema(source, field, &at, spot.entry, &schema, err);
        if (r < 0)
            return r;
        r = add_property(&spot, field->name, schema, properties, required, err);
        if (r < 0)
            return r;
    }
    *ret = object_of(steal_ptr(properties), steal_ptr(required));
    return 0;
}

int schema_tree(struct schema_source *source, const char *kind, cJSON **ret, struct error *err)
{
    const struct field *table =
        str_equal(kind, "VirtualMachine") ? schema_machine : schema_instance;
    struct place place = {kind, ""};
    struct spot root = {kind, "kind itself",
                        lookup(source, json_get(source->fields, "kinds"), kind), NULL};
    cleanup_json cJSON *schema = NULL;
    int r = table_object(source, table, &place, &schema, err);
    if (r == 0)
        r = describe(&root, schema, err);
    if (r < 0)
        return r;
    *ret = steal_ptr(schema);
    return 0;
}

static bool is_used(const struct schema_source *source, const cJSON *entry)
{
    for (size_t i = 0; i < source->used.count; i++)
        if (source->used.item[i].entry == entry)
            return true;
    return false;
}

int schema_source_check_used(const struct schema_source *source, struct error *err)
{
    json_for_each (section, source->fields) {
        json_for_each (entry, section)
            if (!is_used(source, entry))
                return error_set(err, EINVAL, "fields.yaml: %s, %s: KubeVirt has no such field",
                                 section->string, entry->string);
    }
    json_for_each (type, source->types)
        if (!is_used(source, type))
            return error_set(err, EINVAL, "types.yaml: nothing is of type %s", type->string);
    return 0;
}
