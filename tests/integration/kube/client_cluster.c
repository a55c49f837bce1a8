// SPDX-License-Identifier: Apache-2.0
/*
 * The client against the API server of KUBECONFIG, as an administrator with a client certificate
 * and as a service account with a token: what the scripted server's answers of the unit tests claim
 * is what a real one says. Everything happens in a namespace of its own, which is deleted.
 */
#include "config.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <stdarg.h>
#include <string.h>

static const struct kube_resource namespaces = {"", "v1", "namespaces", "Namespace", true};
static const struct kube_resource config_maps = {"", "v1", "configmaps", "ConfigMap", false};
static const struct kube_resource accounts = {"", "v1", "serviceaccounts", "ServiceAccount", false};
static const struct kube_resource quotas = {"", "v1", "resourcequotas", "ResourceQuota", false};
static const struct kube_resource bindings = {"rbac.authorization.k8s.io", "v1", "rolebindings",
                                              "RoleBinding", false};

static struct kube_client *admin;
static struct kube_status status;
static struct error err;
static char space[64]; /* the namespace */

static struct kube_call call_of(const struct kube_resource *resource, const char *name)
{
    return (struct kube_call){.client = admin,
                              .resource = resource,
                              .namespace_ = resource->cluster_scoped ? NULL : space,
                              .name = name,
                              .status = &status};
}

static cJSON *json(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static cJSON *json(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    cleanup_free char *text = xvasprintf(fmt, ap);
    va_end(ap);
    cJSON *tree = NULL;
    ck_assert_msg(json_parse(text, strlen(text), NULL, &tree, &err) == 0, "%s", err.text);
    return tree;
}

static cJSON *config_map(const char *name, const char *value)
{
    return json("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\"},"
                "\"data\":{\"key\":\"%s\"}}",
                name, value);
}

/* Tries until it works or half a minute is over: what controllers and caches take their time for.
 */
#define EVENTUALLY(what)                                    \
    ({                                                      \
        uint64_t end_ = clock_now_ns() + 30 * NSEC_PER_SEC; \
        bool done_ = false;                                 \
        while (!(done_ = (what)) && clock_now_ns() < end_)  \
            usleep(100000);                                 \
        done_;                                              \
    })

static void set_up(void)
{
    const struct kube_config_options options = {.user_agent = "podvisor-test"};
    snprintf(space, sizeof(space), "podvisor-kube-%d", getpid());
    ck_assert_msg(kube_client_new(&options, 0, 0, &admin, &err) == 0, "%s", err.text);
    struct kube_call call = call_of(&namespaces, NULL);
    cleanup_json cJSON *object = json("{\"metadata\":{\"name\":\"%s\"}}", space);
    ck_assert_msg(kube_create(&call, object, NULL, &err) == 0, "%s", err.text);
}

static void tear_down(void)
{
    struct kube_call call = call_of(&namespaces, space);
    ck_assert_msg(kube_delete(&call, NULL, &err) == 0, "%s", err.text);
    kube_client_free(admin);
}

START_TEST(lives_through_an_object)
{
    struct kube_call create = call_of(&config_maps, NULL), call = call_of(&config_maps, "a");
    cleanup_json cJSON *object = config_map("a", "1"), *made = NULL, *got = NULL, *patched = NULL,
                       *merge = json("{\"data\":{\"key\":null,\"n\":\"2\"}}");
    ck_assert_msg(kube_create(&create, object, &made, &err) == 0, "%s", err.text);
    ck_assert_int_eq(status.code, 201);
    ck_assert_str_ne(kube_uid(made), "");
    ck_assert_int_eq(kube_create(&create, object, NULL, &err), -EEXIST);
    ck_assert_int_eq(kube_get(&call, &got, &err), 0);
    ck_assert(kube_equal(made, got));
    ck_assert_int_eq(kube_patch(&call, KUBE_PATCH_MERGE, merge, &patched, &err), 0);
    ck_assert_ptr_null(kube_path(patched, "data.key"));
    ck_assert_str_eq(kube_path(patched, "data.n")->valuestring, "2");
    /* `got` is of before the patch. */
    ck_assert_int_eq(kube_update(&call, got, NULL, &err), -EAGAIN);
    ck_assert_str_eq(status.reason, "Conflict");
    ck_assert_int_eq(kube_update(&call, patched, NULL, &err), 0);

    const struct kube_delete_options other = {.uid = "not-this-one", .grace_seconds = -1};
    const struct kube_delete_options own = {
        .uid = kube_uid(made), .grace_seconds = 0, .propagation = "Background"};
    ck_assert_int_eq(kube_delete(&call, &other, &err), -EAGAIN);
    ck_assert_msg(kube_delete(&call, &own, &err) == 0, "%s", err.text);
    ck_assert_int_eq(kube_delete(&call, NULL, &err), 0);
    ck_assert_int_eq(kube_get(&call, NULL, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.text, "GET configmaps "));
}
END_TEST

START_TEST(patches_in_each_way)
{
    struct kube_call create = call_of(&config_maps, NULL), call = call_of(&config_maps, "p");
    cleanup_json cJSON *object = config_map("p", "1");
    cleanup_json cJSON *good = json("[{\"op\":\"test\",\"path\":\"/data/key\",\"value\":\"1\"},"
                                    "{\"op\":\"replace\",\"path\":\"/data/key\",\"value\":\"2\"}]");
    cleanup_json cJSON *away = json("[{\"op\":\"remove\",\"path\":\"/data/none\"}]");
    cleanup_json cJSON *invalid =
        json("[{\"op\":\"add\",\"path\":\"/metadata/labels\",\"value\":{\"-\":\"-\"}}]");
    cleanup_json cJSON *strategic = json("{\"data\":{\"s\":\"3\"}}");
    cleanup_json cJSON *mine = json("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{"
                                    "\"name\":\"p\"},\"data\":{\"key\":\"4\"}}");
    cleanup_json cJSON *result = NULL;
    ck_assert_msg(kube_create(&create, object, NULL, &err) == 0, "%s", err.text);
    ck_assert_msg(kube_patch(&call, KUBE_PATCH_JSON, good, NULL, &err) == 0, "%s", err.text);
    /* Its test fails now. */
    ck_assert_msg(kube_patch(&call, KUBE_PATCH_JSON, good, NULL, &err) == -EAGAIN, "%s", err.text);
    ck_assert_msg(kube_patch(&call, KUBE_PATCH_JSON, away, NULL, &err) == -EAGAIN, "%s", err.text);
    ck_assert_msg(kube_patch(&call, KUBE_PATCH_JSON, invalid, NULL, &err) == -EINVAL, "%s",
                  err.text);
    ck_assert_str_eq(status.cause_field, "metadata.labels");
    ck_assert_int_eq(kube_patch(&call, KUBE_PATCH_STRATEGIC, strategic, NULL, &err), 0);
    ck_assert_msg(kube_patch(&call, KUBE_PATCH_APPLY, mine, &result, &err) == 0, "%s", err.text);
    ck_assert_str_eq(kube_path(result, "data.key")->valuestring, "4");
    ck_assert_str_eq(kube_path(result, "data.s")->valuestring, "3");
}
END_TEST

/* A kubeconfig whose user is the namespace's default service account, in `dir`. */
static char *account_config(const char *dir)
{
    struct kube_config *config = NULL;
    ck_assert_msg(kube_config_load(&(struct kube_config_options){0}, &config, &err) == 0, "%s",
                  err.text);
    struct kube_call call = call_of(&accounts, "default");
    call.subresource = "token";
    cleanup_json cJSON *request = json("{\"spec\":{\"expirationSeconds\":600}}"), *answer = NULL;
    ck_assert_msg(EVENTUALLY(kube_create(&call, request, &answer, &err) == 0), "%s", err.text);
    char *path = xasprintf("%s/kubeconfig", dir);
    cleanup_free char *token = xasprintf("%s/token", dir), *ca = NULL,
                      *ca_path = xasprintf("%s/ca", dir);
    size_t ca_len;
    ck_assert_int_eq(kube_material_read(&config->ca, "ca", &ca, &ca_len, &err), 0);
    FILE *file = fopen(token, "w");
    fprintf(file, "%s\n", kube_path(answer, "status.token")->valuestring);
    fclose(file);
    file = fopen(ca_path, "w");
    fwrite(ca, ca_len, 1, file);
    fclose(file);
    file = fopen(path, "w");
    fprintf(file,
            "current-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\n"
            "clusters: [{name: x, cluster: {server: '%s', certificate-authority: ca}}]\n"
            "users: [{name: x, user: {tokenFile: token}}]\n",
            config->server);
    fclose(file);
    kube_config_free(config);
    return path;
}

static void grant_edit(void)
{
    struct kube_call call = call_of(&bindings, NULL);
    cleanup_json cJSON *binding =
        json("{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"RoleBinding\","
             "\"metadata\":{\"name\":\"edit\"},\"roleRef\":{\"apiGroup\":"
             "\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"edit\"},"
             "\"subjects\":[{\"kind\":\"ServiceAccount\",\"name\":\"default\",\"namespace\":"
             "\"%s\"}]}",
             space);
    ck_assert_msg(kube_create(&call, binding, NULL, &err) == 0, "%s", err.text);
}

START_TEST(serves_a_service_account)
{
    char dir[] = "/tmp/podvisor-account-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    cleanup_free char *path = account_config(dir);
    const struct kube_config_options options = {.kubeconfig = path};
    struct kube_client *client = NULL;
    ck_assert_msg(kube_client_new(&options, 0, 0, &client, &err) == 0, "%s", err.text);
    struct kube_call create = call_of(&config_maps, NULL), call = call_of(&config_maps, "sa");
    create.client = call.client = client;
    cleanup_json cJSON *object = config_map("sa", "1"), *merge = json("{\"data\":{\"key\":\"2\"}}");
    ck_assert_int_eq(kube_create(&create, object, NULL, &err), -EACCES);
    ck_assert_str_eq(status.reason, "Forbidden");
    grant_edit();
    ck_assert_msg(EVENTUALLY(kube_create(&create, object, NULL, &err) == 0), "%s", err.text);
    ck_assert_int_eq(kube_patch(&call, KUBE_PATCH_MERGE, merge, NULL, &err), 0);
    ck_assert_int_eq(kube_delete(&call, NULL, &err), 0);
    kube_client_free(client);

    cleanup_free char *token = xasprintf("%s/token", dir), *ca = xasprintf("%s/ca", dir);
    FILE *file = fopen(token, "w");
    fputs("not-a-token\n", file);
    fclose(file);
    ck_assert_int_eq(kube_client_new(&options, 0, 0, &client, &err), 0);
    call.client = client;
    ck_assert_int_eq(kube_get(&call, NULL, &err), -EACCES);
    ck_assert_int_eq(status.code, 401);
    kube_client_free(client);
    const char *const made[] = {token, ca, path, dir};
    for (size_t i = 0; i < ARRAY_SIZE(made); i++)
        remove(made[i]);
}
END_TEST

START_TEST(tells_a_quota_from_a_missing_right)
{
    struct kube_call quota = call_of(&quotas, NULL), quota_get = call_of(&quotas, "q");
    struct kube_call create = call_of(&config_maps, NULL);
    cleanup_json cJSON *object = json("{\"metadata\":{\"name\":\"q\"},\"spec\":{\"hard\":{"
                                      "\"count/configmaps\":\"0\"}}}");
    cleanup_json cJSON *map = config_map("b", "1"), *got = NULL;
    ck_assert_msg(kube_create(&quota, object, NULL, &err) == 0, "%s", err.text);
    ck_assert(EVENTUALLY((cJSON_Delete(steal_ptr(got)), kube_get(&quota_get, &got, &err) == 0) &&
                         kube_path(got, "status.hard") != NULL));
    ck_assert_msg(kube_create(&create, map, NULL, &err) == -EDQUOT, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "POST configmaps "));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-client-cluster");
    TCase *tc = tcase_create("cluster");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, lives_through_an_object);
    tcase_add_test(tc, patches_in_each_way);
    tcase_add_test(tc, serves_a_service_account);
    tcase_add_test(tc, tells_a_quota_from_a_missing_right);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
