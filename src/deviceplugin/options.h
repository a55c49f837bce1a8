// SPDX-License-Identifier: Apache-2.0
/* The command line of podvisor-device-plugin. */
#ifndef PODVISOR_DEVICEPLUGIN_OPTIONS_H
#define PODVISOR_DEVICEPLUGIN_OPTIONS_H

#include "plugin.h"

/*
 * Fills in the defaults and what the command line says; strings are argv's or the environment's.
 * Returns 0, 1 when --help or --version was asked for (it has been printed), or a negative errno.
 */
int options_parse(int argc, char **argv, struct plugin_options *ret, struct error *err);

#endif
