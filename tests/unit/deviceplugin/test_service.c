// SPDX-License-Identifier: Apache-2.0
/* The methods of the device plugin, message by message. */
#include "deviceplugin.pb-c.h"
#include "kit.h"
#include "run_suite.h"
#include "service.h"
#include <podvisor/cleanup.h>
#include <string.h>

static struct device_service service;
static struct grpc_message reply;
static struct error err;

static void setup(void)
{
    service = (struct device_service){
        .type = device_type_find("vhost-net"), .device_count = 1000, .health = {.healthy = true}};
    reply = (struct grpc_message){.data = NULL};
    err = ERROR_INIT;
}

static void teardown(void)
{
    grpc_message_free(&reply);
}

/* Asks for these ids ("" ends a container), at most 8. */
static enum grpc_status allocate(const char *const *ids)
{
    V1beta1__AllocateRequest request;
    V1beta1__ContainerAllocateRequest container[8], *containers[8];
    char text[8][96], *id[8];
    size_t at = 0, count = 0;
    v1beta1__allocate_request__init(&request);
    v1beta1__container_allocate_request__init(&container[0]);
    for (size_t i = 0; ids[i] != NULL; i++) {
        if (i == 0 || ids[i][0] == '\0') {
            v1beta1__container_allocate_request__init(&container[count]);
            container[count].devices_ids = id + at;
            containers[count] = &container[count];
            count++;
        }
        if (ids[i][0] == '\0')
            continue;
        snprintf(text[at], sizeof(text[at]), "%s", ids[i]);
        id[at] = text[at];
        at++;
        container[count - 1].n_devices_ids++;
    }
    request.n_container_requests = count;
    request.container_requests = containers;
    uint8_t buf[1024];
    size_t len = v1beta1__allocate_request__pack(&request, buf);
    grpc_message_free(&reply);
    return service_allocate(&service, buf, len, &reply, &err);
}

#define ALLOCATE(...) allocate((const char *const[]){__VA_ARGS__, NULL})

START_TEST(allocate_gives_one_node)
{
    ck_assert_int_eq(ALLOCATE("vhost-net0", "vhost-net999", "", "vhost-net7"), GRPC_OK);
    V1beta1__AllocateResponse *r = v1beta1__allocate_response__unpack(
        NULL, reply.len - GRPC_PREFIX_SIZE, grpc_message_payload(&reply));
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->n_container_responses, 2);
    for (size_t i = 0; i < 2; i++) {
        const V1beta1__ContainerAllocateResponse *c = r->container_responses[i];
        ck_assert_uint_eq(c->n_devices, 1);
        ck_assert_str_eq(c->devices[0]->container_path, "/dev/vhost-net");
        ck_assert_str_eq(c->devices[0]->host_path, "/dev/vhost-net");
        ck_assert_str_eq(c->devices[0]->permissions, "rw");
        ck_assert_uint_eq(c->n_mounts + c->n_envs + c->n_annotations + c->n_cdi_devices, 0);
    }
    v1beta1__allocate_response__free_unpacked(r, NULL);
}
END_TEST

START_TEST(allocate_knows_its_ids)
{
    static const char *const wrong[] = {
        "vhost-net1000", "vhost-net",    "vhost-net-1",         "vhost-net01",
        "vhost-net1x",   "vhost-net 1",  "vhost-net+1",         "vhost-net99999999999999999999",
        "kvm0",          "Vhost-net0",   "vhost-net4294967296", "vhost-net00",
        "\xc3\x28",      "../../dev/sda"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        ck_assert_msg(ALLOCATE("vhost-net1", wrong[i]) == GRPC_NOT_FOUND, "%s", wrong[i]);
        ck_assert_ptr_null(reply.data);
    }
    ck_assert_ptr_nonnull(strstr(err.text, "there is no vhost-net device '../../dev/sda'"));
    ck_assert_int_eq(ALLOCATE(""), GRPC_INVALID_ARGUMENT);
}
END_TEST

START_TEST(allocate_without_the_device_says_why)
{
    service.health = (struct device_health){.healthy = false, .reason = "load the module"};
    ck_assert_int_eq(ALLOCATE("vhost-net1"), GRPC_FAILED_PRECONDITION);
    ck_assert_str_eq(err.text, "load the module");
    service.stopping = true;
    ck_assert_int_eq(ALLOCATE("vhost-net1"), GRPC_UNAVAILABLE);
}
END_TEST

/* Two bytes each on the wire, a structure and a pointer in memory. */
START_TEST(allocate_is_bounded)
{
    size_t len = GRPC_MESSAGE_MAX;
    cleanup_free uint8_t *many = malloc(len);
    ck_assert_ptr_nonnull(many);
    for (size_t i = 0; i < len; i += 2) {
        many[i] = 0x0a; /* container_requests, of no bytes */
        many[i + 1] = 0;
    }
    ck_assert_int_eq(service_allocate(&service, many, len, &reply, &err), GRPC_INVALID_ARGUMENT);
    len = 2 * (size_t)(SERVICE_CONTAINERS_MAX + 1);
    ck_assert_int_eq(service_allocate(&service, many, len, &reply, &err), GRPC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "257 containers"));
    ck_assert_int_eq(service_allocate(&service, many, 3, &reply, &err), GRPC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "no valid AllocateRequest"));
}
END_TEST

static V1beta1__ListAndWatchResponse *list(void)
{
    grpc_message_free(&reply);
    ck_assert_int_eq(service_list_and_watch(&service, NULL, 0, &reply, &err), GRPC_OK);
    V1beta1__ListAndWatchResponse *r = v1beta1__list_and_watch_response__unpack(
        NULL, reply.len - GRPC_PREFIX_SIZE, grpc_message_payload(&reply));
    ck_assert_ptr_nonnull(r);
    return r;
}

START_TEST(list_is_the_full_set)
{
    V1beta1__ListAndWatchResponse *r = list();
    ck_assert_uint_eq(r->n_devices, 1000);
    ck_assert_str_eq(r->devices[0]->id, "vhost-net0");
    ck_assert_str_eq(r->devices[999]->id, "vhost-net999");
    ck_assert_str_eq(r->devices[999]->health, "Healthy");
    ck_assert_ptr_null(r->devices[0]->topology);
    v1beta1__list_and_watch_response__free_unpacked(r, NULL);
    service.health.healthy = false;
    r = list();
    ck_assert_uint_eq(r->n_devices, 0);
    v1beta1__list_and_watch_response__free_unpacked(r, NULL);
    service.health.healthy = true;
    service.stopping = true;
    r = list();
    ck_assert_uint_eq(r->n_devices, 0);
    v1beta1__list_and_watch_response__free_unpacked(r, NULL);
    service = (struct device_service){
        .type = service.type, .device_count = SERVICE_DEVICES_MAX, .health = {.healthy = true}};
    r = list();
    ck_assert_uint_eq(r->n_devices, SERVICE_DEVICES_MAX);
    v1beta1__list_and_watch_response__free_unpacked(r, NULL);
    ck_assert_uint_lt(reply.len, GRPC_MESSAGE_MAX / 8);
}
END_TEST

START_TEST(options_ask_for_nothing)
{
    ck_assert_int_eq(service_options(&service, NULL, 0, &reply, &err), GRPC_OK);
    ck_assert_uint_eq(reply.len, GRPC_PREFIX_SIZE);
    grpc_message_free(&reply);
    ck_assert_int_eq(service_options(&service, (const uint8_t *)"\xff", 1, &reply, &err),
                     GRPC_INVALID_ARGUMENT);
}
END_TEST

START_TEST(registration_names_the_resource)
{
    service_register_request(service.type, "podvisor-vhost-net.sock", &reply);
    V1beta1__RegisterRequest *r = v1beta1__register_request__unpack(
        NULL, reply.len - GRPC_PREFIX_SIZE, grpc_message_payload(&reply));
    ck_assert_ptr_nonnull(r);
    ck_assert_str_eq(r->version, "v1beta1");
    ck_assert_str_eq(r->endpoint, "podvisor-vhost-net.sock");
    ck_assert_str_eq(r->resource_name, "devices.kubevirt.io/vhost-net");
    v1beta1__register_request__free_unpacked(r, NULL);
}
END_TEST

START_TEST(status_text_survives_both_ways)
{
    char encoded[GRPC_TEXT_MAX], decoded[GRPC_TEXT_MAX], longer[2 * GRPC_TEXT_MAX];
    grpc_text_encode("50% of \xc3\xa4 ~", encoded);
    ck_assert_str_eq(encoded, "50%25 of %C3%A4 ~");
    grpc_text_decode((const uint8_t *)encoded, strlen(encoded), decoded);
    ck_assert_str_eq(decoded, "50% of \xc3\xa4 ~");
    grpc_text_decode((const uint8_t *)"%0a%00%zz%4", 11, decoded);
    ck_assert_str_eq(decoded, "??%zz%4");
    memset(longer, '\n', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    size_t len = grpc_text_encode(longer, encoded);
    ck_assert_uint_lt(len, GRPC_TEXT_MAX);
    ck_assert_uint_eq(len % 3, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("service");
    TCase *tc = tcase_create("service");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, allocate_gives_one_node);
    tcase_add_test(tc, allocate_knows_its_ids);
    tcase_add_test(tc, allocate_without_the_device_says_why);
    tcase_add_test(tc, allocate_is_bounded);
    tcase_add_test(tc, list_is_the_full_set);
    tcase_add_test(tc, options_ask_for_nothing);
    tcase_add_test(tc, registration_names_the_resource);
    tcase_add_test(tc, status_text_survives_both_ways);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
