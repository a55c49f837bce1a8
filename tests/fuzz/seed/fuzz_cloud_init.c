// SPDX-License-Identifier: Apache-2.0
/*
 * What a manifest and secrets say, to cloud-init's files. The input is six texts with NUL behind
 * each: name, namespace, host name, user data in base64, a key, another key. Metadata must be JSON
 * with these values in it, whatever they are, and data that decodes is in its file as it is.
 */
#include "cloud_init.h"
#include <podvisor/cleanup.h>
#include <podvisor/json.h>
#include <podvisor/str.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition)
        abort();
}

static char *take(const uint8_t **data, size_t *size)
{
    size_t len = strnlen((const char *)*data, *size);
    char *text = xasprintf("%.*s", (int)len, (const char *)*data);
    *data += len;
    *size -= len;
    if (*size > 0) {
        (*data)++;
        (*size)--;
    }
    return text;
}

static void check_meta_data(const struct cloud_init *input, const struct iso_file *file)
{
    cleanup_json cJSON *tree = NULL;
    struct error err = ERROR_INIT;
    int keys = 0;
    check(json_parse(file->data, file->len, NULL, &tree, &err) == 0);
    check(cJSON_IsString(json_get(tree, input->config_drive ? "instance_id" : "instance-id")));
    check(cJSON_IsString(json_get(tree, input->config_drive ? "hostname" : "local-hostname")));
    json_for_each (key, json_get(tree, input->config_drive ? "public_keys" : "public-keys"))
        keys += cJSON_IsString(key) ? 1 : 0;
    check(keys == (input->keys[0].len > 0) + (input->keys[1].len > 0));
}

static void run(struct cloud_init *input)
{
    cleanup_seed_files struct seed_files files = {0};
    struct error err = ERROR_INIT;
    check(cloud_init_files(input, &files, &err) == 0);
    check(files.list.count == 2);
    check_meta_data(input, &files.list.item[0]);
    size_t len = input->user_data != NULL ? input->user_data->len : 0;
    check(files.list.item[1].len == len);
    check(len == 0 || memcmp(files.list.item[1].data, input->user_data->data, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *name = take(&data, &size), *namespace_ = take(&data, &size);
    cleanup_free char *hostname = take(&data, &size), *base64 = take(&data, &size);
    cleanup_free char *first = take(&data, &size), *second = take(&data, &size);
    const struct iso_file keys[] = {{.data = first, .len = strlen(first)},
                                    {.data = second, .len = strlen(second)}};
    struct error err = ERROR_INIT;
    struct iso_file user = {.data = NULL};
    cleanup_free char *decoded = NULL;
    struct cloud_init input = {
        .name = name, .namespace_ = namespace_, .hostname = hostname, .keys = keys, .key_count = 2};
    if (cloud_init_decode(base64, &decoded, &user.len, &err) == 0) {
        check(user.len <= strlen(base64) / 4 * 3);
        user.data = decoded;
        input.user_data = &user;
    }
    run(&input);
    input.config_drive = true;
    run(&input);
    return 0;
}
