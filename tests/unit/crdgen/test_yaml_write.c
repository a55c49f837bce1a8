// SPDX-License-Identifier: Apache-2.0
/* What yaml_write() writes reads back as the same tree, and looks as people write it. */
#include "run_suite.h"
#include "yaml_write.h"
#include <podvisor/cleanup.h>
#include <podvisor/yaml.h>

static char *written(const cJSON *tree)
{
    char *text = NULL;
    size_t len;
    struct error err = ERROR_INIT;
    FILE *stream = open_memstream(&text, &len);
    ck_assert_int_eq(yaml_write(stream, tree, &err), 0);
    fclose(stream);
    return text;
}

static cJSON *parsed(const char *text)
{
    cJSON *tree = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(yaml_parse(text, strlen(text), NULL, &tree, &err) == 0, "%s\n%s", err.text, text);
    return tree;
}

START_TEST(test_strings)
{
    static const char *const strings[] = {
        "plain",   "two words", "",
        " ",       "a: b",      "a #b",
        "a#b:c",   "ends:",     "ends ",
        "yes",     "No",        "ON",
        "null",    "~",         "True",
        "y",       "12",        "0x1f",
        "1e3",     "- a",       "*a",
        "&a",      "!a",        "{a}",
        "[a]",     "'a'",       "\"a\"",
        "a\nb",    "a\tb",      "a\\b",
        "%a",      "@a",        "`a`",
        "? a",     "| a",       "> a",
        "<<",      "=",         "a, b]",
        "a\x7f",   "\xc3\xa4",  "a \xe2\x80\xa6",
        "it's: x", "#a",        ".a[?(@.type=='Ready')]",
        "12:30",   "None",
    };
    cleanup_json cJSON *tree = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(tree, "list");
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(strings[i]));
    cleanup_free char *text = written(tree);
    cleanup_json cJSON *again = parsed(text);
    ck_assert_msg(cJSON_Compare(tree, again, true), "%s", text);
}
END_TEST

START_TEST(test_shape)
{
    static const char expected[] = "kind: Example\n"
                                   "spec:\n"
                                   "  on: true\n"
                                   "  count: 9007199254740993\n"
                                   "  none: {}\n"
                                   "  no: []\n"
                                   "  list:\n"
                                   "  - a\n"
                                   "  - b: 1\n"
                                   "    c:\n"
                                   "    - - d\n"
                                   "      - null\n";
    cleanup_json cJSON *tree = parsed("kind: Example\n"
                                      "spec: {'on': true, count: 9007199254740993, none: {}, "
                                      "'no': [], list: [a, {b: 1, c: [[d, null]]}]}\n");
    cleanup_free char *text = written(tree);
    ck_assert_str_eq(text, expected);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crdgen_yaml");
    TCase *tcase = tcase_create("yaml_write");
    tcase_add_test(tcase, test_strings);
    tcase_add_test(tcase, test_shape);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
