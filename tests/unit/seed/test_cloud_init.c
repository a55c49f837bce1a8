// SPDX-License-Identifier: Apache-2.0
/* The files of both layouts to the byte, as KubeVirt's virt-launcher writes them; base64. */
#include "cloud_init.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <string.h>

static struct seed_files files;
static struct cloud_init input;
static char user_text[] = "#cloud-config\n", network_text[] = "version: 2\n";
static const struct iso_file user = {.data = user_text, .len = sizeof(user_text) - 1};
static const struct iso_file network = {.data = network_text, .len = sizeof(network_text) - 1};

#define UUID                                                                                      \
    {                                                                                             \
        0x5d, 0x30, 0x7c, 0xa9, 0xb3, 0xef, 0x42, 0x8c, 0x88, 0x61, 0x06, 0xe7, 0x2d, 0x69, 0xf2, \
            0x23                                                                                  \
    }

static void set_up(void)
{
    input = (struct cloud_init){.name = "web.example",
                                .namespace_ = "lab",
                                .hostname = "web",
                                .uuid = UUID,
                                .user_data = &user};
}

static void tear_down(void)
{
    seed_files_done(&files);
}

static void must_have(const char *path, const char *text)
{
    for (size_t i = 0; i < files.list.count; i++) {
        const struct iso_file *file = &files.list.item[i];
        if (strcmp(file->path, path) != 0)
            continue;
        ck_assert_msg(file->len == strlen(text) && memcmp(file->data, text, file->len) == 0,
                      "%s is: %.*s", path, (int)file->len, file->data);
        return;
    }
    ck_abort_msg("%s is missing", path);
}

static void must_make(size_t count)
{
    struct error err = ERROR_INIT;
    ck_assert_msg(cloud_init_files(&input, &files, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(files.list.count, count);
}

START_TEST(no_cloud)
{
    must_make(2);
    must_have("meta-data", "{\"instance-id\":\"5d307ca9-b3ef-428c-8861-06e72d69f223\","
                           "\"local-hostname\":\"web\"}");
    must_have("user-data", "#cloud-config\n");
}
END_TEST

START_TEST(config_drive)
{
    input.config_drive = true;
    input.network_data = &network;
    must_make(3);
    must_have("openstack/latest/meta_data.json",
              "{\"instance_id\":\"web.example.lab\",\"hostname\":\"web\","
              "\"uuid\":\"5d307ca9-b3ef-428c-8861-06e72d69f223\"}");
    must_have("openstack/latest/user_data", "#cloud-config\n");
    must_have("openstack/latest/network_data.json", "version: 2\n");
}
END_TEST

START_TEST(network_alone)
{
    input.user_data = NULL;
    input.network_data = &network;
    must_make(3);
    must_have("user-data", "");
    must_have("network-config", "version: 2\n");
}
END_TEST

START_TEST(keys)
{
    char first[] = "ssh-ed25519 AAAA me@home\n", none[] = "", other[] = "ssh-rsa \"B\"";
    const struct iso_file list[] = {{.data = first, .len = sizeof(first) - 1},
                                    {.data = none, .len = 0},
                                    {.data = other, .len = sizeof(other) - 1}};
    input.keys = list;
    input.key_count = 3;
    must_make(2);
    must_have("meta-data",
              "{\"instance-id\":\"5d307ca9-b3ef-428c-8861-06e72d69f223\",\"local-hostname\":"
              "\"web\",\"public-keys\":{\"0\":\"ssh-ed25519 AAAA me@home\\n\",\"1\":\"ssh-rsa "
              "\\\"B\\\"\"}}");
    input.keys = NULL;
    input.key_count = 0;
}
END_TEST

static const struct {
    const char *text, *data; /* data NULL: refused */
} base64[] = {
    {"", ""},
    {"Zg==", "f"},
    {"Zm8=", "fo"},
    {"Zm9v", "foo"},
    {"Zm9v\nYmFy\r\n", "foobar"},
    {"Zm9vYg==\n", "foob"},
    {"+/+/", "\xfb\xff\xbf"},
    {"Zg=", NULL},
    {"Zg", NULL},
    {"Z", NULL},
    {"Zg==Zg==", NULL},
    {"Z===", NULL},
    {"====", NULL},
    {"Zm 9v", NULL},
    {"Zm9-", NULL},
    {"Zm9v=", NULL},
    {"=Zm9", NULL},
};

START_TEST(decoding)
{
    cleanup_free char *data = NULL;
    size_t len = 0;
    struct error err = ERROR_INIT;
    int r = cloud_init_decode(base64[_i].text, &data, &len, &err);
    ck_assert_int_eq(r, base64[_i].data != NULL ? 0 : -EINVAL);
    if (r < 0)
        return;
    ck_assert_uint_eq(len, strlen(base64[_i].data));
    ck_assert_int_eq(memcmp(data, base64[_i].data, len), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seed-cloud_init");
    TCase *tc = tcase_create("cloud_init");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, no_cloud);
    tcase_add_test(tc, config_drive);
    tcase_add_test(tc, network_alone);
    tcase_add_test(tc, keys);
    tcase_add_loop_test(tc, decoding, 0, ARRAY_SIZE(base64));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
