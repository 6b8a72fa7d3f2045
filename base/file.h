/* Files that others may have created, and may replace. */
#ifndef HIPPOCAMP_BASE_FILE_H
#define HIPPOCAMP_BASE_FILE_H

#include <stdint.h>

/*
 * Opens a regular file for reading. Never blocks, as opening a FIFO would. Returns a descriptor, or -1 with errno:
 * EISDIR for a directory, EINVAL for any other file that is not regular.
 */
int file_open_regular(const char *path);

/*
 * Returns a number, from `stamp` and what stat tells of the file, that differs once the file is written, replaced or
 * removed. `path` NULL: no file. Of several files, give each the stamp of the one before.
 */
uint64_t file_stamp(const char *path, uint64_t stamp);

#endif
