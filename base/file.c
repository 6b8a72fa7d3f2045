#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
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
