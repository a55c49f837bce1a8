// SPDX-License-Identifier: Apache-2.0
/* Disks that are made of files: which files and labels a volume gives, and what the disk is. */
#include "files.h"
#include "iso_reader.h"
#include "run_suite.h"
#include "seed.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/podvisor-test-XXXXXX";
static struct vmspec spec = {.name = (char[]){"web"}, .uuid = {0xab}};
static struct vmspec_volume volume;
static struct plan_disk disk;

#define META "{\"instance-id\":\"ab000000-0000-0000-0000-000000000000\",\"local-hostname\":\"web\"}"

static const char drive_meta[] = "{\"instance_id\":\"web.default\",\"hostname\":\"web\",\"uuid\":"
                                 "\"ab000000-0000-0000-0000-000000000000\"}";

static void set_up(void)
{
    snprintf(root, sizeof(root), "/tmp/podvisor-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    volume = (struct vmspec_volume){.name = (char[]){"seed"}};
    disk = (struct plan_disk){.name = "seed", .spec = &spec, .volume = &volume};
    snprintf(disk.path, sizeof(disk.path), "%s", root);
}

static void tear_down(void)
{
    cleanup_free char *command = xasprintf("rm -r '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

static void put(const char *name, const char *text)
{
    cleanup_free char *path = xasprintf("%s/%s", root, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    (void)mkdir(path, 0755);
    *slash = '/';
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* The disk holds exactly these files: path, text, path, text, NULL. */
static void must_make(const char *label, bool is_private, const char *const *texts)
{
    cleanup_seed_files struct seed_files files = {0};
    int fd = -1;
    struct stat st;
    struct error err = ERROR_INIT;
    for (; texts[0] != NULL; texts += 2)
        seed_files_add(&files, texts[0], texts[1], strlen(texts[1]));
    ck_assert_msg(seed_make(&disk, &fd, &err) == 0, "%s", err.text);
    ck_assert_int_eq(fstat(fd, &st), 0);
    cleanup_free uint8_t *image = xcalloc((size_t)st.st_size, 1);
    ck_assert_int_eq(pread(fd, image, (size_t)st.st_size, 0), st.st_size);
    iso_verify(image, (size_t)st.st_size, label, is_private, files.list.item, files.list.count);
    /* The system area takes no memory, and nobody changes the rest. */
    ck_assert_int_le(st.st_blocks * 512, st.st_size - (off_t)ISO_SYSTEM_AREA);
    ck_assert_int_eq(pwrite(fd, "x", 1, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    close(fd);
}

#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void must_fail(const char *text)
{
    int fd = -1;
    struct error err = ERROR_INIT;
    ck_assert_int_lt(seed_make(&disk, &fd, &err), 0);
    ck_assert_int_eq(fd, -1);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' is not in: %s", text, err.text);
}

START_TEST(cloud_init_of_the_manifest)
{
    disk.path[0] = '\0';
    volume.kind = VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD;
    volume.cloud_init.user_data = (char[]){"#cloud-config\n"};
    must_make("cidata", true, FILES("meta-data", META, "user-data", "#cloud-config\n"));
    volume.cloud_init.user_data = NULL;
    volume.cloud_init.user_data_base64 = (char[]){"Zm9v"};
    volume.cloud_init.network_data_base64 = (char[]){"YmFy"};
    must_make("cidata", true,
              FILES("meta-data", META, "user-data", "foo", "network-config", "bar"));
    volume.cloud_init.network_data_base64 = (char[]){"YmF"};
    must_fail("networkdataBase64: is not a valid base64 value");
    volume.kind = VMSPEC_VOLUME_CLOUD_INIT_CONFIG_DRIVE;
    volume.cloud_init.network_data_base64 = NULL;
    must_make(
        "config-2", true,
        FILES("openstack/latest/meta_data.json", drive_meta, "openstack/latest/user_data", "foo"));
}
END_TEST

START_TEST(cloud_init_of_secrets)
{
    volume.kind = VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD;
    volume.cloud_init.user_data_secret = (char[]){"users"};
    volume.cloud_init.network_data_secret = (char[]){"nets"};
    must_fail("secretRef users: cannot open");
    put("userdata/userdata", "from a secret");
    put("userdata/other", "not this");
    put("networkdata/networkData", "net");
    must_make("cidata", true,
              FILES("meta-data", META, "user-data", "from a secret", "network-config", "net"));
    put("userdata/userData", "second choice");
    must_make("cidata", true,
              FILES("meta-data", META, "user-data", "from a secret", "network-config", "net"));
}
END_TEST

START_TEST(secrets_without_the_key)
{
    volume.kind = VMSPEC_VOLUME_CLOUD_INIT_NO_CLOUD;
    volume.cloud_init.user_data_secret = (char[]){"users"};
    put("userdata/something", "else");
    must_fail("there is neither user data nor network data");
    volume.cloud_init.network_data = (char[]){"net"};
    must_make("cidata", true, FILES("meta-data", META, "user-data", "", "network-config", "net"));
}
END_TEST

START_TEST(folders)
{
    put("key", "value");
    put("sub/inner", "nested");
    const char *const *both = FILES("key", "value", "sub/inner", "nested");
    volume.kind = VMSPEC_VOLUME_CONFIG_MAP;
    must_make("cfgdata", false, both);
    volume.files.label = (char[]){"my label"};
    must_make("my label", false, both);
    volume.kind = VMSPEC_VOLUME_DOWNWARD_API;
    must_make("my label", false, both);
    volume.kind = VMSPEC_VOLUME_SECRET;
    must_make("my label", true, both);
    volume.files.label = NULL;
    volume.kind = VMSPEC_VOLUME_SERVICE_ACCOUNT;
    must_make("cfgdata", true, both);
    volume.kind = VMSPEC_VOLUME_SYSPREP;
    must_fail("Sysprep drive should contain autounattend.xml or unattend.xml");
    put("Unattend.XML", "<x/>");
    must_make("unattendCD", true,
              FILES("key", "value", "sub/inner", "nested", "Unattend.XML", "<x/>"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front-seed");
    TCase *tc = tcase_create("seed");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, cloud_init_of_the_manifest);
    tcase_add_test(tc, cloud_init_of_secrets);
    tcase_add_test(tc, secrets_without_the_key);
    tcase_add_test(tc, folders);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
