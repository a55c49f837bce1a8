// SPDX-License-Identifier: Apache-2.0
/*
 * YAML as kubectl reads it: the table of scalars, keys, anchors, merge keys, documents, and what is
 * refused where. Expected trees are written as the JSON they print as.
 */
#include "run_suite.h"
#include <check.h>
#include <podvisor/yaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_all(const char *text, char **ret, struct error *err)
{
    cleanup_json cJSON *documents = NULL;
    int r = yaml_parse_all(text, strlen(text), NULL, &documents, err);
    return r < 0 ? r : json_print(documents, ret, NULL, err);
}

static void check_yaml(const char *text, const char *expected)
{
    char *printed = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(parse_all(text, &printed, &err) == 0, "%s: %s", text, err.text);
    ck_assert_str_eq(printed, expected);
    free(printed);
}

/* A plain scalar as the value of a key, and what it is in JSON. */
static const struct {
    const char *yaml, *json;
} scalars[] = {
    {"y", "true"},
    {"Y", "true"},
    {"yes", "true"},
    {"Yes", "true"},
    {"YES", "true"},
    {"on", "true"},
    {"On", "true"},
    {"ON", "true"},
    {"true", "true"},
    {"True", "true"},
    {"TRUE", "true"},
    {"n", "false"},
    {"N", "false"},
    {"no", "false"},
    {"No", "false"},
    {"NO", "false"},
    {"off", "false"},
    {"Off", "false"},
    {"OFF", "false"},
    {"false", "false"},
    {"False", "false"},
    {"FALSE", "false"},
    {"yEs", "\"yEs\""},
    {"~", "null"},
    {"null", "null"},
    {"Null", "null"},
    {"NULL", "null"},
    {"", "null"},
    {"nULL", "\"nULL\""},
    {"0777", "511"},
    {"0o777", "511"},
    {"0x1F", "31"},
    {"0b101", "5"},
    {"-0b101", "-5"},
    {"-0x10", "-16"},
    {"1_000", "1000"},
    {"0x_1_0", "16"},
    {"+12", "12"},
    {"-0", "0"},
    {"08", "8"},
    {"0888", "888"},
    {"0o9", "\"0o9\""},
    {"0x", "\"0x\""},
    {"0b2", "\"0b2\""},
    {"1e3", "1000"},
    {".5", "0.5"},
    {"-.5", "-0.5"},
    {"1.", "1"},
    {"1.5", "1.5"},
    {"1_0.5", "10.5"},
    {"1.2e-3", "0.0012"},
    {"1e999", "\"1e999\""},
    {".", "\".\""},
    {"-", "[null]"},
    {"+", "\"+\""},
    {"1.2.3", "\"1.2.3\""},
    {"1e", "\"1e\""},
    {"12:30:45", "\"12:30:45\""},
    {"2024-01-02", "\"2024-01-02\""},
    {"2024-01-02T03:04:05Z", "\"2024-01-02T03:04:05Z\""},
    {"1Gi", "\"1Gi\""},
    {"100m", "\"100m\""},
    {"_1", "\"_1\""},
    {"9007199254740993", "9007199254740993"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"18446744073709551615", "18446744073709551615"},
    {"18446744073709551616", "1.8446744073709552e+19"},
    {"-9223372036854775809", "-9.223372036854776e+18"},
    {"\"yes\"", "\"yes\""},
    {"'1'", "\"1\""},
    {"\"\"", "\"\""},
    {"!!str 1", "\"1\""},
    {"!!str yes", "\"yes\""},
    {"! 1", "\"1\""},
    {"!!int \"3\"", "3"},
    {"!!float 1", "1"},
    {"!!bool \"yes\"", "true"},
    {"!!null \"\"", "null"},
    {"|\n  a\n  b", "\"a\\nb\\n\""},
    {">-\n  1\n  2", "\"1 2\""},
    {"\"a\\u00e9\\n\"", "\"a\xc3\xa9\\n\""},
    {"[1, [a, {b: c}], {}]", "[1,[\"a\",{\"b\":\"c\"}],{}]"},
};

START_TEST(resolves_scalars)
{
    char yaml[128], json[128];
    snprintf(yaml, sizeof(yaml),
             scalars[_i].yaml[0] == '-' && scalars[_i].yaml[1] == '\0' ? "v:\n%s\n" : "v: %s\n",
             scalars[_i].yaml);
    snprintf(json, sizeof(json), "[{\"v\":%s}]", scalars[_i].json);
    check_yaml(yaml, json);
}
END_TEST

static const struct {
    const char *yaml, *json;
} texts[] = {
    {"", "[]"},
    {"# nothing\n", "[]"},
    {"---\n", "[]"},
    {"---\n---\na: 1\n---\n", "[{\"a\":1}]"},
    {"a: 1\n---\nb: 2\n...\n---\n- c\n", "[{\"a\":1},{\"b\":2},[\"c\"]]"},
    {"%YAML 1.1\n---\na: b\n", "[{\"a\":\"b\"}]"},
    {"just text", "[\"just text\"]"},
    {"\xef\xbb\xbfgreek: \xce\xb1\n", "[{\"greek\":\"\xce\xb1\"}]"},
    /* keys */
    {"1: a\n0x10: b\ntrue: c\non2: d\n1.5: e\n", "[{\"1\":\"a\",\"16\":\"b\",\"true\":\"c\","
                                                 "\"on2\":\"d\",\"1.5\":\"e\"}]"},
    {"on: push\n", "[{\"true\":\"push\"}]"},
    {"NO: norway\ny: 1\n", "[{\"false\":\"norway\",\"true\":1}]"},
    {"1000000.0: a\n100000.0: b\n0.00001: c\n1.10: d\n.inf: e\n.nan: f\n0.0: g\n",
     "[{\"1e+06\":\"a\",\"100000\":\"b\",\"1e-05\":\"c\",\"1.1\":\"d\",\".inf\":\"e\",\".nan\":"
     "\"f\","
     "\"0\":\"g\"}]"},
    {"\"1\": a\n'yes': b\n", "[{\"1\":\"a\",\"yes\":\"b\"}]"},
    {"? a\n: b\n? c\n", "[{\"a\":\"b\",\"c\":null}]"},
    /* anchors and aliases */
    {"a: &x {k: [1, 2]}\nb: *x\nc: [*x]\n",
     "[{\"a\":{\"k\":[1,2]},\"b\":{\"k\":[1,2]},\"c\":[{\"k\":[1,2]}]}]"},
    {"a: &x 1\nb: &x 2\nc: *x\n", "[{\"a\":1,\"b\":2,\"c\":2}]"},
    {"&k key: 1\nother: *k\n", "[{\"key\":1,\"other\":\"key\"}]"},
    {"a: &k name\n*k : 1\n", "[{\"a\":\"name\",\"name\":1}]"},
    /* merge keys */
    {"base: &b {x: 1, z: 2}\nm:\n  <<: *b\n  z: 3\n",
     "[{\"base\":{\"x\":1,\"z\":2},\"m\":{\"z\":3,\"x\":1}}]"},
    {"m:\n  z: 3\n  <<: {x: 1, z: 2}\n", "[{\"m\":{\"z\":3,\"x\":1}}]"},
    {"m:\n  <<: [{x: 1}, {x: 2, z: 3}]\n", "[{\"m\":{\"x\":1,\"z\":3}}]"},
    {"m:\n  <<: {x: &in [1]}\no: *in\n", "[{\"m\":{\"x\":[1]},\"o\":[1]}]"},
    {"m:\n  \"<<\": 1\n", "[{\"m\":{\"<<\":1}}]"},
    {"a: &a {x: 1}\nb: &b {<<: *a, z: 2}\nc: {<<: *b}\n",
     "[{\"a\":{\"x\":1},\"b\":{\"z\":2,\"x\":1},\"c\":{\"z\":2,\"x\":1}}]"},
    /* JSON */
    {"{\"a\": [1, true, null], \"b\": \"\\u00e9\"}", "[{\"a\":[1,true,null],\"b\":\"\xc3\xa9\"}]"},
    {"\n \t{\"a\":9007199254740993}\n", "[{\"a\":9007199254740993}]"},
    {"[1, {\"a\": yes}]", "[[1,{\"a\":true}]]"},
};

START_TEST(reads_texts)
{
    check_yaml(texts[_i].yaml, texts[_i].json);
}
END_TEST

static const struct {
    const char *yaml, *message;
} refused[] = {
    {"a: 1\nb: 2\na: 3\n", "line 3, column 1: duplicate key 'a'"},
    {"x:\n  a: 1\n  \"a\": 2\n", "line 3, column 3: duplicate key 'a'"},
    {"1: a\n\"1\": b\n", "line 2, column 1: duplicate key '1'"},
    {"yes: a\non: b\n", "line 2, column 1: duplicate key 'true'"},
    {"m:\n  <<: {x: 1}\n  <<: {y: 1}\n", "line 3, column 3: duplicate key"},
    {"a: .inf\n", "line 1, column 4: infinity and not-a-number cannot be expressed in JSON"},
    {"a: -.INF\n", "line 1, column 4: infinity and not-a-number cannot be expressed in JSON"},
    {"a: .NaN\n", "line 1, column 4: infinity and not-a-number cannot be expressed in JSON"},
    {"~: a\n", "line 1, column 1: a key must not be null; quote it"},
    {"? [a]\n: b\n", "line 1, column 3: a key must be a scalar"},
    {"{a: 1}: b\n", "line 1, column 2: a member's name in double quotes must come here"},
    {"a: &x [*x]\n", "line 1, column 8: an alias inside the node it names"},
    {"a: *x\n", "line 1, column 4: alias of an anchor that does not exist"},
    {"a: &x 1\n---\nb: *x\n", "line 3, column 4: alias of an anchor that does not exist"},
    {"a: &x [1]\n*x : 1\n", "line 2, column 1: only the alias of a string can be a key"},
    {"a: {<<: 1}\n", "line 1, column 5: the value of << must be a mapping, or several"},
    {"a: {<<: [1]}\n", "line 1, column 5: the value of << must be a mapping, or several"},
    {"a: !!binary aGk=\n",
     "line 1, column 4: the tag is not supported, or the value is not of its type"},
    {"a: !!int x\n", "line 1, column 4: the tag is not supported, or the value is not of its type"},
    {"a: !Ref x\n", "line 1, column 4: the tag is not supported, or the value is not of its type"},
    {"a: !GetAtt {}\n", "line 1, column 4: the tag is not supported"},
    {"a: !!set [1]\n", "line 1, column 4: the tag is not supported"},
    {"a: \"x\\0y\"\n", "line 1, column 4: the character \\0 is not allowed"},
    {"a: [1\n", "line 2, column 1: did not find expected ',' or ']'"},
    {"a: b: c\n", "line 1, column 5: mapping values are not allowed in this context"},
    {"a:\n\t- b\n", "line 2, column 1: found character that cannot start any token"},
    {"a: \"\\ud800\"\n", "line 1, column 7: found invalid Unicode character escape code"},
    {"a: \x01\n", "byte 3: control characters are not allowed"},
    {"a: \xff\n", "byte 3: invalid leading UTF-8 octet"},
    {"{\"a\":1,}", "line 1, column 8: a member's name in double quotes must come here"},
};

START_TEST(refuses_with_a_position)
{
    char *printed = NULL;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(parse_all(refused[_i].yaml, &printed, &err), -EINVAL);
    ck_assert_str_eq(err.text, refused[_i].message);
}
END_TEST

START_TEST(takes_one_document)
{
    cJSON *json = NULL;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(yaml_parse("---\na: 1\n", 9, NULL, &json, &err), 0);
    ck_assert_int_eq(cJSON_GetArraySize(json), 1);
    ck_assert_ptr_null(json->next);
    cJSON_Delete(json);
    json = NULL;
    ck_assert_int_eq(yaml_parse("a: 1\n---\nb: 1\n", 14, NULL, &json, &err), -EINVAL);
    ck_assert_str_eq(err.text, "the text holds 2 documents instead of one");
    ck_assert_int_eq(yaml_parse("", 0, NULL, &json, &err), -EINVAL);
    ck_assert_str_eq(err.text, "the text holds 0 documents instead of one");
    ck_assert_ptr_null(json);
}
END_TEST

static int parse_limited(const char *text, struct yaml_limits limits)
{
    cJSON *json = NULL;
    int r = yaml_parse(text, strlen(text), &limits, &json, NULL);
    cJSON_Delete(json);
    return r;
}

START_TEST(holds_its_limits)
{
    ck_assert_int_eq(parse_limited("a: 1", (struct yaml_limits){.bytes = 4}), 0);
    ck_assert_int_eq(parse_limited("a: 12", (struct yaml_limits){.bytes = 4}), -E2BIG);
    ck_assert_int_eq(parse_limited("[[1]]", (struct yaml_limits){.depth = 2}), 0);
    ck_assert_int_eq(parse_limited("[[[]]]", (struct yaml_limits){.depth = 2}), -E2BIG);
    ck_assert_int_eq(parse_limited("[1, 2]", (struct yaml_limits){.nodes = 3}), 0);
    ck_assert_int_eq(parse_limited("[1, 2, 3]", (struct yaml_limits){.nodes = 3}), -E2BIG);
    ck_assert_int_eq(parse_limited("[&x [1], *x]", (struct yaml_limits){.nodes = 5}), 0);
    ck_assert_int_eq(parse_limited("[&x [1], *x]", (struct yaml_limits){.nodes = 4}), -E2BIG);
    /* The alias would put a depth of 2 under a depth of 2. */
    ck_assert_int_eq(parse_limited("[&x [[1]], [*x]]", (struct yaml_limits){.depth = 3}), -E2BIG);
    ck_assert_int_eq(parse_limited("[&x [[1]], [*x]]", (struct yaml_limits){.depth = 4}), 0);
}
END_TEST

/* Nine levels of nine aliases: 9^9 nodes from 400 bytes. */
START_TEST(stops_a_billion_laughs)
{
    char text[2048], *p = text;
    p += sprintf(p, "l0: &l0 lol\n");
    for (int level = 1; level <= 9; level++) {
        p += sprintf(p, "l%d: &l%d [", level, level);
        for (int i = 0; i < 9; i++)
            p += sprintf(p, "%s*l%d", i > 0 ? "," : "", level - 1);
        p += sprintf(p, "]\n");
    }
    cJSON *json = NULL;
    ck_assert_int_eq(yaml_parse(text, strlen(text), NULL, &json, NULL), -E2BIG);
}
END_TEST

/* A long string and many aliases: few nodes, many bytes. */
START_TEST(stops_long_copies)
{
    enum { LENGTH = 100000 };
    char *text = malloc(2 * LENGTH), *p = text;
    p += sprintf(p, "- &x ");
    memset(p, 'a', LENGTH);
    p += LENGTH;
    *p++ = '\n';
    for (int i = 0; i < 30; i++)
        p += sprintf(p, "- *x\n");
    cJSON *json = NULL;
    ck_assert_int_eq(yaml_parse(text, (size_t)(p - text), NULL, &json, NULL), -E2BIG);
    ck_assert_int_eq(yaml_parse(text, (size_t)(p - text) - 21 * 5, NULL, &json, NULL), 0);
    cJSON_Delete(json);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("yaml");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, resolves_scalars, 0, sizeof(scalars) / sizeof(scalars[0]));
    tcase_add_loop_test(tcase, reads_texts, 0, sizeof(texts) / sizeof(texts[0]));
    tcase_add_loop_test(tcase, refuses_with_a_position, 0, sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tcase, takes_one_document);
    tcase_add_test(tcase, holds_its_limits);
    tcase_add_test(tcase, stops_a_billion_laughs);
    tcase_add_test(tcase, stops_long_copies);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
