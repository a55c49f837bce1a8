// SPDX-License-Identifier: Apache-2.0
/*
 * The sectors of an image, in this order: system area, primary, Joliet and end descriptor (ECMA-119
 * §8), four path tables (§6.9), folders of the primary tree, of the Joliet tree, ends of long names
 * (SUSP's continuation area), files. Every record is made by one function, for its length first and
 * its bytes later, so that the two cannot differ.
 */
#include "iso9660.h"
#include "iso_tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define FIRST_DESCRIPTOR 16u
#define PATH_TABLES      (FIRST_DESCRIPTOR + 3)
#define RECORD_MAX       254 /* a length is one byte, and even */
#define IMAGE_UNIT       2   /* sectors: whole blocks for disks of 4096 bytes too */

/* System use entries, SUSP 1.12 and RRIP 1.10, with their four bytes of head. */
#define SP_SIZE 7
#define CE_SIZE 28
#define PX_SIZE 36
#define ER_ID   "RRIP_1991A"
#define ER_SIZE (8 + sizeof(ER_ID) - 1)
#define NM_HEAD 5

enum role { SELF, PARENT, CHILD };

struct image {
    struct iso_forest forest;
    const char *label;
    bool is_private;
    uint32_t path_table[ISO_TREES]; /* first sector of the little-endian one; the other follows */
    uint32_t path_table_size[ISO_TREES]; /* bytes of one */
    uint32_t rest;                       /* first sector of the continuation area */
    uint32_t rest_size;                  /* bytes */
    uint32_t sectors;
    uint8_t *bytes;
};

static uint32_t sectors_of(size_t bytes)
{
    return (uint32_t)((bytes + ISO_SECTOR - 1) / ISO_SECTOR);
}

static void put16le(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put16be(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32le(uint8_t *at, uint32_t value)
{
    put16le(at, (uint16_t)value);
    put16le(at + 2, (uint16_t)(value >> 16));
}

static void put32be(uint8_t *at, uint32_t value)
{
    put16be(at, (uint16_t)(value >> 16));
    put16be(at + 2, (uint16_t)value);
}

/* ECMA-119 §7.2.3, §7.3.3. */
static void put16both(uint8_t *at, uint16_t value)
{
    put16le(at, value);
    put16be(at + 2, value);
}

static void put32both(uint8_t *at, uint32_t value)
{
    put32le(at, value);
    put32be(at + 4, value);
}

static uint8_t *put_entry(uint8_t *at, const char signature[2], size_t size)
{
    memcpy(at, signature, 2);
    at[2] = (uint8_t)size;
    at[3] = 1; /* version */
    return at + 4;
}

/* RRIP §4.1.1: mode, links, owner and group. */
static void put_attributes(const struct image *im, const struct iso_node *node, uint8_t *at)
{
    uint8_t *p = put_entry(at, "PX", PX_SIZE);
    uint32_t links = 1, mode = im->is_private ? 0100400 : 0100444;
    if (node->file == NULL) {
        mode = im->is_private ? 0040500 : 0040555;
        links = 2;
        for (size_t i = 0; i < node->in[ISO_PRIMARY].children.count; i++)
            links += node->in[ISO_PRIMARY].children.item[i]->file == NULL ? 1 : 0;
    }
    put32both(p, mode);
    put32both(p + 8, links);
}

/* RRIP §4.1.4: one piece of a name; flag 1: it goes on in another. */
static size_t put_name(uint8_t *at, const char *text, size_t len, bool goes_on)
{
    uint8_t *p = put_entry(at, "NM", NM_HEAD + len);
    p[0] = goes_on ? 1 : 0;
    memcpy(p + 1, text, len);
    return NM_HEAD + len;
}

/* How much of a name stands in a record that has `room` for it; what does not is at node->rest. */
static size_t inline_length(const struct iso_node *node, size_t room)
{
    size_t len = strlen(node->name);
    return NM_HEAD + len <= room ? len : room - CE_SIZE - NM_HEAD;
}

static size_t put_child_name(const struct image *im, const struct iso_node *node, uint8_t *at,
                             size_t room)
{
    size_t len = strlen(node->name), here = inline_length(node, room);
    size_t used = put_name(at, node->name, here, here < len);
    if (here == len)
        return used;
    uint8_t *p = put_entry(at + used, "CE", CE_SIZE); /* SUSP §5.1 */
    put32both(p, im->rest + node->rest / ISO_SECTOR);
    put32both(p + 8, node->rest % ISO_SECTOR);
    put32both(p + 16, (uint32_t)(NM_HEAD + len - here));
    return used + CE_SIZE;
}

/* SUSP §5.3, §5.5: the root's own record says that there are such entries, and of which kind. */
static size_t put_announcement(uint8_t *at)
{
    uint8_t *p = put_entry(at, "SP", SP_SIZE);
    p[0] = 0xbe;
    p[1] = 0xef;
    p = put_entry(at + SP_SIZE, "ER", ER_SIZE);
    p[0] = sizeof(ER_ID) - 1;
    p[3] = 1; /* extension version */
    memcpy(p + 4, ER_ID, sizeof(ER_ID) - 1);
    return SP_SIZE + ER_SIZE;
}

static size_t put_system_use(const struct image *im, const struct iso_node *node, enum role role,
                             uint8_t *at, size_t room)
{
    size_t used = 0;
    if (role == SELF && node == im->forest.nodes.item[0])
        used = put_announcement(at);
    put_attributes(im, role == PARENT ? node->parent : node, at + used);
    used += PX_SIZE;
    if (role == CHILD)
        used += put_child_name(im, node, at + used, room - used);
    return used;
}

static size_t head_length(size_t id_len)
{
    return 33 + id_len + (id_len % 2 == 0 ? 1 : 0);
}

/* 2000-01-01 00:00:00 UTC, ECMA-119 §9.1.5. */
static void put_time(uint8_t *at)
{
    memcpy(at, (const uint8_t[7]){100, 1, 1}, 7);
}

/* ECMA-119 §9.1. Returns the length of the record. */
static size_t make_record(const struct image *im, enum iso_tree tree, const struct iso_node *node,
                          enum role role, uint8_t record[RECORD_MAX])
{
    const struct iso_node *told = role == PARENT ? node->parent : node;
    size_t id_len = role == CHILD ? node->in[tree].id_len : 1;
    size_t len = head_length(id_len);
    memset(record, 0, RECORD_MAX);
    put32both(record + 2, told->in[tree].extent);
    put32both(record + 10, told->in[tree].size);
    put_time(record + 18);
    record[25] = told->file == NULL ? 2 : 0;
    put16both(record + 28, 1);
    record[32] = (uint8_t)id_len;
    if (role == CHILD)
        memcpy(record + 33, node->in[tree].id, id_len);
    else
        record[33] = role == PARENT ? 1 : 0;
    if (tree == ISO_PRIMARY)
        len += put_system_use(im, node, role, record + len, RECORD_MAX - len);
    len += len % 2;
    record[0] = (uint8_t)len;
    return len;
}

/* Where a record of `len` goes after `used` bytes: none crosses the end of a sector (§6.8.1.1). */
static size_t place_record(size_t used, size_t len)
{
    bool fits = used % ISO_SECTOR + len <= ISO_SECTOR;
    return fits ? used : (used + ISO_SECTOR - 1) / ISO_SECTOR * ISO_SECTOR;
}

/* Returns the folder's size; writes it when the image has its memory already. */
static size_t make_folder(const struct image *im, enum iso_tree tree, const struct iso_node *folder)
{
    uint8_t record[RECORD_MAX];
    size_t used = 0;
    for (size_t i = 0; i < folder->in[tree].children.count + 2; i++) {
        const struct iso_node *node = i < 2 ? folder : folder->in[tree].children.item[i - 2];
        size_t len = make_record(im, tree, node, i < 2 ? (enum role)i : CHILD, record);
        used = place_record(used, len);
        if (im->bytes != NULL)
            memcpy(im->bytes + (size_t)folder->in[tree].extent * ISO_SECTOR + used, record, len);
        used += len;
    }
    return (size_t)sectors_of(used) * ISO_SECTOR;
}

/* ECMA-119 §9.4, for both byte orders. Returns the size of one table. */
static size_t make_path_table(const struct image *im, enum iso_tree tree)
{
    size_t used = 0;
    for (size_t i = 0; i < im->forest.folders[tree].count; i++) {
        const struct iso_node *folder = im->forest.folders[tree].item[i];
        size_t id_len = i == 0 ? 1 : folder->in[tree].id_len;
        if (im->bytes != NULL) {
            uint8_t *le = im->bytes + (size_t)im->path_table[tree] * ISO_SECTOR + used;
            uint8_t *be = le + (size_t)sectors_of(im->path_table_size[tree]) * ISO_SECTOR;
            le[0] = be[0] = (uint8_t)id_len;
            put32le(le + 2, folder->in[tree].extent);
            put32be(be + 2, folder->in[tree].extent);
            put16le(le + 6, folder->parent->in[tree].number);
            put16be(be + 6, folder->parent->in[tree].number);
            if (i != 0) {
                memcpy(le + 8, folder->in[tree].id, id_len);
                memcpy(be + 8, folder->in[tree].id, id_len);
            }
        }
        used += 8 + id_len + id_len % 2;
    }
    return used;
}

/* The ends of long names: each piece within one sector, as readers want them. */
static void place_rests(struct image *im)
{
    size_t used = 0;
    for (size_t i = 1; i < im->forest.nodes.count; i++) {
        struct iso_node *node = im->forest.nodes.item[i];
        size_t room = RECORD_MAX - head_length(node->in[ISO_PRIMARY].id_len) - PX_SIZE;
        size_t len = strlen(node->name), here = inline_length(node, room);
        if (here == len)
            continue;
        used = place_record(used, NM_HEAD + len - here);
        node->rest = (uint32_t)used;
        if (im->bytes != NULL)
            put_name(im->bytes + (size_t)im->rest * ISO_SECTOR + used, node->name + here,
                     len - here, false);
        used += NM_HEAD + len - here;
    }
    im->rest_size = (uint32_t)used;
}

static void place_folders(struct image *im, enum iso_tree tree)
{
    for (size_t i = 0; i < im->forest.folders[tree].count; i++) {
        struct iso_node *folder = im->forest.folders[tree].item[i];
        folder->in[tree].extent = im->sectors;
        folder->in[tree].size = (uint32_t)make_folder(im, tree, folder);
        im->sectors += sectors_of(folder->in[tree].size);
    }
}

static void place_files(struct image *im)
{
    for (size_t i = 1; i < im->forest.nodes.count; i++) {
        struct iso_node *node = im->forest.nodes.item[i];
        if (node->file == NULL)
            continue;
        for (unsigned tree = 0; tree < ISO_TREES; tree++) {
            node->in[tree].extent = node->file->len > 0 ? im->sectors : 0;
            node->in[tree].size = (uint32_t)node->file->len;
        }
        im->sectors += sectors_of(node->file->len);
    }
}

static void place(struct image *im)
{
    im->sectors = PATH_TABLES;
    for (unsigned tree = 0; tree < ISO_TREES; tree++) {
        im->path_table[tree] = im->sectors;
        im->path_table_size[tree] = (uint32_t)make_path_table(im, tree);
        im->sectors += 2 * sectors_of(im->path_table_size[tree]);
    }
    place_folders(im, ISO_PRIMARY);
    place_folders(im, ISO_JOLIET);
    place_rests(im);
    im->rest = im->sectors;
    im->sectors += sectors_of(im->rest_size);
    place_files(im);
    im->sectors += im->sectors % IMAGE_UNIT;
}

/* Part of a field: no text that ends with NUL. */
static void put_bytes(uint8_t *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
}

/* A text field, filled up with spaces: ASCII, or big-endian UCS-2 of as many bytes. */
static void put_text(uint8_t *at, size_t size, enum iso_tree tree, const char *text)
{
    size_t len = strlen(text), step = tree == ISO_JOLIET ? 2 : 1;
    for (size_t i = 0; i + step <= size; i += step) {
        at[i] = 0;
        at[i + step - 1] = i / step < len ? (uint8_t)text[i / step] : ' ';
    }
}

/* ECMA-119 §8.4.26.1; no time is sixteen zeros as digits. */
static void put_long_time(uint8_t *at, bool given)
{
    put_bytes(at, given ? "2000010100000000" : "0000000000000000", 16);
}

/* ECMA-119 §8.4 and §8.5, and of Joliet the escape sequence of UCS-2 level 3. */
static void make_descriptor(const struct image *im, enum iso_tree tree)
{
    static const struct {
        uint16_t offset, size;
    } empty[] = {{8, 32},    {190, 128}, {318, 128}, {446, 128},
                 {574, 128}, {702, 37},  {739, 37},  {776, 37}};
    uint8_t *at = im->bytes + (size_t)(FIRST_DESCRIPTOR + tree) * ISO_SECTOR;
    uint8_t record[RECORD_MAX];
    at[0] = tree == ISO_PRIMARY ? 1 : 2;
    put_bytes(at + 1, "CD001\1", 6);
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        put_text(at + empty[i].offset, empty[i].size, tree, "");
    put_text(at + 40, 32, tree, im->label);
    put32both(at + 80, im->sectors);
    if (tree == ISO_JOLIET)
        put_bytes(at + 88, "%/E", 3);
    put16both(at + 120, 1);
    put16both(at + 124, 1);
    put16both(at + 128, ISO_SECTOR);
    put32both(at + 132, im->path_table_size[tree]);
    put32le(at + 140, im->path_table[tree]);
    put32be(at + 148, im->path_table[tree] + sectors_of(im->path_table_size[tree]));
    /* The root's record has no system use here: exactly 34 bytes. */
    make_record(im, tree, im->forest.nodes.item[0], SELF, record);
    memcpy(at + 156, record, 34);
    at[156] = 34;
    put_long_time(at + 813, true);
    put_long_time(at + 830, true);
    put_long_time(at + 847, false);
    put_long_time(at + 864, false);
    at[881] = 1;
}

static void make_image(struct image *im)
{
    make_descriptor(im, ISO_PRIMARY);
    make_descriptor(im, ISO_JOLIET);
    put_bytes(im->bytes + (size_t)(FIRST_DESCRIPTOR + 2) * ISO_SECTOR, "\377CD001\1", 7);
    for (unsigned tree = 0; tree < ISO_TREES; tree++) {
        make_path_table(im, tree);
        for (size_t i = 0; i < im->forest.folders[tree].count; i++)
            make_folder(im, tree, im->forest.folders[tree].item[i]);
    }
    place_rests(im);
    for (size_t i = 1; i < im->forest.nodes.count; i++) {
        const struct iso_node *node = im->forest.nodes.item[i];
        if (node->file != NULL && node->file->len > 0)
            memcpy(im->bytes + (size_t)node->in[ISO_PRIMARY].extent * ISO_SECTOR, node->file->data,
                   node->file->len);
    }
}

bool iso_label_is_valid(const char *label)
{
    size_t len = strlen(label);
    for (size_t i = 0; i < len; i++) {
        if (label[i] < 0x20 || label[i] > 0x7e)
            return false;
    }
    return len > 0 && len <= ISO_LABEL_MAX;
}

int iso_write(const char *label, bool is_private, const struct iso_file *files, size_t count,
              uint8_t **ret, size_t *ret_len, struct error *err)
{
    if (!iso_label_is_valid(label))
        return error_set(err, EINVAL, "the volume label '%.64s' must be 1 to %d ASCII characters",
                         label, ISO_LABEL_MAX);
    struct image im = {.label = label, .is_private = is_private};
    int r = iso_forest_build(&im.forest, files, count, err);
    if (r == 0) {
        place(&im);
        im.bytes = xcalloc(im.sectors, ISO_SECTOR);
        make_image(&im);
        *ret = im.bytes;
        *ret_len = (size_t)im.sectors * ISO_SECTOR;
    }
    iso_forest_done(&im.forest);
    return r;
}
