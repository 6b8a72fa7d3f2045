/* Files that somebody else may have put there. */
#ifndef HIPPOCAMP_BASE_FILE_H
#define HIPPOCAMP_BASE_FILE_H

/*
 * Opens a regular file for reading. Never waits, as opening a FIFO would. -1 with errno, which is EISDIR for a folder
 * and EINVAL for what else is no regular file.
 */
int file_open_regular(const char *path);

#endif
