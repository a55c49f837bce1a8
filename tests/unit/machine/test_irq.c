// SPDX-License-Identifier: Apache-2.0
/* Interrupt routing: what KVM is told, how often, and that raising signals the right eventfd. */
#include "irq.h"
#include "run_suite.h"
#include <check.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct kvm_routing_table uploaded;
static unsigned uploads;
static struct kvm_irqfd irqfds[IRQ_MSI_MAX + 1];
static unsigned irqfd_count;
static struct kvm_msi last_msi;

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    ck_assert_int_eq(fd, 42);
    if (request == KVM_SET_GSI_ROUTING) {
        const struct kvm_irq_routing *table = arg;
        uploads++;
        memcpy(&uploaded, table, sizeof(*table) + table->nr * sizeof(table->entries[0]));
    } else if (request == KVM_IRQFD) {
        irqfds[irqfd_count++] = *(struct kvm_irqfd *)arg;
    } else if (request == KVM_SIGNAL_MSI) {
        last_msi = *(struct kvm_msi *)arg;
    } else {
        ck_abort_msg("unexpected ioctl 0x%lx", request);
    }
    return 0;
}

static struct irq_controller irq;

static void setup(void)
{
    uploads = irqfd_count = 0;
    memset(&uploaded, 0, sizeof(uploaded));
    memset(&irq, 0, sizeof(irq));
    irq_init(&irq, 42);
}

static void teardown(void)
{
    irq_done(&irq);
}

START_TEST(functions_get_gsis_of_their_own)
{
    struct irq_function a, b;
    ck_assert_int_eq(irq_function_init(&a, &irq, 2, NULL), 0);
    ck_assert_int_eq(irq_function_init(&b, &irq, 3, NULL), 0);
    ck_assert_uint_eq(irqfd_count, 5);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_uint_eq(irqfds[i].gsi, LAYOUT_GSI_MSI + i);
    ck_assert_uint_eq(b.first, 2);
}
END_TEST

START_TEST(vectors_run_out_with_an_error)
{
    struct irq_function fn;
    ck_assert_int_eq(irq_function_init(&fn, &irq, IRQ_MSI_MAX, NULL), 0);
    ck_assert_int_eq(irq_function_init(&fn, &irq, 1, NULL), -ENOSPC);
}
END_TEST

START_TEST(routes_are_uploaded_when_they_change_only)
{
    struct irq_function fn;
    const struct msi_message msg = {.address = 0xfee01000, .data = 0x31};
    const struct msi_message other = {.address = 0x1fee01000, .data = 0x32};
    irq_function_init(&fn, &irq, 2, NULL);
    irq_function_ops.route(&fn, 1, &msg);
    ck_assert_uint_eq(uploads, 1);
    ck_assert_uint_eq(uploaded.head.nr, 1);
    ck_assert_uint_eq(uploaded.entry[0].gsi, LAYOUT_GSI_MSI + 1);
    ck_assert_uint_eq(uploaded.entry[0].u.msi.data, 0x31);
    irq_function_ops.route(&fn, 1, &msg);
    irq_function_ops.route(&fn, 1, NULL); /* masked: the route stays */
    irq_function_ops.route(&fn, 1, &msg);
    ck_assert_uint_eq(uploads, 1);
    irq_function_ops.route(&fn, 1, &other);
    ck_assert_uint_eq(uploads, 2);
    ck_assert_uint_eq(uploaded.entry[0].u.msi.address_hi, 1);
    irq_function_ops.route(&fn, 2, &other); /* no such vector */
    ck_assert_uint_eq(uploads, 2);
}
END_TEST

START_TEST(pins_are_routed_and_forgotten)
{
    const struct msi_message msg = {.address = 0xfee00000, .data = 0x8030};
    irq_route_pin(&irq, 4, &msg);
    ck_assert_uint_eq(uploaded.head.nr, 1);
    ck_assert_uint_eq(uploaded.entry[0].gsi, 4);
    irq_route_pin(&irq, 4, NULL);
    ck_assert_uint_eq(uploaded.head.nr, 0);
    irq_route_pin(&irq, LAYOUT_IOAPIC_PINS, &msg);
    ck_assert_uint_eq(uploads, 2);
}
END_TEST

START_TEST(raising_signals_the_eventfd)
{
    struct irq_function a, b;
    irq_function_init(&a, &irq, 1, NULL);
    irq_function_init(&b, &irq, 2, NULL);
    irq_function_ops.raise(&b, 1);
    irq_function_ops.raise(&b, 1);
    irq_function_ops.raise(&b, 7); /* no such vector */
    uint64_t count = 0;
    ck_assert_int_eq(read((int)irqfds[2].fd, &count, sizeof(count)), sizeof(count));
    ck_assert_uint_eq(count, 2);
    ck_assert_int_lt(read((int)irqfds[1].fd, &count, sizeof(count)), 0);
}
END_TEST

START_TEST(delivery_passes_the_message)
{
    const struct msi_message msg = {.address = 0x2fee0a000, .data = 0x55};
    irq_deliver(&irq, &msg);
    ck_assert_uint_eq(last_msi.address_lo, 0xfee0a000);
    ck_assert_uint_eq(last_msi.address_hi, 2);
    ck_assert_uint_eq(last_msi.data, 0x55);
}
END_TEST

START_TEST(reset_forgets_all_routes)
{
    struct irq_function fn;
    const struct msi_message msg = {.address = 0xfee01000, .data = 0x31};
    irq_function_init(&fn, &irq, 1, NULL);
    irq_function_ops.route(&fn, 0, &msg);
    irq_route_pin(&irq, 9, &msg);
    irq_reset(&irq);
    ck_assert_uint_eq(uploaded.head.nr, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("irq");
    TCase *tc = tcase_create("routing");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, functions_get_gsis_of_their_own);
    tcase_add_test(tc, vectors_run_out_with_an_error);
    tcase_add_test(tc, routes_are_uploaded_when_they_change_only);
    tcase_add_test(tc, pins_are_routed_and_forgotten);
    tcase_add_test(tc, raising_signals_the_eventfd);
    tcase_add_test(tc, delivery_passes_the_message);
    tcase_add_test(tc, reset_forgets_all_routes);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
