// SPDX-License-Identifier: Apache-2.0
/*
 * How long a monitor takes from exec to the guest's first instruction: runs a command with its
 * standard output on a pipe, notes the time right before execve(2) and when the first '!' arrives
 * (the first thing boot-stamp.elf does is to write it to the serial port), ends the command, and
 * prints the difference in microseconds. For tools/bench; a script would add its own start-up time.
 */
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 60000

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Returns when the byte arrived, or 0 when the command ended or said nothing. */
static uint64_t wait_for_stamp(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    while (poll(&pfd, 1, TIMEOUT_MS) > 0) {
        uint64_t now = now_ns();
        char buf[256];
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n <= 0)
            return 0;
        if (memchr(buf, '!', (size_t)n) != NULL)
            return now;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int out[2];
    if (argc < 2 || pipe(out) < 0) {
        fprintf(stderr, "usage: exec-stamp COMMAND [ARGUMENT...]\n");
        return 2;
    }
    uint64_t *exec_ns =
        mmap(NULL, sizeof(*exec_ns), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (exec_ns == MAP_FAILED) {
        perror("exec-stamp: mmap");
        return 2;
    }
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        *exec_ns = now_ns();
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    close(out[1]);
    uint64_t stamp_ns = pid > 0 ? wait_for_stamp(out[0]) : 0;
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (stamp_ns == 0) {
        fprintf(stderr, "exec-stamp: the guest said nothing\n");
        return 1;
    }
    printf("%.1f\n", (double)(stamp_ns - *exec_ns) / 1000);
    return 0;
}
