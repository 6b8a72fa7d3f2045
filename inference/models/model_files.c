#include "inference/models/model_files.h"

#include "base/file.h"
#include "base/memory.h"
#include "inference/models/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20) /* read and hashed at a time, to stay in the processor's cache */
#define STRAY_MAX 8

/* --- Reading --- */

static enum status
changed(const char *path, struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE, "the file '%s' changed while it was read: load again", path);
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Fills the file's memory, and hashes what was read. */
static enum status
read_content(struct model_files *files, int fd, const char *path, struct backend_file *file, struct error *error)
{
	size_t done = 0;
	uint8_t beyond;

	while (done < file->length) {
		size_t wanted = file->length - done < PIECE ? file->length - done : PIECE;
		ssize_t got = read(fd, file->at + done, wanted);

		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got < 0) {
			return error_set(error, STATUS_UNAVAILABLE, "cannot read '%s': %s", path, strerror(errno));
		}
		if (got == 0) {
			return changed(path, error);
		}
		digest_add(files->digest, bytes_make(file->at + done, (size_t)got));
		done += (size_t)got;
	}
	return read(fd, &beyond, 1) == 0 ? STATUS_OK : changed(path, error);
}

static enum status
read_open(struct model_files *files, int fd, const char *path, struct backend_file *file, struct error *error)
{
	struct stat before;
	struct stat after;
	enum status status;

	if (fstat(fd, &before) != 0) {
		return error_set(error, STATUS_UNAVAILABLE, "cannot read '%s': %s", path, strerror(errno));
	}
	file->length = (size_t)before.st_size;
	if (file->length > 0) {
		file->at = mmap(NULL, file->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (file->at == MAP_FAILED) {
			*file = (struct backend_file){0};
			return error_set(error, STATUS_UNAVAILABLE, "no memory for the %lld bytes of '%s'",
					 (long long)before.st_size, path);
		}
	}
	digest_add(files->digest, bytes_make(&file->length, sizeof(file->length)));
	status = read_content(files, fd, path, file, error);
	if (status == STATUS_OK && (fstat(fd, &after) != 0 || !same_file(&before, &after))) {
		status = changed(path, error);
	}
	if (status != STATUS_OK) {
		backend_file_release(file);
	}
	return status;
}

/* --- Opening --- */

static enum status
not_there(const char *path, struct error *error)
{
	char *hint = folder_hint(path);

	(void)error_set(error, STATUS_NOT_FOUND, "unable to find '%s'%s", path, hint);
	free(hint);
	return error->status;
}

static enum status
cannot_open(const char *path, struct error *error)
{
	switch (errno) {
	case ENOENT:
		return not_there(path, error);
	case EISDIR:
	case EINVAL:
		return error_set(error, STATUS_INVALID_ARGUMENT, "'%s' is not a regular file", path);
	default:
		return error_set(error, STATUS_UNAVAILABLE, "cannot read '%s': %s", path, strerror(errno));
	}
}

static enum status
read_file(struct backend_files *base, const char *name, struct backend_file *file, struct error *error)
{
	struct model_files *files = (struct model_files *)base;
	struct bytes relative = bytes_text(name);
	enum status status;
	char *path;
	int fd;

	*file = (struct backend_file){0};
	if (!folder_path_is_inside(relative)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "the file '%.*s' is not in the model's version folder '%s'", BYTES_ARGS(relative),
				 base->path);
	}
	path = memory_format("%s/%s", base->path, name);
	fd = file_open_regular(path);
	if (fd < 0) {
		status = cannot_open(path, error);
	} else {
		digest_add(files->digest, bytes_make(&relative.length, sizeof(relative.length)));
		digest_add(files->digest, relative);
		status = read_open(files, fd, path, file, error);
		(void)close(fd);
	}
	free(path);
	return status;
}

bool
model_files_init(struct model_files *files, const char *path)
{
	*files = (struct model_files){.files = {.path = path, .read = read_file}, .digest = digest_new()};
	return files->digest != NULL;
}

void
model_files_fini(struct model_files *files)
{
	digest_free(files->digest);
}

void
model_files_digest(struct model_files *files, struct digest_value *value)
{
	digest_end(files->digest, value);
}

/* --- Stray files --- */

/* What is wrong with a file; NULL: nothing. */
static const char *
oddity(const char *path)
{
	struct stat information;

	if (stat(path, &information) != 0) {
		return errno == ENOENT ? "a dangling link" : errno == ELOOP ? "a link to itself" : strerror(errno);
	}
	switch (information.st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
		return access(path, R_OK) == 0 ? NULL : "unreadable";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	default:
		return "a device";
	}
}

void
model_files_list_stray(const char *path, struct buf *out)
{
	struct dirent **items = NULL;
	int count = scandir(path, &items, NULL, alphasort);
	size_t found = 0;

	for (int i = 0; i < count; i++) {
		char *inner = memory_format("%s/%s", path, items[i]->d_name);
		const char *why = oddity(inner);

		if (why != NULL && ++found <= STRAY_MAX) {
			buf_format(out, "%s'%s' (%s)", found == 1 ? "" : ", ", items[i]->d_name, why);
		}
		free(inner);
		free(items[i]);
	}
	if (found > STRAY_MAX) {
		buf_format(out, " and %zu more", found - STRAY_MAX);
	}
	free(items);
}
