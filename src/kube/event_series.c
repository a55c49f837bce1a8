// SPDX-License-Identifier: Apache-2.0
/* The book of events and their series; see event_series.h. */
#include "event_series.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/utf8.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/queue.h>

#define BUCKETS 1024 /* a power of two */

/* An object's allowance. Forgotten when it is full again. */
struct allowance {
    LIST_ENTRY(allowance) same_hash;
    unsigned tokens;
    uint64_t filled_ns; /* when `tokens` was right */
    char uid[];
};

struct event_series {
    LIST_ENTRY(event_series) same_hash;
    TAILQ_ENTRY(event_series) queued; /* while `pending` */
    cJSON *object;                    /* the event as it is created */
    bool pending, sending, closing;
    bool created;        /* the server has it */
    unsigned count;      /* occurrences */
    unsigned sent_count; /* ... that the server knows of */
    uint64_t last_ns, sent_ns;
    int64_t last_wall_ns;
    char *key;
};

LIST_HEAD(series_bucket, event_series);
LIST_HEAD(allowance_bucket, allowance);
TAILQ_HEAD(series_queue, event_series);

struct event_book {
    char *controller, *instance;
    struct series_bucket series[BUCKETS];
    struct allowance_bucket allowances[BUCKETS];
    struct series_queue queue;
    size_t count, pending;
    atomic_uint_fast64_t dropped; /* read without the lock */
    int64_t last_name_ns;         /* names are unique by their time */
};

static unsigned bucket_of(const char *key)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *key != '\0'; key++)
        hash = (hash ^ (unsigned char)*key) * 16777619u;
    return hash & (BUCKETS - 1);
}

struct event_book *event_book_new(const char *controller, const char *instance)
{
    struct event_book *book = xcalloc(1, sizeof(*book));
    book->controller = xstrdup(controller);
    book->instance = xstrdup(instance);
    TAILQ_INIT(&book->queue);
    return book;
}

static void free_series(struct event_series *series)
{
    cJSON_Delete(series->object);
    free(series->key);
    free(series);
}

static void forget_series(struct event_book *book, struct event_series *series)
{
    LIST_REMOVE(series, same_hash);
    book->count--;
    free_series(series);
}

void event_book_free(struct event_book *book)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        struct event_series *series;
        while ((series = LIST_FIRST(&book->series[i])) != NULL) {
            LIST_REMOVE(series, same_hash);
            free_series(series);
        }
        struct allowance *allowance;
        while ((allowance = LIST_FIRST(&book->allowances[i])) != NULL) {
            LIST_REMOVE(allowance, same_hash);
            free(allowance);
        }
    }
    free(book->controller);
    free(book->instance);
    free(book);
}

static void refill(struct allowance *allowance, uint64_t now_ns)
{
    uint64_t more = (now_ns - allowance->filled_ns) / EVENT_REFILL_NS;
    if (allowance->tokens + more >= EVENT_BURST) {
        allowance->tokens = EVENT_BURST;
        allowance->filled_ns = now_ns;
    } else {
        allowance->tokens += (unsigned)more;
        allowance->filled_ns += more * EVENT_REFILL_NS;
    }
}

static bool allow(struct event_book *book, const char *uid, uint64_t now_ns)
{
    struct allowance *allowance;
    unsigned bucket = bucket_of(uid);
    LIST_FOREACH (allowance, &book->allowances[bucket], same_hash) {
        if (strcmp(allowance->uid, uid) == 0)
            break;
    }
    if (allowance == NULL) {
        size_t len = strlen(uid);
        allowance = xcalloc(1, sizeof(*allowance) + len + 1);
        memcpy(allowance->uid, uid, len);
        allowance->tokens = EVENT_BURST;
        allowance->filled_ns = now_ns;
        LIST_INSERT_HEAD(&book->allowances[bucket], allowance, same_hash);
    }
    refill(allowance, now_ns);
    if (allowance->tokens == 0)
        return false;
    allowance->tokens--;
    return true;
}

static void set_string(cJSON *object, const char *name, const char *value)
{
    if (cJSON_AddStringToObject(object, name, value) == NULL)
        out_of_memory();
}

/* At most `max` bytes, cut between characters. */
static void set_cut(cJSON *object, const char *name, const char *value, size_t max)
{
    size_t left = strlen(value), len = 0, printed = 0;
    while (left > 0) {
        size_t n = utf8_length(value + len, left);
        printed += n > 0 ? n : 3; /* what is no character is printed as U+FFFD */
        n = n > 0 ? n : 1;
        if (printed > max)
            break;
        len += n;
        left -= n;
    }
    cleanup_free char *cut = xasprintf("%.*s", (int)len, value);
    set_string(object, name, cut);
}

static cJSON *add_object(cJSON *object, const char *name)
{
    cJSON *child = cJSON_AddObjectToObject(object, name);
    if (child == NULL)
        out_of_memory();
    return child;
}

static void set_api_version(cJSON *object, const struct kube_resource *kind)
{
    cleanup_free char *version =
        xasprintf("%s%s%s", kind->group, *kind->group != '\0' ? "/" : "", kind->version);
    set_string(object, "apiVersion", version);
}

static void set_if(cJSON *object, const char *name, const char *value)
{
    if (*value != '\0')
        set_string(object, name, value);
}

static void set_regarding(cJSON *event, const struct event_what *what)
{
    cJSON *regarding = add_object(event, "regarding");
    set_api_version(regarding, what->kind);
    set_string(regarding, "kind", what->kind->kind);
    set_if(regarding, "namespace", kube_namespace(what->regarding));
    set_if(regarding, "name", kube_name(what->regarding));
    set_if(regarding, "uid", kube_uid(what->regarding));
    set_if(regarding, "resourceVersion", kube_resource_version(what->regarding));
}

/* "<object>.<hex unixnano>", in the namespace of the object. */
static void set_metadata(struct event_book *book, cJSON *event, const cJSON *regarding,
                         int64_t wall_ns)
{
    cJSON *metadata = add_object(event, "metadata");
    const char *namespace_ = kube_namespace(regarding);
    book->last_name_ns = wall_ns > book->last_name_ns ? wall_ns : book->last_name_ns + 1;
    cleanup_free char *name = xasprintf("%.*s.%llx", EVENT_OBJECT_NAME, kube_name(regarding),
                                        (unsigned long long)book->last_name_ns);
    set_string(metadata, "name", name);
    set_string(metadata, "namespace", *namespace_ != '\0' ? namespace_ : "default");
}

static cJSON *make_event(struct event_book *book, const struct event_what *what, int64_t wall_ns)
{
    char time[KUBE_TIME_SIZE];
    cJSON *event = cJSON_CreateObject();
    if (event == NULL)
        out_of_memory();
    set_string(event, "apiVersion", "events.k8s.io/v1");
    set_string(event, "kind", "Event");
    set_metadata(book, event, what->regarding, wall_ns);
    set_string(event, "eventTime", kube_micro_time(wall_ns, time));
    set_string(event, "type", what->warning ? "Warning" : "Normal");
    set_cut(event, "reason", what->reason, EVENT_WORD_MAX);
    /* The API wants an action; a reason says what happened, too. */
    set_cut(event, "action", *what->action != '\0' ? what->action : what->reason, EVENT_WORD_MAX);
    set_cut(event, "note", what->note, EVENT_NOTE_MAX);
    set_string(event, "reportingController", book->controller);
    set_cut(event, "reportingInstance", book->instance, EVENT_WORD_MAX);
    set_regarding(event, what);
    return event;
}

static void queue_series(struct event_book *book, struct event_series *series)
{
    if (series->pending || series->sending)
        return;
    series->pending = true;
    book->pending++;
    TAILQ_INSERT_TAIL(&book->queue, series, queued);
}

static char *make_key(const struct event_what *what)
{
    return xasprintf("%s\n%s\n%s\n%s\n%s\n%s\n%s", what->warning ? "Warning" : "Normal",
                     what->reason, what->action, what->kind->kind, kube_namespace(what->regarding),
                     kube_name(what->regarding), kube_uid(what->regarding));
}

/* An occurrence of what is known already. */
static void count_again(struct event_book *book, struct event_series *series, uint64_t now_ns,
                        int64_t wall_ns)
{
    series->count++;
    series->last_ns = now_ns;
    series->last_wall_ns = wall_ns;
    series->closing = false;
    if (series->count == 2)
        queue_series(book, series);
}

static struct event_series *find_series(struct event_book *book, const char *key)
{
    struct event_series *series;
    LIST_FOREACH (series, &book->series[bucket_of(key)], same_hash) {
        if (strcmp(series->key, key) == 0)
            break;
    }
    return series;
}

static void add_series(struct event_book *book, const struct event_what *what, char *key,
                       uint64_t now_ns, int64_t wall_ns)
{
    struct event_series *series = xcalloc(1, sizeof(*series));
    series->key = key;
    series->object = make_event(book, what, wall_ns);
    series->count = 1;
    series->last_ns = now_ns;
    series->last_wall_ns = wall_ns;
    LIST_INSERT_HEAD(&book->series[bucket_of(key)], series, same_hash);
    book->count++;
    queue_series(book, series);
}

bool event_book_record(struct event_book *book, const struct event_what *what, uint64_t now_ns,
                       int64_t wall_ns)
{
    cleanup_free char *key = make_key(what);
    struct event_series *series = find_series(book, key);
    if (series != NULL) {
        count_again(book, series, now_ns, wall_ns);
        return true;
    }
    const char *uid = kube_uid(what->regarding);
    if (book->count >= EVENT_SERIES_MAX || book->pending >= EVENT_PENDING_MAX ||
        *kube_name(what->regarding) == '\0' ||
        !allow(book, *uid != '\0' ? uid : kube_name(what->regarding), now_ns)) {
        book->dropped++;
        return false;
    }
    add_series(book, what, steal_ptr(key), now_ns, wall_ns);
    return true;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Ends a silent series, tells of one that goes on. Returns when to look again. */
static uint64_t tick_series(struct event_book *book, struct event_series *series, uint64_t now_ns)
{
    bool news = series->count != series->sent_count;
    uint64_t quiet = series->last_ns + EVENT_QUIET_NS;
    uint64_t heartbeat = news ? series->sent_ns + EVENT_HEARTBEAT_NS : UINT64_MAX;
    if (series->pending || series->sending)
        return UINT64_MAX; /* event_book_sent() comes first */
    if (now_ns >= quiet && !news) {
        forget_series(book, series);
        return UINT64_MAX;
    }
    if (now_ns >= quiet || now_ns >= heartbeat) {
        series->closing = now_ns >= quiet;
        queue_series(book, series);
        return UINT64_MAX;
    }
    return earlier(quiet, heartbeat);
}

static void forget_full_allowances(struct event_book *book, unsigned bucket, uint64_t now_ns)
{
    struct allowance *allowance = LIST_FIRST(&book->allowances[bucket]);
    while (allowance != NULL) {
        struct allowance *next = LIST_NEXT(allowance, same_hash);
        refill(allowance, now_ns);
        if (allowance->tokens == EVENT_BURST) {
            LIST_REMOVE(allowance, same_hash);
            free(allowance);
        }
        allowance = next;
    }
}

uint64_t event_book_tick(struct event_book *book, uint64_t now_ns)
{
    uint64_t due = UINT64_MAX;
    for (unsigned i = 0; i < BUCKETS; i++) {
        struct event_series *series = LIST_FIRST(&book->series[i]);
        while (series != NULL) {
            struct event_series *next = LIST_NEXT(series, same_hash);
            due = earlier(due, tick_series(book, series, now_ns));
            series = next;
        }
        forget_full_allowances(book, i, now_ns);
        if (!LIST_EMPTY(&book->allowances[i]))
            due = earlier(due, now_ns + EVENT_REFILL_NS);
    }
    return due;
}

static cJSON *make_series(const struct event_series *series)
{
    char time[KUBE_TIME_SIZE];
    cJSON *json = cJSON_CreateObject();
    if (json == NULL || !cJSON_AddItemToObject(json, "count", json_create_int64(series->count)))
        out_of_memory();
    set_string(json, "lastObservedTime", kube_micro_time(series->last_wall_ns, time));
    return json;
}

bool event_book_next(struct event_book *book, struct event_job *ret, uint64_t now_ns)
{
    struct event_series *series = TAILQ_FIRST(&book->queue);
    if (series == NULL)
        return false;
    TAILQ_REMOVE(&book->queue, series, queued);
    book->pending--;
    series->pending = false;
    series->sending = true;
    series->sent_count = series->count;
    series->sent_ns = now_ns;
    cJSON *body = series->created ? cJSON_CreateObject() : cJSON_Duplicate(series->object, true);
    if (body == NULL)
        out_of_memory();
    if (series->count > 1 && !cJSON_AddItemToObject(body, "series", make_series(series)))
        out_of_memory();
    const cJSON *metadata = json_get(series->object, "metadata");
    *ret = (struct event_job){
        .series = series,
        .create = !series->created,
        .namespace_ = cJSON_GetStringValue(json_get(metadata, "namespace")),
        .name = cJSON_GetStringValue(json_get(metadata, "name")),
        .body = body,
    };
    return true;
}

void event_book_sent(struct event_book *book, const struct event_job *job, enum event_result result)
{
    struct event_series *series = job->series;
    series->sending = false;
    if (result == EVENT_GONE && !job->create) {
        series->created = false;
        queue_series(book, series);
        return;
    }
    if (result == EVENT_REFUSED)
        book->dropped++;
    /* What was refused to be created is no series: its next occurrence begins anew. */
    if (series->closing || (result == EVENT_REFUSED && job->create)) {
        forget_series(book, series);
        return;
    }
    series->created = true;
    if (series->sent_count == 1 && series->count > 1)
        queue_series(book, series); /* it came again meanwhile */
}

uint64_t event_book_dropped(const struct event_book *book)
{
    return atomic_load(&book->dropped);
}

size_t event_book_pending(const struct event_book *book)
{
    return book->pending;
}

size_t event_book_count(const struct event_book *book)
{
    return book->count;
}
