/* Files: reading those that others may have created and may replace, and writing. */
#ifndef HIPPOCAMP_BASE_FILE_H
#define HIPPOCAMP_BASE_FILE_H

#include "base/bytes.h"

/*
 * Opens a regular file for reading. Never blocks, as opening a FIFO would. Returns a descriptor, or -1 with errno:
 * EISDIR for a directory, EINVAL for any other file that is not regular.
 */
int file_open_regular(const char *path);

/* Writes a whole file, in the place of what is there; `is_new`: not if there is one (EEXIST). False, with errno. */
bool file_write(const char *path, struct bytes content, bool is_new);

/*
 * Returns a number, from `stamp` and what stat tells of the file, that differs once the file is written, replaced or
 * removed. `path` NULL: no file. Of several files, give each the stamp of the one before.
 */
uint64_t file_stamp(const char *path, uint64_t stamp);

#endif
