// SPDX-License-Identifier: Apache-2.0
/* Kubernetes quantities: every unit, rounding, bounds, and the words for what is none. */
#include "run_suite.h"
#include <check.h>
#include <podvisor/quantity.h>

static const struct {
    const char *text;
    uint64_t units, milli;
} valid[] = {
    {"0", 0, 0},
    {"-0", 0, 0},
    {"1", 1, 1000},
    {"+1", 1, 1000},
    {"100m", 1, 100},
    {"1500m", 2, 1500},
    {"1n", 1, 1},
    {"1000000n", 1, 1},
    {"1000001n", 1, 2},
    {"1u", 1, 1},
    {"1k", 1000, 1000000},
    {"1M", 1000000, 1000000000},
    {"1G", 1000000000, 1000000000000},
    {"1T", 1000000000000, 1000000000000000},
    {"1P", 1000000000000000, 1000000000000000000},
    {"1Ki", 1024, 1024000},
    {"1Mi", 1048576, 1048576000},
    {"1Gi", 1073741824, 1073741824000},
    {"1Ti", 1099511627776, 1099511627776000},
    {"1Pi", 1125899906842624, 1125899906842624000},
    {"1.5Gi", 1610612736, 1610612736000},
    {"0.5Ki", 512, 512000},
    {".5", 1, 500},
    {"1.", 1, 1000},
    {"1.000000000000000000000", 1, 1000},
    {"0.0000000000000000000001", 1, 1},
    {"0.1Ki", 103, 102400},
    {"1e3", 1000, 1000000},
    {"1E3", 1000, 1000000},
    {"1.5e+3", 1500, 1500000},
    {"15e-1", 2, 1500},
    {"1e-2000", 1, 1},
    {"0e2000", 0, 0},
    {"0064Mi", 67108864, 67108864000},
    {"10.50", 11, 10500},
    {"100.001", 101, 100001},
};

START_TEST(reads_quantities)
{
    uint64_t value = 0;
    struct error err = ERROR_INIT;
    ck_assert_msg(quantity_parse(valid[_i].text, &value, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(value, valid[_i].units);
    ck_assert_msg(quantity_parse_milli(valid[_i].text, &value, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(value, valid[_i].milli);
}
END_TEST

static const struct {
    const char *text;
    int r;
    const char *message;
} invalid[] = {
    {"", -EINVAL, "the quantity '' does not begin with a number"},
    {".", -EINVAL, "the quantity '.' does not begin with a number"},
    {"Gi", -EINVAL, "the quantity 'Gi' does not begin with a number"},
    {" 1", -EINVAL, "the quantity ' 1' does not begin with a number"},
    {"1GB", -EINVAL, "unknown unit 'GB' in '1GB'; did you mean G (1000) or Gi (1024)?"},
    {"1GiB", -EINVAL, "unknown unit 'GiB' in '1GiB'; did you mean Gi?"},
    {"1gi", -EINVAL, "unknown unit 'gi' in '1gi'; did you mean Gi?"},
    {"1K", -EINVAL, "unknown unit 'K' in '1K'; did you mean k (1000) or Ki (1024)?"},
    {"1kb", -EINVAL, "unknown unit 'kb' in '1kb'; did you mean k (1000) or Ki (1024)?"},
    {"1mb", -EINVAL, "unknown unit 'mb' in '1mb'; did you mean M (1000) or Mi (1024)?"},
    {"1 Gi", -EINVAL,
     "unknown unit ' Gi' in '1 Gi'; units are k M G T P E (1000) and Ki Mi Gi Ti Pi Ei (1024)"},
    {"1x", -EINVAL,
     "unknown unit 'x' in '1x'; units are k M G T P E (1000) and Ki Mi Gi Ti Pi Ei (1024)"},
    {"1.2.3", -EINVAL,
     "unknown unit '.3' in '1.2.3'; units are k M G T P E (1000) and Ki Mi Gi Ti Pi Ei (1024)"},
    {"1e", -EINVAL, "unknown unit 'e' in '1e'; did you mean E (1000) or Ei (1024)?"},
    {"1e3Gi", -EINVAL, "unknown unit 'e3Gi' in '1e3Gi'; did you mean E (1000) or Ei (1024)?"},
    {"-1", -ERANGE, "the quantity '-1' must not be negative"},
    {"-1m", -ERANGE, "the quantity '-1m' must not be negative"},
    {"9223372036854775808", -ERANGE, "the quantity '9223372036854775808' is too large"},
    {"8Ei", -ERANGE, "the quantity '8Ei' is too large"},
    {"10E", -ERANGE, "the quantity '10E' is too large"},
    {"1e19", -ERANGE, "the quantity '1e19' is too large"},
    {"1e999999999999", -ERANGE, "the quantity '1e999999999999' is too large"},
    {"99999999999999999999", -EINVAL, "the quantity '99999999999999999999' has too many digits"},
};

START_TEST(refuses_what_is_none)
{
    uint64_t value = 7;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(quantity_parse(invalid[_i].text, &value, &err), invalid[_i].r);
    ck_assert_str_eq(err.text, invalid[_i].message);
    ck_assert_uint_eq(value, 7);
}
END_TEST

START_TEST(reaches_its_bounds)
{
    uint64_t value = 0;
    ck_assert_int_eq(quantity_parse("9223372036854775807", &value, NULL), 0);
    ck_assert_uint_eq(value, INT64_MAX);
    ck_assert_int_eq(quantity_parse("7Ei", &value, NULL), 0);
    ck_assert_uint_eq(value, UINT64_C(7) << 60);
    ck_assert_int_eq(quantity_parse_milli("10P", &value, NULL), -ERANGE);
    ck_assert_int_eq(quantity_parse("0.9999999999999999999Ei", &value, NULL), 0);
    ck_assert_uint_eq(value, UINT64_C(1) << 60);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quantity");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, reads_quantities, 0, sizeof(valid) / sizeof(valid[0]));
    tcase_add_loop_test(tcase, refuses_what_is_none, 0, sizeof(invalid) / sizeof(invalid[0]));
    tcase_add_test(tcase, reaches_its_bounds);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
