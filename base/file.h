/* Opening files that others may have created. */
#ifndef HIPPOCAMP_BASE_FILE_H
#define HIPPOCAMP_BASE_FILE_H

/*
 * Opens a regular file for reading. Never blocks, as opening a FIFO would. Returns a descriptor, or -1 with errno:
 * EISDIR for a directory, EINVAL for any other file that is not regular.
 */
int file_open_regular(const char *path);

#endif
