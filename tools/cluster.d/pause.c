// SPDX-License-Identifier: Apache-2.0
// The process that holds a pod's namespaces: waits for its end, and for that of orphans in a shared process namespace.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_end(int signal)
{
    (void)signal;
    _exit(EXIT_SUCCESS);
}

int main(void)
{
    signal(SIGINT, on_end);
    signal(SIGTERM, on_end);
    for (;;) {
        if (waitpid(-1, NULL, 0) < 0)
            pause();
    }
}
