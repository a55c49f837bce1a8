// SPDX-License-Identifier: Apache-2.0
/* The flags of `vmm run`, one function each; start-up, one thread. Opens nothing. */
#include "options.h"
#include <podvisor/cleanup.h>
#include <podvisor/quantity.h>
#include <podvisor/vmspec.h>
#include <string.h>

#define GRACE_PERIOD_MAX  86400 /* seconds */
#define IMAGE_TIMEOUT     300   /* seconds */
#define IMAGE_TIMEOUT_MAX 86400 /* seconds */

static int set_pod(void *options, char *value, struct error *err)
{
    (void)value;
    (void)err;
    ((struct run_options *)options)->pod = true;
    return 0;
}

static int set_image_timeout(void *options, char *value, struct error *err)
{
    unsigned long n;
    int r = flags_number(value, 1, IMAGE_TIMEOUT_MAX, &n, err);
    if (r == 0)
        ((struct run_options *)options)->image_timeout = (unsigned)n;
    return r;
}

static int set_string(const char **field, const char *value, struct error *err)
{
    if (*value == '\0')
        return error_set(err, EINVAL, "the value is empty");
    *field = value;
    return 0;
}

static int set_name(void *options, char *value, struct error *err)
{
    return set_string(&((struct run_options *)options)->name, value, err);
}

static int set_kernel(void *options, char *value, struct error *err)
{
    return set_string(&((struct run_options *)options)->kernel, value, err);
}

static int set_initrd(void *options, char *value, struct error *err)
{
    return set_string(&((struct run_options *)options)->initrd, value, err);
}

static int set_cmdline(void *options, char *value, struct error *err)
{
    if (strlen(value) >= MACHINE_CMDLINE_MAX)
        return error_set(err, EINVAL, "%zu bytes are too long; at most %d", strlen(value),
                         MACHINE_CMDLINE_MAX - 1);
    ((struct run_options *)options)->cmdline = value;
    return 0;
}

static int set_cpus(void *options, char *value, struct error *err)
{
    unsigned long n;
    int r = flags_number(value, 1, MACHINE_CPU_MAX, &n, err);
    if (r == 0)
        ((struct run_options *)options)->cpus = (uint32_t)n;
    return r;
}

static int set_memory(void *options, char *value, struct error *err)
{
    uint64_t bytes;
    int r = quantity_parse(value, &bytes, err);
    if (r < 0)
        return r;
    if (bytes == 0)
        return error_set(err, EINVAL, "a machine needs memory; give a quantity such as 512Mi");
    ((struct run_options *)options)->memory = bytes;
    return 0;
}

static int set_memory_backing(void *options, char *value, struct error *err)
{
    static const struct flag_choice choices[] = {
        {"anonymous", MACHINE_MEMORY_ANONYMOUS},
        {"memfd", MACHINE_MEMORY_MEMFD},
        {"hugetlb-2M", MACHINE_MEMORY_HUGE_2M},
        {"hugetlb-1G", MACHINE_MEMORY_HUGE_1G},
    };
    struct run_options *o = options;
    int backing;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &backing, err);
    if (r < 0)
        return r;
    o->memory_backing = (enum machine_memory_backing)backing;
    o->has_memory_backing = true;
    return 0;
}

static int bad_key(const char *key, const char *const *keys, size_t count, struct error *err)
{
    error_set(err, EINVAL, "unknown key '%s'", key);
    const char *nearest = flags_nearest(key, keys, count, sizeof(keys[0]));
    if (nearest != NULL)
        return error_hint(err, "did you mean '%s'?", nearest);
    char list[256] = "";
    for (size_t i = 0, len = 0; i < count; i++)
        len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i > 0 ? ", " : "", keys[i]);
    return error_hint(err, "keys are %s", list);
}

/* A key that stands alone, or says on or off. */
int options_parse_switch(const char *key, const char *value, bool *ret, struct error *err)
{
    static const struct flag_choice choices[] = {{"on", true}, {"off", false}};
    int on = true;
    if (value != NULL && flags_choose(value, choices, ARRAY_SIZE(choices), &on, err) < 0)
        return error_wrap(err, "%s", key);
    *ret = on;
    return 0;
}

static int parse_format(const char *key, const char *value, enum machine_disk_format *ret,
                        struct error *err)
{
    static const struct flag_choice choices[] = {{"raw", MACHINE_DISK_RAW},
                                                 {"qcow2", MACHINE_DISK_QCOW2}};
    int format;
    if (flags_choose(value, choices, ARRAY_SIZE(choices), &format, err) < 0) {
        error_wrap(err, "%s", key);
        return error_hint(err, "convert others with `qemu-img convert`");
    }
    *ret = (enum machine_disk_format)format;
    return 0;
}

/* `key` is one of those that say how the disk's bytes are kept. */
static int set_layer_key(struct disk_option *disk, const char *key, const char *value,
                         struct error *err)
{
    if (strcmp(key, "format") == 0) {
        disk->has_format = true;
        return parse_format(key, value, &disk->format, err);
    }
    if (strcmp(key, "backing") == 0) {
        if (disk->backing_count == MACHINE_BACKING_MAX)
            return error_set(err, EINVAL, "more than %d images below the disk's own",
                             MACHINE_BACKING_MAX);
        disk->backing[disk->backing_count++].path = value;
        return 0;
    }
    if (disk->backing_count == 0)
        return error_set(err, EINVAL, "of which file? backing=PATH goes before %s", key);
    struct backing_option *last = &disk->backing[disk->backing_count - 1];
    last->has_format = true;
    return parse_format(key, value, &last->format, err);
}

static int check_layers(const struct disk_option *disk, struct error *err)
{
    if (!disk->has_format && (disk->name == NULL || disk->backing_count > 0))
        return error_set(err, EINVAL,
                         "%s: the format is never guessed; add format=raw or format=qcow2",
                         disk->path);
    enum machine_disk_format above = disk->format;
    for (unsigned i = 0; i < disk->backing_count; i++) {
        const struct backing_option *backing = &disk->backing[i];
        if (above == MACHINE_DISK_RAW)
            return error_set(err, EINVAL, "%s cannot lie on anything: what is above it is raw",
                             backing->path);
        if (!backing->has_format)
            return error_set(err, EINVAL,
                             "%s: the format is never guessed; add backing-format=raw or "
                             "backing-format=qcow2 behind it",
                             backing->path);
        above = backing->format;
    }
    return 0;
}

static int set_disk_key(struct disk_option *disk, const char *key, const char *value,
                        struct error *err)
{
    static const char *const keys[] = {"path",   "format",   "backing", "backing-format", "name",
                                       "serial", "readonly", "discard", DISK_TUNING_KEYS};
    int r = options_set_disk_tuning(&disk->tuning, key, value, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (strcmp(key, "readonly") == 0)
        return options_parse_switch(key, value, &disk->readonly, err);
    if (strcmp(key, "discard") == 0) {
        disk->has_discard = true;
        return options_parse_switch(key, value, &disk->discard, err);
    }
    const char **field = strcmp(key, "path") == 0     ? &disk->path
                         : strcmp(key, "name") == 0   ? &disk->name
                         : strcmp(key, "serial") == 0 ? &disk->serial
                                                      : NULL;
    bool layer = strcmp(key, "format") == 0 || strcmp(key, "backing") == 0 ||
                 strcmp(key, "backing-format") == 0;
    if (field == NULL && !layer)
        return bad_key(key, keys, ARRAY_SIZE(keys), err);
    if (value == NULL || *value == '\0')
        return error_set(err, EINVAL, "%s needs a value: %s=...", key, key);
    if (field == NULL)
        return set_layer_key(disk, key, value, err);
    *field = value;
    return 0;
}

static int set_disk(void *options, char *value, struct error *err)
{
    struct run_options *o = options;
    if (o->disk_count == MACHINE_DISK_MAX)
        return error_set(err, EINVAL, "more than %d disks", MACHINE_DISK_MAX);
    struct disk_option disk = {.discard = true};
    for (char *key, *val; flags_next_pair(&value, &key, &val) > 0;) {
        int r = set_disk_key(&disk, key, val, err);
        if (r < 0)
            return r;
    }
    if (disk.path == NULL)
        return error_set(err, EINVAL, "which file? give path=FILE,format=raw");
    if (check_layers(&disk, err) < 0)
        return -EINVAL;
    if (disk.serial != NULL && strlen(disk.serial) >= MACHINE_SERIAL_MAX)
        return error_set(err, EINVAL, "serial '%s' is longer than %d bytes", disk.serial,
                         MACHINE_SERIAL_MAX - 1);
    if (options_check_disk_tuning(&disk.tuning, err) < 0)
        return -EINVAL;
    o->disk[o->disk_count++] = disk;
    return 0;
}

static int set_net_key(struct net_option *net, const char *key, const char *value,
                       struct error *err)
{
    static const char *const keys[] = {"tap", "mac", "name", "mtu"};
    bool known = false;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        known = known || strcmp(key, keys[i]) == 0;
    if (!known)
        return bad_key(key, keys, ARRAY_SIZE(keys), err);
    if (value == NULL || *value == '\0')
        return error_set(err, EINVAL, "%s needs a value: %s=...", key, key);
    if (strcmp(key, "tap") == 0) {
        net->tap = value;
    } else if (strcmp(key, "name") == 0) {
        net->name = value;
    } else if (strcmp(key, "mac") == 0) {
        net->has_mac = true;
        if (vmspec_parse_mac(value, net->mac, err) < 0)
            return error_hint(err, "write six bytes, the first of them even: 02:00:00:12:34:56");
    } else {
        unsigned long mtu;
        int r = flags_number(value, 68, 65535, &mtu, err);
        if (r < 0)
            return error_wrap(err, "mtu");
        net->mtu = (uint16_t)mtu;
    }
    return 0;
}

static int set_net(void *options, char *value, struct error *err)
{
    struct run_options *o = options;
    if (o->net_count == MACHINE_NET_MAX)
        return error_set(err, EINVAL, "more than %d network cards", MACHINE_NET_MAX);
    struct net_option net = {.name = NULL};
    for (char *key, *val; flags_next_pair(&value, &key, &val) > 0;) {
        int r = set_net_key(&net, key, val, err);
        if (r < 0)
            return r;
    }
    if (net.tap == NULL)
        return error_set(err, EINVAL, "which tap? give tap=NAME");
    o->net[o->net_count++] = net;
    return 0;
}

static int set_console(void *options, char *value, struct error *err)
{
    struct run_options *o = options;
    o->has_console = true;
    if (strncmp(value, "file=", 5) == 0) {
        o->console = CONSOLE_FILE;
        return set_string(&o->console_path, value + 5, err);
    }
    static const struct flag_choice choices[] = {
        {"stdio", CONSOLE_STDIO}, {"off", CONSOLE_OFF}, {"file=PATH", CONSOLE_FILE}};
    int console;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &console, err);
    if (r == 0)
        o->console = (enum console_target)console;
    return r;
}

static int set_console_device(void *options, char *value, struct error *err)
{
    static const struct flag_choice choices[] = {{"serial", MACHINE_CONSOLE_SERIAL},
                                                 {"virtio", MACHINE_CONSOLE_VIRTIO}};
    int device;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &device, err);
    if (r == 0)
        ((struct run_options *)options)->console_device = (enum machine_console_device)device;
    return r;
}

static int set_control(void *options, char *value, struct error *err)
{
    return set_string(&((struct run_options *)options)->control, value, err);
}

static int set_termination_message(void *options, char *value, struct error *err)
{
    return set_string(&((struct run_options *)options)->termination_message, value, err);
}

static int set_grace_period(void *options, char *value, struct error *err)
{
    struct run_options *o = options;
    unsigned long n;
    int r = flags_number(value, 0, GRACE_PERIOD_MAX, &n, err);
    if (r < 0)
        return r;
    o->grace_period_seconds = (uint32_t)n;
    o->has_grace_period = true;
    return 0;
}

static int set_log(void *options, char *value, struct error *err)
{
    static const struct flag_choice choices[] = {{"text", LOG_FORMAT_TEXT},
                                                 {"json", LOG_FORMAT_JSON}};
    int format;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &format, err);
    if (r == 0)
        ((struct run_options *)options)->log_format = (enum log_format)format;
    return r;
}

int options_set_log_level(struct run_options *options, const char *word, struct error *err)
{
    static const struct flag_choice choices[] = {{"error", LOG_LEVEL_ERROR},
                                                 {"warning", LOG_LEVEL_WARN},
                                                 {"info", LOG_LEVEL_INFO},
                                                 {"debug", LOG_LEVEL_DEBUG}};
    int level;
    int r = flags_choose(word, choices, ARRAY_SIZE(choices), &level, err);
    if (r < 0)
        return r;
    options->log_level = (enum log_level)level;
    options->has_log_level = true;
    return 0;
}

static int set_log_level(void *options, char *value, struct error *err)
{
    return options_set_log_level(options, value, err);
}

static int set_sandbox(void *options, char *value, struct error *err)
{
    static const struct flag_choice choices[] = {
        {"on", MACHINE_SANDBOX_ON}, {"log", MACHINE_SANDBOX_LOG}, {"off", MACHINE_SANDBOX_OFF}};
    int sandbox;
    int r = flags_choose(value, choices, ARRAY_SIZE(choices), &sandbox, err);
    if (r == 0)
        ((struct run_options *)options)->sandbox = (enum machine_sandbox)sandbox;
    return r;
}

static int set_debug_exit(void *options, char *value, struct error *err)
{
    (void)value;
    (void)err;
    ((struct run_options *)options)->debug_exit = true;
    return 0;
}

static int set_no_rng(void *options, char *value, struct error *err)
{
    (void)value;
    (void)err;
    ((struct run_options *)options)->no_rng = true;
    return 0;
}

static int set_no_balloon(void *options, char *value, struct error *err)
{
    (void)value;
    (void)err;
    ((struct run_options *)options)->no_balloon = true;
    return 0;
}

const struct flag run_flags[] = {
    {"pod", NULL,
     "In a pod of the operator: manifest, sockets, volumes and network cards\n"
     "are where docs/pod.md has them. Flags win over it; give this one first.",
     set_pod},
    {"image-timeout", "SECONDS",
     "With --pod: how long the files of container images may take to come.\n"
     "Default: 300.",
     set_image_timeout},
    {"name", "NAME", "The machine's name. Default: the manifest's, or \"vm\".", set_name},
    {"kernel", "FILE", "Linux bzImage, or an ELF vmlinux with a PVH entry.", set_kernel},
    {"initrd", "FILE", "Initial RAM disk.", set_initrd},
    {"cmdline", "TEXT", "Kernel command line. Default: \"console=ttyS0\" (or hvc0).", set_cmdline},
    {"cpus", "N", "Virtual CPUs, 1 to 64. Default: 1.", set_cpus},
    {"memory", "QUANTITY",
     "Memory as Kubernetes writes it: 256Mi, 4Gi. Default: 512Mi.\n"
     "Rounded up to a multiple of 2Mi.",
     set_memory},
    {"memory-backing", "KIND", "anonymous (default), memfd, hugetlb-2M or hugetlb-1G.",
     set_memory_backing},
    {"disk", "path=FILE,format=raw|qcow2[,KEY...]",
     "A disk, in this order: vda, vdb... The format is never guessed. What a\n"
     "qcow2 image lies on is said, too, and again for what that one lies on:\n"
     "backing=FILE,backing-format=raw|qcow2. Keys:\n"
     "readonly, serial=TEXT, name=NAME, discard=on|off,\n"
     "cache=none|writethrough|writeback (none: O_DIRECT), io=native|threads,\n"
     "error-policy=report|stop|enospace|ignore, queues=N, dedicated-io-thread,\n"
     "iops=N, iops-burst=N, bps=BYTES, bps-burst=BYTES (limits a second).\n"
     "With the name of a manifest's volume it gives the file for that volume.\n"
     "A comma in a value is written twice.",
     set_disk},
    {"net", "tap=NAME[,KEY...]",
     "A network card on an existing tap. Keys: mac=ADDRESS, name=NAME, mtu=N.\n"
     "With the name of a manifest's interface it gives that interface's tap.",
     set_net},
    {"no-rng", NULL, "Without the entropy device.", set_no_rng},
    {"no-balloon", NULL, "Without the memory balloon.", set_no_balloon},
    {"console", "stdio|off|file=PATH",
     "Where the guest's console goes. Default: stdio. On a terminal,\n"
     "Ctrl-] three times ends the machine.",
     set_console},
    {"console-device", "serial|virtio", "What the console is to the guest. Default: serial.",
     set_console_device},
    {"control", "SOCKET", "Serve `vmm ctl` and `vmm console` on this UNIX socket. Default: none.",
     set_control},
    {"termination-message", "FILE", "Where one line of JSON says why the machine ended.",
     set_termination_message},
    {"grace-period", "SECONDS",
     "How long the guest may take to power off after SIGTERM. Default: 30.", set_grace_period},
    {"log", "text|json", "Form of the log on standard error. Default: text.", set_log},
    {"log-level", "LEVEL", "error, warning, info (default) or debug.", set_log_level},
    {"sandbox", "on|log|off",
     "System call filters and the rest of the sandbox; log reports instead of\n"
     "killing. Default: on.",
     set_sandbox},
    {"debug-exit", NULL, "For tests: a write of v to port 0xf4 ends the process with (v << 1) | 1.",
     set_debug_exit},
    {.name = NULL},
};

void run_options_init(struct run_options *options)
{
    *options = (struct run_options){.log_level = LOG_LEVEL_INFO, .image_timeout = IMAGE_TIMEOUT};
}
