// SPDX-License-Identifier: Apache-2.0
/* See cloud_init.h. */
#include "cloud_init.h"
#include <podvisor/cleanup.h>
#include <podvisor/json_write.h>
#include <podvisor/str.h>
#include <string.h>

#define ESCAPED_MAX 6 /* bytes that JSON may make of one: \u0000 */

/* Where the files are, and what the metadata calls things. */
struct layout {
    const char *meta_data, *user_data, *network_data;
    const char *keys;
};

static const struct layout no_cloud = {"meta-data", "user-data", "network-config", "public-keys"};
static const struct layout config_drive = {"openstack/latest/meta_data.json",
                                           "openstack/latest/user_data",
                                           "openstack/latest/network_data.json", "public_keys"};

static void write_uuid(struct json_writer *w, const char *name, const uint8_t u[16])
{
    char text[40];
    snprintf(text, sizeof(text),
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15]);
    json_write_string(w, name, text);
}

static void write_identity(struct json_writer *w, const struct cloud_init *c)
{
    if (!c->config_drive) {
        write_uuid(w, "instance-id", c->uuid);
        json_write_string(w, "local-hostname", c->hostname);
        return;
    }
    cleanup_free char *id =
        xasprintf("%s.%s", c->name, c->namespace_ != NULL ? c->namespace_ : "default");
    json_write_string(w, "instance_id", id);
    json_write_string(w, "hostname", c->hostname);
    write_uuid(w, "uuid", c->uuid);
}

/* {"0": "ssh-ed25519 …", …} */
static void write_keys(struct json_writer *w, const struct cloud_init *c, const char *name)
{
    unsigned number = 0;
    char text[16];
    for (size_t i = 0; i < c->key_count; i++) {
        if (c->keys[i].len == 0)
            continue;
        if (number == 0)
            json_write_object(w, name);
        snprintf(text, sizeof(text), "%u", number++);
        json_write_string_n(w, text, c->keys[i].data, c->keys[i].len);
    }
    if (number > 0)
        json_write_end(w);
}

static size_t text_max(const char *text)
{
    return text != NULL ? ESCAPED_MAX * strlen(text) : 0;
}

static int add_meta_data(const struct cloud_init *c, const struct layout *layout,
                         struct seed_files *files, struct error *err)
{
    struct json_writer w;
    size_t len, size = 512 + text_max(c->name) + text_max(c->namespace_) + text_max(c->hostname);
    for (size_t i = 0; i < c->key_count; i++)
        size += ESCAPED_MAX * c->keys[i].len + 32;
    cleanup_free char *text = xcalloc(size, 1);
    json_write_init(&w, text, size);
    json_write_object(&w, NULL);
    write_identity(&w, c);
    write_keys(&w, c, layout->keys);
    json_write_end(&w);
    if (json_write_finish(&w, &len) < 0)
        return error_set(err, ENOSPC, "the metadata needs more than %zu bytes", size);
    seed_files_add(files, layout->meta_data, text, len);
    return 0;
}

int cloud_init_files(const struct cloud_init *c, struct seed_files *files, struct error *err)
{
    const struct layout *layout = c->config_drive ? &config_drive : &no_cloud;
    int r = add_meta_data(c, layout, files, err);
    if (r < 0)
        return r;
    seed_files_add(files, layout->user_data, c->user_data != NULL ? c->user_data->data : "",
                   c->user_data != NULL ? c->user_data->len : 0);
    if (c->network_data != NULL && c->network_data->len > 0)
        seed_files_add(files, layout->network_data, c->network_data->data, c->network_data->len);
    return 0;
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int cloud_init_decode(const char *base64, char **ret, size_t *ret_len, struct error *err)
{
    cleanup_free char *data = xcalloc(strlen(base64) / 4 * 3 + 4, 1);
    size_t len = 0, digits = 0, padding = 0;
    uint32_t bits = 0;
    for (const char *s = base64; *s != '\0'; s++) {
        int digit = digit_of(*s);
        if (*s == '\n' || *s == '\r')
            continue;
        if (*s != '=' && (digit < 0 || padding > 0))
            return error_set(err, EINVAL, "is not a valid base64 value");
        padding += *s == '=' ? 1 : 0;
        bits = bits << 6 | (digit > 0 ? (uint32_t)digit : 0);
        if (++digits % 4 != 0)
            continue;
        data[len++] = (char)(bits >> 16);
        data[len++] = (char)(bits >> 8);
        data[len++] = (char)bits;
        bits = 0;
    }
    if (digits % 4 != 0 || padding > 2)
        return error_set(err, EINVAL, "is not a valid base64 value");
    *ret_len = len - padding;
    *ret = steal_ptr(data);
    return 0;
}
