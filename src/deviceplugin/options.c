// SPDX-License-Identifier: Apache-2.0
/* Command line parsing; start-up, one thread. Opens nothing. */
#include "options.h"
#include "service.h"
#include <getopt.h>
#include <podvisor/cleanup.h>
#include <string.h>

#define HEARTBEAT_MAX 86400 /* seconds */

static const char help[] =
    "usage: podvisor-device-plugin [flags]\n\n"
    "Hands /dev/kvm, /dev/net/tun and /dev/vhost-net to pods: the kubelet's device\n"
    "plugin for devices.kubevirt.io, one process on each node.\n\nflags:\n"
    "  --resources LIST\n        Of kvm, tun and vhost-net, with commas. Default: all.\n"
    "  --max-devices N\n        Units of each resource, 1 to 10000. Default: 1000.\n"
    "  --plugin-dir DIR\n        The kubelet's plugin folder. Default:\n"
    "        /var/lib/kubelet/device-plugins.\n"
    "  --dev-dir DIR\n        Where the host's /dev is. Default: /dev.\n"
    "  --device-mode MODE\n"
    "        Mode that the device nodes get, in octal, or keep. Default: 0666.\n"
    "  --node-name NAME\n        The Node to label. Default: $NODE_NAME; none: no label.\n"
    "  --heartbeat SECONDS\n"
    "        Between two updates of the Node; 0: it is left alone. Default: 300.\n"
    "  --kubeconfig FILE\n        For the label. Default: $KUBECONFIG, or the pod's account.\n"
    "  --log-format text|json\n        Form of the log on standard error. Default: text.\n"
    "  --log-level LEVEL\n        error, warning, info (default) or debug.\n"
    "  --version\n        Print the version.\n"
    "  --help\n        Print this.\n";

static int parse_number(const char *text, unsigned long min, unsigned long max, unsigned *ret,
                        struct error *err)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max)
        return error_set(err, EINVAL, "'%s' is not a number from %lu to %lu", text, min, max);
    *ret = (unsigned)n;
    return 0;
}

static int add_resource(struct plugin_options *o, const char *name, struct error *err)
{
    const struct device_type *type = device_type_find(name);
    if (type == NULL)
        return error_set(err, EINVAL, "'%s' is not one of kvm, tun, vhost-net", name);
    for (unsigned i = 0; i < o->type_count; i++) {
        if (o->types[i] == type)
            return error_set(err, EINVAL, "%s is named twice", name);
    }
    o->types[o->type_count++] = type;
    return 0;
}

static int parse_resources(char *list, struct plugin_options *o, struct error *err)
{
    o->type_count = 0;
    for (char *name; (name = strsep(&list, ",")) != NULL;) {
        int r = add_resource(o, name, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_mode(const char *text, mode_t *ret, struct error *err)
{
    char *end;
    if (strcmp(text, "keep") == 0) {
        *ret = DEVICE_MODE_KEEP;
        return 0;
    }
    unsigned long mode = strtoul(text, &end, 8);
    if (text[0] < '0' || text[0] > '7' || *end != '\0' || mode > 0777)
        return error_set(err, EINVAL, "'%s' is neither an octal mode such as 0666 nor keep", text);
    *ret = (mode_t)mode;
    return 0;
}

static int parse_folder(const char *text, const char **ret, struct error *err)
{
    if (text[0] != '/')
        return error_set(err, EINVAL, "'%s' is no absolute path", text);
    *ret = text;
    return 0;
}

static int parse_format(const char *text, enum log_format *ret, struct error *err)
{
    bool json = strcmp(text, "json") == 0;
    if (!json && strcmp(text, "text") != 0)
        return error_set(err, EINVAL, "'%s' is not one of text, json", text);
    *ret = json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    return 0;
}

static int parse_level(const char *text, enum log_level *ret, struct error *err)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return error_set(err, EINVAL, "'%s' is not one of error, warning, info, debug", text);
}

static int take_flag(int flag, char *value, struct plugin_options *o, struct error *err)
{
    switch (flag) {
    case 'r':
        return parse_resources(value, o, err);
    case 'm':
        return parse_number(value, 1, SERVICE_DEVICES_MAX, &o->max_devices, err);
    case 'p':
        return parse_folder(value, &o->plugin_dir, err);
    case 'd':
        return parse_folder(value, &o->dev_dir, err);
    case 'M':
        return parse_mode(value, &o->device_mode, err);
    case 'n':
        o->node_name = value;
        return 0;
    case 'b':
        return parse_number(value, 0, HEARTBEAT_MAX, &o->heartbeat_s, err);
    case 'k':
        o->kubeconfig = value;
        return 0;
    case 'f':
        return parse_format(value, &o->log_format, err);
    default:
        return parse_level(value, &o->log_level, err);
    }
}

static void set_defaults(struct plugin_options *o)
{
    *o = (struct plugin_options){.max_devices = 1000,
                                 .plugin_dir = "/var/lib/kubelet/device-plugins",
                                 .dev_dir = "/dev",
                                 .device_mode = 0666,
                                 .node_name = getenv("NODE_NAME"),
                                 .heartbeat_s = 300,
                                 .log_level = LOG_LEVEL_INFO};
    for (const struct device_type *type = device_types; type->name != NULL; type++)
        o->types[o->type_count++] = type;
    if (o->node_name != NULL && o->node_name[0] == '\0')
        o->node_name = NULL;
}

int options_parse(int argc, char **argv, struct plugin_options *ret, struct error *err)
{
    static const struct option flags[] = {
        {"resources", required_argument, NULL, 'r'},
        {"max-devices", required_argument, NULL, 'm'},
        {"plugin-dir", required_argument, NULL, 'p'},
        {"dev-dir", required_argument, NULL, 'd'},
        {"device-mode", required_argument, NULL, 'M'},
        {"node-name", required_argument, NULL, 'n'},
        {"heartbeat", required_argument, NULL, 'b'},
        {"kubeconfig", required_argument, NULL, 'k'},
        {"log-format", required_argument, NULL, 'f'},
        {"log-level", required_argument, NULL, 'l'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    set_defaults(ret);
    optind = 0; /* glibc: starts anew */
    opterr = 0;
    for (int flag, index = 0; (flag = getopt_long(argc, argv, "+:h", flags, &index)) != -1;) {
        if (flag == 'h' || flag == 'v') {
            fputs(flag == 'h' ? help : "podvisor-device-plugin " PODVISOR_VERSION "\n", stdout);
            return 1;
        }
        if (flag == ':')
            return error_set(err, EINVAL, "%s needs a value", argv[optind - 1]);
        if (flag == '?')
            return error_set(err, EINVAL, "unknown flag %s; --help lists them", argv[optind - 1]);
        if (take_flag(flag, optarg, ret, err) < 0)
            return error_wrap(err, "--%s", flags[index].name);
    }
    if (optind < argc)
        return error_set(err, EINVAL, "unexpected argument '%s'", argv[optind]);
    return 0;
}
