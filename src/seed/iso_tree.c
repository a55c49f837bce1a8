// SPDX-License-Identifier: Apache-2.0
/*
 * From paths to the two trees of an image: checks, identifiers, orders. Identifiers are unique by
 * construction, so that none has to be looked for: a primary one has the number that its file has
 * in its folder, and a Joliet one too when it is not the name as it is.
 */
#include "iso_tree.h"
#include <podvisor/str.h>
#include <podvisor/utf8.h>
#include <stdio.h>
#include <string.h>

#define JOLIET_NAME_MAX 64 /* characters; without ";1", as mkisofs and xorriso write them */
#define JOLIET_MARK     5  /* "~" and four digits */

static struct iso_node *add_node(struct iso_forest *forest, struct iso_node *parent,
                                 const char *name, size_t len)
{
    struct iso_node *node = xcalloc(1, sizeof(*node));
    node->name = xasprintf("%.*s", (int)len, name);
    node->parent = parent != NULL ? parent : node;
    *(struct iso_node **)vec_add(&forest->nodes) = node;
    if (parent != NULL)
        *(struct iso_node **)vec_add(&parent->in[ISO_PRIMARY].children) = node;
    return node;
}

static struct iso_node *find_child(const struct iso_node *folder, const char *name, size_t len)
{
    for (size_t i = 0; i < folder->in[ISO_PRIMARY].children.count; i++) {
        struct iso_node *child = folder->in[ISO_PRIMARY].children.item[i];
        if (strncmp(child->name, name, len) == 0 && child->name[len] == '\0')
            return child;
    }
    return NULL;
}

/* `path` is the whole, for messages. */
static int check_name(const char *path, const char *name, size_t len, struct error *err)
{
    bool dots = (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
    if (len == 0 || dots)
        return error_set(err, EINVAL, "'%.256s' cannot be the path of a file on the disk", path);
    if (len > ISO_NAME_MAX)
        return error_set(err, E2BIG, "'%.256s...' has a name of more than %d bytes", path,
                         ISO_NAME_MAX);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return error_set(err, EINVAL, "a file's name has the control character 0x%02x",
                             (unsigned char)name[i]);
    }
    return 0;
}

static int add_file(struct iso_forest *forest, const struct iso_file *file, struct error *err)
{
    struct iso_node *folder = forest->nodes.item[0];
    const char *name = file->path;
    for (unsigned depth = 1;; depth++) {
        size_t len = strcspn(name, "/");
        bool last = name[len] == '\0';
        int r = check_name(file->path, name, len, err);
        if (r < 0)
            return r;
        if (depth > ISO_DEPTH_MAX)
            return error_set(err, E2BIG, "'%.256s' is more than %d folders deep", file->path,
                             ISO_DEPTH_MAX - 1);
        struct iso_node *child = find_child(folder, name, len);
        if (child != NULL && (last || child->file != NULL))
            return error_set(err, EINVAL, "'%.256s' is there twice", file->path);
        if (child == NULL && forest->nodes.count > ISO_FILES_MAX)
            return error_set(err, E2BIG, "more than %d files and folders", ISO_FILES_MAX);
        if (child == NULL)
            child = add_node(forest, folder, name, len);
        if (last) {
            child->file = file;
            return 0;
        }
        folder = child;
        name += len + 1;
    }
}

/* ECMA-119 §7.4.1: d-characters. */
static char d_character(char c)
{
    if (c >= 'a' && c <= 'z')
        return (char)(c - 'a' + 'A');
    if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return c;
    return '_';
}

/* "USER0003.TXT;1", level 1: for readers that know neither Rock Ridge nor Joliet. */
static void name_primary(struct iso_node *node, unsigned number)
{
    char id[32];
    const char *dot = node->file != NULL ? strrchr(node->name, '.') : NULL;
    size_t len = dot != NULL ? (size_t)(dot - node->name) : strlen(node->name);
    memset(id, '_', 4);
    for (size_t i = 0; i < 4 && i < len; i++)
        id[i] = d_character(node->name[i]);
    size_t n = 4 + (size_t)snprintf(id + 4, sizeof(id) - 4, "%04u", number);
    if (node->file != NULL) {
        id[n++] = '.';
        for (size_t i = 1; dot != NULL && i <= 3 && dot[i] != '\0'; i++)
            id[n++] = d_character(dot[i]);
        n += (size_t)snprintf(id + n, sizeof(id) - n, ";1");
    }
    memcpy(node->in[ISO_PRIMARY].id, id, n);
    node->in[ISO_PRIMARY].id_len = (uint8_t)n;
}

/* One character of UCS-2; '_' for what Joliet does not allow, and what is none. */
static uint16_t read_character(const char **at)
{
    const unsigned char *s = (const unsigned char *)*at;
    size_t len = utf8_length(*at, strlen(*at));
    *at += len != 0 ? len : 1;
    if (len == 2)
        return (uint16_t)((s[0] & 0x1f) << 6 | (s[1] & 0x3f));
    if (len == 3)
        return (uint16_t)((s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f));
    return len == 1 && strchr("*/:;?\\", s[0]) == NULL ? s[0] : '_';
}

/* Does the name end as the identifiers do that are made from names? */
static bool has_mark(const char *name)
{
    size_t len = strlen(name);
    return len >= JOLIET_MARK && name[len - JOLIET_MARK] == '~' &&
           strspn(name + len - JOLIET_MARK + 1, "0123456789") == JOLIET_MARK - 1;
}

static void name_joliet(struct iso_node *node, unsigned number)
{
    uint16_t text[JOLIET_NAME_MAX];
    char mark[16];
    size_t n = 0, copied = 0;
    bool as_it_is = !has_mark(node->name);
    for (const char *s = node->name; *s != '\0';) {
        const char *before = s;
        uint16_t c = read_character(&s);
        as_it_is = as_it_is && n < JOLIET_NAME_MAX && (c != '_' || *before == '_');
        if (n < JOLIET_NAME_MAX)
            text[n++] = c;
    }
    snprintf(mark, sizeof(mark), "~%04u", number);
    if (!as_it_is && n > JOLIET_NAME_MAX - JOLIET_MARK)
        n = JOLIET_NAME_MAX - JOLIET_MARK;
    while (!as_it_is && mark[copied] != '\0')
        text[n++] = (uint16_t)mark[copied++];
    for (size_t i = 0; i < n; i++) {
        node->in[ISO_JOLIET].id[2 * i] = (uint8_t)(text[i] >> 8);
        node->in[ISO_JOLIET].id[2 * i + 1] = (uint8_t)text[i];
    }
    node->in[ISO_JOLIET].id_len = (uint8_t)(2 * n);
}

static int by_name(const void *a, const void *b)
{
    const struct iso_node *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_id(const struct iso_node *x, const struct iso_node *y, enum iso_tree tree)
{
    size_t x_len = x->in[tree].id_len, y_len = y->in[tree].id_len;
    int order = memcmp(x->in[tree].id, y->in[tree].id, x_len < y_len ? x_len : y_len);
    return order != 0 ? order : (int)x_len - (int)y_len;
}

static int by_primary_id(const void *a, const void *b)
{
    return by_id(*(const struct iso_node *const *)a, *(const struct iso_node *const *)b,
                 ISO_PRIMARY);
}

static int by_joliet_id(const void *a, const void *b)
{
    return by_id(*(const struct iso_node *const *)a, *(const struct iso_node *const *)b,
                 ISO_JOLIET);
}

/* Numbers come from the names' order, so that the order in which files were given is no matter. */
static void name_children(struct iso_node *folder)
{
    size_t count = folder->in[ISO_PRIMARY].children.count;
    struct iso_node **children = folder->in[ISO_PRIMARY].children.item;
    if (count == 0)
        return;
    qsort(children, count, sizeof(struct iso_node *), by_name);
    for (size_t i = 0; i < count; i++) {
        name_primary(children[i], (unsigned)i);
        name_joliet(children[i], (unsigned)i);
        *(struct iso_node **)vec_add(&folder->in[ISO_JOLIET].children) = children[i];
    }
    qsort(children, count, sizeof(struct iso_node *), by_primary_id);
    qsort(folder->in[ISO_JOLIET].children.item, count, sizeof(struct iso_node *), by_joliet_id);
}

/* ECMA-119 §6.9.1: by level, then by the parent's number, then by identifier. */
static void list_folders(struct iso_forest *forest, enum iso_tree tree)
{
    *(struct iso_node **)vec_add(&forest->folders[tree]) = forest->nodes.item[0];
    for (size_t i = 0; i < forest->folders[tree].count; i++) {
        struct iso_node *folder = forest->folders[tree].item[i];
        folder->in[tree].number = (uint16_t)(i + 1);
        for (size_t k = 0; k < folder->in[tree].children.count; k++) {
            struct iso_node *child = folder->in[tree].children.item[k];
            if (child->file == NULL)
                *(struct iso_node **)vec_add(&forest->folders[tree]) = child;
        }
    }
}

int iso_forest_build(struct iso_forest *forest, const struct iso_file *files, size_t count,
                     struct error *err)
{
    size_t bytes = 0;
    add_node(forest, NULL, "", 0);
    for (size_t i = 0; i < count; i++) {
        int r = add_file(forest, &files[i], err);
        if (r < 0)
            return r;
        bytes += files[i].len;
        if (files[i].len > ISO_DATA_MAX || bytes > ISO_DATA_MAX)
            return error_set(err, E2BIG, "the files have more than %u MiB", ISO_DATA_MAX >> 20);
    }
    for (size_t i = 0; i < forest->nodes.count; i++)
        name_children(forest->nodes.item[i]);
    list_folders(forest, ISO_PRIMARY);
    list_folders(forest, ISO_JOLIET);
    return 0;
}

void iso_forest_done(struct iso_forest *forest)
{
    for (size_t i = 0; i < forest->nodes.count; i++) {
        struct iso_node *node = forest->nodes.item[i];
        vec_free(&node->in[ISO_PRIMARY].children);
        vec_free(&node->in[ISO_JOLIET].children);
        free(node->name);
        free(node);
    }
    vec_free(&forest->nodes);
    vec_free(&forest->folders[ISO_PRIMARY]);
    vec_free(&forest->folders[ISO_JOLIET]);
}
