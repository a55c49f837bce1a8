// SPDX-License-Identifier: Apache-2.0
/* Names after RFC 1123, proposals for misspelt words, growing arrays. */
#include "run_suite.h"
#include <check.h>
#include <podvisor/str.h>
#include <podvisor/vec.h>
#include <string.h>

START_TEST(knows_dns_names)
{
    char text[260];
    ck_assert(str_is_dns_label("a"));
    ck_assert(str_is_dns_label("0-9"));
    static const char *const no_labels[] = {"", "-a", "a-", "A", "a_b", "a.b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof(no_labels) / sizeof(no_labels[0]); i++)
        ck_assert(!str_is_dns_label(no_labels[i]));
    memset(text, 'a', sizeof(text));
    text[63] = '\0';
    ck_assert(str_is_dns_label(text));
    text[63] = 'a';
    text[64] = '\0';
    ck_assert(!str_is_dns_label(text));

    ck_assert(str_is_dns_subdomain("a.b-c.0"));
    static const char *const no_subdomains[] = {"", ".", "a.", ".a", "a..b", "a.-b", "a.B"};
    for (size_t i = 0; i < sizeof(no_subdomains) / sizeof(no_subdomains[0]); i++)
        ck_assert(!str_is_dns_subdomain(no_subdomains[i]));
    memset(text, 'a', sizeof(text));
    text[253] = '\0';
    ck_assert(str_is_dns_subdomain(text));
    text[253] = 'a';
    text[254] = '\0';
    ck_assert(!str_is_dns_subdomain(text));
}
END_TEST

static const struct {
    const char *a, *b;
    unsigned distance;
} pairs[] = {
    {"", "", 0},
    {"abc", "abc", 0},
    {"abc", "ABC", 0},
    {"abc", "abd", 1},
    {"abc", "ab", 1},
    {"abc", "abcd", 1},
    {"abc", "acb", 1},
    {"volume", "volumes", 1},
    {"kitten", "sit", 3},
    {"abcdef", "uvwxyz", 3},
    {"memmory", "memory", 1},
    {"a", "", 1},
    {"badc", "abcd", 2},
};

START_TEST(measures_words)
{
    ck_assert_uint_eq(str_distance(pairs[_i].a, pairs[_i].b, 2), pairs[_i].distance);
    ck_assert_uint_eq(str_distance(pairs[_i].b, pairs[_i].a, 2), pairs[_i].distance);
}
END_TEST

START_TEST(gives_up_on_long_words)
{
    char a[100];
    memset(a, 'a', sizeof(a));
    a[99] = '\0';
    ck_assert_uint_eq(str_distance(a, a, 2), 3);
}
END_TEST

START_TEST(grows_arrays)
{
    VEC(int) numbers = {0};
    for (int i = 0; i < 1000; i++) {
        int *added = vec_add(&numbers);
        ck_assert_int_eq(*added, 0);
        *added = i;
    }
    ck_assert_uint_eq(numbers.count, 1000);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(numbers.item[i], i);
    vec_free(&numbers);
    ck_assert_uint_eq(numbers.count, 0);
    ck_assert_ptr_null(numbers.item);
}
END_TEST

START_TEST(compares_and_formats)
{
    ck_assert(str_equal(NULL, NULL));
    ck_assert(!str_equal(NULL, ""));
    ck_assert(str_equal("a", "a"));
    ck_assert(str_starts_with("abc", "ab"));
    ck_assert(!str_starts_with("a", "ab"));
    char *text = xasprintf("%s-%d", "a", 7);
    ck_assert_str_eq(text, "a-7");
    free(text);
    ck_assert_ptr_null(xstrdup(NULL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("str");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, knows_dns_names);
    tcase_add_loop_test(tcase, measures_words, 0, sizeof(pairs) / sizeof(pairs[0]));
    tcase_add_test(tcase, gives_up_on_long_words);
    tcase_add_test(tcase, grows_arrays);
    tcase_add_test(tcase, compares_and_formats);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
