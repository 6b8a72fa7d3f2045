#include "inference/models/folder.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 16
#define COMPONENT_MAX 255

static int
skip_hidden(const struct dirent *item)
{
	return item->d_name[0] != '.';
}

bool
folder_exists(const char *path)
{
	struct stat information;

	return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

enum status
folder_list(const char *path, char ***names, size_t *count, struct error *error)
{
	struct dirent **items = NULL;
	int found = scandir(path, &items, skip_hidden, alphasort);

	*names = NULL;
	*count = 0;
	if (found < 0) {
		return error_set(error, STATUS_NOT_FOUND, "cannot read folder '%s': %s", path, strerror(errno));
	}
	*names = memory_array((size_t)found, sizeof(**names));
	for (int i = 0; i < found; i++) {
		char *inner = memory_format("%s/%s", path, items[i]->d_name);

		if (folder_exists(inner)) {
			(*names)[(*count)++] = memory_text(items[i]->d_name);
		}
		free(inner);
		free(items[i]);
	}
	free(items);
	return STATUS_OK;
}

static int64_t
version_number(const char *name)
{
	int64_t version = 0;

	if (name[0] == '0') {
		return -1;
	}
	for (; *name != '\0'; name++) {
		if (*name < '0' || *name > '9' || __builtin_mul_overflow(version, 10, &version) ||
		    __builtin_add_overflow(version, *name - '0', &version)) {
			return -1;
		}
	}
	return version;
}

static int
by_number(const void *left, const void *right)
{
	int64_t a = *(const int64_t *)left;
	int64_t b = *(const int64_t *)right;

	return (a > b) - (a < b);
}

enum status
folder_versions(const char *path, int64_t **versions, size_t *count, struct error *error)
{
	char **names;
	size_t found;
	enum status status = folder_list(path, &names, &found, error);

	*versions = NULL;
	*count = 0;
	if (status != STATUS_OK) {
		return status;
	}
	*versions = memory_array(found, sizeof(**versions));
	for (size_t i = 0; i < found; i++) {
		int64_t version = version_number(names[i]);

		if (version > 0) {
			(*versions)[(*count)++] = version;
		}
		free(names[i]);
	}
	free(names);
	qsort(*versions, *count, sizeof(**versions), by_number);
	return STATUS_OK;
}

static const char *
extension(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot == NULL ? "" : dot;
}

static char *
likely_name(const char *folder, const char *name)
{
	struct dirent **items = NULL;
	int count = scandir(folder, &items, NULL, alphasort);
	const char **names = memory_array(count < 0 ? 0 : (size_t)count, sizeof(*names));
	const char *alike = NULL;
	const char *likely;
	size_t alike_count = 0;
	char *copy;

	for (int i = 0; i < count; i++) {
		names[i] = items[i]->d_name;
		if (items[i]->d_name[0] != '.' && strcmp(extension(names[i]), extension(name)) == 0) {
			alike = names[i];
			alike_count++;
		}
	}
	likely = option_nearest(names, count < 0 ? 0 : (size_t)count, bytes_text(name));
	if (likely == NULL || likely[0] == '.') {
		likely = alike_count == 1 ? alike : NULL;
	}
	copy = memory_text(likely);
	for (int i = 0; i < count; i++) {
		free(items[i]);
	}
	free(items);
	free(names);
	return copy;
}

static uint64_t
stamp_below(const char *path, uint64_t stamp, int depth)
{
	struct dirent **items = NULL;
	int count = depth > DEPTH_MAX ? -1 : scandir(path, &items, skip_hidden, alphasort);

	for (int i = 0; i < count; i++) {
		char *inner = memory_format("%s/%s", path, items[i]->d_name);
		struct stat information;

		if (stat(inner, &information) == 0) {
			uint64_t parts[] = {
				stamp,
				checksum64(bytes_text(inner)),
				(uint64_t)information.st_mtim.tv_sec,
				(uint64_t)information.st_mtim.tv_nsec,
				S_ISDIR(information.st_mode) ? 0 : (uint64_t)information.st_size,
				information.st_ino,
			};

			stamp = checksum64(bytes_make(parts, sizeof(parts)));
			if (S_ISDIR(information.st_mode)) {
				stamp = stamp_below(inner, stamp, depth + 1);
			}
		}
		free(inner);
		free(items[i]);
	}
	free(items);
	return stamp;
}

uint64_t
folder_stamp(const char *path)
{
	return stamp_below(path, 0, 0);
}

char *
folder_hint(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = memory_format("%.*s", (int)(slash - path), path);
	char *likely = likely_name(folder, slash + 1);
	char *hint = likely == NULL ? memory_text("") : memory_format("; did you mean '%s'?", likely);

	free(likely);
	free(folder);
	return hint;
}

FILE *
file_open(const char *path)
{
	int fd = file_open_regular(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	if (file == NULL && fd >= 0) {
		(void)close(fd);
	}
	return file;
}

enum status
file_read(const char *path, size_t maximum, char **text, size_t *length, struct error *error)
{
	FILE *file = file_open(path);
	struct stat information;
	size_t size;

	if (file == NULL) {
		return error_set(error, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_UNAVAILABLE, "cannot read '%s': %s",
				 path, errno == EINVAL ? "it is no regular file" : strerror(errno));
	}
	if (fstat(fileno(file), &information) != 0 || (size_t)information.st_size > maximum) {
		(void)fclose(file);
		return error_set(error, STATUS_INVALID_ARGUMENT, "'%s' is larger than %zu bytes", path, maximum);
	}
	size = (size_t)information.st_size;
	*text = memory_new(size + 1);
	*length = fread(*text, 1, size, file);
	(void)fclose(file);
	return STATUS_OK;
}

bool
folder_path_is_inside(struct bytes relative)
{
	size_t start = 0;

	if (relative.length == 0 || relative.length > PATH_MAX / 2 ||
	    memchr(relative.at, '\0', relative.length) != NULL) {
		return false;
	}
	for (size_t i = 0; i <= relative.length; i++) {
		struct bytes component;

		if (i < relative.length && relative.at[i] != '/') {
			continue;
		}
		component = bytes_make(relative.at + start, i - start);
		if (component.length == 0 || component.length > COMPONENT_MAX || bytes_equal_text(component, ".") ||
		    bytes_equal_text(component, "..")) {
			return false;
		}
		start = i + 1;
	}
	return true;
}

enum status
file_write_below(const char *root, struct bytes relative, struct bytes content, struct error *error)
{
	char *path;
	bool written;

	if (!folder_path_is_inside(relative)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "invalid file path '%.*s'", BYTES_ARGS(relative));
	}
	path = memory_format("%s/%.*s", root, (int)relative.length, (const char *)relative.at);
	for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
	written = file_write(path, content, false);
	if (!written) {
		(void)error_set(error, STATUS_INTERNAL, "cannot write '%s': %s", path, strerror(errno));
	}
	free(path);
	return written ? STATUS_OK : error->status;
}

static int
remove_item(const char *path, const struct stat *information, int flag, struct FTW *at)
{
	(void)information;
	(void)flag;
	(void)at;
	(void)remove(path);
	return 0;
}

void
folder_remove(const char *path)
{
	(void)nftw(path, remove_item, 16, FTW_DEPTH | FTW_PHYS);
}
