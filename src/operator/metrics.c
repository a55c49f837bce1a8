// SPDX-License-Identifier: Apache-2.0
/* What /metrics says: names that dashboards know (controller-runtime, workqueue, client-go,
 * KubeVirt). */
#include "http.h"
#include "kinds.h"
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_controllers(FILE *out, struct operator* op)
{
    const struct controller *all[] = {&op->vm, &op->vmi};
    head(out, "controller_runtime_reconcile_total", "counter",
         "Reconciles by controller and result.");
    for (size_t i = 0; i < 2; i++)
        fprintf(out,
                "controller_runtime_reconcile_total{controller=\"%s\",result=\"success\"} %llu\n"
                "controller_runtime_reconcile_total{controller=\"%s\",result=\"error\"} %llu\n",
                all[i]->name, (unsigned long long)atomic_load(&all[i]->succeeded), all[i]->name,
                (unsigned long long)atomic_load(&all[i]->failed));
    head(out, "podvisor_reconcile_seconds_total", "counter", "Time spent in reconciles.");
    for (size_t i = 0; i < 2; i++)
        fprintf(out, "podvisor_reconcile_seconds_total{controller=\"%s\"} %.6f\n", all[i]->name,
                (double)atomic_load(&all[i]->time_ns) / 1e9);
}

static void put_queues(FILE *out, struct operator* op)
{
    const struct controller *all[] = {&op->vm, &op->vmi};
    struct kube_queue_stats stats[2];
    for (size_t i = 0; i < 2; i++)
        kube_queue_stats(all[i]->queue, &stats[i]);
    head(out, "workqueue_depth", "gauge", "Keys that are due.");
    for (size_t i = 0; i < 2; i++)
        fprintf(out, "workqueue_depth{name=\"%s\"} %zu\n", all[i]->name, stats[i].depth);
    head(out, "workqueue_adds_total", "counter", "Keys added.");
    for (size_t i = 0; i < 2; i++)
        fprintf(out, "workqueue_adds_total{name=\"%s\"} %llu\n", all[i]->name,
                (unsigned long long)stats[i].adds);
    head(out, "workqueue_retries_total", "counter", "Keys added again after a failure.");
    for (size_t i = 0; i < 2; i++)
        fprintf(out, "workqueue_retries_total{name=\"%s\"} %llu\n", all[i]->name,
                (unsigned long long)stats[i].retries);
}

static void put_client(FILE *out, struct operator* op)
{
    static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct kube_client_stats stats;
    kube_client_stats(op->client, &stats);
    head(out, "rest_client_requests_total", "counter", "API calls by verb and class of status.");
    for (size_t v = 0; v < sizeof(stats.requests) / sizeof(stats.requests[0]); v++) {
        for (size_t c = 0; c < 6; c++) {
            if (stats.requests[v][c] != 0)
                fprintf(out, "rest_client_requests_total{method=\"%s\",code=\"%s\"} %llu\n",
                        kube_verb_names[v], classes[c], (unsigned long long)stats.requests[v][c]);
        }
    }
    head(out, "rest_client_request_retries_total", "counter", "API calls made again.");
    fprintf(out, "rest_client_request_retries_total %llu\n", (unsigned long long)stats.retries);
    head(out, "rest_client_rate_limiter_seconds_total", "counter", "Time spent waiting to call.");
    fprintf(out, "rest_client_rate_limiter_seconds_total %.6f\n", (double)stats.throttled_ns / 1e9);
}

static size_t count_phase(struct operator* op, const char *phase)
{
    struct kube_object **list;
    size_t count = kube_cache_list(op->vmis, NULL, INDEX_VMI_PHASE, phase, &list);
    for (size_t i = 0; i < count; i++)
        kube_object_unref(list[i]);
    free(list);
    return count;
}

static void put_machines(FILE *out, struct operator* op)
{
    static const char *const phases[] = {"Pending",   "Scheduling", "Scheduled", "Running",
                                         "Succeeded", "Failed",     "Unknown"};
    head(out, "kubevirt_vmi_phase_count", "gauge", "Instances by phase.");
    for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
        fprintf(out, "kubevirt_vmi_phase_count{phase=\"%s\"} %zu\n", phases[i],
                count_phase(op, phases[i]));
    head(out, "kubevirt_number_of_vms", "gauge", "VirtualMachines.");
    fprintf(out, "kubevirt_number_of_vms %zu\n", kube_cache_count(op->vms));
    head(out, "podvisor_events_dropped_total", "counter", "Events that the full queue lost.");
    fprintf(out, "podvisor_events_dropped_total %llu\n",
            (unsigned long long)kube_events_dropped(op->events));
}

static long resident_pages(void)
{
    long size = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    fclose(statm);
    return resident;
}

static void put_process(FILE *out, bool leading)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    head(out, "leader_election_master_status", "gauge", "1 while this replica works.");
    fprintf(out, "leader_election_master_status{name=\"podvisor-operator\"} %d\n", leading);
    head(out, "process_cpu_seconds_total", "counter", "User and system time.");
    fprintf(out, "process_cpu_seconds_total %.3f\n", cpu);
    head(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
    fprintf(out, "process_resident_memory_bytes %ld\n", resident_pages() * sysconf(_SC_PAGESIZE));
    head(out, "process_resident_memory_max_bytes", "gauge", "The most that was ever resident.");
    fprintf(out, "process_resident_memory_max_bytes %ld\n", usage.ru_maxrss * 1024);
    head(out, "podvisor_build_info", "gauge", "The version that runs.");
    fprintf(out, "podvisor_build_info{version=\"%s\"} 1\n", PODVISOR_VERSION);
}

char *metrics_render(struct operator* op, bool leading)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        out_of_memory();
    put_controllers(out, op);
    put_queues(out, op);
    put_client(out, op);
    put_machines(out, op);
    put_process(out, leading);
    if (fclose(out) != 0)
        out_of_memory();
    return text;
}
