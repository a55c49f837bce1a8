// SPDX-License-Identifier: Apache-2.0
/* resolv.conf(5) as podnet reads it. */
#include "address.h"
#include "resolv.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <string.h>

static struct resolv resolv;

static void parse(const char *text)
{
    resolv_parse(text, strlen(text), &resolv);
}

/* Servers and domains as one line, and how many were left out. */
static void expect(const char *text, const char *servers, const char *domains, unsigned left_out)
{
    char got[512] = "";
    parse(text);
    for (unsigned i = 0; i < resolv.dns_count; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ",
                 address_format(resolv.dns[i]).text);
    ck_assert_str_eq(got, servers);
    got[0] = '\0';
    for (unsigned i = 0; i < resolv.search_count; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ", resolv.search[i]);
    ck_assert_str_eq(got, domains);
    ck_assert_uint_eq(resolv.left_out, left_out);
}

START_TEST(test_table)
{
    static const struct {
        const char *text, *servers, *domains;
        unsigned left_out;
    } table[] = {
        {"", "", "", 0},
        {"\n\n", "", "", 0},
        {"search default.svc.cluster.local svc.cluster.local cluster.local\n"
         "nameserver 10.96.0.10\noptions ndots:5\n",
         "10.96.0.10 ", "default.svc.cluster.local svc.cluster.local cluster.local ", 0},
        {"nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4",
         "1.1.1.1 2.2.2.2 3.3.3.3 ", "", 1},
        {"# nameserver 1.1.1.1\n; search a\n#\n", "", "", 0},
        {"\tnameserver\t 1.1.1.1 trailing\r\n", "1.1.1.1 ", "", 0},
        {"nameserver fd00::10\nnameserver 10.0.0.1\n", "10.0.0.1 ", "", 1},
        {"nameserver 127.0.0.53\n", "", "", 1},
        {"nameserver 1.1.1\nnameserver 1.1.1.1.1\nnameserver x\nnameserver\n", "", "", 3},
        {"nameserver 1111111111111111111111111111111111\n", "", "", 1},
        {"search a b\nsearch c\n", "", "c ", 0},
        {"search a\ndomain b\n", "", "b ", 0},
        {"search a. .  b.c.\n", "", "a b.c ", 0},
        {"search a..b .a a! ok\n", "", "ok ", 3},
        {"search A_b.C-9\n", "", "A_b.C-9 ", 0},
        {"nameservers 1.1.1.1\nnameserve 1.1.1.1\n", "", "", 0},
    };
    expect(table[_i].text, table[_i].servers, table[_i].domains, table[_i].left_out);
}
END_TEST
#define TABLE_ROWS 16

START_TEST(test_limits)
{
    char text[2048], label[65];
    memset(label, 'a', 64);
    label[64] = '\0';
    const char *fits = label + 1; /* 65 bytes encoded, three of which fit, and six more */
    snprintf(text, sizeof(text), "search %s %s %s %s %s tail", label, fits, fits, fits, fits);
    parse(text);
    ck_assert_uint_eq(resolv.search_count, 4);
    ck_assert_str_eq(resolv.search[3], "tail");
    ck_assert_uint_eq(resolv.left_out, 2);
    snprintf(text, sizeof(text), "search");
    for (unsigned i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " a");
    parse(text);
    ck_assert_uint_eq(resolv.search_count, 32);
    ck_assert_uint_eq(resolv.left_out, 68);
    /* Bytes that are no text. */
    resolv_parse("search a\0b c\nnameserver 1.1.1.1\0\n", 33, &resolv);
    ck_assert_uint_eq(resolv.search_count, 1);
    ck_assert_uint_eq(resolv.left_out, 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("podnet resolv.conf");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, test_table, 0, TABLE_ROWS);
    tcase_add_test(t, test_limits);
    suite_add_tcase(s, t);
    return run_suite(s);
}
