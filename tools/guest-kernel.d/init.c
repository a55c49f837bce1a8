// SPDX-License-Identifier: Apache-2.0
/*
 * PID 1 of the Linux test guest: runs the tests named on the kernel command line and reports each on the console.
 *
 *   podvisor.test=info,disk,net      which tests, in this order (README.md lists them and their parameters)
 *   podvisor.end=poweroff            what follows the last one: poweroff, reboot or stay
 *
 * One line a result, written in one piece:  GUEST ok <test> <details>  |  GUEST fail <test> <reason>
 * and at the end  GUEST done ok=<n> fail=<n>.
 *
 * Each test runs in a child with a deadline, so that a device that never answers is a failed test and not a hang.
 * Another child waits for the ACPI power button as long as the guest is up.
 *
 * Linked statically against musl: a small image with next to no start-up, and none of the AVX code that glibc would
 * pick from CPUID, whose registers a kernel booted with noxsave does not save.
 * Under shadow paging a system call costs a millisecond and user code nothing: hence the large buffers and O_DIRECT.
 */
#define _GNU_SOURCE
#include "support.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK (1u << 20) /* bytes a read or write of the bulk tests */
#define SECTOR_ALIGN 4096u

static char chunk[CHUNK] __attribute__((aligned(SECTOR_ALIGN)));

/* ---- info ---------------------------------------------------------------------------------------------------------- */

/* Prints "what name=<entry> <key>=<contents of dir/entry/file>" for each entry of a sysfs folder. */
static void list_folder(const char *dir, const char *what, const char *file, const char *key)
{
        DIR *d = opendir(dir);
        struct dirent *e;

        while (d && (e = readdir(d))) {
                char path[512], value[128];

                if (e->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof(path), "%s/%s/%s", dir, e->d_name, file);
                read_file(path, value, sizeof(value));
                value[strcspn(value, "\n")] = '\0';
                say("info %s name=%s %s=%s", what, e->d_name, key, value);
        }
        if (d)
                closedir(d);
}

static int test_info(void)
{
        struct utsname u;
        unsigned int cpus = 0;
        char *model;

        if (uname(&u) == 0)
                say("info kernel %s %s %s", u.sysname, u.release, u.machine);
        read_file("/proc/cpuinfo", chunk, sizeof(chunk));
        for (char *p = chunk; p; p = strchr(p, '\n')) {
                p += *p == '\n';
                cpus += strncmp(p, "processor\t", 10) == 0;
        }
        model = field(chunk, "model name");
        say("info cpu online=%u model=%s", cpus, model ? model : "?");
        read_file("/proc/meminfo", chunk, sizeof(chunk));
        model = field(chunk, "MemTotal");
        say("info memory total=%s", model ? model : "?");
        list_folder("/sys/class/block", "block", "size", "sectors");
        list_folder("/sys/class/net", "net", "address", "mac");
        list_folder("/sys/bus/virtio/devices", "virtio", "device", "id");
        list_folder("/sys/class/rtc", "rtc", "since_epoch", "seconds");
        say("ok info");
        return 0;
}

/* ---- disk ---------------------------------------------------------------------------------------------------------- */

static int mount_disk(const char *test)
{
        mkdir("/mnt", 0755);
        return mount(param("disk", "/dev/vda"), "/mnt", "ext4", 0, NULL) < 0 ? fail(test, "mount") : 0;
}

static int append_result(const char *text)
{
        int fd = open("/mnt/result", O_WRONLY | O_CREAT | O_APPEND, 0644);
        int r = fd < 0 || write(fd, text, strlen(text)) < 0 || fsync(fd) < 0;

        close(fd);
        return r ? -1 : 0;
}

/* O_DIRECT both ways: the device is what is tested, and copying through the page cache is what would cost time. */
static int disk_pass(const char *path, bool writing, unsigned long chunks, char hex[65])
{
        int fd = open(path, writing ? O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT : O_RDONLY | O_DIRECT, 0644);
        uint64_t state = 1;
        struct sha256 sha;

        if (fd < 0)
                return fail("disk", writing ? "create" : "open");
        sha256_init(&sha);
        for (unsigned long i = 0; i < chunks; i++) {
                ssize_t n;

                if (writing)
                        fill_pattern(chunk, CHUNK, &state);
                n = writing ? write(fd, chunk, CHUNK) : read(fd, chunk, CHUNK);
                if (n != CHUNK)
                        return fail("disk", writing ? "write" : "read");
                sha256_add(&sha, chunk, CHUNK);
        }
        if (writing && fsync(fd) < 0)
                return fail("disk", "fsync");
        close(fd);
        sha256_end(&sha, hex);
        return 0;
}

static int test_disk(void)
{
        unsigned long mib = number("disk_mib", 8), start, wrote, end;
        char written[65], got[65], result[128];

        if (mount_disk("disk") < 0)
                return -1;
        start = now_us();
        if (disk_pass("/mnt/podvisor.bin", true, mib, written) < 0)
                return -1;
        wrote = now_us();
        if (disk_pass("/mnt/podvisor.bin", false, mib, got) < 0)
                return -1;
        end = now_us();
        if (strcmp(written, got) != 0) {
                say("fail disk read back sha256=%s, wrote %s", got, written);
                return -1;
        }
        snprintf(result, sizeof(result), "disk mib=%lu sha256=%s\n", mib, got);
        if (append_result(result) < 0)
                return fail("disk", "result file");
        if (umount("/mnt") < 0)
                return fail("disk", "umount");
        say("ok disk sha256=%s mib=%lu write_ms=%lu read_ms=%lu", got, mib, (wrote - start) / 1000,
            (end - wrote) / 1000);
        return 0;
}

/* A whole device, for disks whose file system this kernel does not know. */
static int read_device(const char *name)
{
        char path[64], hex[65];
        unsigned long bytes = 0;
        int readonly = -1, fd;
        struct sha256 sha;
        ssize_t n;

        snprintf(path, sizeof(path), "/dev/%s", name);
        fd = open(path, O_RDONLY);
        if (fd < 0 || ioctl(fd, BLKROGET, &readonly) < 0)
                return fail("read", name);
        sha256_init(&sha);
        while ((n = read(fd, chunk, CHUNK)) > 0) {
                sha256_add(&sha, chunk, (size_t)n);
                bytes += (unsigned long)n;
        }
        close(fd);
        if (n < 0)
                return fail("read", name);
        sha256_end(&sha, hex);
        say("info read name=%s bytes=%lu readonly=%d sha256=%s", name, bytes, readonly, hex);
        return 0;
}

static int test_read(void)
{
        char names[128], *save = NULL;

        snprintf(names, sizeof(names), "%s", param("read", "vda"));
        for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save))
                if (read_device(name) < 0)
                        return -1;
        say("ok read");
        return 0;
}

/* ---- net ----------------------------------------------------------------------------------------------------------- */

/* The gateway of the default route, in network byte order; 0 if there is none. */
static in_addr_t default_gateway(void)
{
        static char routes[4096];
        in_addr_t gateway = 0;

        read_file("/proc/net/route", routes, sizeof(routes));
        for (char *p = strchr(routes, '\n'); p && p[1]; p = strchr(p + 1, '\n')) {
                unsigned int destination;

                if (sscanf(p + 1, "%*s %x %x", &destination, &gateway) == 2 && destination == 0)
                        return gateway;
        }
        return 0;
}

static int report_address(void)
{
        struct ifreq ifr = { .ifr_name = "eth0" };
        int fd = socket(AF_INET, SOCK_DGRAM, 0);

        if (fd < 0 || ioctl(fd, SIOCGIFADDR, &ifr) < 0)
                return fail("net", "no address on eth0");
        close(fd);
        say("info address eth0=%s", inet_ntoa(((struct sockaddr_in *)&ifr.ifr_addr)->sin_addr));
        return 0;
}

static unsigned short icmp_checksum(const void *data, size_t size)
{
        const unsigned short *p = data;
        unsigned int sum = 0;

        for (size_t i = 0; i < size / 2; i++)
                sum += p[i];
        sum = (sum >> 16) + (sum & 0xffff);
        sum += sum >> 16;
        return (unsigned short)~sum;
}

/* One echo request; waits for its reply up to two seconds. Returns the round trip in µs, 0 if it was lost. */
static unsigned long ping_once(int fd, const struct sockaddr_in *to, unsigned short sequence)
{
        struct {
                struct icmphdr header;
                char data[56];
        } request = { .header = { .type = ICMP_ECHO, .un.echo = { .id = 0x7670, .sequence = sequence } } };
        unsigned long start = now_us();

        request.header.checksum = icmp_checksum(&request, sizeof(request));
        if (sendto(fd, &request, sizeof(request), 0, (const struct sockaddr *)to, sizeof(*to)) < 0)
                return 0;
        for (;;) {
                long left = 2000 - (long)(now_us() - start) / 1000;
                struct pollfd p = { .fd = fd, .events = POLLIN };
                unsigned char reply[256];
                struct icmphdr *icmp;
                ssize_t n;

                if (left <= 0 || poll(&p, 1, (int)left) <= 0)
                        return 0;
                n = read(fd, reply, sizeof(reply));
                icmp = (struct icmphdr *)(reply + (reply[0] & 15) * 4);
                if (n >= (ssize_t)((unsigned char *)(icmp + 1) - reply) && icmp->type == ICMP_ECHOREPLY &&
                    icmp->un.echo.id == 0x7670 && icmp->un.echo.sequence == sequence)
                        return now_us() - start + 1;
        }
}

static int ping(in_addr_t gateway, unsigned int count)
{
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = gateway };
        int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
        unsigned long best = ~0ul, sum = 0;
        unsigned int received = 0;

        if (fd < 0)
                return fail("net", "raw socket");
        for (unsigned int i = 1; i <= count; i++) {
                unsigned long rtt = ping_once(fd, &to, (unsigned short)i);

                if (!rtt)
                        continue;
                received++;
                sum += rtt;
                best = rtt < best ? rtt : best;
        }
        close(fd);
        if (received == 0) {
                say("fail net ping: none of %u answered", count);
                return -1;
        }
        say("info ping sent=%u received=%u rtt_min_us=%lu rtt_avg_us=%lu", count, received, best, sum / received);
        return 0;
}

static int tcp_connect(in_addr_t address, unsigned long port)
{
        struct sockaddr_in to = {
                .sin_family = AF_INET,
                .sin_addr.s_addr = address,
                .sin_port = htons((in_port_t)port),
        };
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
                return fail("net", "connect");
        return fd;
}

/* Receives or sends that many bytes over one connection, and reports their checksum. */
static int tcp_transfer(in_addr_t gateway, unsigned long port, bool sending, unsigned long bytes)
{
        int fd = tcp_connect(gateway, port);
        unsigned long start = now_us(), done = 0;
        uint64_t state = 1;
        struct sha256 sha;
        char hex[65];

        if (fd < 0)
                return -1;
        sha256_init(&sha);
        while (done < bytes) {
                size_t want = bytes - done < CHUNK ? bytes - done : CHUNK, part = 0;

                if (sending)
                        fill_pattern(chunk, CHUNK, &state);
                while (part < want) {
                        ssize_t n = sending ? write(fd, chunk + part, want - part) : read(fd, chunk, want - part);

                        if (n <= 0) {
                                say("fail net %s stopped after %lu of %lu bytes", sending ? "send" : "receive",
                                    done + part, bytes);
                                return -1;
                        }
                        if (!sending)
                                sha256_add(&sha, chunk, (size_t)n);
                        part += (size_t)n;
                }
                if (sending)
                        sha256_add(&sha, chunk, want);
                done += want;
        }
        close(fd);
        sha256_end(&sha, hex);
        say("info tcp %s=%lu sha256=%s ms=%lu", sending ? "sent" : "received", bytes, hex, (now_us() - start) / 1000);
        return 0;
}

static int test_net(void)
{
        unsigned long receive = number("net_receive", 0), send = number("net_send", 0);
        unsigned long bytes = number("net_bytes", 10 << 20);
        const char *given = param("gateway", NULL);
        in_addr_t gateway = given ? inet_addr(given) : default_gateway();

        if (report_address() < 0)
                return -1;
        if (gateway == 0) {
                say("fail net no default route");
                return -1;
        }
        if (ping(gateway, (unsigned int)number("net_pings", 3)) < 0)
                return -1;
        if (receive && tcp_transfer(gateway, receive, false, bytes) < 0)
                return -1;
        if (send && tcp_transfer(gateway, send, true, bytes) < 0)
                return -1;
        say("ok net gateway=%s", inet_ntoa((struct in_addr){ gateway }));
        return 0;
}

/* What the kernel's DHCP client was told, from /proc/net/pnp: servers and domain; the name and the MTU it set. */
static void report_dhcp(void)
{
        static char pnp[1024];
        struct utsname u;

        read_file("/proc/net/pnp", pnp, sizeof(pnp));
        for (char *line = strtok(pnp, "\n"); line; line = strtok(NULL, "\n"))
                say("info pnp %s", line);
        if (uname(&u) == 0)
                say("info hostname %s", u.nodename);
        list_folder("/sys/class/net", "link", "mtu", "mtu");
}

/* Gives back what each of so many connections sends, until its end. */
static int test_echo(void)
{
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((in_port_t)number("echo_port", 7)) };
        unsigned long count = number("echo_count", 1), bytes = 0;
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (report_address() < 0)
                return -1;
        report_dhcp();
        if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4) < 0)
                return fail("echo", "listen");
        say("echo port=%u", ntohs(at.sin_port));
        while (count-- > 0) {
                int peer = accept(fd, NULL, NULL);
                ssize_t n = 0;

                if (peer < 0)
                        return fail("echo", "accept");
                while ((n = read(peer, chunk, sizeof(chunk))) > 0) {
                        if (write(peer, chunk, (size_t)n) != n)
                                return fail("echo", "write");
                        bytes += (unsigned long)n;
                }
                close(peer);
        }
        say("ok echo bytes=%lu", bytes);
        return 0;
}

/* ---- The other devices --------------------------------------------------------------------------------------------- */

static int test_rng(void)
{
        unsigned char bytes[32];
        int fd = open("/dev/hwrng", O_RDONLY);
        char hex[65];

        if (fd < 0)
                return fail("rng", "open /dev/hwrng");
        for (size_t have = 0; have < sizeof(bytes);) {
                ssize_t n = read(fd, bytes + have, sizeof(bytes) - have);

                if (n <= 0)
                        return fail("rng", "read");
                have += (size_t)n;
        }
        for (size_t i = 0; i < sizeof(bytes); i++)
                snprintf(hex + i * 2, 3, "%02x", bytes[i]);
        say("ok rng bytes=%s", hex);
        return 0;
}

/* Writes a line to the virtio console, and with podvisor.console_wait=<seconds> reads what the host answers. */
static int test_console(void)
{
        unsigned long wait = number("console_wait", 0);
        int fd = open("/dev/hvc0", O_RDWR | O_NOCTTY);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char answer[128];
        ssize_t n;

        if (fd < 0)
                return fail("console", "open /dev/hvc0");
        if (write(fd, "GUEST hvc0\n", 11) != 11)
                return fail("console", "write");
        if (wait == 0) {
                say("ok console wrote=11");
                return 0;
        }
        if (poll(&p, 1, (int)wait * 1000) <= 0) {
                say("fail console nothing to read in %lu s", wait);
                return -1;
        }
        n = read(fd, answer, sizeof(answer) - 1);
        if (n <= 0)
                return fail("console", "read");
        answer[answer[n - 1] == '\n' ? n - 1 : n] = '\0';
        say("ok console wrote=11 read=%s", answer);
        return 0;
}

static unsigned long mem_available_kib(void)
{
        char *value;

        read_file("/proc/meminfo", chunk, sizeof(chunk));
        value = field(chunk, "MemAvailable");
        return value ? (unsigned long)atol(value) : 0;
}

/* Takes memory and gives it back to the kernel, which reports the free pages to the host (or a balloon takes them). */
static int test_balloon(void)
{
        unsigned long mib = number("balloon_mib", 16), wait = number("balloon_wait", 10);
        unsigned long before = mem_available_kib(), touched;
        char *p = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return fail("balloon", "mmap");
        for (unsigned long i = 0; i < mib << 20; i += 4096)
                p[i] = 1;
        touched = mem_available_kib();
        say("mem touched mib=%lu available_kib=%lu", mib, touched);
        munmap(p, mib << 20);
        say("mem freed mib=%lu", mib);
        sleep((unsigned int)wait);
        say("ok balloon before_kib=%lu touched_kib=%lu after_kib=%lu", before, touched, mem_available_kib());
        return 0;
}

/* ---- Power --------------------------------------------------------------------------------------------------------- */

static void end(const char *how)
{
        sync();
        if (strcmp(how, "reboot") == 0)
                reboot(RB_AUTOBOOT);
        if (strcmp(how, "poweroff") == 0)
                reboot(RB_POWER_OFF);
        for (;;)
                pause();
}

static bool has_power_key(int fd)
{
        unsigned char keys[KEY_MAX / 8 + 1] = { 0 };

        return ioctl(fd, EVIOCGBIT(EV_KEY, sizeof(keys)), keys) >= 0 && (keys[KEY_POWER / 8] & 1 << KEY_POWER % 8);
}

/* Runs in a child of its own until the guest ends: the power button ends it, whatever a test is doing. */
static void watch_power_button(void)
{
        char path[] = "/dev/input/event0";
        int fd = -1;

        for (; fd < 0 && path[16] <= '7'; path[16]++) {
                fd = open(path, O_RDONLY);
                if (fd >= 0 && !has_power_key(fd)) {
                        close(fd);
                        fd = -1;
                }
        }
        if (fd < 0)
                _exit(0);
        for (;;) {
                struct input_event e;

                if (read(fd, &e, sizeof(e)) != sizeof(e))
                        _exit(1);
                if (e.type == EV_KEY && e.code == KEY_POWER && e.value == 1) {
                        say("powerbutton");
                        end("poweroff");
                }
        }
}

/* The watcher powers the guest off, so coming back from the wait is the failure. */
static int test_powerbutton(void)
{
        unsigned long wait = number("powerbutton_wait", 60);

        say("waiting for powerbutton");
        sleep((unsigned int)wait);
        say("fail powerbutton not pressed in %lu s", wait);
        return -1;
}

static int test_pingable(void)
{
        unsigned long seconds = number("seconds", 30);

        if (report_address() < 0)
                return -1;
        say("pingable seconds=%lu", seconds);
        sleep((unsigned int)seconds);
        say("ok pingable");
        return 0;
}

static int test_idle(void)
{
        say("idle");
        end("stay");
        return -1;
}

/* With a disk the guest knows its second boot by the mark it left; without one it reboots every time. */
static int test_reboot(void)
{
        struct stat st;

        if (stat(param("disk", "/dev/vda"), &st) == 0) {
                if (mount_disk("reboot") < 0)
                        return -1;
                if (stat("/mnt/rebooted", &st) == 0) {
                        say("ok reboot");
                        return 0;
                }
                if (mkdir("/mnt/rebooted", 0755) < 0)
                        return fail("reboot", "mark");
                umount("/mnt");
        }
        say("rebooting");
        end("reboot");
        return -1;
}

static int test_panic(void)
{
        say("panicking");
        if (write_file("/proc/sysrq-trigger", "c") < 0)
                return fail("panic", "/proc/sysrq-trigger");
        say("fail panic still here");
        return -1;
}

/* ---- Running the tests --------------------------------------------------------------------------------------------- */

static const struct test {
        const char *name;
        int (*run)(void);
        unsigned int seconds; /* deadline on the slowest host, 0 for none */
} tests[] = {
        { "info", test_info, 60 },
        { "disk", test_disk, 300 },
        { "read", test_read, 60 },
        { "net", test_net, 600 },
        { "echo", test_echo, 300 },
        { "pingable", test_pingable, 0 },
        { "balloon", test_balloon, 300 },
        { "rng", test_rng, 60 },
        { "console", test_console, 120 },
        { "reboot", test_reboot, 60 },
        { "panic", test_panic, 60 },
        { "powerbutton", test_powerbutton, 0 },
        { "idle", test_idle, 0 },
};

/* Runs one test in a child. Polling a pidfd sees its end and the deadline alike, even while it hangs in a driver. */
static int run(const struct test *t)
{
        unsigned long seconds = t->seconds ? number("timeout", t->seconds) : 0;
        pid_t pid = fork();
        struct pollfd p = { .events = POLLIN };
        int status = -1;

        if (pid < 0)
                return fail(t->name, "fork");
        if (pid == 0)
                _exit(t->run() < 0);
        p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (p.fd >= 0 && poll(&p, 1, seconds ? (int)seconds * 1000 : -1) == 0) {
                kill(pid, SIGKILL);
                say("fail %s no result within %lu s", t->name, seconds);
                close(p.fd);
                return -1;
        }
        close(p.fd);
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status))
                say("fail %s killed by signal %d", t->name, WTERMSIG(status));
        return status ? -1 : 0;
}

static int run_named(const char *name, size_t len)
{
        for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
                if (strlen(tests[i].name) == len && strncmp(tests[i].name, name, len) == 0)
                        return run(&tests[i]);
        say("fail %.*s no such test", (int)len, name);
        return -1;
}

static void set_up(void)
{
        mkdir("/dev", 0755);
        mkdir("/proc", 0755);
        mkdir("/sys", 0755);
        mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
        mount("proc", "/proc", "proc", 0, NULL);
        mount("sysfs", "/sys", "sysfs", 0, NULL);
        start_reporting();
}

int main(void)
{
        unsigned int passed = 0, failed = 0;
        const char *list;

        set_up();
        say("init");
        if (fork() == 0)
                watch_power_button();
        for (list = param("test", "info"); *list;) {
                size_t len = strcspn(list, ",");

                if (run_named(list, len) < 0)
                        failed++;
                else
                        passed++;
                list += len + (list[len] == ',');
        }
        say("done ok=%u fail=%u", passed, failed);
        end(param("end", "poweroff"));
        return 0;
}
