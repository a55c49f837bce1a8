// SPDX-License-Identifier: Apache-2.0
/* The flags of `vmm run`: what they mean, and what each mistake is told. */
#include "options.h"
#include "run_suite.h"
#include "verbs.h"
#include <check.h>
#include <string.h>

#define WORD_MAX 32

/* Parses words separated by '|'; the options point into the static copy. */
static int parse(const char *line, struct run_options *o, struct positionals *words,
                 struct error *err)
{
    static char copy[1024];
    char *argv[WORD_MAX];
    int argc = 0;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *rest = copy, *word; *line != '\0' && (word = strsep(&rest, "|")) != NULL;) {
        ck_assert_int_lt(argc, WORD_MAX);
        argv[argc++] = word;
    }
    run_options_init(o);
    *err = ERROR_INIT;
    return flags_parse(&verb_run, argc, argv, o, words, err);
}

START_TEST(nothing_said)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(parse("", &o, &words, &err), 0);
    ck_assert_uint_eq(words.count, 0);
    ck_assert_ptr_null(o.kernel);
    ck_assert_uint_eq(o.cpus, 0);
    ck_assert_uint_eq(o.memory, 0);
    ck_assert(!o.has_console && !o.has_grace_period && !o.has_memory_backing);
    ck_assert_int_eq(o.console, CONSOLE_STDIO);
    ck_assert_int_eq(o.sandbox, MACHINE_SANDBOX_ON);
    ck_assert_int_eq(o.log_level, LOG_LEVEL_INFO);
}
END_TEST

START_TEST(everything_said)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(parse("vm.yaml|--kernel=k|--initrd|i|--cmdline|a=b c|--cpus|4|--memory|1.5Gi|"
                           "--memory-backing|hugetlb-2M|--no-rng|--no-balloon|--console|file=log",
                           &o, &words, &err),
                     0);
    ck_assert_uint_eq(words.count, 1);
    ck_assert_str_eq(words.word[0], "vm.yaml");
    ck_assert_str_eq(o.kernel, "k");
    ck_assert_str_eq(o.initrd, "i");
    ck_assert_str_eq(o.cmdline, "a=b c");
    ck_assert_uint_eq(o.cpus, 4);
    ck_assert_uint_eq(o.memory, UINT64_C(1536) << 20);
    ck_assert_int_eq(o.memory_backing, MACHINE_MEMORY_HUGE_2M);
    ck_assert(o.no_rng && o.no_balloon);
    ck_assert_int_eq(o.console, CONSOLE_FILE);
    ck_assert_str_eq(o.console_path, "log");

    ck_assert_int_eq(parse("--control|s|--log|json|--log-level|debug|--sandbox|log|--debug-exit|"
                           "--name|web|--grace-period|0|--termination-message|t|--console-device|"
                           "virtio",
                           &o, &words, &err),
                     0);
    ck_assert_str_eq(o.control, "s");
    ck_assert_int_eq(o.log_format, LOG_FORMAT_JSON);
    ck_assert_int_eq(o.log_level, LOG_LEVEL_DEBUG);
    ck_assert_int_eq(o.sandbox, MACHINE_SANDBOX_LOG);
    ck_assert(o.debug_exit && o.has_grace_period);
    ck_assert_uint_eq(o.grace_period_seconds, 0);
    ck_assert_str_eq(o.termination_message, "t");
    ck_assert_int_eq(o.console_device, MACHINE_CONSOLE_VIRTIO);
}
END_TEST

START_TEST(disks)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(parse("--disk|path=a,format=raw|--disk|format=raw,path=b,,c=d,readonly,"
                           "serial=s1,name=data,direct,discard=off|--disk|name=root,path=x",
                           &o, &words, &err),
                     0);
    ck_assert_uint_eq(o.disk_count, 3);
    ck_assert_str_eq(o.disk[0].path, "a");
    ck_assert(!o.disk[0].readonly && o.disk[0].tuning.cache == DISK_CACHE_UNSET &&
              !o.disk[0].has_discard);
    ck_assert_str_eq(o.disk[1].path, "b,c=d");
    ck_assert_str_eq(o.disk[1].serial, "s1");
    ck_assert_str_eq(o.disk[1].name, "data");
    ck_assert(o.disk[1].readonly && o.disk[1].tuning.cache == DISK_CACHE_NONE);
    ck_assert(o.disk[1].has_discard && !o.disk[1].discard);
    ck_assert_str_eq(o.disk[2].name, "root");
}
END_TEST

START_TEST(disk_tuning)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(parse("--disk|path=a,format=raw,cache=writethrough,io=native,queues=3,"
                           "error-policy=enospace,dedicated-io-thread,iops=1k,iops-burst=5000,"
                           "bps=10Mi,bps-burst=1Mi|--disk|path=b,format=raw,direct=off,io=threads",
                           &o, &words, &err),
                     0);
    const struct disk_tuning *t = &o.disk[0].tuning;
    ck_assert_int_eq(t->cache, DISK_CACHE_WRITETHROUGH);
    ck_assert_int_eq(t->io, MACHINE_DISK_IO_NATIVE);
    ck_assert_uint_eq(t->queues, 3);
    ck_assert(t->has_error_policy && t->error_policy == MACHINE_ERROR_ENOSPACE);
    ck_assert(t->dedicated_io_thread);
    ck_assert_uint_eq(t->iops, 1000);
    ck_assert_uint_eq(t->iops_burst, 5000);
    ck_assert_uint_eq(t->bps, 10 << 20);
    ck_assert_uint_eq(t->bps_burst, 1 << 20);
    t = &o.disk[1].tuning;
    ck_assert_int_eq(t->cache, DISK_CACHE_UNSET);
    ck_assert_int_eq(t->io, MACHINE_DISK_IO_THREADS);
    ck_assert(!t->has_error_policy && !t->dedicated_io_thread && t->queues == 0);
}
END_TEST

START_TEST(nets)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0, 0xab, 0xCD, 0xef};
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(
        parse("--net|tap=t0|--net|tap=t1,mac=52:54:00:ab:CD:ef,name=n,mtu=1450", &o, &words, &err),
        0);
    ck_assert_uint_eq(o.net_count, 2);
    ck_assert_str_eq(o.net[0].tap, "t0");
    ck_assert(!o.net[0].has_mac);
    ck_assert(o.net[1].has_mac);
    ck_assert_mem_eq(o.net[1].mac, mac, 6);
    ck_assert_uint_eq(o.net[1].mtu, 1450);
    ck_assert_str_eq(o.net[1].name, "n");
}
END_TEST

START_TEST(layers)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(parse("--disk|path=a,format=qcow2,backing=b,backing-format=qcow2,"
                           "backing=c,backing-format=raw,readonly|--disk|path=d,format=qcow2",
                           &o, &words, &err),
                     0);
    ck_assert_int_eq(o.disk[0].format, MACHINE_DISK_QCOW2);
    ck_assert_uint_eq(o.disk[0].backing_count, 2);
    ck_assert_str_eq(o.disk[0].backing[0].path, "b");
    ck_assert_int_eq(o.disk[0].backing[0].format, MACHINE_DISK_QCOW2);
    ck_assert_str_eq(o.disk[0].backing[1].path, "c");
    ck_assert_int_eq(o.disk[0].backing[1].format, MACHINE_DISK_RAW);
    ck_assert(o.disk[0].readonly);
    ck_assert_uint_eq(o.disk[1].backing_count, 0);
}
END_TEST

/* The line and a part of what it must be told. */
static const char *const mistakes[][2] = {
    {"--kernal|x", "unknown flag --kernal; did you mean --kernel?"},
    {"--memry=1Gi", "unknown flag --memry; did you mean --memory?"},
    {"--zzz", "unknown flag --zzz; `vmm run --help` lists them all"},
    {"-k|x", "unknown flag -k; flags begin with two dashes"},
    {"--kernel", "--kernel needs a value: --kernel FILE"},
    {"--kernel=", "--kernel: the value is empty"},
    {"--no-rng=1", "--no-rng takes no value"},
    {"--disk|path=a,format=raw,cache=unsafe",
     "cache: 'unsafe' is not one of none, writethrough, writeback"},
    {"--disk|path=a,format=raw,io=x", "io: 'x' is not one of native, threads, io_uring, aio"},
    {"--disk|path=a,format=raw,queues=9", "queues: '9' is not a number from 1 to 8"},
    {"--disk|path=a,format=raw,error-policy=x", "not one of report, stop, enospace, ignore"},
    {"--disk|path=a,format=raw,iops=0", "iops: '0' is not from 1 to 1Ti"},
    {"--disk|path=a,format=raw,bps", "bps needs a value: bps=..."},
    {"--disk|path=a,format=raw,bps=2Ti", "bps: '2Ti' is not from 1 to 1Ti"},
    {"--disk|path=a,format=raw,iops-burst=5", "add iops=N"},
    {"--disk|path=a,format=raw,bps-burst=5", "add bps=N"},
    {"--disk|path=a,format=raw,chace=none", "did you mean 'cache'?"},
    {"--cpus|0", "--cpus: '0' is not a number from 1 to 64"},
    {"--cpus|65", "from 1 to 64"},
    {"--cpus|+1", "'+1' is not a number"},
    {"--cpus| 1", "' 1' is not a number"},
    {"--cpus|1x", "'1x' is not a number"},
    {"--cpus|99999999999999999999", "is not a number"},
    {"--memory|0", "a machine needs memory"},
    {"--memory|lots", "--memory: "},
    {"--memory|1GB", "did you mean"},
    {"--memory|-1", "--memory: "},
    {"--memory-backing|huge", "'huge' is not one of anonymous, memfd, hugetlb-2M, hugetlb-1G"},
    {"--disk|path=a", "a: the format is never guessed; add format=raw"},
    {"--disk|format=raw", "which file?"},
    {"--disk|path=a,format=vmdk", "format: 'vmdk' is not one of raw, qcow2; convert others"},
    {"--disk|path=a,format=qcow2,backing=b", "b: the format is never guessed; add backing-format"},
    {"--disk|path=a,format=raw,backing=b,backing-format=raw", "b cannot lie on anything"},
    {"--disk|path=a,format=qcow2,backing=b,backing-format=raw,backing=c,backing-format=raw",
     "c cannot lie on anything"},
    {"--disk|path=a,format=qcow2,backing-format=raw", "backing=PATH goes before backing-format"},
    {"--disk|name=a,path=a,backing=b,backing-format=raw", "a: the format is never guessed"},
    {"--disk|path=a,format=qcow2,backing=,backing-format=raw", "backing needs a value"},
    {"--disk|path=a,format=qcow2,backing=b,backing=b,backing=b,backing=b,backing=b",
     "more than 4 images"},
    {"--disk|path=a,format=raw,backward", "unknown key 'backward'"},
    {"--disk|path=,format=raw", "path needs a value"},
    {"--disk|path=a,format=raw,redonly", "unknown key 'redonly'; did you mean 'readonly'?"},
    {"--disk|path=a,format=raw,readonly=maybe", "readonly: 'maybe' is not one of on, off"},
    {"--disk|path=a,format=raw,serial=123456789012345678901", "longer than 20 bytes"},
    {"--disk|", "unknown key ''"},
    {"--net|mac=52:54:00:00:00:01", "which tap?"},
    {"--net|tap=t,mac=52:54:00:00:00", "malformed MAC address"},
    {"--net|tap=t,mac=52:54:00:00:0:001", "write six bytes"},
    {"--net|tap=t,mac=53:54:00:00:00:01", "is a multicast address"},
    {"--net|tap=t,mac=00:00:00:00:00:00", "must not be zero"},
    {"--net|tap=t,mtu=67", "mtu: '67' is not a number from 68 to 65535"},
    {"--net|tpa=t", "unknown key 'tpa'; did you mean 'tap'?"},
    {"--console|stdoi", "'stdoi' is not one of stdio, off, file=PATH"},
    {"--console|file=", "the value is empty"},
    {"--grace-period|-1", "--grace-period: "},
    {"--log|xml", "'xml' is not one of text, json"},
    {"--log-level|loud", "is not one of error, warning, info, debug"},
    {"--sandbox|maybe", "is not one of on, log, off"},
    {"a|b|c|d|e", "too many arguments: e"},
};

START_TEST(each_mistake_is_told)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_lt(parse(mistakes[_i][0], &o, &words, &err), 0);
    ck_assert_msg(strstr(err.text, mistakes[_i][1]) != NULL, "%s gave: %s", mistakes[_i][0],
                  err.text);
    ck_assert_ptr_null(strchr(err.text, '\n'));
}
END_TEST

START_TEST(devices_are_bounded)
{
    struct run_options o;
    struct error err = ERROR_INIT;
    run_options_init(&o);
    const struct flag *disk = run_flags, *net = run_flags;
    while (strcmp(disk->name, "disk") != 0)
        disk++;
    while (strcmp(net->name, "net") != 0)
        net++;
    for (int i = 0; i <= MACHINE_DISK_MAX; i++) {
        char value[] = "path=a,format=raw";
        ck_assert_int_eq(disk->set(&o, value, &err), i < MACHINE_DISK_MAX ? 0 : -EINVAL);
    }
    for (int i = 0; i <= MACHINE_NET_MAX; i++) {
        char value[] = "tap=t";
        ck_assert_int_eq(net->set(&o, value, &err), i < MACHINE_NET_MAX ? 0 : -EINVAL);
    }
}
END_TEST

START_TEST(dashes_end_the_flags)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(parse("--|--kernel", &o, &words, &err), 0);
    ck_assert_uint_eq(words.count, 1);
    ck_assert_str_eq(words.word[0], "--kernel");
}
END_TEST

START_TEST(last_one_counts)
{
    struct run_options o;
    struct positionals words;
    struct error err;
    ck_assert_int_eq(parse("--cpus|1|--cpus|2", &o, &words, &err), 0);
    ck_assert_uint_eq(o.cpus, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front-options");
    TCase *tc = tcase_create("options");
    tcase_add_test(tc, nothing_said);
    tcase_add_test(tc, everything_said);
    tcase_add_test(tc, disks);
    tcase_add_test(tc, layers);
    tcase_add_test(tc, disk_tuning);
    tcase_add_test(tc, nets);
    tcase_add_loop_test(tc, each_mistake_is_told, 0, sizeof(mistakes) / sizeof(mistakes[0]));
    tcase_add_test(tc, devices_are_bounded);
    tcase_add_test(tc, dashes_end_the_flags);
    tcase_add_test(tc, last_one_counts);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
