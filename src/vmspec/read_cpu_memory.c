// SPDX-License-Identifier: Apache-2.0
/*
 * domain.cpu, domain.memory and domain.resources of a manifest. Defaults are those of KubeVirt's
 * pkg/defaults (sockets from the CPU limit, else request; memory from requests, limits, the huge
 * page size), checks those of its vmi-create-admitter.go. One thread at a time.
 */
#include "limits.h"
#include "read_machine.h"

#include <podvisor/str.h>

static const cJSON *domain_of(const struct reader *r)
{
    return json_get(r->vmi, "domain");
}

static const cJSON *resources_of(const struct reader *r, const char *which)
{
    return json_get(json_get(domain_of(r), "resources"), which);
}

/* --- cpu --- */

static void check_features(struct reader *r, const cJSON *features, const struct json_path *cpu)
{
    static const char *const policies[] = {"force", "require", "optional", "disable", "forbid"};
    struct json_path path = {.parent = cpu, .key = "features"};
    struct json_path element = {.parent = &path};
    json_for_each (feature, features) {
        const char *name = read_text(feature, "name"), *policy = read_text(feature, "policy");
        bool known = policy == NULL;
        for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
            known = known || str_equal(policy, policies[i]);
        if (!known)
            report(r, VMSPEC_ERROR, AT_KEY(&element, "policy"),
                   "CPU feature %s uses policy %s that is not supported.", name != NULL ? name : "",
                   policy);
        else
            report(r, VMSPEC_WARNING, &element,
                   "choosing CPU features is not supported; the guest sees the host's");
        element.index++;
    }
}

/* Whole CPUs of the limit, else of the request; 1 when neither is given. */
static uint32_t cpus_of_resources(uint64_t requested, uint64_t limit)
{
    uint64_t milli = limit != 0 ? limit : requested;
    uint64_t cpus = (milli + 999) / 1000;
    if (cpus > MACHINE_CPU_MAX) /* reported with the topology's product */
        return MACHINE_CPU_MAX + 1;
    return cpus == 0 ? 1 : (uint32_t)cpus;
}

static void read_cpu_resources(struct reader *r, uint64_t *ret_requested, uint64_t *ret_limit)
{
    struct json_path domain = {.parent = r->path, .key = "domain"};
    struct json_path resources = {.parent = &domain, .key = "resources"};
    struct json_path requests = {.parent = &resources, .key = "requests"};
    struct json_path limits = {.parent = &resources, .key = "limits"};
    read_milli(r, resources_of(r, "requests"), "cpu", &requests, ret_requested);
    read_milli(r, resources_of(r, "limits"), "cpu", &limits, ret_limit);
    char request_buf[32], limit_buf[32];
    if (*ret_limit != 0 && *ret_requested > *ret_limit)
        report(r, VMSPEC_ERROR, AT_KEY(&requests, "cpu"), "%s '%s' is greater than %s '%s'",
               PATH_TEXT(AT_KEY(&requests, "cpu")),
               read_quantity_text(resources_of(r, "requests"), "cpu", request_buf),
               PATH_TEXT(AT_KEY(&limits, "cpu")),
               read_quantity_text(resources_of(r, "limits"), "cpu", limit_buf));
}

void read_cpu(struct reader *r)
{
    const cJSON *cpu = json_get(domain_of(r), "cpu");
    struct json_path domain = {.parent = r->path, .key = "domain"};
    struct json_path path = {.parent = &domain, .key = "cpu"};
    struct vmspec_cpu *c = &r->spec->cpu;
    uint64_t requested = 0, limit = 0;
    read_cpu_resources(r, &requested, &limit);
    bool no_topology = json_get(cpu, "sockets") == NULL && json_get(cpu, "cores") == NULL &&
                       json_get(cpu, "threads") == NULL;
    c->sockets =
        read_count(r, cpu, "sockets", &path, no_topology ? cpus_of_resources(requested, limit) : 1);
    c->cores = read_count(r, cpu, "cores", &path, 1);
    c->threads = read_count(r, cpu, "threads", &path, 1);
    uint64_t count = (uint64_t)c->sockets * c->cores; /* both 32 bit: no overflow */
    if (count > MACHINE_CPU_MAX || count * c->threads > MACHINE_CPU_MAX)
        report(r, VMSPEC_ERROR, &path, "a machine has at most %d CPUs", MACHINE_CPU_MAX);
    else
        c->count = (uint32_t)(count * c->threads);
    if (c->sockets > read_count(r, cpu, "maxSockets", &path, UINT32_MAX))
        report(r, VMSPEC_ERROR, AT_KEY(&path, "sockets"),
               "Number of sockets in CPU topology is greater than the maximum sockets allowed");
    c->model = xstrdup(read_text(cpu, "model"));
    if (c->model != NULL && !str_equal(c->model, "host-model") &&
        !str_equal(c->model, "host-passthrough"))
        report(r, VMSPEC_WARNING, AT_KEY(&path, "model"),
               "the CPU model '%s' is not supported; the guest sees the host's", c->model);
    check_features(r, json_get(cpu, "features"), &path);
    c->dedicated = read_flag(cpu, "dedicatedCpuPlacement", false);
    c->isolate_emulator_thread = read_flag(cpu, "isolateEmulatorThread", false);
    if (c->isolate_emulator_thread && !c->dedicated)
        report(r, VMSPEC_ERROR, AT_KEY(&path, "isolateEmulatorThread"),
               "IsolateEmulatorThread should be only set in combination with "
               "DedicatedCPUPlacement");
}

/* --- memory --- */

struct memory_source {
    const cJSON *obj;
    const char *key;
    struct json_path path; /* of obj */
    uint64_t bytes;        /* 0: absent */
};

static void check_request(struct reader *r, const struct memory_source *request,
                          const struct memory_source *limit)
{
    char request_buf[32], limit_buf[32];
    if (limit->bytes != 0 && request->bytes > limit->bytes)
        report(r, VMSPEC_ERROR, AT_KEY(&request->path, "memory"), "%s '%s' is greater than %s '%s'",
               PATH_TEXT(AT_KEY(&request->path, "memory")),
               read_quantity_text(request->obj, "memory", request_buf),
               PATH_TEXT(AT_KEY(&limit->path, "memory")),
               read_quantity_text(limit->obj, "memory", limit_buf));
}

static void check_huge_pages(struct reader *r, const struct memory_source *guest,
                             const struct memory_source *page)
{
    struct error err = ERROR_INIT;
    char buf[32];
    if (check_huge_page_size(page->bytes, &err) < 0) {
        report(r, VMSPEC_ERROR, AT_KEY(&page->path, page->key), "%s", err.text);
        return;
    }
    r->spec->memory.huge_page_size = page->bytes;
    const char *what = NULL;
    if (guest->bytes < page->bytes)
        what = "must be equal to or larger than page size";
    else if (guest->bytes % page->bytes != 0)
        what = "is not a multiple of the page size";
    if (what != NULL)
        report(r, VMSPEC_ERROR, AT_KEY(&guest->path, guest->key), "%s '%s' %s %s '%s'",
               PATH_TEXT(AT_KEY(&guest->path, guest->key)),
               read_quantity_text(guest->obj, guest->key, buf), what,
               PATH_TEXT(AT_KEY(&page->path, page->key)), read_text(page->obj, page->key));
}

static void check_guest(struct reader *r, const struct memory_source *guest)
{
    struct error err = ERROR_INIT;
    char buf[32];
    if (check_memory_size(guest->bytes, &err) < 0)
        report(r, VMSPEC_ERROR, AT_KEY(&guest->path, guest->key), "%s '%s': %s",
               PATH_TEXT(AT_KEY(&guest->path, guest->key)),
               read_quantity_text(guest->obj, guest->key, buf), err.text);
    else
        r->spec->memory.guest = align_memory(guest->bytes);
}

void read_memory(struct reader *r)
{
    const cJSON *memory = json_get(domain_of(r), "memory");
    struct json_path domain = {.parent = r->path, .key = "domain"};
    struct json_path path = {.parent = &domain, .key = "memory"};
    struct json_path resources = {.parent = &domain, .key = "resources"};
    enum { GUEST, REQUEST, LIMIT, PAGE, SOURCES }; /* the order in which they are looked at */
    struct memory_source source[SOURCES] = {
        {memory, "guest", path, 0},
        {resources_of(r, "requests"), "memory", {&resources, "requests", 0}, 0},
        {resources_of(r, "limits"), "memory", {&resources, "limits", 0}, 0},
        {json_get(memory, "hugepages"), "pageSize", {&path, "hugepages", 0}, 0},
    };
    const struct memory_source *guest = NULL;
    for (int i = 0; i < SOURCES; i++) {
        struct memory_source *s = &source[i];
        bool given = json_get(s->obj, s->key) != NULL;
        bool valid = given && read_quantity(r, s->obj, s->key, &s->path, &s->bytes);
        if (given && !valid)
            return; /* one message is enough */
        if (guest == NULL && given)
            guest = s;
    }
    if (guest == NULL) {
        report(r, VMSPEC_ERROR, &domain,
               "no memory requested, at least one of '%s', '%s' or '%s' must be set",
               PATH_TEXT(AT_KEY(&path, "guest")),
               PATH_TEXT(AT_KEY(AT_KEY(&path, "hugepages"), "size")),
               PATH_TEXT(AT_KEY(&source[REQUEST].path, "memory")));
        return;
    }
    check_request(r, &source[REQUEST], &source[LIMIT]);
    if (json_get(source[PAGE].obj, "pageSize") != NULL)
        check_huge_pages(r, guest, &source[PAGE]);
    check_guest(r, guest);
}
