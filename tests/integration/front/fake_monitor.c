// SPDX-License-Identifier: Apache-2.0
/*
 * Takes the monitor's place: prints as one line of JSON what `vmm run` handed over, and ends. Tells
 * whether the configuration is sealed, what every descriptor is, and what the environment holds.
 */
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/json_write.h>
#include <podvisor/machine_config.h>
#include <stdio.h>
#include <string.h>

static struct machine_config config;
static char text[65536];

static void write_mac(struct json_writer *w, const uint8_t m[6])
{
    char mac[18];
    snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    json_write_string(w, "mac", mac);
}

static void write_basics(struct json_writer *w)
{
    json_write_string(w, "name", config.name);
    json_write_uint64(w, "cpus", config.cpus);
    json_write_bool(w, "noHypercalls", config.no_hypercalls);
    json_write_uint64(w, "memory", config.memory);
    json_write_uint64(w, "memoryBacking", config.memory_backing);
    json_write_string(w, "cmdline", config.cmdline);
    json_write_bool(w, "rng", config.rng);
    json_write_bool(w, "balloon", config.balloon);
    json_write_int64(w, "kernelFd", config.kernel_fd);
    json_write_int64(w, "initrdFd", config.initrd_fd);
    json_write_int64(w, "kvmFd", config.kvm_fd);
    json_write_uint64(w, "consoleDevice", config.console_device);
    json_write_int64(w, "consoleInFd", config.console_in_fd);
    json_write_int64(w, "consoleOutFd", config.console_out_fd);
    json_write_bool(w, "consoleIsTerminal", config.console_is_terminal);
    json_write_int64(w, "controlFd", config.control_fd);
    json_write_int64(w, "terminationFd", config.termination_fd);
    json_write_uint64(w, "gracePeriodSeconds", config.grace_period_seconds);
    json_write_uint64(w, "sandbox", config.sandbox);
    json_write_bool(w, "debugExit", config.debug_exit);
    json_write_bool(w, "execTime", config.exec_time_ns != 0);
    json_write_bool(w, "startPaused", config.start_paused);
    json_write_bool(w, "rebootTerminates", config.reboot_terminates);
    json_write_array(w, "keepFds");
    for (unsigned i = 0; i < config.keep_fd_count; i++)
        json_write_int64(w, NULL, config.keep_fd[i]);
    json_write_end(w);
}

static void write_devices(struct json_writer *w)
{
    json_write_array(w, "disks");
    for (unsigned i = 0; i < config.disk_count; i++) {
        const struct machine_disk *d = &config.disk[i];
        json_write_object(w, NULL);
        json_write_string(w, "name", d->name);
        json_write_int64(w, "fd", d->fd);
        json_write_bool(w, "qcow2", d->format == MACHINE_DISK_QCOW2);
        json_write_array(w, "backing");
        for (unsigned k = 0; k < d->backing_count; k++) {
            json_write_object(w, NULL);
            json_write_int64(w, "fd", d->backing[k].fd);
            json_write_bool(w, "qcow2", d->backing[k].format == MACHINE_DISK_QCOW2);
            json_write_end(w);
        }
        json_write_end(w);
        json_write_bool(w, "readonly", d->readonly);
        json_write_bool(w, "direct", d->direct);
        json_write_bool(w, "discard", d->discard);
        json_write_uint64(w, "size", d->size);
        json_write_string(w, "serial", d->serial);
        json_write_end(w);
    }
    json_write_end(w);
    json_write_array(w, "nets");
    for (unsigned i = 0; i < config.net_count; i++) {
        json_write_object(w, NULL);
        json_write_string(w, "name", config.net[i].name);
        json_write_int64(w, "fd", config.net[i].tap_fd);
        write_mac(w, config.net[i].mac);
        json_write_uint64(w, "mtu", config.net[i].mtu);
        json_write_bool(w, "offload", config.net[i].offload);
        json_write_end(w);
    }
    json_write_end(w);
}

static void write_descriptors(struct json_writer *w)
{
    json_write_object(w, "descriptors");
    for (int fd = 0; fd < 256; fd++) {
        char link[64], name[16], target[4096];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        snprintf(name, sizeof(name), "%d", fd);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        if (n < 0)
            continue;
        target[n] = '\0';
        json_write_string(w, name, target);
    }
    json_write_end(w);
}

int main(int argc, char **argv)
{
    int fd = argc == 3 && strcmp(argv[1], "--config-fd") == 0 ? atoi(argv[2]) : -1;
    struct json_writer w;
    size_t len;
    if (pread(fd, &config, sizeof(config), 0) != (ssize_t)sizeof(config) ||
        config.magic != MACHINE_CONFIG_MAGIC || config.version != MACHINE_CONFIG_VERSION ||
        config.size != sizeof(config))
        return 3;
    json_write_init(&w, text, sizeof(text));
    json_write_object(&w, NULL);
    json_write_string(&w, "program", argv[0]);
    json_write_int64(&w, "configFd", fd);
    json_write_bool(&w, "sealed",
                    fcntl(fd, F_GET_SEALS) ==
                        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
    write_basics(&w);
    write_devices(&w);
    write_descriptors(&w);
    json_write_array(&w, "environment");
    for (char **e = environ; *e != NULL; e++)
        json_write_string(&w, NULL, *e);
    json_write_end(&w);
    json_write_end(&w);
    if (json_write_finish(&w, &len) < 0)
        return 3;
    puts(text);
    return 0;
}
