// SPDX-License-Identifier: Apache-2.0
/* Refusals, their errno, header lines, URLs of objects. */
#include "internal.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <string.h>

static const struct {
    int http;
    const char *body;
    int code;
    const char *reason, *message, *field;
    unsigned retry_after;
    int error;
} refusals[] = {
    {404,
     "{\"kind\":\"Status\",\"code\":404,\"reason\":\"NotFound\",\"message\":\"pods \\\"x\\\" not "
     "found\"}",
     404, "NotFound", "pods \"x\" not found", "", 0, -ENOENT},
    {409, "{\"reason\":\"AlreadyExists\",\"code\":409}", 409, "AlreadyExists", "", "", 0, -EEXIST},
    {409, "{\"reason\":\"Conflict\"}", 409, "Conflict", "", "", 0, -EAGAIN},
    {409, "", 409, "Conflict", "", "", 0, -EAGAIN},
    {403, "{\"reason\":\"Forbidden\",\"message\":\"no\"}", 403, "Forbidden", "no", "", 0, -EACCES},
    {403,
     "{\"reason\":\"Forbidden\",\"message\":\"pods \\\"x\\\" is forbidden: exceeded quota: q\"}",
     403, "Forbidden", "pods \"x\" is forbidden: exceeded quota: q", "", 0, -EDQUOT},
    {401, "{\"reason\":\"Unauthorized\",\"message\":\"Unauthorized\"}", 401, "Unauthorized",
     "Unauthorized", "", 0, -EACCES},
    {400, "{\"reason\":\"BadRequest\"}", 400, "BadRequest", "", "", 0, -EINVAL},
    {422,
     "{\"reason\":\"Invalid\",\"details\":{\"causes\":[{\"field\":\"spec.x\"},{\"field\":\"y\"}]}}",
     422, "Invalid", "", "spec.x", 0, -EINVAL},
    {405, "", 405, "MethodNotAllowed", "", "", 0, -EINVAL},
    {410, "", 410, "Gone", "", "", 0, -EINVAL},
    {415, "", 415, "UnsupportedMediaType", "", "", 0, -EINVAL},
    {429, "{\"reason\":\"TooManyRequests\",\"details\":{\"retryAfterSeconds\":3}}", 429,
     "TooManyRequests", "", "", 3, -EBUSY},
    {500, "boom\n", 500, "InternalError", "boom", "", 0, -EBUSY},
    {503, "<html>\r\n<b>proxy</b></html>", 503, "ServiceUnavailable", "<html> <b>proxy</b></html>",
     "", 0, -EBUSY},
    {504, "{\"reason\":\"Timeout\",\"code\":\"x\",\"message\":7}", 504, "Timeout", "", "", 0,
     -EBUSY},
    {302, "", 302, "", "", "", 0, -EIO},
    {200, "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}", 410, "Expired", "", "", 0,
     -EINVAL},
    {422, "[1]", 422, "Invalid", "[1]", "", 0, -EINVAL},
    {422, "{\"details\":{\"causes\":[7]}}", 422, "Invalid", "", "", 0, -EINVAL},
    {429, "{\"details\":{\"retryAfterSeconds\":99999999999}}", 429, "TooManyRequests", "", "", 3600,
     -EBUSY},
    {429, "{\"details\":{\"retryAfterSeconds\":-1}}", 429, "TooManyRequests", "", "", 0, -EBUSY},
};

START_TEST(reads_refusals)
{
    struct kube_status s;
    kube_status_parse(refusals[_i].http, refusals[_i].body, strlen(refusals[_i].body), &s);
    ck_assert_int_eq(s.code, refusals[_i].code);
    ck_assert_str_eq(s.reason, refusals[_i].reason);
    ck_assert_str_eq(s.message, refusals[_i].message);
    ck_assert_str_eq(s.cause_field, refusals[_i].field);
    ck_assert_uint_eq(s.retry_after, refusals[_i].retry_after);
    ck_assert_int_eq(kube_status_errno(&s), refusals[_i].error);
}
END_TEST

START_TEST(cuts_long_messages)
{
    char body[2000];
    memset(body, 'x', sizeof(body));
    struct kube_status s;
    kube_status_parse(500, body, sizeof(body), &s);
    ck_assert_uint_eq(strlen(s.message), sizeof(s.message) - 1);
    ck_assert_str_eq(s.message + sizeof(s.message) - 5, "x...");
    kube_status_parse(500, body, sizeof(s.message) - 1, &s);
    ck_assert_str_eq(s.message + sizeof(s.message) - 5, "xxxx");
    kube_status_parse(500, NULL, 0, &s);
    ck_assert_str_eq(s.message, "");
}
END_TEST

START_TEST(reads_retry_after)
{
    static const struct {
        const char *line;
        unsigned seconds;
    } lines[] = {{"Retry-After: 7\r\n", 7},
                 {"retry-after:12\r\n", 12},
                 {"Retry-After: 0\r\n", 0},
                 {"Retry-After: -1\r\n", 0},
                 {"Retry-After: 7 s\r\n", 0},
                 {"Retry-After: 99999999999999999999\r\n", 3600},
                 {"Retry-After:\r\n", 0},
                 {"Retry-Afterx: 7\r\n", 0},
                 {"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", 0},
                 {"Retry-After", 0},
                 {"", 0}};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        ck_assert_uint_eq(kube_retry_after(lines[i].line, strlen(lines[i].line)), lines[i].seconds);
}
END_TEST

static const struct kube_resource pods = {"", "v1", "pods", "Pod", false};
static const struct kube_resource vms = {"kubevirt.io", "v1", "virtualmachines", "VirtualMachine",
                                         false};

static void expect_path(const struct kube_resource *resource, const char *namespace_,
                        const char *name, const char *subresource, const char *want)
{
    char *path = NULL;
    ck_assert_int_eq(kube_resource_path(resource, namespace_, name, subresource, &path, NULL), 0);
    ck_assert_str_eq(path, want);
    free(path);
}

START_TEST(builds_paths)
{
    expect_path(&pods, NULL, NULL, NULL, "/api/v1/pods");
    expect_path(&pods, "ns", NULL, NULL, "/api/v1/namespaces/ns/pods");
    expect_path(&pods, "ns", "p", "log", "/api/v1/namespaces/ns/pods/p/log");
    expect_path(&vms, "ns", "a.b", "status",
                "/apis/kubevirt.io/v1/namespaces/ns/virtualmachines/a.b/status");
    expect_path(&vms, "ns", "a b:c?d#e\xc3\xa9", "portforward/22",
                "/apis/kubevirt.io/v1/namespaces/ns/virtualmachines/a%20b%3Ac%3Fd%23e%C3%A9/"
                "portforward/22");
}
END_TEST

START_TEST(builds_queries)
{
    char *path = NULL;
    ck_assert_int_eq(kube_resource_path(&pods, NULL, NULL, NULL, &path, NULL), 0);
    path = kube_url_add(path, "labelSelector", "a in (b,c),d=e");
    path = kube_url_add(path, "limit", "500");
    ck_assert_str_eq(path, "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29%2Cd%3De&limit=500");
    free(path);
}
END_TEST

START_TEST(refuses_names_that_are_no_segments)
{
    static const char *const names[] = {"", ".", "..", "a/b", "%2e", "../x"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char *path = NULL;
        ck_assert_int_eq(kube_resource_path(&pods, "ns", names[i], NULL, &path, NULL), -EINVAL);
        ck_assert_int_eq(kube_resource_path(&pods, names[i], "p", NULL, &path, NULL), -EINVAL);
        ck_assert_ptr_null(path);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-status");
    TCase *tc = tcase_create("status");
    tcase_add_loop_test(tc, reads_refusals, 0, (int)ARRAY_SIZE(refusals));
    tcase_add_test(tc, cuts_long_messages);
    tcase_add_test(tc, reads_retry_after);
    tcase_add_test(tc, builds_paths);
    tcase_add_test(tc, builds_queries);
    tcase_add_test(tc, refuses_names_that_are_no_segments);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
