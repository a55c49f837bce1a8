// SPDX-License-Identifier: Apache-2.0
/* Command line parsing and help; start-up, one thread. See flags.h. */
#include "flags.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

#define NEAREST_DISTANCE 2

const char *flags_nearest(const char *given, const char *const *words, size_t count, size_t stride)
{
    const char *best = NULL;
    unsigned best_distance = NEAREST_DISTANCE + 1;
    for (size_t i = 0; i < count; i++) {
        const char *word = *(const char *const *)(const void *)((const char *)words + i * stride);
        unsigned d = str_distance(given, word, NEAREST_DISTANCE);
        /* Two changes turn any short word into any other. */
        if (d < best_distance && d < strlen(word)) {
            best = word;
            best_distance = d;
        }
    }
    return best;
}

static const struct flag *find_flag(const struct verb *verb, const char *name, size_t len)
{
    for (const struct flag *flag = verb->flags; flag->name != NULL; flag++) {
        if (strlen(flag->name) == len && memcmp(flag->name, name, len) == 0)
            return flag;
    }
    return NULL;
}

static int unknown_flag(const struct verb *verb, const char *given, struct error *err)
{
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(given, "="), given);
    error_set(err, EINVAL, "unknown flag --%s", name);
    size_t count = 0;
    while (verb->flags[count].name != NULL)
        count++;
    const char *nearest = flags_nearest(name, &verb->flags[0].name, count, sizeof(verb->flags[0]));
    if (nearest != NULL)
        return error_hint(err, "did you mean --%s?", nearest);
    return error_hint(err, "`vmm %s --help` lists them all", verb->name);
}

/* One flag at argv[*index]; moves the index to its last word. */
static int parse_flag(const struct verb *verb, int argc, char **argv, int *index, void *options,
                      struct error *err)
{
    char *name = argv[*index] + 2;
    size_t len = strcspn(name, "=");
    char *value = name[len] == '=' ? name + len + 1 : NULL;
    const struct flag *flag = find_flag(verb, name, len);
    if (flag == NULL)
        return unknown_flag(verb, name, err);
    if (flag->argument == NULL && value != NULL)
        return error_set(err, EINVAL, "--%s takes no value", flag->name);
    if (flag->argument != NULL && value == NULL) {
        if (*index + 1 == argc)
            return error_set(err, EINVAL, "--%s needs a value: --%s %s", flag->name, flag->name,
                             flag->argument);
        value = argv[++*index];
    }
    int r = flag->set(options, value, err);
    return r < 0 ? error_wrap(err, "--%s", flag->name) : 0;
}

int flags_parse(const struct verb *verb, int argc, char **argv, void *options,
                struct positionals *ret_words, struct error *err)
{
    bool only_words = false;
    ret_words->count = 0;
    for (int i = 0; i < argc; i++) {
        char *word = argv[i];
        if (only_words || word[0] != '-' || word[1] == '\0') {
            if (ret_words->count == POSITIONAL_MAX)
                return error_set(err, EINVAL, "too many arguments: %s", word);
            ret_words->word[ret_words->count++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_words = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            flags_print_help(verb, stdout);
            return 1;
        } else if (word[1] != '-') {
            return error_set(err, EINVAL, "unknown flag %s; flags begin with two dashes", word);
        } else {
            int r = parse_flag(verb, argc, argv, &i, options, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

void flags_print_help(const struct verb *verb, FILE *out)
{
    fprintf(out, "usage: vmm %s [flags]%s%s\n\n%s\n", verb->name,
            verb->arguments[0] != '\0' ? " " : "", verb->arguments, verb->summary);
    if (verb->details != NULL)
        fprintf(out, "\n%s\n", verb->details);
    fprintf(out, "\nflags:\n");
    for (const struct flag *flag = verb->flags; flag->name != NULL; flag++) {
        fprintf(out, "  --%s%s%s\n", flag->name, flag->argument != NULL ? " " : "",
                flag->argument != NULL ? flag->argument : "");
        for (const char *line = flag->help; *line != '\0';) {
            size_t len = strcspn(line, "\n");
            fprintf(out, "        %.*s\n", (int)len, line);
            line += len + (line[len] == '\n');
        }
    }
    fprintf(out, "  --help\n        Print this.\n");
}

int flags_choose(const char *value, const struct flag_choice *choices, size_t count, int *ret,
                 struct error *err)
{
    char list[128] = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(value, choices[i].word) == 0) {
            *ret = choices[i].value;
            return 0;
        }
        size_t len = strlen(list);
        snprintf(list + len, sizeof(list) - len, "%s%s", i > 0 ? ", " : "", choices[i].word);
    }
    return error_set(err, EINVAL, "'%s' is not one of %s", value, list);
}

int flags_number(const char *value, unsigned long min, unsigned long max, unsigned long *ret,
                 struct error *err)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max)
        return error_set(err, EINVAL, "'%s' is not a number from %lu to %lu", value, min, max);
    *ret = n;
    return 0;
}

int flags_next_pair(char **list, char **ret_key, char **ret_value)
{
    char *from = *list, *to = *list;
    if (from == NULL)
        return 0;
    *ret_key = from;
    while (*from != '\0' && (*from != ',' || from[1] == ',')) {
        from += *from == ',';
        *to++ = *from++;
    }
    *list = *from == ',' ? from + 1 : NULL;
    *to = '\0';
    char *equals = strchr(*ret_key, '=');
    *ret_value = equals != NULL ? equals + 1 : NULL;
    if (equals != NULL)
        *equals = '\0';
    return 1;
}
