// SPDX-License-Identifier: Apache-2.0
/* The end of every unit test's main(). */
#ifndef PODVISOR_RUN_SUITE_H
#define PODVISOR_RUN_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Runs and frees the suite; CK_VERBOSITY and CK_FORK of the environment hold. Returns main()'s
 * exit code. */
static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
