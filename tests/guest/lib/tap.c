/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test Anything Protocol version 13 on the serial port: one point a test function.
 */
#include "payload.h"
#include "virtio.h"

#define REASON_SIZE 192

struct virtio_device *dut;

static unsigned int points;
static unsigned int failures;
static bool failed;
static bool skipped;
static char reason[REASON_SIZE];

void tap_start(void)
{
    print("TAP version 13\n");
}

void tap_fail(const char *format, ...)
{
    va_list arguments;

    if (failed)
        return;
    failed = true;
    va_start(arguments, format);
    format_va(reason, sizeof(reason), format, arguments);
    va_end(arguments);
}

void tap_skip(const char *format, ...)
{
    va_list arguments;

    if (failed)
        return;
    skipped = true;
    va_start(arguments, format);
    format_va(reason, sizeof(reason), format, arguments);
    va_end(arguments);
}

bool tap_failed(void)
{
    return failed;
}

void diagnostic(const char *format, ...)
{
    va_list arguments;

    print("# ");
    va_start(arguments, format);
    print_va(format, arguments);
    va_end(arguments);
    print("\n");
}

bool reference_is_qemu(void)
{
    return parameter_is("ref", "qemu");
}

static void run_one(const struct suite *suite, const struct test *test)
{
    uint64_t mark = memory_mark();
    char name[96];

    failed = skipped = false;
    if (dut)
        format_string(name, sizeof(name), "%s %s: %s", suite->name, dut->name, test->name);
    else
        format_string(name, sizeof(name), "%s: %s", suite->name, test->name);
    test->run();
    virtio_quiesce_all();
    memory_release(mark);
    points++;
    if (failed) {
        failures++;
        print("not ok %u - %s # %s\n", points, name, reason);
    } else if (skipped) {
        print("ok %u - %s # SKIP %s\n", points, name, reason);
    } else {
        print("ok %u - %s\n", points, name);
    }
}

/* Is this the test that test= asks for, blanks written as underscores? */
static bool wanted(const char *name)
{
    const char *only = parameter("test");

    if (!only)
        return true;
    while (*name && (*name == *only || (*name == ' ' && *only == '_'))) {
        name++;
        only++;
    }
    return *name == *only;
}

static void run_all(const struct suite *suite)
{
    for (unsigned int i = 0; i < suite->count; i++) {
        if (wanted(suite->tests[i].name))
            run_one(suite, &suite->tests[i]);
    }
}

void tap_run(const struct suite *suite)
{
    if (!suite->device_type) {
        dut = NULL;
        run_all(suite);
        return;
    }
    for (unsigned int i = 0; i < virtio_device_count; i++) {
        dut = &virtio_devices[i];
        if (suite->device_type == VIRTIO_TYPE_ANY || suite->device_type == dut->type)
            run_all(suite);
    }
    dut = NULL;
}

unsigned int tap_finish(void)
{
    print("1..%u\n", points);
    return failures;
}
