// SPDX-License-Identifier: Apache-2.0
/*
 * The file under a qcow2 image: whole reads and writes, zeroes, holes and barriers. Everything that
 * the format does to its file after start-up goes through here.
 */
#ifndef PODVISOR_STORAGE_QCOW2_FILE_H
#define PODVISOR_STORAGE_QCOW2_FILE_H

#include "image.h"

/* Memory that direct I/O accepts; start-up only. free() it. NULL when there is none. */
void *qcow2_file_buffer(const struct image *img, uint64_t size);

/* Reads all of `len` bytes; behind the end of the file there are zeroes. 0 or a negative errno. */
int qcow2_file_read(struct image *img, uint8_t *buf, uint64_t len, uint64_t offset);

int qcow2_file_write(struct image *img, const uint8_t *buf, uint64_t len, uint64_t offset);

/* Writes all of the list, whose entries it changes. 0 or a negative errno. */
int qcow2_file_writev(struct image *img, struct iovec *iov, unsigned count, uint64_t offset);

/* Makes the range read as zeroes. 0 or a negative errno. */
int qcow2_file_zero(struct image *img, uint64_t offset, uint64_t len);

/* Gives the range's blocks back, if the file system can; its content is undefined after. */
void qcow2_file_punch(struct image *img, uint64_t offset, uint64_t len);

/* Fills the list's bytes from `skip` on with zeroes. */
void qcow2_iov_zero(const struct iovec *iov, unsigned count, size_t skip);

#endif
