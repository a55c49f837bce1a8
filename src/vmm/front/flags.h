// SPDX-License-Identifier: Apache-2.0
/*
 * Command lines from tables: a verb has flags, each with its argument's name, its help and a
 * function that takes the value. Help is printed from the same tables.
 */
#ifndef PODVISOR_FRONT_FLAGS_H
#define PODVISOR_FRONT_FLAGS_H

#include <podvisor/error.h>
#include <stddef.h>
#include <stdio.h>

struct flag {
    const char *name;     /* without "--" */
    const char *argument; /* "PATH": for help; NULL: the flag takes none */
    const char *help;     /* lines are separated by '\n' */
    /* `value` is NULL for a flag without argument; it may be changed and kept: it is argv's. */
    int (*set)(void *options, char *value, struct error *err);
};

struct verb {
    const char *name;
    const char *arguments;    /* "[MANIFEST]" */
    const char *summary;      /* one line */
    const char *details;      /* a paragraph below it; NULL: none */
    const struct flag *flags; /* the last has no name */
    /* `argv` begins after the verb. Returns the exit code. */
    int (*run)(int argc, char **argv);
};

struct flag_choice {
    const char *word;
    int value;
};

#define POSITIONAL_MAX 4

struct positionals {
    unsigned count;
    char *word[POSITIONAL_MAX];
};

/*
 * Takes "--flag value" and "--flag=value"; "--" ends the flags. Returns 0, 1 when --help was asked
 * for (it has been printed), or a negative errno.
 */
int flags_parse(const struct verb *verb, int argc, char **argv, void *options,
                struct positionals *ret_words, struct error *err);

void flags_print_help(const struct verb *verb, FILE *out);

/* The value of one of `count` words. -EINVAL names them all and proposes the nearest. */
int flags_choose(const char *value, const struct flag_choice *choices, size_t count, int *ret,
                 struct error *err);

/* The word of `count` (at `stride` bytes from each other) that `given` looks like, or NULL. */
const char *flags_nearest(const char *given, const char *const *words, size_t count, size_t stride);

/* A plain decimal number from `min` to `max`. */
int flags_number(const char *value, unsigned long min, unsigned long max, unsigned long *ret,
                 struct error *err);

/*
 * Takes the next "key=value" (or "key") off a list with commas; ",," is a comma of the value.
 * Returns 0 at the end. *ret_value is NULL when there is no '='. Changes the text.
 */
int flags_next_pair(char **list, char **ret_key, char **ret_value);

#endif
