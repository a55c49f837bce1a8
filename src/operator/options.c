// SPDX-License-Identifier: Apache-2.0
#include "options.h"
#include "operator.h"
#include <getopt.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: operator [options]\n"
    "\n"
    "Turns KubeVirt's VirtualMachines into pods whose first process is vmm.\n"
    "\n"
    "  --kubeconfig FILE         the cluster; default: the pod's service account, else\n"
    "                            $KUBECONFIG, else ~/.kube/config\n"
    "  --context NAME            of the kubeconfig; default: its current one\n"
    "  --launcher-image IMAGE    image of machines' pods ($PODVISOR_LAUNCHER_IMAGE)\n"
    "  --launcher-pull-policy P  Always, IfNotPresent, Never ($PODVISOR_LAUNCHER_PULL_POLICY)\n"
    "  --launcher-log-level L    PODVISOR_LOG of machines' pods ($PODVISOR_LAUNCHER_LOG)\n"
    "  --cpu-allocation-ratio N  vCPUs for each CPU that a pod requests; default 10\n"
    "  --host-disk-folder PATH   whose files on the nodes may be disks (hostDisk) of every\n"
    "                            namespace's machines; may be given again; default: none\n"
    "  --leader-elect            work only while holding the lease podvisor-operator\n"
    "  --lease-namespace NAME    where the lease is; default: the operator's namespace\n"
    "  --listen ADDRESS:PORT     health and metrics; default 0.0.0.0:8080, \"none\" for none\n"
    "  --workers N               threads of each controller, 1 to 32; default 8\n"
    "  --qps N, --burst N        bound of API calls; default 1000 and 2000\n"
    "  --log-format F            text or json; default text on a terminal, else json\n"
    "  --log-level L             error, warn, info, debug; default info\n"
    "  --help, --version\n";

enum {
    OPT_KUBECONFIG = 256,
    OPT_CONTEXT,
    OPT_IMAGE,
    OPT_PULL_POLICY,
    OPT_LAUNCHER_LOG,
    OPT_CPU_RATIO,
    OPT_HOST_DISK_FOLDER,
    OPT_LEADER,
    OPT_LEASE_NAMESPACE,
    OPT_LISTEN,
    OPT_WORKERS,
    OPT_QPS,
    OPT_BURST,
    OPT_LOG_FORMAT,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option flags[] = {
    {"kubeconfig", required_argument, NULL, OPT_KUBECONFIG},
    {"context", required_argument, NULL, OPT_CONTEXT},
    {"launcher-image", required_argument, NULL, OPT_IMAGE},
    {"launcher-pull-policy", required_argument, NULL, OPT_PULL_POLICY},
    {"launcher-log-level", required_argument, NULL, OPT_LAUNCHER_LOG},
    {"cpu-allocation-ratio", required_argument, NULL, OPT_CPU_RATIO},
    {"host-disk-folder", required_argument, NULL, OPT_HOST_DISK_FOLDER},
    {"leader-elect", no_argument, NULL, OPT_LEADER},
    {"lease-namespace", required_argument, NULL, OPT_LEASE_NAMESPACE},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"qps", required_argument, NULL, OPT_QPS},
    {"burst", required_argument, NULL, OPT_BURST},
    {"log-format", required_argument, NULL, OPT_LOG_FORMAT},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static int parse_number(const char *flag, const char *text, unsigned min, unsigned max,
                        unsigned *ret, struct error *err)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max || *text == '-')
        return error_set(err, EINVAL, "--%s %s: must be a number from %u to %u", flag, text, min,
                         max);
    *ret = (unsigned)value;
    return 0;
}

/* One of the words; its place is the value. */
static int parse_word(const char *flag, const char *text, const char *const *words, unsigned *ret,
                      struct error *err)
{
    for (unsigned i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            *ret = i;
            return 0;
        }
    }
    return error_set(err, EINVAL, "--%s %s: unknown; see --help", flag, text);
}

static int parse_listen(char *text, struct options *ret, struct error *err)
{
    unsigned port = 0;
    if (strcmp(text, "none") == 0) {
        ret->listen_port = 0;
        return 0;
    }
    char *colon = strrchr(text, ':');
    if (colon == NULL)
        return error_set(err, EINVAL, "--listen %s: must be ADDRESS:PORT or none", text);
    int r = parse_number("listen", colon + 1, 1, 65535, &port, err);
    if (r < 0)
        return r;
    *colon = '\0';
    ret->listen_address = text;
    ret->listen_port = (uint16_t)port;
    return 0;
}

static int parse_log(int opt, const char *text, struct options *ret, struct error *err)
{
    static const char *const formats[] = {"text", "json", NULL};
    static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
    unsigned value = 0;
    bool format = opt == OPT_LOG_FORMAT;
    int r = parse_word(format ? "log-format" : "log-level", text, format ? formats : levels, &value,
                       err);
    if (r < 0)
        return r;
    if (format)
        ret->log_format = value == 0 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON;
    else
        ret->log_level = (enum log_level)value;
    return 0;
}

static int add_host_disk_folder(const char *path, struct pod_config *ret, struct error *err)
{
    if (!pod_is_plain_path(path))
        return error_set(err, EINVAL,
                         "--host-disk-folder %s: must be the absolute path of a folder, without "
                         "'.', '..', '//' and a '/' at its end",
                         path);
    if (ret->host_disk_folders == HOST_DISK_FOLDERS_MAX)
        return error_set(err, EINVAL, "--host-disk-folder: more than %d", HOST_DISK_FOLDERS_MAX);
    ret->host_disk_folder[ret->host_disk_folders++] = path;
    return 0;
}

static int apply(int opt, char *value, struct options *ret, struct error *err)
{
    unsigned number = 0;
    int r = 0;
    switch (opt) {
    case OPT_KUBECONFIG:
        ret->kubeconfig = value;
        break;
    case OPT_CONTEXT:
        ret->context = value;
        break;
    case OPT_IMAGE:
        ret->pod.launcher_image = value;
        break;
    case OPT_PULL_POLICY:
        ret->pod.launcher_pull_policy = value;
        break;
    case OPT_LAUNCHER_LOG:
        ret->pod.log_level = value;
        break;
    case OPT_CPU_RATIO:
        r = parse_number("cpu-allocation-ratio", value, 1, 1000, &number, err);
        if (r == 0)
            ret->pod.cpu_allocation_ratio = number;
        break;
    case OPT_HOST_DISK_FOLDER:
        return add_host_disk_folder(value, &ret->pod, err);
    case OPT_LEADER:
        ret->leader_elect = true;
        break;
    case OPT_LEASE_NAMESPACE:
        ret->lease_namespace = value;
        break;
    case OPT_LISTEN:
        return parse_listen(value, ret, err);
    case OPT_WORKERS:
        return parse_number("workers", value, 1, WORKERS_MAX, &ret->workers, err);
    case OPT_QPS:
        return parse_number("qps", value, 1, 100000, &ret->qps, err);
    case OPT_BURST:
        return parse_number("burst", value, 1, 100000, &ret->burst, err);
    default:
        return parse_log(opt, value, ret, err);
    }
    return r;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

static int check(const struct options *options, struct error *err)
{
    static const char *const policies[] = {"Always", "IfNotPresent", "Never", NULL};
    unsigned place;
    if (options->pod.launcher_image == NULL)
        return error_set(err, EINVAL,
                         "no image for machines' pods: give --launcher-image or set "
                         "PODVISOR_LAUNCHER_IMAGE");
    return parse_word("launcher-pull-policy", options->pod.launcher_pull_policy, policies, &place,
                      err);
}

int options_parse(int argc, char **argv, struct options *ret, struct error *err)
{
    int opt;
    *ret = (struct options){.listen_address = "0.0.0.0",
                            .listen_port = 8080,
                            .workers = 8,
                            .qps = 1000,
                            .burst = 2000,
                            .log_format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON,
                            .log_level = LOG_LEVEL_INFO};
    ret->pod.cpu_allocation_ratio = 10;
    ret->pod.launcher_image = environment("PODVISOR_LAUNCHER_IMAGE");
    ret->pod.launcher_pull_policy = environment("PODVISOR_LAUNCHER_PULL_POLICY");
    ret->pod.log_level = environment("PODVISOR_LAUNCHER_LOG");
    if (ret->pod.launcher_pull_policy == NULL)
        ret->pod.launcher_pull_policy = "IfNotPresent";
    while ((opt = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        if (opt == OPT_HELP || opt == OPT_VERSION) {
            printf("%s", opt == OPT_HELP ? usage : "operator " PODVISOR_VERSION "\n");
            return 1;
        }
        if (opt == '?') /* getopt has named it */
            return error_set(err, EINVAL, "see operator --help");
        int r = apply(opt, optarg, ret, err);
        if (r < 0)
            return r;
    }
    if (optind < argc)
        return error_set(err, EINVAL, "unexpected word %s; see operator --help", argv[optind]);
    return check(ret, err);
}
