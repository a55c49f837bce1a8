// SPDX-License-Identifier: Apache-2.0
/*
 * Objects and stores: what is kept of an object, indices, changes as handlers see them, and writes
 * of our own that the watch shows late, out of order with, or before they are learnt.
 */
#include "run_suite.h"
#include "store.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static const struct kube_resource pods = {
    .group = "", .version = "v1", .plural = "pods", .kind = "Pod"};

static const char *index_app(const cJSON *object)
{
    const cJSON *labels = json_get(json_get(object, "metadata"), "labels");
    const cJSON *app = json_get(labels, "app");
    return cJSON_IsString(app) ? app->valuestring : NULL;
}

static const char *index_node(const cJSON *object)
{
    const cJSON *node = json_get(json_get(object, "spec"), "nodeName");
    return cJSON_IsString(node) ? node->valuestring : NULL;
}

static void drop_status(cJSON *object)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
}

static const struct kube_cache_options options = {
    .resource = &pods, .transform = drop_status, .index = {index_app, index_node}};

static struct kube_store *store;
static uint64_t fake_ns;
static char seen[1024]; /* changes: "+name@version", "-…", "old>new" */

static uint64_t fake_now(void)
{
    return fake_ns;
}

static void changed(void *user, struct kube_object *old, struct kube_object *now)
{
    (void)user;
    size_t at = strlen(seen);
    const struct kube_object *any = now != NULL ? now : old;
    snprintf(seen + at, sizeof(seen) - at, "%s%s%s@%s%s%s", at > 0 ? " " : "",
             old == NULL   ? "+"
             : now == NULL ? "-"
                           : "",
             kube_object_name(any), old != NULL ? kube_object_version(old) : "",
             old != NULL && now != NULL ? ">" : "", now != NULL ? kube_object_version(now) : "");
}

static void setup(void)
{
    fake_ns = NSEC_PER_SEC;
    seen[0] = '\0';
    store = kube_store_new(changed, NULL, fake_now);
}

static void teardown(void)
{
    kube_store_free(store);
}

static void expect_changes(const char *expected)
{
    ck_assert_str_eq(seen, expected);
    seen[0] = '\0';
}

/* An object of namespace "ns" or as "space/name"; uid is "uid-<uid>". */
static struct kube_object *make(const char *name, unsigned uid, unsigned version, const char *app)
{
    char text[512];
    const char *slash = strchr(name, '/');
    int space_len = slash != NULL ? (int)(slash - name) : 2;
    const char *space = slash != NULL ? name : "ns";
    snprintf(text, sizeof(text),
             "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"%.*s\",\"uid\":\"uid-%u\","
             "\"resourceVersion\":\"%u\",\"labels\":{\"app\":\"%s\"}}}",
             slash != NULL ? slash + 1 : name, space_len, space, uid, version, app);
    struct kube_object *object = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(kube_object_from_text(&options, text, strlen(text), &object, &err) == 0, "%s",
                  err.text);
    return object;
}

static void expect_version(const char *name, const char *version)
{
    struct kube_object *object = kube_store_get(store, "ns", name);
    if (version == NULL)
        ck_assert_ptr_null(object);
    else
        ck_assert_str_eq(kube_object_version(object), version);
    kube_object_unref(object);
}

static size_t count_list(const char *namespace_, int index, const char *value)
{
    struct kube_object **list;
    size_t count = kube_store_list(store, namespace_, index, value, &list);
    for (size_t i = 0; i < count; i++)
        kube_object_unref(list[i]);
    free(list);
    return count;
}

START_TEST(what_an_object_keeps)
{
    static const char text[] =
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"u\",\"resourceVersion\":"
        "\"007\",\"managedFields\":[{\"manager\":\"x\"}],\"labels\":{\"app\":\"web\"}},"
        "\"spec\":{\"n\":9007199254740993},\"status\":{\"phase\":\"Running\"}}";
    struct kube_object *object = NULL;
    ck_assert_int_eq(kube_object_from_text(&options, text, strlen(text), &object, NULL), 0);
    ck_assert_str_eq(kube_object_name(object), "p");
    ck_assert_str_eq(kube_object_namespace(object), "ns");
    ck_assert_str_eq(kube_object_uid(object), "u");
    ck_assert_str_eq(kube_object_version(object), "007");
    ck_assert_str_eq(kube_object_index(object, 0), "web");
    ck_assert_str_eq(kube_object_index(object, 1), "");
    ck_assert_str_eq(kube_object_index(object, 2), "");
    cleanup_json cJSON *tree = NULL;
    ck_assert_int_eq(kube_object_parse(object, &tree, NULL), 0);
    kube_object_unref(object);
    cleanup_free char *again = NULL;
    ck_assert_int_eq(json_print(tree, &again, NULL, NULL), 0);
    ck_assert_str_eq(again,
                     "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"u\","
                     "\"resourceVersion\":\"007\",\"labels\":{\"app\":\"web\"}},"
                     "\"spec\":{\"n\":9007199254740993},\"kind\":\"Pod\",\"apiVersion\":\"v1\"}");
}
END_TEST

static const struct {
    const char *text, *error;
} refused[] = {
    {"[]", "it is an array, not an object"},
    {"{", "line 1, column 2"},
    {"{\"kind\":\"Node\"}", "its kind is 'Node', not Pod"},
    {"{\"kind\":\"Pod\"}", "it has no metadata"},
    {"{\"metadata\":null}", "it has no metadata"},
    {"{\"metadata\":7}", "metadata: must be an object, not a number"},
    {"{\"metadata\":{\"uid\":\"u\",\"resourceVersion\":\"1\"}}", "metadata.name is missing"},
    {"{\"metadata\":{\"name\":\"\",\"uid\":\"u\",\"resourceVersion\":\"1\"}}",
     "metadata.name is missing"},
    {"{\"metadata\":{\"name\":\"n\",\"resourceVersion\":\"1\"}}", "metadata.uid is missing"},
    {"{\"metadata\":{\"name\":\"n\",\"uid\":\"u\"}}", "metadata.resourceVersion is missing"},
    {"{\"metadata\":{\"name\":\"n\",\"uid\":\"u\",\"resourceVersion\":1}}",
     "metadata.resourceVersion: must be a string, not a number"},
};

START_TEST(what_is_no_object)
{
    struct kube_object *object = NULL;
    struct error err = ERROR_INIT;
    int r =
        kube_object_from_text(&options, refused[_i].text, strlen(refused[_i].text), &object, &err);
    ck_assert_int_eq(r, -EINVAL);
    ck_assert_msg(strstr(err.text, refused[_i].error) != NULL, "%s", err.text);
    ck_assert_ptr_null(object);
}
END_TEST

START_TEST(changes_in_order)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_put(store, make("b", 2, 11, "x"));
    kube_store_put(store, make("a", 1, 12, "y"));
    kube_store_put(store, make("a", 1, 12, "y")); /* shown again: no change */
    kube_store_delete(store, make("b", 2, 13, "x"));
    kube_store_delete(store, make("never-there", 3, 14, "x"));
    expect_changes("+a@10 +b@11 a@10>12 -b@13");
    ck_assert_uint_eq(kube_store_count(store), 1);
}
END_TEST

/* The same name with another uid: it was deleted and created again in between. */
START_TEST(deleted_and_created_again)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_put(store, make("a", 2, 20, "x"));
    expect_changes("+a@10 -a@10 +a@20");
    expect_version("a", "20");
}
END_TEST

START_TEST(indices_follow_values)
{
    kube_store_put(store, make("n1/a", 1, 1, "x"));
    kube_store_put(store, make("n1/b", 2, 2, "x"));
    kube_store_put(store, make("n2/c", 3, 3, "x"));
    kube_store_put(store, make("n2/d", 4, 4, ""));
    ck_assert_uint_eq(count_list(NULL, -1, NULL), 4);
    ck_assert_uint_eq(count_list("", -1, NULL), 4);
    ck_assert_uint_eq(count_list("n1", -1, NULL), 2);
    ck_assert_uint_eq(count_list("n3", -1, NULL), 0);
    ck_assert_uint_eq(count_list(NULL, 0, "x"), 3);
    ck_assert_uint_eq(count_list("n1", 0, "x"), 2);
    ck_assert_uint_eq(count_list(NULL, 0, ""), 0);
    ck_assert_uint_eq(count_list(NULL, 1, "x"), 0);
    kube_store_put(store, make("n1/a", 1, 5, "y"));
    ck_assert_uint_eq(count_list(NULL, 0, "x"), 2);
    ck_assert_uint_eq(count_list(NULL, 0, "y"), 1);
    kube_store_delete(store, make("n1/a", 1, 6, "y"));
    ck_assert_uint_eq(count_list(NULL, 0, "y"), 0);
    ck_assert_uint_eq(count_list("n1", -1, NULL), 1);
}
END_TEST

START_TEST(many_objects)
{
    for (unsigned i = 0; i < 3000; i++) {
        char name[32], app[16];
        snprintf(name, sizeof(name), "n%u/vm-%u", i % 7, i);
        snprintf(app, sizeof(app), "app-%u", i % 100);
        kube_store_put(store, make(name, i, i + 1, app));
    }
    ck_assert_uint_eq(kube_store_count(store), 3000);
    for (unsigned i = 0; i < 100; i++) {
        char app[16];
        snprintf(app, sizeof(app), "app-%u", i);
        ck_assert_uint_eq(count_list(NULL, 0, app), 30);
    }
    ck_assert_uint_eq(count_list("n6", -1, NULL), 428);
    kube_store_replace(store, NULL, 0);
    ck_assert_uint_eq(kube_store_count(store), 0);
    ck_assert_uint_eq(count_list(NULL, 0, "app-1"), 0);
}
END_TEST

/* A list brings what was missed: new, changed, unchanged, gone, and created again. */
START_TEST(replace_tells_the_difference)
{
    kube_store_put(store, make("same", 1, 1, "x"));
    kube_store_put(store, make("changed", 2, 2, "x"));
    kube_store_put(store, make("gone", 3, 3, "x"));
    kube_store_put(store, make("again", 4, 4, "x"));
    struct kube_object *same = kube_store_get(store, "ns", "same");
    seen[0] = '\0';
    struct kube_object *list[] = {make("same", 1, 1, "x"), make("changed", 2, 7, "x"),
                                  make("again", 14, 8, "x"), make("new", 5, 9, "x")};
    kube_store_replace(store, list, 4);
    expect_changes("changed@2>7 -again@4 +again@8 +new@9 -gone@3");
    ck_assert_uint_eq(kube_store_count(store), 4);
    struct kube_object *still = kube_store_get(store, "ns", "same");
    ck_assert_ptr_eq(still, same); /* not a second copy */
    kube_object_unref(same);
    kube_object_unref(still);
    kube_store_replace(store, NULL, 0);
    ck_assert_uint_eq(kube_store_count(store), 0);
}
END_TEST

START_TEST(replace_with_a_name_twice)
{
    struct kube_object *list[] = {make("a", 1, 1, "x"), make("a", 1, 2, "y")};
    kube_store_replace(store, list, 2);
    expect_version("a", "2");
    ck_assert_uint_eq(count_list(NULL, 0, "x"), 0);
    ck_assert_uint_eq(count_list(NULL, 0, "y"), 1);
}
END_TEST

/* A reader's reference outlives the object's place in the store. */
START_TEST(references_last)
{
    kube_store_put(store, make("a", 1, 1, "x"));
    struct kube_object *object = kube_store_get(store, "ns", "a");
    kube_store_delete(store, make("a", 1, 2, "x"));
    ck_assert_str_eq(kube_object_version(object), "1");
    kube_object_unref(object);
}
END_TEST

/* Our write b; the watch then shows an older event, b itself, and something later. */
START_TEST(learnt_hides_older_events)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_learn(store, make("a", 1, 12, "ours"));
    expect_version("a", "12");
    ck_assert_uint_eq(count_list(NULL, 0, "ours"), 1);
    kube_store_put(store, make("a", 1, 11, "older"));
    expect_version("a", "12");
    ck_assert_uint_eq(count_list(NULL, 0, "older"), 0);
    kube_store_put(store, make("a", 1, 12, "ours"));
    expect_version("a", "12");
    kube_store_put(store, make("a", 1, 13, "later"));
    expect_version("a", "13");
    /* Handlers hear what the watch says, all of it, whatever was learnt. */
    expect_changes("+a@10 a@10>11 a@11>12 a@12>13");
    ck_assert_uint_eq(kube_store_expire(store, true), UINT64_MAX);
}
END_TEST

START_TEST(learnt_creation)
{
    kube_store_learn(store, make("a", 1, 5, "x"));
    expect_version("a", "5");
    ck_assert_uint_eq(kube_store_count(store), 1);
    expect_changes("");
    kube_store_put(store, make("a", 1, 5, "x"));
    expect_changes("+a@5");
    kube_store_delete(store, make("a", 1, 6, "x"));
    expect_version("a", NULL);
}
END_TEST

/* The watch was faster than our own thread: what it has shown, or gone past, is not learnt. */
START_TEST(learnt_too_late)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_put(store, make("a", 1, 11, "ours"));
    kube_store_learn(store, make("a", 1, 11, "ours"));
    kube_store_put(store, make("a", 1, 12, "later"));
    kube_store_learn(store, make("a", 1, 11, "ours"));
    kube_store_learn(store, make("a", 1, 12, "later"));
    expect_version("a", "12");
    kube_store_delete(store, make("a", 1, 13, "x"));
    kube_store_learn(store, make("a", 1, 12, "later"));
    kube_store_learn(store, make("a", 1, 9, "not seen, but its uid is gone"));
    expect_version("a", NULL);
    ck_assert_uint_eq(kube_store_expire(store, true), UINT64_MAX);
}
END_TEST

START_TEST(deletion_ends_what_was_learnt)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_learn(store, make("a", 1, 11, "ours"));
    kube_store_delete(store, make("a", 1, 12, "x"));
    expect_version("a", NULL);
    expect_changes("+a@10 -a@12");
}
END_TEST

/* We deleted and created again; the watch shows the deletion of the old one later. */
START_TEST(learnt_successor)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_learn(store, make("a", 2, 20, "new"));
    expect_version("a", "20");
    kube_store_put(store, make("a", 1, 11, "x"));
    kube_store_delete(store, make("a", 1, 12, "x"));
    expect_version("a", "20");
    kube_store_put(store, make("a", 2, 20, "new"));
    expect_changes("+a@10 a@10>11 -a@12 +a@20");
}
END_TEST

START_TEST(learnt_twice)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_learn(store, make("a", 1, 11, "ours"));
    kube_store_learn(store, make("a", 1, 12, "ours again"));
    kube_store_put(store, make("a", 1, 11, "ours"));
    expect_version("a", "12");
    kube_store_put(store, make("a", 1, 12, "ours again"));
    kube_store_put(store, make("a", 1, 13, "later"));
    expect_version("a", "13");
}
END_TEST

/* The event never comes: after 5 s what the watch showed counts again, and handlers hear it. */
START_TEST(learnt_expires)
{
    kube_store_put(store, make("a", 1, 10, "x"));
    kube_store_learn(store, make("a", 1, 11, "ours"));
    kube_store_learn(store, make("b", 2, 12, "ours"));
    expect_changes("+a@10");
    ck_assert_uint_eq(kube_store_expire(store, true), fake_ns + KUBE_STORE_LEARNT_NS);
    fake_ns += KUBE_STORE_LEARNT_NS - 1;
    ck_assert_uint_eq(kube_store_expire(store, true), fake_ns + 1);
    expect_version("a", "11");
    fake_ns += 1;
    ck_assert_uint_eq(kube_store_expire(store, true), UINT64_MAX);
    expect_version("a", "10");
    expect_version("b", NULL);
    expect_changes("a@11>10 -b@12");
}
END_TEST

/* While the watch is down there is a reason for the event to be late. */
START_TEST(learnt_waits_for_the_watch)
{
    kube_store_learn(store, make("a", 1, 11, "ours"));
    for (unsigned i = 0; i < 10; i++) {
        fake_ns += KUBE_STORE_LEARNT_NS;
        ck_assert_uint_eq(kube_store_expire(store, false), fake_ns + KUBE_STORE_LEARNT_NS);
        expect_version("a", "11");
    }
    fake_ns += KUBE_STORE_LEARNT_NS;
    kube_store_expire(store, true);
    expect_version("a", NULL);
}
END_TEST

/* A list may be older than our write, or be the first to show it. */
START_TEST(learnt_and_lists)
{
    kube_store_learn(store, make("a", 1, 11, "ours"));
    kube_store_replace(store, NULL, 0);
    expect_version("a", "11");
    struct kube_object *older[] = {make("a", 1, 10, "x")};
    kube_store_replace(store, older, 1);
    expect_version("a", "11");
    struct kube_object *ours[] = {make("a", 1, 11, "ours")};
    kube_store_replace(store, ours, 1);
    expect_version("a", "11");
    ck_assert_uint_eq(kube_store_expire(store, true), UINT64_MAX);
    expect_changes("+a@10 a@10>11");
    kube_store_learn(store, make("a", 1, 12, "ours"));
    kube_store_replace(store, NULL, 0);
    expect_version("a", NULL);
}
END_TEST

/* Threads: one shows, two look, one learns; for the sanitizers, and no reference may be lost. */
static atomic_bool stop;

static void *look(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        struct kube_object *object = kube_store_get(store, "ns", "a");
        if (object != NULL)
            ck_assert_str_eq(kube_object_name(object), "a");
        kube_object_unref(object);
        (void)count_list(NULL, 0, "x");
    }
    return NULL;
}

static void *learn(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !atomic_load(&stop); i++)
        kube_store_learn(store, make("a", 1, 1000000 + i, "x"));
    return NULL;
}

START_TEST(threads)
{
    kube_store_free(store);
    store = kube_store_new(NULL, NULL, NULL);
    atomic_store(&stop, false);
    pthread_t thread[3];
    ck_assert_int_eq(pthread_create(&thread[0], NULL, look, NULL), 0);
    ck_assert_int_eq(pthread_create(&thread[1], NULL, look, NULL), 0);
    ck_assert_int_eq(pthread_create(&thread[2], NULL, learn, NULL), 0);
    for (unsigned i = 0; i < 3000; i++) {
        kube_store_put(store, make("a", i, 2 * i + 1, "x"));
        kube_store_put(store, make("b", i, 2 * i + 2, "x"));
        if (i % 10 == 0)
            kube_store_delete(store, make("b", i, 2 * i + 3, "x"));
        if (i % 100 == 0)
            kube_store_replace(store, NULL, 0);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-store");
    TCase *tc = tcase_create("store");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_an_object_keeps);
    tcase_add_loop_test(tc, what_is_no_object, 0, (int)ARRAY_SIZE(refused));
    tcase_add_test(tc, changes_in_order);
    tcase_add_test(tc, deleted_and_created_again);
    tcase_add_test(tc, indices_follow_values);
    tcase_add_test(tc, many_objects);
    tcase_add_test(tc, replace_tells_the_difference);
    tcase_add_test(tc, replace_with_a_name_twice);
    tcase_add_test(tc, references_last);
    tcase_add_test(tc, learnt_hides_older_events);
    tcase_add_test(tc, learnt_creation);
    tcase_add_test(tc, learnt_too_late);
    tcase_add_test(tc, deletion_ends_what_was_learnt);
    tcase_add_test(tc, learnt_successor);
    tcase_add_test(tc, learnt_twice);
    tcase_add_test(tc, learnt_expires);
    tcase_add_test(tc, learnt_waits_for_the_watch);
    tcase_add_test(tc, learnt_and_lists);
    tcase_add_test(tc, threads);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
