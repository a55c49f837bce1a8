// SPDX-License-Identifier: Apache-2.0
/* `vmm ctl`: one request to a running machine; its result is printed as JSON: one line, or indented
 * on a terminal. */
#include "client.h"
#include "pod.h"
#include "verbs.h"
#include <podvisor/cleanup.h>
#include <podvisor/quantity.h>
#include <string.h>

#define TIMEOUT_DEFAULT 60 /* seconds */

struct ctl_options {
    const char *control;
    unsigned timeout;
};

static const char *const requests[] = {"status", "pause", "resume",  "shutdown",
                                       "reset",  "stop",  "metrics", "balloon"};

static int set_control(void *options, char *value, struct error *err)
{
    (void)err;
    ((struct ctl_options *)options)->control = value;
    return 0;
}

static int set_timeout(void *options, char *value, struct error *err)
{
    unsigned long n;
    int r = flags_number(value, 0, 86400, &n, err);
    if (r == 0)
        ((struct ctl_options *)options)->timeout = (unsigned)n;
    return r;
}

static const struct flag ctl_flags[] = {
    {"control", "SOCKET",
     "The machine's socket; then it is not the first argument. In a pod none\n"
     "is needed.",
     set_control},
    {"timeout", "SECONDS", "How long to wait for the answer; 0: for ever. Default: 60.",
     set_timeout},
    {.name = NULL},
};

static bool is_request(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        if (strcmp(word, requests[i]) == 0)
            return true;
    }
    return false;
}

static int check_request(const char *word, unsigned argument_count, struct error *err)
{
    if (!is_request(word)) {
        error_set(err, EINVAL, "unknown request '%s'", word);
        const char *nearest =
            flags_nearest(word, requests, ARRAY_SIZE(requests), sizeof(requests[0]));
        if (nearest != NULL)
            return error_hint(err, "did you mean %s?", nearest);
        return error_hint(err, "`vmm ctl --help` lists them");
    }
    bool is_balloon = strcmp(word, "balloon") == 0;
    if (is_balloon && argument_count != 1)
        return error_set(err, EINVAL, "balloon needs the memory that the guest may keep: 256Mi");
    if (!is_balloon && argument_count != 0)
        return error_set(err, EINVAL, "%s takes no argument", word);
    return 0;
}

/* In a pod the first word may be the request: unless the second one is. */
static const char *default_socket(const struct positionals *words)
{
    bool has_request = words->count > 0 && is_request(words->word[0]);
    bool names_socket = words->count > 1 && is_request(words->word[1]);
    return has_request && !names_socket ? pod_control() : NULL;
}

/* Takes socket, request and arguments apart. */
static int read_words(const struct ctl_options *options, const struct positionals *words,
                      const char **ret_socket, const char **ret_request, char *params, size_t size,
                      struct error *err)
{
    unsigned next = 0;
    const char *socket = options->control;
    if (socket == NULL)
        socket = default_socket(words);
    if (socket == NULL && words->count > 0)
        socket = words->word[next++];
    if (socket == NULL)
        return error_set(err, EINVAL, "which machine? `vmm ctl SOCKET REQUEST`");
    if (next >= words->count)
        return error_set(err, EINVAL, "which request? `vmm ctl %s status`", socket);
    const char *request = words->word[next++];
    int r = check_request(request, words->count - next, err);
    uint64_t target;
    if (r == 0 && next < words->count) {
        r = quantity_parse(words->word[next], &target, err);
        if (r == 0)
            snprintf(params, size, "{\"target\":%llu}", (unsigned long long)target);
    }
    *ret_socket = socket;
    *ret_request = request;
    return r;
}

/* For people: a line for each member. The text is the machine's and was scanned by the client. */
static void print_indented(const char *json, size_t len)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = json[i];
        bool closes = !in_string && (c == '}' || c == ']');
        bool opens = !in_string && (c == '{' || c == '[');
        bool is_empty = opens && i + 1 < len && (json[i + 1] == '}' || json[i + 1] == ']');
        if (closes && i > 0 && json[i - 1] != '{' && json[i - 1] != '[')
            printf("\n%*s", 2 * --depth, "");
        else if (closes)
            depth--;
        putchar(c);
        depth += opens;
        if ((opens && !is_empty) || (c == ',' && !in_string))
            printf("\n%*s", 2 * depth, "");
        else if (c == ':' && !in_string)
            putchar(' ');
        if (c == '\\' && in_string && i + 1 < len)
            putchar(json[++i]);
        else if (c == '"')
            in_string = !in_string;
    }
    putchar('\n');
}

static int call(const char *socket, const char *request, const char *params, unsigned timeout,
                struct error *err)
{
    static struct client client;
    const char *result = "", *rest;
    size_t len = 0, rest_len;
    int r = client_open(&client, socket, timeout, err);
    if (r < 0)
        return r;
    r = client_call(&client, request, *params != '\0' ? params : NULL, &result, &len, &rest,
                    &rest_len, err);
    if (r == 0 && len > 2 && isatty(STDOUT_FILENO)) /* "{}" says no more than the exit code */
        print_indented(result, len);
    else if (r == 0 && len > 2)
        printf("%.*s\n", (int)len, result);
    client_close(&client);
    return r;
}

static int run(int argc, char **argv)
{
    struct ctl_options options = {.timeout = TIMEOUT_DEFAULT};
    struct positionals words;
    struct error err = ERROR_INIT;
    const char *socket = NULL, *request = NULL;
    char params[64] = "";
    int r = flags_parse(&verb_ctl, argc, argv, &options, &words, &err);
    if (r > 0)
        return EXIT_OK;
    if (r == 0)
        r = read_words(&options, &words, &socket, &request, params, sizeof(params), &err);
    if (r == 0)
        r = call(socket, request, params, options.timeout, &err);
    return r < 0 ? report_error(&err) : EXIT_OK;
}

const struct verb verb_ctl = {
    .name = "ctl",
    .arguments = "[SOCKET] REQUEST",
    .summary = "Asks a running machine for something, over its control socket.",
    .details = "Requests:\n"
               "  status      what the machine is and does, as JSON\n"
               "  metrics     its counters, as JSON\n"
               "  pause       stop the virtual CPUs\n"
               "  resume      let them run again\n"
               "  shutdown    press the power button\n"
               "  reset       start the machine over\n"
               "  stop        end it at once\n"
               "  balloon N   let the guest keep N bytes of memory (256Mi)",
    .flags = ctl_flags,
    .run = run,
};
