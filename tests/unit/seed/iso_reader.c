// SPDX-License-Identifier: Apache-2.0
#include "iso_reader.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/vec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

struct entry {
    char *path;
    bool folder;
    uint32_t mode, extent, size;
};

struct reader {
    const uint8_t *image;
    size_t len;
    bool joliet, is_private;
    uint8_t *used; /* a byte a sector: read as part of something */
    VEC(struct entry) entries;
    unsigned folders; /* with the root */
};

static uint16_t le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
    return le16(p) | (uint32_t)le16(p + 2) << 16;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t both32(const uint8_t *p)
{
    must(le32(p) == be32(p + 4));
    return le32(p);
}

static uint16_t both16(const uint8_t *p)
{
    must(p[0] == p[3] && p[1] == p[2]);
    return le16(p);
}

/* Sectors of one thing, which nothing else has. */
static const uint8_t *claim(struct reader *r, uint32_t extent, uint32_t size, uint8_t what)
{
    uint32_t count = (size + ISO_SECTOR - 1) / ISO_SECTOR;
    must(extent >= 16 && (uint64_t)extent + count <= r->len / ISO_SECTOR);
    for (uint32_t i = 0; i < count; i++) {
        must(r->used[extent + i] == 0);
        r->used[extent + i] = what;
    }
    return r->image + (size_t)extent * ISO_SECTOR;
}

struct rock {
    char name[1024];
    size_t name_len;
    uint32_t mode, links;
    bool sp, er, goes_on;
};

static void read_system_use(const struct reader *r, const uint8_t *p, size_t len, struct rock *rock)
{
    const uint8_t *next = NULL;
    size_t next_len = 0;
    while (len >= 4) {
        size_t size = p[2];
        must(size >= 4 && size <= len && p[3] == 1);
        if (memcmp(p, "PX", 2) == 0) {
            must(size == 36 && rock->mode == 0);
            rock->mode = both32(p + 4);
            rock->links = both32(p + 12);
            must(both32(p + 20) == 0 && both32(p + 28) == 0);
        } else if (memcmp(p, "NM", 2) == 0) {
            must(size > 5 && (rock->name_len == 0 || rock->goes_on));
            memcpy(rock->name + rock->name_len, p + 5, size - 5);
            rock->name_len += size - 5;
            rock->goes_on = p[4] == 1;
            must(p[4] <= 1);
        } else if (memcmp(p, "CE", 2) == 0) {
            must(size == 28 && next == NULL);
            uint32_t sector = both32(p + 4), offset = both32(p + 12);
            next_len = both32(p + 20);
            must(sector < r->len / ISO_SECTOR && offset + next_len <= ISO_SECTOR);
            must(r->used[sector] == 0 || r->used[sector] == 'c');
            r->used[sector] = 'c';
            next = r->image + (size_t)sector * ISO_SECTOR + offset;
        } else if (memcmp(p, "SP", 2) == 0) {
            must(size == 7 && p[4] == 0xbe && p[5] == 0xef && p[6] == 0);
            rock->sp = true;
        } else {
            must(memcmp(p, "ER", 2) == 0 && memcmp(p + 8, "RRIP_1991A", p[4]) == 0);
            must(size == 8u + p[4] + p[5] + p[6]);
            rock->er = true;
        }
        p += size;
        len -= size;
    }
    must(len <= 1 || *p == 0);
    if (next != NULL)
        read_system_use(r, next, next_len, rock);
    rock->name[rock->name_len] = '\0';
}

/* UCS-2 to UTF-8. */
static void read_joliet(const uint8_t *id, size_t len, char *ret)
{
    must(len % 2 == 0 && len <= 128);
    for (size_t i = 0; i < len; i += 2) {
        unsigned c = (unsigned)(id[i] << 8 | id[i + 1]);
        must(c >= 0x20 && (c > 0x7f || strchr("*/:;?\\", (int)c) == NULL));
        if (c < 0x80) {
            *ret++ = (char)c;
        } else if (c < 0x800) {
            *ret++ = (char)(0xc0 | c >> 6);
            *ret++ = (char)(0x80 | (c & 0x3f));
        } else {
            *ret++ = (char)(0xe0 | c >> 12);
            *ret++ = (char)(0x80 | (c >> 6 & 0x3f));
            *ret++ = (char)(0x80 | (c & 0x3f));
        }
    }
    *ret = '\0';
}

static void check_primary_id(const uint8_t *id, size_t len, bool folder)
{
    char text[16];
    must(len <= 14);
    memcpy(text, id, len);
    text[len] = '\0';
    size_t stem = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    must(stem >= 1 && stem <= 8 && (!folder || text[stem] == '\0'));
    must(folder || (text[stem] == '.' && strcmp(text + len - 2, ";1") == 0 && len - stem <= 6));
}

static void read_folder(struct reader *r, uint32_t extent, uint32_t size, uint32_t parent,
                        uint32_t links, const char *path);

static void read_child(struct reader *r, const uint8_t *record, uint32_t extent, const char *path)
{
    struct entry *entry = vec_add(&r->entries);
    struct rock rock = {.mode = 0};
    char name[1024];
    size_t id_len = record[32], head = 33 + id_len + (id_len % 2 == 0);
    bool folder = record[25] == 2;
    must(record[25] == 0 || folder);
    if (r->joliet) {
        read_joliet(record + 33, id_len, name);
    } else {
        check_primary_id(record + 33, id_len, folder);
        read_system_use(r, record + head, record[0] - head, &rock);
        must(rock.name_len > 0 && !rock.goes_on && !rock.sp && !rock.er);
        must(rock.mode == (uint32_t)(folder ? (r->is_private ? 0040500 : 0040555)
                                            : (r->is_private ? 0100400 : 0100444)));
        must(folder || rock.links == 1);
        snprintf(name, sizeof(name), "%s", rock.name);
    }
    *entry = (struct entry){.path = xasprintf("%s%s%s", path, *path != '\0' ? "/" : "", name),
                            .folder = folder,
                            .mode = rock.mode,
                            .extent = both32(record + 2),
                            .size = both32(record + 10)};
    if (folder) {
        cleanup_free char *inner = xstrdup(entry->path);
        read_folder(r, entry->extent, entry->size, extent, rock.links, inner);
    }
}

static void read_folder(struct reader *r, uint32_t extent, uint32_t size, uint32_t parent,
                        uint32_t links, const char *path)
{
    const uint8_t *bytes = claim(r, extent, size, 'd');
    size_t first = r->entries.count, at = 0, seen = 0;
    uint8_t last[256] = {0};
    must(size > 0 && size % ISO_SECTOR == 0);
    r->folders++;
    while (at < size) {
        const uint8_t *record = bytes + at;
        size_t len = record[0];
        if (len == 0) { /* the rest of the sector */
            must(at % ISO_SECTOR != 0);
            at = (at / ISO_SECTOR + 1) * ISO_SECTOR;
            continue;
        }
        must(len >= 34 && len % 2 == 0 && at % ISO_SECTOR + len <= ISO_SECTOR);
        must(33u + record[32] <= len && record[1] == 0 && both16(record + 28) == 1);
        if (seen < 2) {
            must(record[32] == 1 && record[33] == seen && record[25] == 2);
            must(both32(record + 2) == (seen == 0 ? extent : parent));
            must(seen != 0 || both32(record + 10) == size);
        } else {
            size_t longer = record[32] > last[0] ? record[32] : last[0];
            uint8_t id[256] = {0};
            memcpy(id, record + 33, record[32]);
            must(memcmp(last + 1, id, longer) < 0 || seen == 2);
            memset(last, 0, sizeof(last));
            last[0] = record[32];
            memcpy(last + 1, record + 33, record[32]);
            read_child(r, record, extent, path);
        }
        seen++;
        at += len;
    }
    must(seen >= 2);
    if (!r->joliet) {
        uint32_t folders = 2;
        size_t depth = 0;
        for (const char *s = path; *s != '\0'; s++)
            depth += *s == '/';
        depth += *path != '\0';
        for (size_t i = first; i < r->entries.count; i++) {
            size_t slashes = 0;
            for (const char *s = r->entries.item[i].path; *s != '\0'; s++)
                slashes += *s == '/';
            folders += r->entries.item[i].folder && slashes == depth;
        }
        must(links == 0 || links == folders);
    }
}

/* Each line of the tables leads to a folder that says the same of itself, and they are as many. */
static void read_path_tables(struct reader *r, const uint8_t *descriptor)
{
    uint32_t size = both32(descriptor + 132);
    const uint8_t *le = claim(r, le32(descriptor + 140), size, 'p');
    const uint8_t *be = claim(r, be32(descriptor + 148), size, 'p');
    unsigned count = 0, last_parent = 1;
    must(le32(descriptor + 144) == 0 && be32(descriptor + 152) == 0);
    for (uint32_t at = 0; at < size; count++) {
        size_t id_len = le[at];
        must(id_len > 0 && be[at] == id_len && memcmp(le + at + 8, be + at + 8, id_len) == 0);
        uint32_t extent = le32(le + at + 2);
        unsigned parent = le16(le + at + 6);
        must(be32(be + at + 2) == extent && (be[at + 6] << 8 | be[at + 7]) == (int)parent);
        must(parent >= last_parent && (count == 0 ? parent == 1 : parent <= count));
        last_parent = parent;
        must(extent < r->len / ISO_SECTOR && r->used[extent] == 'd');
        must(both32(r->image + (size_t)extent * ISO_SECTOR + 2) == extent);
        at += (uint32_t)(8 + id_len + id_len % 2);
        must(at <= size);
    }
    must(count == r->folders);
}

static void read_root(struct reader *r, const uint8_t *descriptor)
{
    const uint8_t *root = descriptor + 156;
    struct rock rock = {.mode = 0};
    must(root[0] == 34 && root[32] == 1 && root[33] == 0 && root[25] == 2);
    uint32_t extent = both32(root + 2);
    read_folder(r, extent, both32(root + 10), extent, 0, "");
    if (r->joliet)
        return;
    const uint8_t *self = r->image + (size_t)extent * ISO_SECTOR;
    read_system_use(r, self + 34, self[0] - 34u, &rock);
    must(rock.sp && rock.er);
}

static void check_label(const struct reader *r, const uint8_t *at, const char *label)
{
    size_t len = strlen(label), step = r->joliet ? 2 : 1;
    for (size_t i = 0; i < 32 / step; i++)
        must(at[i * step + step - 1] == (i < len ? (uint8_t)label[i] : ' ') &&
             (step == 1 || at[i * step] == 0));
}

static void read_descriptor(struct reader *r, const char *label)
{
    const uint8_t *at = r->image + (size_t)(r->joliet ? 17 : 16) * ISO_SECTOR;
    must(at[0] == (r->joliet ? 2 : 1) && memcmp(at + 1, "CD001\1", 6) == 0 && at[881] == 1);
    must(memcmp(at + 88, r->joliet ? "%/E" : "\0\0\0", 3) == 0);
    must(both32(at + 80) == r->len / ISO_SECTOR && both16(at + 128) == ISO_SECTOR);
    must(both16(at + 120) == 1 && both16(at + 124) == 1);
    check_label(r, at + 40, label);
    read_root(r, at);
    read_path_tables(r, at);
}

static const struct entry *find(const struct reader *r, const char *path)
{
    for (size_t i = 0; i < r->entries.count; i++) {
        if (strcmp(r->entries.item[i].path, path) == 0)
            return &r->entries.item[i];
    }
    return NULL;
}

static size_t count_files(const struct reader *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->entries.count; i++) {
        count += r->entries.item[i].folder ? 0 : 1;
        for (size_t k = 0; k < i; k++)
            must(strcmp(r->entries.item[i].path, r->entries.item[k].path) != 0);
    }
    return count;
}

/* A name that Joliet can show as it is: how the writer decides is its own business. */
static bool is_plain(const char *path)
{
    size_t len = 0;
    for (; *path != '\0'; path++) {
        len = *path == '/' ? 0 : len + 1;
        if (len > 64 || (unsigned char)*path >= 0x7f || strchr("*:;?\\~", *path) != NULL)
            return false;
    }
    return true;
}

static void check_file(struct reader *primary, const struct reader *joliet,
                       const struct iso_file *file)
{
    const struct entry *entry = find(primary, file->path);
    must(entry != NULL && !entry->folder && entry->size == file->len);
    if (file->len > 0)
        must(memcmp(claim(primary, entry->extent, entry->size, 'f'), file->data, file->len) == 0);
    const struct entry *other = find(joliet, file->path);
    must(other != NULL || !is_plain(file->path));
    if (other != NULL && is_plain(file->path))
        must(other->extent == entry->extent && other->size == entry->size);
}

/* Each file of the Joliet tree is one of the other: by sector, for names differ. */
static void check_joliet(const struct reader *primary, const struct reader *joliet)
{
    for (size_t i = 0; i < joliet->entries.count; i++) {
        const struct entry *entry = &joliet->entries.item[i];
        bool found = entry->folder || entry->size == 0;
        for (size_t k = 0; !found && k < primary->entries.count; k++)
            found = primary->entries.item[k].extent == entry->extent &&
                    primary->entries.item[k].size == entry->size;
        must(found);
    }
}

static void reader_done(struct reader *r)
{
    for (size_t i = 0; i < r->entries.count; i++)
        free(r->entries.item[i].path);
    vec_free(&r->entries);
}

void iso_verify(const uint8_t *image, size_t len, const char *label, bool is_private,
                const struct iso_file *files, size_t count)
{
    must(len >= (size_t)19 * ISO_SECTOR && len % 4096 == 0);
    cleanup_free uint8_t *used = xcalloc(len / ISO_SECTOR, 1);
    struct reader primary = {.image = image, .len = len, .is_private = is_private, .used = used};
    struct reader joliet = primary;
    joliet.joliet = true;
    for (size_t i = 0; i < ISO_SYSTEM_AREA; i++)
        must(image[i] == 0);
    must(memcmp(image + (size_t)18 * ISO_SECTOR, "\377CD001\1", 7) == 0);
    read_descriptor(&primary, label);
    read_descriptor(&joliet, label);
    must(count_files(&primary) == count && count_files(&joliet) == count);
    must(primary.entries.count == joliet.entries.count && primary.folders == joliet.folders);
    check_joliet(&primary, &joliet);
    for (size_t i = 0; i < count; i++)
        check_file(&primary, &joliet, &files[i]);
    reader_done(&primary);
    reader_done(&joliet);
}
