/*
 * A model repository on disk: which models and versions lie there, and has anything changed.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_FOLDER_H
#define HIPPOCAMP_INFERENCE_MODELS_FOLDER_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdio.h>

/* Names of the folders in `path` that are no dot files, sorted; free each and the array. */
enum status folder_list(const char *path, char ***names, size_t *count, struct error *error);

/* Version folders (decimal numbers above 0 without leading zeros), ascending; free the array. */
enum status folder_versions(const char *path, int64_t **versions, size_t *count, struct error *error);

bool folder_exists(const char *path);

/* Is it a relative path of ordinary components, so that it does not lead out of a folder that it is appended to? */
bool folder_path_is_inside(struct bytes relative);

/*
 * "; did you mean 'NAME'?" where a file is not there (`path` has a slash) and another in its folder is near, or is the
 * only one with that ending; else "". free() it.
 */
char *folder_hint(const char *path);

/* A number that changes when any name, size or time of modification below `path` does. */
uint64_t folder_stamp(const char *path);

/* To read. NULL with errno, which is EINVAL where that is a FIFO, a socket or a device: nobody waits for those. */
FILE *file_open(const char *path);

/* The whole file (at most `maximum` bytes), or STATUS_NOT_FOUND. free() *text. */
enum status file_read(const char *path, size_t maximum, char **text, size_t *length, struct error *error);

/* Writes root/relative, with its folders. Refuses paths that leave the root. */
enum status file_write_below(const char *root, struct bytes relative, struct bytes content, struct error *error);

void folder_remove(const char *path);

#endif
