// SPDX-License-Identifier: Apache-2.0
/* Every mistake in fields.yaml and types.yaml is named; the good ones are what is in src/crdgen. */
#include "run_suite.h"
#include "schema_tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/yaml.h>
#include <stdio.h>

static cJSON *fields, *types;
static struct schema_source source;
static struct error err;

static cJSON *load(const char *name)
{
    char path[512];
    static char text[1 << 18];
    snprintf(path, sizeof(path), "%s/%s", CRDGEN_SOURCE, name);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    size_t len = fread(text, 1, sizeof(text), file);
    fclose(file);
    cJSON *tree = NULL;
    ck_assert_msg(yaml_parse(text, len, NULL, &tree, &err) == 0, "%s", err.text);
    return tree;
}

static void setup(void)
{
    fields = load("fields.yaml");
    types = load("types.yaml");
    source = (struct schema_source){.fields = fields, .types = types};
    err = ERROR_INIT;
}

static void teardown(void)
{
    vec_free(&source.used);
    cJSON_Delete(fields);
    cJSON_Delete(types);
}

/* Both kinds, then the check of what was used. */
static int build(void)
{
    static const char *const kinds[] = {"VirtualMachine", "VirtualMachineInstance"};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        cleanup_json cJSON *schema = NULL;
        int r = schema_tree(&source, kinds[i], &schema, &err);
        if (r < 0)
            return r;
    }
    return schema_source_check_used(&source, &err);
}

static cJSON *instance_fields(void)
{
    return cJSON_GetObjectItemCaseSensitive(fields, "VirtualMachineInstanceSpec");
}

static void set(cJSON *section, const char *name, const char *yaml)
{
    cJSON *value = NULL;
    ck_assert_int_eq(yaml_parse(yaml, strlen(yaml), NULL, &value, &err), 0);
    cJSON_DeleteItemFromObjectCaseSensitive(section, name);
    cJSON_AddItemToObject(section, name, value);
}

static void assert_refused(const char *message)
{
    ck_assert_int_eq(build(), -EINVAL);
    ck_assert_str_eq(err.text, message);
}

START_TEST(test_good)
{
    ck_assert_msg(build() == 0, "%s", err.text);
}
END_TEST

START_TEST(test_missing_field)
{
    cJSON_DeleteItemFromObjectCaseSensitive(instance_fields(), "domain.cpu.cores");
    assert_refused("VirtualMachineInstanceSpec, domain.cpu.cores: is not in fields.yaml");
}
END_TEST

START_TEST(test_unknown_field)
{
    set(instance_fields(), "domain.cpu.kernels", "text");
    assert_refused(
        "fields.yaml: VirtualMachineInstanceSpec, domain.cpu.kernels: KubeVirt has no such field");
}
END_TEST

START_TEST(test_no_text)
{
    set(instance_fields(), "domain.cpu.cores", "minimum: 0");
    assert_refused("VirtualMachineInstanceSpec, domain.cpu.cores: has no text");
}
END_TEST

START_TEST(test_unknown_attribute)
{
    set(instance_fields(), "domain.cpu.cores", "text: Cores\nminimun: 0");
    assert_refused("VirtualMachineInstanceSpec, domain.cpu.cores: unknown attribute minimun");
}
END_TEST

START_TEST(test_type_of_the_table)
{
    set(instance_fields(), "domain.cpu", "text: Processors\ntype: object");
    assert_refused("VirtualMachineInstanceSpec, domain.cpu: its type is in the table");
}
END_TEST

START_TEST(test_unknown_type)
{
    set(types, "Toleration", "key: {text: Key, type: Word}");
    assert_refused("Toleration, key: there is no type Word");
}
END_TEST

START_TEST(test_unused_type)
{
    set(types, "Word", "key: {text: Key, type: string}");
    assert_refused("types.yaml: nothing is of type Word");
}
END_TEST

START_TEST(test_type_in_a_circle)
{
    set(types, "Toleration", "key: {text: Key, type: Toleration}");
    ck_assert_int_eq(build(), -EINVAL);
}
END_TEST

START_TEST(test_what_is_not_supported_is_said)
{
    cleanup_json cJSON *schema = NULL;
    ck_assert_int_eq(schema_tree(&source, "VirtualMachineInstance", &schema, &err), 0);
    static const char *const path[] = {"properties", "spec",     "properties", "domain",
                                       "properties", "features", "properties", "kvm",
                                       "properties", "hidden",   "description"};
    const cJSON *item = schema;
    for (size_t i = 0; i < ARRAY_SIZE(path); i++)
        item = json_get(item, path[i]);
    const char *text = cJSON_GetStringValue(item);
    ck_assert_ptr_nonnull(strstr(text, " true is not supported, with a warning: "));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crdgen_schema");
    TCase *tcase = tcase_create("schema_tree");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_good);
    tcase_add_test(tcase, test_missing_field);
    tcase_add_test(tcase, test_unknown_field);
    tcase_add_test(tcase, test_no_text);
    tcase_add_test(tcase, test_unknown_attribute);
    tcase_add_test(tcase, test_type_of_the_table);
    tcase_add_test(tcase, test_unknown_type);
    tcase_add_test(tcase, test_unused_type);
    tcase_add_test(tcase, test_type_in_a_circle);
    tcase_add_test(tcase, test_what_is_not_supported_is_said);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
