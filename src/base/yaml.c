// SPDX-License-Identifier: Apache-2.0
/*
 * YAML 1.1 to cJSON trees: libyaml's events, scalars by yaml_scalar.c; see podvisor/yaml.h. One
 * struct loader a call, so any thread.
 *
 * An anchor refers to the node in the tree being built; an alias copies it. A node that does not
 * stay in the tree (the value of a merge key) is kept aside until its document is over, so that
 * anchors inside it stay valid. Every copy is paid for, in nodes and in bytes, before it is made.
 */
#include "json_names.h"
#include "yaml_scalar.h"

#include <math.h>
#include <podvisor/cleanup.h>
#include <podvisor/json_scan.h>
#include <podvisor/yaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define DEFAULT_BYTES     ((size_t)4 << 20)
#define DEFAULT_NODES     100000u
#define EXPANSION_FACTOR  10 /* see yaml_limits */
#define EXPANSION_FREE    ((size_t)64 << 10)
#define NODE_BYTES        16   /* what a copied node counts beside its text */
#define MERGE_MEMBERS_MAX 1024 /* of a mapping with a merge key; members are compared in pairs */

struct anchor {
    char *name;
    const cJSON *node; /* NULL while the node is open: it cannot contain itself */
    struct anchor *next;
};

struct loader {
    yaml_parser_t parser;
    struct yaml_limits limits;
    struct json_names names; /* where: line << 32 | column */
    struct anchor *anchors;  /* of this document, newest first */
    cJSON *kept;             /* array of nodes that are in no tree but may be referred to */
    unsigned nodes;
    size_t copied, copied_max; /* bytes, by aliases */
};

static int fail_at(yaml_mark_t mark, int code, struct error *err, const char *what)
{
    error_set(err, code, "line %zu, column %zu: %s", mark.line + 1, mark.column + 1, what);
    return -code;
}

static int no_memory(struct error *err)
{
    error_set(err, ENOMEM, "out of memory");
    return -ENOMEM;
}

static int parser_failed(const yaml_parser_t *parser, struct error *err)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return no_memory(err);
    const char *problem = parser->problem != NULL ? parser->problem : "invalid YAML";
    if (parser->error == YAML_READER_ERROR)
        return error_set(err, EINVAL, "byte %zu: %s", parser->problem_offset, problem);
    return fail_at(parser->problem_mark, EINVAL, err, problem);
}

static void event_done(yaml_event_t *event)
{
    yaml_event_delete(event);
}

#define cleanup_event __attribute__((cleanup(event_done)))

static int next_event(struct loader *l, yaml_event_t *event, struct error *err)
{
    memset(event, 0, sizeof(*event));
    return yaml_parser_parse(&l->parser, event) != 0 ? 0 : parser_failed(&l->parser, err);
}

static int count_node(struct loader *l, yaml_mark_t mark, struct error *err)
{
    if (l->nodes == l->limits.nodes)
        return fail_at(mark, E2BIG, err, "too many values");
    l->nodes++;
    return 0;
}

/* --- anchors, aliases, copies --- */

/* NULL for a node without an anchor; the new anchor is closed by setting its node. */
static int open_anchor(struct loader *l, const yaml_char_t *name, struct anchor **ret,
                       struct error *err)
{
    *ret = NULL;
    if (name == NULL)
        return 0;
    struct anchor *anchor = calloc(1, sizeof(*anchor));
    if (anchor == NULL)
        return no_memory(err);
    anchor->name = strdup((const char *)name);
    if (anchor->name == NULL) {
        free(anchor);
        return no_memory(err);
    }
    anchor->next = l->anchors;
    l->anchors = anchor;
    *ret = anchor;
    return 0;
}

static void close_document(struct loader *l)
{
    while (l->anchors != NULL) {
        struct anchor *next = l->anchors->next;
        free(l->anchors->name);
        free(l->anchors);
        l->anchors = next;
    }
    cJSON_Delete(l->kept);
    l->kept = NULL;
    l->names.count = 0;
}

/* Adds up the cost of a tree `depth` containers deep; false when it does not fit what is left. */
static bool charge(struct loader *l, const cJSON *node, unsigned depth)
{
    size_t bytes = NODE_BYTES;
    if (node->string != NULL)
        bytes += strlen(node->string);
    if (node->valuestring != NULL)
        bytes += strlen(node->valuestring);
    if (l->nodes == l->limits.nodes || bytes > l->copied_max - l->copied)
        return false;
    l->copied += bytes;
    l->nodes++;
    if (!cJSON_IsObject(node) && !cJSON_IsArray(node))
        return true;
    if (depth == l->limits.depth)
        return false;
    json_for_each (child, node) {
        if (!charge(l, child, depth + 1))
            return false;
    }
    return true;
}

/* A copy of `node` that stands `depth` containers deep. */
static int copy_node(struct loader *l, const cJSON *node, unsigned depth, yaml_mark_t mark,
                     cJSON **ret, struct error *err)
{
    if (!charge(l, node, depth))
        return fail_at(mark, E2BIG, err, "aliases make the document too large or too deep");
    cJSON *copy = cJSON_Duplicate(node, true);
    if (copy == NULL)
        return no_memory(err);
    *ret = copy;
    return 0;
}

static int find_anchor(struct loader *l, const yaml_event_t *event, const cJSON **ret,
                       struct error *err)
{
    for (const struct anchor *a = l->anchors; a != NULL; a = a->next) {
        if (strcmp(a->name, (const char *)event->data.alias.anchor) != 0)
            continue;
        if (a->node == NULL)
            return fail_at(event->start_mark, EINVAL, err, "an alias inside the node it names");
        *ret = a->node;
        return 0;
    }
    return fail_at(event->start_mark, EINVAL, err, "alias of an anchor that does not exist");
}

static int load_alias(struct loader *l, const yaml_event_t *event, unsigned depth, cJSON **ret,
                      struct error *err)
{
    const cJSON *target;
    cJSON *copy = NULL;
    int r = find_anchor(l, event, &target, err);
    if (r == 0)
        r = copy_node(l, target, depth, event->start_mark, &copy, err);
    if (r != 0)
        return r;
    cJSON_free(steal_ptr(copy->string)); /* the target's name in its own mapping */
    *ret = copy;
    return 0;
}

/* Takes a node that nobody owns, for as long as an anchor may refer to it. */
static int keep_node(struct loader *l, cJSON *node, struct error *err)
{
    if (l->kept == NULL)
        l->kept = cJSON_CreateArray();
    if (l->kept == NULL) {
        cJSON_Delete(node);
        return no_memory(err);
    }
    cJSON_AddItemToArray(l->kept, node);
    return 0;
}

/* --- scalars --- */

static bool tag_is(const yaml_char_t *tag, const char *wanted)
{
    return strcmp((const char *)tag, wanted) == 0;
}

/* The value with its tag, if it has one: `!!str 1` is a string, `!!int "1"` an integer. */
static int resolve(const yaml_event_t *event, struct scalar *ret, struct error *err)
{
    const char *text = (const char *)event->data.scalar.value;
    const yaml_char_t *tag = event->data.scalar.tag;
    struct scalar value = {.kind = SCALAR_STRING};
    if (strlen(text) != event->data.scalar.length)
        return fail_at(event->start_mark, EINVAL, err, "the character \\0 is not allowed");
    if (tag == NULL) {
        if (event->data.scalar.plain_implicit)
            value = scalar_resolve(text);
        *ret = value;
        return 0;
    }
    if (tag_is(tag, "!") || tag_is(tag, YAML_STR_TAG)) {
        *ret = value;
        return 0;
    }
    value = scalar_resolve(text);
    if (tag_is(tag, YAML_FLOAT_TAG) && value.kind == SCALAR_INTEGER) {
        double number = (double)value.magnitude;
        value.number = value.negative ? -number : number;
        value.kind = SCALAR_FLOAT;
    }
    if (!(tag_is(tag, YAML_INT_TAG) && value.kind == SCALAR_INTEGER) &&
        !(tag_is(tag, YAML_FLOAT_TAG) && value.kind == SCALAR_FLOAT) &&
        !(tag_is(tag, YAML_BOOL_TAG) && value.kind == SCALAR_BOOL) &&
        !(tag_is(tag, YAML_NULL_TAG) && value.kind == SCALAR_NULL))
        return fail_at(event->start_mark, EINVAL, err,
                       "the tag is not supported, or the value is not of its type");
    *ret = value;
    return 0;
}

static int load_scalar(const yaml_event_t *event, cJSON **ret, struct error *err)
{
    struct scalar value;
    int r = resolve(event, &value, err);
    if (r < 0)
        return r;
    char digits[SCALAR_KEY_MAX];
    cJSON *node;
    switch (value.kind) {
    case SCALAR_STRING:
        node = cJSON_CreateString((const char *)event->data.scalar.value);
        break;
    case SCALAR_NULL:
        node = cJSON_CreateNull();
        break;
    case SCALAR_BOOL:
        node = cJSON_CreateBool(value.boolean);
        break;
    case SCALAR_INTEGER:
        scalar_digits(&value, digits);
        node = json_create_integer(digits, strlen(digits));
        break;
    default:
        if (!isfinite(value.number))
            return fail_at(event->start_mark, EINVAL, err,
                           "infinity and not-a-number cannot be expressed in JSON");
        node = cJSON_CreateNumber(value.number);
        break;
    }
    if (node == NULL)
        return no_memory(err);
    *ret = node;
    return 0;
}

/* --- collections --- */

static int load_node(struct loader *l, const yaml_event_t *event, unsigned depth, cJSON **ret,
                     struct error *err);

static int check_collection(struct loader *l, const yaml_event_t *event, const yaml_char_t *tag,
                            const char *wanted, unsigned depth, struct error *err)
{
    if (tag != NULL && !tag_is(tag, "!") && !tag_is(tag, wanted))
        return fail_at(event->start_mark, EINVAL, err, "the tag is not supported");
    if (depth == l->limits.depth)
        return fail_at(event->start_mark, E2BIG, err,
                       "too many mappings and sequences inside each other");
    return 0;
}

static int load_sequence(struct loader *l, const yaml_event_t *start, unsigned depth, cJSON **ret,
                         struct error *err)
{
    int r = check_collection(l, start, start->data.sequence_start.tag, YAML_SEQ_TAG, depth, err);
    if (r < 0)
        return r;
    cleanup_json cJSON *array = cJSON_CreateArray();
    if (array == NULL)
        return no_memory(err);
    for (;;) {
        cleanup_event yaml_event_t event;
        cJSON *node = NULL;
        r = next_event(l, &event, err);
        if (r < 0)
            return r;
        if (event.type == YAML_SEQUENCE_END_EVENT)
            break;
        r = load_node(l, &event, depth + 1, &node, err);
        if (r < 0)
            return r;
        cJSON_AddItemToArray(array, node);
    }
    *ret = steal_ptr(array);
    return 0;
}

static bool is_merge_key(const yaml_event_t *event)
{
    return event->type == YAML_SCALAR_EVENT && event->data.scalar.plain_implicit &&
           strcmp((const char *)event->data.scalar.value, "<<") == 0;
}

/* The text of a scalar key; *ret is for free(). */
static int key_text(const yaml_event_t *event, char **ret, struct error *err)
{
    struct scalar value;
    int r = resolve(event, &value, err);
    if (r < 0)
        return r;
    if (value.kind == SCALAR_NULL)
        return fail_at(event->start_mark, EINVAL, err, "a key must not be null; quote it");
    char text[SCALAR_KEY_MAX];
    if (value.kind != SCALAR_STRING)
        scalar_key(&value, text);
    char *copy =
        strdup(value.kind == SCALAR_STRING ? (const char *)event->data.scalar.value : text);
    if (copy == NULL)
        return no_memory(err);
    *ret = copy;
    return 0;
}

/* A key, which may have an anchor or be an alias of a string. */
static int load_key(struct loader *l, const yaml_event_t *event, char **ret, struct error *err)
{
    int r = count_node(l, event->start_mark, err);
    if (r < 0)
        return r;
    if (event->type == YAML_ALIAS_EVENT) {
        const cJSON *node;
        r = find_anchor(l, event, &node, err);
        if (r < 0)
            return r;
        if (!cJSON_IsString(node))
            return fail_at(event->start_mark, EINVAL, err,
                           "only the alias of a string can be a key");
        cJSON *copy = NULL; /* charged like any copy, which bounds what many of them take */
        r = copy_node(l, node, 0, event->start_mark, &copy, err);
        if (r < 0)
            return r;
        *ret = steal_ptr(copy->valuestring);
        cJSON_Delete(copy);
        return 0;
    }
    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(event->start_mark, EINVAL, err, "a key must be a scalar");
    struct anchor *anchor;
    r = open_anchor(l, event->data.scalar.anchor, &anchor, err);
    if (r == 0 && anchor != NULL) {
        cJSON *node = NULL;
        r = load_scalar(event, &node, err);
        if (r == 0)
            r = keep_node(l, node, err);
        if (r == 0)
            anchor->node = node;
    }
    return r < 0 ? r : key_text(event, ret, err);
}

/* Adds the members of `from` that `object` does not have. */
static int merge_mapping(struct loader *l, const cJSON *from, cJSON *object, unsigned depth,
                         yaml_mark_t mark, struct error *err)
{
    if (!cJSON_IsObject(from))
        return fail_at(mark, EINVAL, err, "the value of << must be a mapping, or several");
    int left = MERGE_MEMBERS_MAX - cJSON_GetArraySize(object);
    json_for_each (member, from) {
        if (left-- <= 0)
            return fail_at(mark, E2BIG, err, "too many members to merge");
        if (cJSON_GetObjectItemCaseSensitive(object, member->string) != NULL)
            continue;
        cJSON *copy = NULL;
        int r = copy_node(l, member, depth + 1, mark, &copy, err);
        if (r < 0)
            return r;
        cJSON_AddItemToArray(object, copy); /* the copy has the name */
    }
    return 0;
}

/* https://yaml.org/type/merge.html: one mapping or a sequence of them, earlier ones first. */
static int merge(struct loader *l, const cJSON *value, cJSON *object, unsigned depth,
                 yaml_mark_t mark, struct error *err)
{
    if (!cJSON_IsArray(value))
        return merge_mapping(l, value, object, depth, mark, err);
    json_for_each (from, value) {
        int r = merge_mapping(l, from, object, depth, mark, err);
        if (r < 0)
            return r;
    }
    return 0;
}

struct mapping {
    cJSON *object;
    cJSON *merged; /* value of the merge key, owned by l->kept; NULL: none */
    yaml_mark_t merge_mark;
};

/* The pair whose key is `key`. */
static int load_pair(struct loader *l, struct mapping *m, const yaml_event_t *key, unsigned depth,
                     struct error *err)
{
    cleanup_event yaml_event_t event;
    memset(&event, 0, sizeof(event));
    cleanup_free char *name = NULL;
    bool merges = is_merge_key(key);
    int r = merges ? count_node(l, key->start_mark, err) : load_key(l, key, &name, err);
    if (r == 0)
        r = next_event(l, &event, err);
    cJSON *node = NULL;
    if (r == 0)
        r = load_node(l, &event, depth + 1, &node, err);
    if (r != 0)
        return r;
    if (merges) {
        if (m->merged != NULL) {
            cJSON_Delete(node);
            return fail_at(key->start_mark, EINVAL, err, "duplicate key");
        }
        m->merged = node;
        m->merge_mark = key->start_mark;
        return keep_node(l, node, err);
    }
    node->string = steal_ptr(name); /* freed by cJSON, whose allocator is malloc() */
    cJSON_AddItemToArray(m->object, node);
    uint64_t where = (uint64_t)key->start_mark.line << 32 | (uint32_t)key->start_mark.column;
    return json_names_push(&l->names, node->string, where) < 0 ? no_memory(err) : 0;
}

static int load_mapping(struct loader *l, const yaml_event_t *start, unsigned depth, cJSON **ret,
                        struct error *err)
{
    int r = check_collection(l, start, start->data.mapping_start.tag, YAML_MAP_TAG, depth, err);
    if (r < 0)
        return r;
    cleanup_json cJSON *object = cJSON_CreateObject();
    if (object == NULL)
        return no_memory(err);
    struct mapping m = {.object = object};
    size_t first_name = l->names.count;
    for (;;) {
        cleanup_event yaml_event_t key;
        r = next_event(l, &key, err);
        if (r < 0)
            return r;
        if (key.type == YAML_MAPPING_END_EVENT)
            break;
        r = load_pair(l, &m, &key, depth, err);
        if (r < 0)
            return r;
    }
    const struct json_name *twice = json_names_duplicate(&l->names, first_name);
    if (twice != NULL)
        return error_set(err, EINVAL, "line %zu, column %zu: duplicate key '%.64s'",
                         (size_t)(twice->where >> 32) + 1, (size_t)(uint32_t)twice->where + 1,
                         twice->text);
    l->names.count = first_name;
    if (m.merged != NULL) {
        r = merge(l, m.merged, object, depth, m.merge_mark, err);
        if (r < 0)
            return r;
    }
    *ret = steal_ptr(object);
    return 0;
}

/* The node that begins with `event`, `depth` containers deep. Recursion ends at the depth limit. */
static int load_node(struct loader *l, const yaml_event_t *event, unsigned depth, cJSON **ret,
                     struct error *err)
{
    if (event->type == YAML_ALIAS_EVENT)
        return load_alias(l, event, depth, ret, err);
    int r = count_node(l, event->start_mark, err);
    if (r != 0)
        return r;
    struct anchor *anchor;
    cJSON *node = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        r = open_anchor(l, event->data.scalar.anchor, &anchor, err);
        if (r == 0)
            r = load_scalar(event, &node, err);
        break;
    case YAML_SEQUENCE_START_EVENT:
        r = open_anchor(l, event->data.sequence_start.anchor, &anchor, err);
        if (r == 0)
            r = load_sequence(l, event, depth, &node, err);
        break;
    case YAML_MAPPING_START_EVENT:
        r = open_anchor(l, event->data.mapping_start.anchor, &anchor, err);
        if (r == 0)
            r = load_mapping(l, event, depth, &node, err);
        break;
    default:
        return fail_at(event->start_mark, EINVAL, err, "a value is missing");
    }
    if (r != 0)
        return r;
    if (anchor != NULL)
        anchor->node = node;
    *ret = node;
    return 0;
}

/* --- documents --- */

static int load_document(struct loader *l, cJSON *documents, struct error *err)
{
    cleanup_event yaml_event_t event;
    int r = next_event(l, &event, err);
    if (r < 0)
        return r;
    cleanup_json cJSON *node = NULL;
    r = load_node(l, &event, 0, &node, err);
    if (r == 0 && !cJSON_IsNull(node))
        cJSON_AddItemToArray(documents, steal_ptr(node));
    close_document(l);
    return r;
}

static int load_stream(struct loader *l, cJSON *documents, struct error *err)
{
    for (;;) {
        cleanup_event yaml_event_t event;
        int r = next_event(l, &event, err);
        if (r < 0)
            return r;
        if (event.type == YAML_STREAM_END_EVENT)
            return 0;
        if (event.type == YAML_DOCUMENT_START_EVENT) {
            r = load_document(l, documents, err);
            if (r < 0)
                return r;
        }
    }
}

static int load_yaml(const char *text, size_t len, const struct yaml_limits *limits,
                     cJSON *documents, struct error *err)
{
    struct loader l = {.limits = *limits, .copied_max = EXPANSION_FACTOR * len + EXPANSION_FREE};
    if (yaml_parser_initialize(&l.parser) == 0)
        return no_memory(err);
    yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, len);
    int r = load_stream(&l, documents, err);
    close_document(&l);
    json_names_done(&l.names);
    yaml_parser_delete(&l.parser);
    return r;
}

static int load_json(const char *text, size_t len, const struct yaml_limits *limits,
                     cJSON *documents, struct error *err)
{
    struct json_limits json_limits = {.bytes = limits->bytes, .depth = limits->depth};
    cJSON *node = NULL;
    int r = json_parse(text, len, &json_limits, &node, err);
    if (r == 0)
        cJSON_AddItemToArray(documents, node);
    return r;
}

static bool looks_like_json(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r'))
        i++;
    return i < len && text[i] == '{';
}

int yaml_parse_all(const char *text, size_t len, const struct yaml_limits *limits,
                   cJSON **ret_array, struct error *err)
{
    struct yaml_limits bound = limits != NULL ? *limits : (struct yaml_limits){0};
    if (bound.bytes == 0)
        bound.bytes = DEFAULT_BYTES;
    if (bound.depth == 0 || bound.depth > JSON_DEPTH_MAX)
        bound.depth = JSON_DEPTH_MAX;
    if (bound.nodes == 0)
        bound.nodes = DEFAULT_NODES;
    if (len > bound.bytes)
        return error_set(err, E2BIG, "the text of %zu bytes is larger than the limit of %zu", len,
                         bound.bytes);
    cleanup_json cJSON *documents = cJSON_CreateArray();
    if (documents == NULL)
        return no_memory(err);
    int r = looks_like_json(text, len) ? load_json(text, len, &bound, documents, err)
                                       : load_yaml(text, len, &bound, documents, err);
    if (r == 0)
        *ret_array = steal_ptr(documents);
    return r;
}

int yaml_parse(const char *text, size_t len, const struct yaml_limits *limits, cJSON **ret,
               struct error *err)
{
    cleanup_json cJSON *documents = NULL;
    int r = yaml_parse_all(text, len, limits, &documents, err);
    if (r < 0)
        return r;
    int count = cJSON_GetArraySize(documents);
    if (count != 1)
        return error_set(err, EINVAL, "the text holds %d documents instead of one", count);
    *ret = cJSON_DetachItemFromArray(documents, 0);
    return 0;
}
