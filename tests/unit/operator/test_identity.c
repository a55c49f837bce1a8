// SPDX-License-Identifier: Apache-2.0
/* Two lives of one container are two candidates. */
#include "identity.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <regex.h>
#include <string.h>
#include <unistd.h>

#define UUID "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

START_TEST(test_identity)
{
    cleanup_free char *one = operator_identity(), *two = operator_identity();
    char host[65] = "";
    regex_t uuid;
    ck_assert_int_eq(gethostname(host, sizeof(host) - 1), 0);
    ck_assert_str_ne(one, two);
    ck_assert(strncmp(one, host, strlen(host)) == 0);
    ck_assert_int_eq(regcomp(&uuid, "^_" UUID "$", REG_EXTENDED | REG_NOSUB), 0);
    ck_assert_msg(regexec(&uuid, one + strlen(host), 0, NULL, 0) == 0, "%s", one);
    regfree(&uuid);
    ck_assert_uint_le(strlen(one), 128); /* an event's reportingInstance */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator identity");
    TCase *tcase = tcase_create("identity");
    tcase_add_test(tcase, test_identity);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
