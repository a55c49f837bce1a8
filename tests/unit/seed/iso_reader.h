// SPDX-License-Identifier: Apache-2.0
/*
 * A reader of ISO 9660 images that believes nothing, for the tests of the writer: written from the
 * standards, not from the writer. Shared by the unit tests and the fuzz target.
 */
#ifndef PODVISOR_TESTS_ISO_READER_H
#define PODVISOR_TESTS_ISO_READER_H

#include "iso9660.h"

/*
 * Reads the whole image and aborts, saying why, unless it is sound and holds exactly these files in
 * both trees: every field twice the same where it is there twice, every sector of one thing only,
 * Rock Ridge names and modes as asked, Joliet names as far as those can be.
 */
void iso_verify(const uint8_t *image, size_t len, const char *label, bool is_private,
                const struct iso_file *files, size_t count);

#endif
