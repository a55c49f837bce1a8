// SPDX-License-Identifier: Apache-2.0
/*
 * vmm, the front (docs/adr/0001): chooses the verb. One thread, start-up only: what runs a machine
 * is the monitor.
 */
#include "verbs.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>

static const struct verb *const verbs[] = {&verb_run, &verb_ctl, &verb_console, &verb_check,
                                           &verb_inspect};

/* A caller may have closed one of the first three descriptors; the next file opened would take its
 * place, and the log or the console would be written into somebody's disk. */
static void fill_standard_fds(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
    }
}

static void print_help(FILE *out)
{
    fprintf(out,
            "usage: vmm VERB [flags] [arguments]\n\nRuns a virtual machine on KVM.\n\nverbs:\n");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        size_t len = strcspn(verbs[i]->summary, "\n");
        fprintf(out, "  %-8s  %.*s\n", verbs[i]->name, (int)len, verbs[i]->summary);
    }
    fprintf(out, "\n`vmm VERB --help` says more; `vmm --version` says which vmm this is.\n");
}

static int unknown_verb(const char *word)
{
    struct error err = ERROR_INIT;
    const char *names[ARRAY_SIZE(verbs)];
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        names[i] = verbs[i]->name;
    error_set(&err, EINVAL, "unknown verb '%s'", word);
    const char *nearest = flags_nearest(word, names, ARRAY_SIZE(names), sizeof(names[0]));
    if (nearest != NULL)
        error_hint(&err, "did you mean `vmm %s`?", nearest);
    else
        error_hint(&err, "`vmm --help` lists them");
    return report_error(&err);
}

int main(int argc, char **argv)
{
    fill_standard_fds();
    log_setup("vmm", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    if (argc < 2) {
        print_help(stderr);
        return EXIT_BAD_CONFIG;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(stdout);
        return EXIT_OK;
    }
    if (strcmp(word, "--version") == 0) {
        printf("vmm " PODVISOR_VERSION "\n");
        return EXIT_OK;
    }
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(word, verbs[i]->name) == 0)
            return verbs[i]->run(argc - 2, argv + 2);
    }
    return unknown_verb(word);
}
