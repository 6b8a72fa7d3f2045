#include "base/file.h"

#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int
file_open_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat information = {0};

	if (fd < 0 || (fstat(fd, &information) == 0 && S_ISREG(information.st_mode))) {
		return fd;
	}
	(void)close(fd);
	errno = S_ISDIR(information.st_mode) ? EISDIR : EINVAL;
	return -1;
}

bool
file_write(const char *path, struct bytes content, bool is_new)
{
	FILE *file = fopen(path, is_new ? "wxe" : "we");
	bool is_whole = file != NULL && fwrite(content.at, 1, content.length, file) == content.length;

	return file != NULL && fclose(file) == 0 && is_whole;
}

uint64_t
file_stamp(const char *path, uint64_t stamp)
{
	struct stat found = {0};

	if (path != NULL) {
		(void)stat(path, &found);
	}
	return checksum64(
		bytes_make(&(const uint64_t[]){stamp, (uint64_t)found.st_ino, (uint64_t)found.st_size,
					       (uint64_t)found.st_mtim.tv_sec, (uint64_t)found.st_mtim.tv_nsec,
					       (uint64_t)found.st_ctim.tv_sec, (uint64_t)found.st_ctim.tv_nsec},
			   7 * sizeof(uint64_t)));
}
