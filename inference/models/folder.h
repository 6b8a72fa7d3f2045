/*
 * A model repository on disk: its models and versions, and whether anything has changed.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_FOLDER_H
#define HIPPOCAMP_INFERENCE_MODELS_FOLDER_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdio.h>

/* Lists the folders in `path` whose names do not begin with a dot, sorted; free each name and the array. */
enum status folder_list(const char *path, char ***names, size_t *count, struct error *error);

/* Version folders (decimal numbers above 0 without leading zeros), ascending; free the array. */
enum status folder_versions(const char *path, int64_t **versions, size_t *count, struct error *error);

bool folder_exists(const char *path);

/*
 * Is this a relative path without "", "." and ".." components, so that it stays in the folder that it is appended to?
 */
bool folder_path_is_inside(struct bytes relative);

/*
 * For a missing file (`path` has a slash): "; did you mean 'NAME'?" if its folder has a file of a similar name, or just
 * one with that extension; else "". free() it.
 */
char *folder_hint(const char *path);

/* A number that changes when any name, size or time of modification below `path` does. */
uint64_t folder_stamp(const char *path);

/* Opens a file for reading, without waiting. NULL with errno, which is EINVAL for a FIFO, a socket or a device. */
FILE *file_open(const char *path);

/* Reads a whole file (at most `maximum` bytes). STATUS_NOT_FOUND if it does not exist. free() *text. */
enum status file_read(const char *path, size_t maximum, char **text, size_t *length, struct error *error);

/* Writes root/relative, and makes its folders. Rejects paths that leave the root. */
enum status file_write_below(const char *root, struct bytes relative, struct bytes content, struct error *error);

void folder_remove(const char *path);

#endif
