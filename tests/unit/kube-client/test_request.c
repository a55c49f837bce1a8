// SPDX-License-Identifier: Apache-2.0
/* Requests against a scripted API server: verbs, refusals, retries, cut answers. */
#include "client.h"
#include "kube_server.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <string.h>

static const struct kube_resource pods = {"", "v1", "pods", "Pod", false};
static const struct kube_resource vms = {"kubevirt.io", "v1", "virtualmachines", "VirtualMachine",
                                         false};
static const struct kube_resource nodes = {"", "v1", "nodes", "Node", true};

static struct kube_server *server;
static struct kube_client *client;
static struct kube_status status;
static struct kube_call call;

/* A clock that stands still but for its sleeps. */
static struct {
    uint64_t now;
    unsigned sleeps;
    uint64_t slept;
} fake;

static uint64_t fake_now(void *user)
{
    (void)user;
    return fake.now;
}

static int64_t fake_wall(void *user)
{
    (void)user;
    return 0;
}

static void fake_sleep(void *user, uint64_t ns)
{
    (void)user;
    fake.now += ns;
    fake.slept += ns;
    fake.sleeps++;
}

static void use_fake_clock(void)
{
    static const struct kube_clock clock = {
        .now_ns = fake_now, .wall_ns = fake_wall, .sleep_ns = fake_sleep};
    memset(&fake, 0, sizeof(fake));
    fake.now = 1000 * NSEC_PER_SEC;
    kube_client_set_clock(client, &clock);
}

static void make_client(const char *user, unsigned qps, unsigned burst)
{
    struct error err = ERROR_INIT;
    struct kube_config_options options = {.kubeconfig = kube_server_kubeconfig(server, NULL, user),
                                          .user_agent = "test/1"};
    ck_assert_msg(kube_client_new(&options, qps, burst, &client, &err) == 0, "%s", err.text);
    call = (struct kube_call){
        .client = client, .resource = &pods, .namespace_ = "ns", .name = "x", .status = &status};
}

static void set_up(void)
{
    server = kube_server_start(NULL);
    make_client(NULL, 0, 0);
}

static void tear_down(void)
{
    kube_client_free(client);
    kube_server_stop(server);
}

static void answer(const char *request, int code, const char *body)
{
    kube_server_add(server, &(struct kube_reply){.request = request, .status = code, .body = body});
}

static cJSON *parse(const char *text)
{
    cJSON *json = NULL;
    ck_assert_int_eq(json_parse(text, strlen(text), NULL, &json, NULL), 0);
    return json;
}

START_TEST(gets)
{
    answer("GET /api/v1/namespaces/ns/pods/x", 200, "{\"metadata\":{\"name\":\"x\"}}");
    cleanup_json cJSON *object = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(kube_get(&call, &object, &err) == 0, "%s", err.text);
    ck_assert_str_eq(kube_name(object), "x");
    struct kube_recorded r = kube_server_request(server, 0);
    ck_assert_str_eq(r.line, "GET /api/v1/namespaces/ns/pods/x");
    ck_assert(kube_recorded_has(&r, "Accept", "application/json"));
    ck_assert(kube_recorded_has(&r, "User-Agent", "test/1"));
    ck_assert_ptr_null(strstr(r.headers, "Authorization"));
    ck_assert_int_eq(status.code, 200);
}
END_TEST

/* The request that was recorded last. */
static struct kube_recorded last(void)
{
    return kube_server_request(server, kube_server_requests(server) - 1);
}

static void expect_json(const char *text, const char *want)
{
    cleanup_json cJSON *a = parse(text), *b = parse(want);
    ck_assert_msg(kube_equal(a, b), "%s is not %s", text, want);
}

START_TEST(discovers)
{
    answer("GET /apis/kubevirt.io/v1", 200, "{\"resources\":[{\"name\":\"virtualmachines\"}]}");
    answer("GET /apis/none.io/v1", 404, "404 page not found");
    answer("GET /apis/closed.io/v1", 403, "{\"kind\":\"Status\",\"code\":403}");
    answer("GET /apis/broken.io/v1", 503, ""); /* asked once */
    cleanup_json cJSON *list = NULL;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(kube_discover(client, "kubevirt.io", "v1", &list, &err), 0);
    ck_assert_int_eq(cJSON_GetArraySize(json_get(list, "resources")), 1);
    ck_assert_int_eq(kube_discover(client, "none.io", "v1", NULL, NULL), -ENOENT);
    ck_assert_int_eq(kube_discover(client, "closed.io", "v1", NULL, NULL), -EACCES);
    ck_assert_int_eq(kube_discover(client, "broken.io", "v1", NULL, &err), -EBUSY);
    ck_assert_ptr_nonnull(strstr(err.text, "/apis/broken.io/v1"));
    ck_assert_uint_eq(kube_server_requests(server), 4);
}
END_TEST

START_TEST(writes)
{
    cleanup_json cJSON *object =
        parse("{\"metadata\":{\"name\":\"x\"},\"n\":0,\"big\":9007199254740993}");
    cleanup_json cJSON *answered = NULL;
    kube_server_add(server, &(struct kube_reply){.body = "{\"a\":1}", .times = KUBE_REPLY_ALWAYS});
    ck_assert_int_eq(kube_create(&call, object, &answered, NULL), 0);
    ck_assert_int_eq(json_get(answered, "a")->valueint, 1);
    ck_assert_str_eq(last().line, "POST /api/v1/namespaces/ns/pods?fieldManager=podvisor");
    expect_json(last().body, "{\"metadata\":{\"name\":\"x\"},\"n\":0,\"big\":9007199254740993}");
    ck_assert_ptr_nonnull(strstr(last().body, "\"n\":0"));

    call.subresource = "status";
    ck_assert_int_eq(kube_update(&call, object, NULL, NULL), 0);
    struct kube_recorded r = last();
    ck_assert_str_eq(r.line, "PUT /api/v1/namespaces/ns/pods/x/status?fieldManager=podvisor");
    ck_assert(kube_recorded_has(&r, "Content-Type", "application/json"));
    ck_assert_ptr_null(strstr(r.headers, "Expect"));
}
END_TEST

START_TEST(patches)
{
    static const struct {
        enum kube_patch kind;
        const char *type, *query;
    } kinds[] = {
        {KUBE_PATCH_MERGE, "application/merge-patch+json", "fieldManager=podvisor"},
        {KUBE_PATCH_JSON, "application/json-patch+json", "fieldManager=podvisor"},
        {KUBE_PATCH_STRATEGIC, "application/strategic-merge-patch+json", "fieldManager=podvisor"},
        {KUBE_PATCH_APPLY, "application/apply-patch+yaml", "fieldManager=podvisor&force=true"}};
    cleanup_json cJSON *patch = parse("{\"spec\":{\"replicas\":0,\"gone\":null}}");
    kube_server_add(server, &(struct kube_reply){.body = "{}", .times = KUBE_REPLY_ALWAYS});
    call.resource = &vms;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char line[256];
        ck_assert_int_eq(kube_patch(&call, kinds[i].kind, patch, NULL, NULL), 0);
        snprintf(line, sizeof(line),
                 "PATCH /apis/kubevirt.io/v1/namespaces/ns/virtualmachines/x?%s", kinds[i].query);
        struct kube_recorded r = last();
        ck_assert_str_eq(r.line, line);
        ck_assert(kube_recorded_has(&r, "Content-Type", kinds[i].type));
        ck_assert_str_eq(r.body, "{\"spec\":{\"replicas\":0,\"gone\":null}}");
    }
}
END_TEST

START_TEST(deletes)
{
    struct error err = ERROR_INIT;
    answer(NULL, 200, "{}");
    answer(NULL, 404, "{\"reason\":\"NotFound\"}");
    answer(NULL, 200, "{}");
    call.resource = &nodes;
    call.namespace_ = NULL;
    ck_assert_int_eq(kube_delete(&call, NULL, &err), 0);
    ck_assert_str_eq(last().line, "DELETE /api/v1/nodes/x");
    ck_assert_str_eq(last().body, "");
    const struct kube_delete_options all = {
        .uid = "u", .grace_seconds = 0, .propagation = "Foreground"};
    ck_assert_int_eq(kube_delete(&call, &all, &err), 0);
    ck_assert_int_eq(err.code, 0);
    ck_assert_int_eq(status.code, 404);
    expect_json(last().body,
                "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"gracePeriodSeconds\":0,"
                "\"preconditions\":{\"uid\":\"u\"},\"propagationPolicy\":\"Foreground\"}");
    const struct kube_delete_options own = {.grace_seconds = -1};
    ck_assert_int_eq(kube_delete(&call, &own, &err), 0);
    expect_json(last().body, "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\"}");
}
END_TEST

START_TEST(keeps_its_connection)
{
    kube_server_add(server, &(struct kube_reply){.body = "{}", .times = KUBE_REPLY_ALWAYS});
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(kube_server_connections(server), 1);
}
END_TEST

static const struct {
    int code;
    const char *body;
    int error;
    const char *text;
} refusals[] = {
    {404, "{\"reason\":\"NotFound\",\"message\":\"pods \\\"x\\\" not found\"}", -ENOENT,
     "GET pods ns/x: 404 NotFound: pods \"x\" not found"},
    {409, "{\"reason\":\"AlreadyExists\"}", -EEXIST, "GET pods ns/x: 409 AlreadyExists"},
    {409, "{\"reason\":\"Conflict\",\"message\":\"m\"}", -EAGAIN, "GET pods ns/x: 409 Conflict: m"},
    {401, "{}", -EACCES, "GET pods ns/x: 401 Unauthorized"},
    {403, "{\"message\":\"exceeded quota: q\"}", -EDQUOT,
     "GET pods ns/x: 403 Forbidden: exceeded quota: q"},
    {403, "{}", -EACCES, "GET pods ns/x: 403 Forbidden"},
    {422, "{\"message\":\"bad\"}", -EINVAL, "GET pods ns/x: 422 Invalid: bad"},
    {429, "", -EBUSY, "GET pods ns/x: 429 TooManyRequests"},
    {503, "", -EBUSY, "GET pods ns/x: 503 ServiceUnavailable"},
    {302, "", -EIO, "GET pods ns/x: 302 "},
};

START_TEST(maps_refusals)
{
    struct error err = ERROR_INIT;
    answer(NULL, refusals[_i].code, refusals[_i].body);
    cJSON *object = NULL;
    ck_assert_int_eq(kube_get(&call, &object, &err), refusals[_i].error);
    ck_assert_ptr_null(object);
    ck_assert_str_eq(err.text, refusals[_i].text);
    ck_assert_int_eq(err.code, -refusals[_i].error);
    ck_assert_int_eq(status.code, refusals[_i].code);
    /* Nobody said when to come back: it was asked once. */
    ck_assert_uint_eq(kube_server_requests(server), 1);
}
END_TEST

START_TEST(tells_a_stale_json_patch_from_a_bad_object)
{
    static const struct {
        enum kube_patch kind;
        const char *body;
        int error;
    } cases[] = {
        {KUBE_PATCH_JSON,
         "{\"reason\":\"Invalid\",\"message\":\"the server rejected our request due to an error in "
         "our request\"}",
         -EAGAIN},
        {KUBE_PATCH_JSON, "{\"message\":\"testing value /a failed: test failed\"}", -EAGAIN},
        {KUBE_PATCH_JSON,
         "{\"message\":\"Pod x is invalid\",\"details\":{\"causes\":[{\"field\":\"spec\"}]}}",
         -EINVAL},
        {KUBE_PATCH_MERGE,
         "{\"message\":\"the server rejected our request due to an error in our request\"}",
         -EINVAL},
    };
    cleanup_json cJSON *patch = parse("[]");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        answer(NULL, 422, cases[i].body);
        ck_assert_int_eq(kube_patch(&call, cases[i].kind, patch, NULL, NULL), cases[i].error);
    }
}
END_TEST

START_TEST(refuses_answers_that_are_no_objects)
{
    static const char *const bodies[] = {"", "[]", "{\"a\":", "{}x", "{\"a\":1,\"a\":2}", "7"};
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        cJSON *object = NULL;
        answer(NULL, 200, bodies[i]);
        ck_assert_int_eq(kube_get(&call, &object, NULL), -EIO);
        ck_assert_ptr_null(object);
    }
    answer(NULL, 200, "");
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
}
END_TEST

START_TEST(refuses_calls_that_name_nothing)
{
    call.name = NULL;
    ck_assert_int_eq(kube_get(&call, NULL, NULL), -EINVAL);
    call.name = "x/y";
    ck_assert_int_eq(kube_get(&call, NULL, NULL), -EINVAL);
    call.name = "x";
    call.namespace_ = NULL;
    ck_assert_int_eq(kube_get(&call, NULL, NULL), -EINVAL);
    ck_assert_uint_eq(kube_server_requests(server), 0);
}
END_TEST

/* --- trying again ----------------------------------------------------------------------------- */

static void add_busy(int code, const char *headers, unsigned times)
{
    kube_server_add(server, &(struct kube_reply){.status = code,
                                                 .headers = headers,
                                                 .body = "{\"reason\":\"TooManyRequests\"}",
                                                 .times = times});
}

START_TEST(waits_as_long_as_the_server_says)
{
    use_fake_clock();
    add_busy(429, "Retry-After: 3\r\n", 2);
    add_busy(503, "Retry-After: 5\r\n", 1);
    answer(NULL, 200, "{}");
    struct error err = ERROR_INIT;
    cleanup_json cJSON *object = parse("{}");
    ck_assert_int_eq(kube_create(&call, object, NULL, &err), 0);
    ck_assert_str_eq(err.text, "");
    ck_assert_uint_eq(fake.slept, 11 * NSEC_PER_SEC);
    ck_assert_uint_eq(kube_server_requests(server), 4);
    struct kube_client_stats stats;
    kube_client_stats(client, &stats);
    ck_assert_uint_eq(stats.retries, 3);
    ck_assert_uint_eq(stats.requests[KUBE_VERB_POST][4], 2);
    ck_assert_uint_eq(stats.requests[KUBE_VERB_POST][5], 1);
    ck_assert_uint_eq(stats.requests[KUBE_VERB_POST][2], 1);
}
END_TEST

START_TEST(gives_up_after_ten_times)
{
    use_fake_clock();
    add_busy(429, "Retry-After: 1\r\n", KUBE_REPLY_ALWAYS);
    ck_assert_int_eq(kube_get(&call, NULL, NULL), -EBUSY);
    ck_assert_uint_eq(kube_server_requests(server), 11);
    ck_assert_uint_eq(status.retry_after, 1);
}
END_TEST

START_TEST(gives_up_after_a_minute)
{
    use_fake_clock();
    add_busy(500, "Retry-After: 25\r\n", KUBE_REPLY_ALWAYS);
    ck_assert_int_eq(kube_get(&call, NULL, NULL), -EBUSY);
    ck_assert_uint_eq(kube_server_requests(server), 3);
    ck_assert_uint_eq(fake.slept, 50 * NSEC_PER_SEC);
}
END_TEST

START_TEST(does_not_try_again_when_told_so)
{
    const struct kube_call_options options = {.no_retry = true};
    add_busy(429, "Retry-After: 1\r\n", 1);
    ck_assert_int_eq(kube_call_with(&call, &options, KUBE_VERB_GET, NULL, NULL, NULL), -EBUSY);
    ck_assert_uint_eq(kube_server_requests(server), 1);
}
END_TEST

START_TEST(a_get_survives_lost_connections)
{
    use_fake_clock();
    kube_server_add(server, &(struct kube_reply){.kind = KUBE_REPLY_RESET, .times = 2});
    kube_server_add(server, &(struct kube_reply){.kind = KUBE_REPLY_CLOSE});
    kube_server_add(server, &(struct kube_reply){.body = "{\"a\":1}", .cut_at = 60});
    answer(NULL, 200, "{}");
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(kube_server_requests(server), 5);
}
END_TEST

START_TEST(a_write_does_not_repeat_itself)
{
    cleanup_json cJSON *object = parse("{}");
    struct error err = ERROR_INIT;
    kube_server_add(server, &(struct kube_reply){.kind = KUBE_REPLY_RESET});
    ck_assert_int_eq(kube_create(&call, object, NULL, &err), -EIO);
    ck_assert_uint_eq(kube_server_requests(server), 1);
    ck_assert_int_eq(status.code, 0);
    ck_assert_str_ne(status.message, "");
    struct kube_client_stats stats;
    kube_client_stats(client, &stats);
    ck_assert_uint_eq(stats.requests[KUBE_VERB_POST][0], 1);
}
END_TEST

START_TEST(notices_a_cut_at_every_byte)
{
    cleanup_json cJSON *object = parse("{}");
    struct kube_reply reply = {.body = "{\"metadata\":{\"name\":\"x\"}}", .headers = "X-Y: z\r\n"};
    /* Go on until an answer was not cut any more. */
    int r = -1;
    for (size_t cut = 1; r < 0; cut++) {
        cleanup_json cJSON *answered = NULL;
        cJSON **ret = cut % 3 == 0 ? NULL : &answered;
        reply.cut_at = cut;
        reply.cut_with_reset = cut % 2 == 0;
        ck_assert_uint_lt(cut, 400);
        kube_server_add(server, &reply);
        r = kube_create(&call, object, ret, NULL);
        ck_assert(r == 0 || r == -EIO);
        if (r == 0) {
            ck_assert(ret == NULL || strcmp(kube_name(answered), "x") == 0);
            ck_assert_uint_gt(cut, 100);
        }
    }
}
END_TEST

START_TEST(takes_an_answer_in_single_bytes)
{
    kube_server_add(server, &(struct kube_reply){.body = "{\"metadata\":{\"name\":\"slow\"}}",
                                                 .piece = 1,
                                                 .piece_delay_ms = 1});
    cleanup_json cJSON *object = NULL;
    ck_assert_int_eq(kube_get(&call, &object, NULL), 0);
    ck_assert_str_eq(kube_name(object), "slow");
}
END_TEST

START_TEST(times_out)
{
    static const enum kube_reply_kind kinds[] = {KUBE_REPLY_HANG, KUBE_REPLY_BODY};
    const struct kube_call_options options = {.timeout_ns = 100 * NSEC_PER_MSEC};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        kube_server_add(server, &(struct kube_reply){.kind = kinds[i],
                                                     .body = "{\"a\":\"0123456789\"}",
                                                     .piece = 4,
                                                     .piece_delay_ms = 50});
        uint64_t before = clock_now_ns();
        ck_assert_int_eq(kube_call_with(&call, &options, KUBE_VERB_GET, NULL, NULL, NULL),
                         -ETIMEDOUT);
        ck_assert_uint_lt(clock_now_ns() - before, 5 * NSEC_PER_SEC);
    }
}
END_TEST

START_TEST(says_when_nobody_listens)
{
    struct error err = ERROR_INIT;
    struct kube_config_options options = {.kubeconfig = kube_server_kubeconfig(server, NULL, NULL)};
    struct kube_client *lonely;
    ck_assert_int_eq(kube_client_new(&options, 0, 0, &lonely, NULL), 0);
    kube_server_stop(server);
    server = kube_server_start(NULL);
    call.client = lonely;
    ck_assert_int_eq(kube_get(&call, NULL, &err), -EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "connect"));
    kube_client_free(lonely);
}
END_TEST

START_TEST(bounds_the_answer)
{
    /* 65 MiB of spaces. */
    size_t len = 65u << 20;
    cleanup_free char *body = malloc(len);
    memset(body, ' ', len);
    kube_server_add(server, &(struct kube_reply){.body = body, .body_len = len});
    struct error err = ERROR_INIT;
    ck_assert_int_eq(kube_get(&call, NULL, &err), -EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "more than 64 MiB"));
    ck_assert_uint_eq(kube_server_requests(server), 1);
}
END_TEST

/* --- the rate limit, the shutdown ------------------------------------------------------------- */

START_TEST(keeps_to_its_rate)
{
    kube_client_free(client);
    make_client(NULL, 10, 3);
    use_fake_clock();
    kube_server_add(server, &(struct kube_reply){.body = "{}", .times = KUBE_REPLY_ALWAYS});
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(fake.slept, 0);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(fake.slept, 500 * NSEC_PER_MSEC);
    const struct kube_call_options options = {.unlimited = true};
    ck_assert_int_eq(kube_call_with(&call, &options, KUBE_VERB_GET, NULL, NULL, NULL), 0);
    ck_assert_uint_eq(fake.slept, 500 * NSEC_PER_MSEC);
    struct kube_client_stats stats;
    kube_client_stats(client, &stats);
    ck_assert_uint_eq(stats.throttled_ns, 500 * NSEC_PER_MSEC);
    /* Full again after a pause, and no fuller than that. */
    fake.now += 3600 * NSEC_PER_SEC;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    ck_assert_uint_eq(fake.slept, 600 * NSEC_PER_MSEC);
}
END_TEST

START_TEST(does_not_wait_beyond_its_deadline_for_the_rate)
{
    kube_client_free(client);
    make_client(NULL, 1, 1);
    use_fake_clock();
    kube_server_add(server, &(struct kube_reply){.body = "{}", .times = KUBE_REPLY_ALWAYS});
    const struct kube_call_options options = {.timeout_ns = 10 * NSEC_PER_SEC};
    ck_assert_int_eq(kube_get(&call, NULL, NULL), 0);
    /* Nobody moves the clock but the waits: take places without waiting for them. */
    uint64_t wait;
    for (int i = 0; i < 20; i++)
        ck_assert(kube_limit_take(&client->limit, fake.now, UINT64_MAX, &wait));
    ck_assert_int_eq(kube_call_with(&call, &options, KUBE_VERB_GET, NULL, NULL, NULL), -EBUSY);
    ck_assert_uint_eq(kube_server_requests(server), 1);
}
END_TEST

static void *interrupt_soon(void *user)
{
    kube_server_wait(server, 1, 10000);
    kube_client_interrupt(user);
    return NULL;
}

static void expect_interrupted(void)
{
    pthread_t thread;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_soon, client), 0);
    uint64_t before = clock_now_ns();
    ck_assert_int_eq(kube_get(&call, NULL, &err), -ECANCELED);
    ck_assert_uint_lt(clock_now_ns() - before, 10 * NSEC_PER_SEC);
    pthread_join(thread, NULL);
    ck_assert_int_eq(kube_get(&call, NULL, &err), -ECANCELED);
    kube_server_clear(server);
    answer(NULL, 200, "{}");
    const struct kube_call_options lease = {.unlimited = true};
    ck_assert_int_eq(kube_call_with(&call, &lease, KUBE_VERB_GET, NULL, NULL, &err), 0);
}

START_TEST(an_interrupt_ends_a_transfer)
{
    kube_server_add(server, &(struct kube_reply){.kind = KUBE_REPLY_HANG});
    expect_interrupted();
}
END_TEST

START_TEST(an_interrupt_ends_a_wait)
{
    add_busy(429, "Retry-After: 30\r\n", 1);
    expect_interrupted();
}
END_TEST

/* --- many threads ----------------------------------------------------------------------------- */

static void *get_often(void *user)
{
    (void)user;
    struct kube_call own = call;
    own.status = NULL;
    for (int i = 0; i < 50; i++) {
        if (kube_get(&own, NULL, NULL) != 0)
            return client;
    }
    return NULL;
}

START_TEST(serves_many_threads)
{
    pthread_t thread[8];
    kube_server_add(server, &(struct kube_reply){.body = "{}",
                                                 .headers = "Warning: 299 - \"old\"\r\n",
                                                 .times = KUBE_REPLY_ALWAYS});
    for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, get_often, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(thread); i++) {
        void *result;
        pthread_join(thread[i], &result);
        ck_assert_ptr_null(result);
    }
    ck_assert_uint_le(kube_server_connections(server), ARRAY_SIZE(thread));
    struct kube_client_stats stats;
    kube_client_stats(client, &stats);
    ck_assert_uint_eq(stats.requests[KUBE_VERB_GET][2], 400);
    ck_assert_uint_eq(client->warning_count, 1);
}
END_TEST

START_TEST(remembers_warnings)
{
    static const char *const lines[] = {"Warning: 299 - \"a \\\"b\\\"\"\r\n",
                                        "warning: 299 agent \"a \\\"b\\\"\"\r\n",
                                        "Warning: 299 - \"c\"\r\n",
                                        "Warning: 199 - \"d\"\r\n",
                                        "Warning: 299 - \"\"\r\n",
                                        "Warning: 299 \r\n",
                                        "Warning: 299 - \"no end",
                                        "Content-Type: text/plain\r\n"};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        kube_client_header(client, lines[i], strlen(lines[i]));
    ck_assert_uint_eq(client->warning_count, 3);
    for (int i = 0; i < 1000; i++) {
        char line[64];
        int n = snprintf(line, sizeof(line), "Warning: 299 - \"text %d\"\r\n", i);
        kube_client_header(client, line, (size_t)n);
    }
    ck_assert_uint_eq(client->warning_count, KUBE_WARNINGS_MAX);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        gets,
        discovers,
        writes,
        patches,
        deletes,
        keeps_its_connection,
        tells_a_stale_json_patch_from_a_bad_object,
        refuses_answers_that_are_no_objects,
        refuses_calls_that_name_nothing,
        waits_as_long_as_the_server_says,
        gives_up_after_ten_times,
        gives_up_after_a_minute,
        does_not_try_again_when_told_so,
        a_get_survives_lost_connections,
        a_write_does_not_repeat_itself,
        notices_a_cut_at_every_byte,
        takes_an_answer_in_single_bytes,
        times_out,
        says_when_nobody_listens,
        bounds_the_answer,
        keeps_to_its_rate,
        does_not_wait_beyond_its_deadline_for_the_rate,
        an_interrupt_ends_a_transfer,
        an_interrupt_ends_a_wait,
        serves_many_threads,
        remembers_warnings,
    };
    Suite *suite = suite_create("kube-request");
    TCase *tc = tcase_create("request");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, maps_refusals, 0, (int)ARRAY_SIZE(refusals));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
