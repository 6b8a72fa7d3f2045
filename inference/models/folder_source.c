#include "inference/models/folder_source.h"

#include "base/log.h"
#include "base/memory.h"
#include "inference/models/folder.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE_MAX ((size_t)16 << 20)

/* Warns of model files in the place of folders, a common first mistake. */
static bool
tell_misplaced(const char *path)
{
	struct dirent **items = NULL;
	int count = scandir(path, &items, NULL, alphasort);
	bool found = false;

	for (int i = 0; i < count; i++) {
		const char *name = items[i]->d_name;
		const char *dot = strrchr(name, '.');

		if (dot != NULL && dot != name && strcmp(dot, ".onnx") == 0) {
			int length = (int)(dot - name);

			found = true;
			log_warning("'%s/%s' is not served: put it into a folder of the model's name and one of the "
				    "version, "
				    "mkdir -p '%s/%.*s/1' && mv '%s/%s' '%s/%.*s/1/model.onnx'",
				    path, name, path, length, name, path, name, path, length, name);
		}
		free(items[i]);
	}
	free(items);
	return found;
}

/* Once, at the start. */
static void
tell_empty(const struct folder_source *folders, size_t models)
{
	for (size_t i = 0; i < folders->path_count; i++) {
		if (!tell_misplaced(folders->paths[i]) && models == 0) {
			log_warning("model repository '%s' is empty: a model is a folder in it, with a folder for each "
				    "version, such as NAME/1/model.onnx",
				    folders->paths[i]);
		}
	}
}

static enum status
list(void *context, char ***names, size_t *count, struct error *error)
{
	struct folder_source *folders = context;
	enum status status = STATUS_OK;

	*names = NULL;
	*count = 0;
	for (size_t i = 0; i < folders->path_count && status == STATUS_OK; i++) {
		char **found = NULL;
		size_t found_count = 0;

		status = folder_list(folders->paths[i], &found, &found_count, error);
		*names = memory_grow(*names, *count + found_count + 1, sizeof(**names));
		for (size_t k = 0; k < found_count; k++) {
			if (strcmp(found[k], "lost+found") == 0) { /* the file system's */
				free(found[k]);
			} else {
				(*names)[(*count)++] = found[k];
			}
		}
		free(found);
	}
	if (status == STATUS_OK && !folders->told) {
		tell_empty(folders, *count);
		folders->told = true;
	}
	return status;
}

/* The same name in two folders is an error, as in Triton. */
static enum status
find(void *context, const char *name, char **place, struct error *error)
{
	const struct folder_source *folders = context;

	*place = NULL;
	for (size_t i = 0; i < folders->path_count; i++) {
		char *candidate = memory_format("%s/%s", folders->paths[i], name);

		if (!folder_exists(candidate)) {
			free(candidate);
		} else if (*place == NULL) {
			*place = candidate;
		} else {
			(void)error_set(error, STATUS_INVALID_ARGUMENT,
					"model '%s' is in two repositories: '%s' and '%s'", name, *place, candidate);
			free(candidate);
			free(*place);
			*place = NULL;
			return error->status;
		}
	}
	return *place != NULL ? STATUS_OK
			      : error_set(error, STATUS_NOT_FOUND, "model '%s' is in no model repository", name);
}

static uint64_t
stamp(void *context, const char *place)
{
	(void)context;
	return folder_stamp(place);
}

static enum status
config(void *context, const char *place, char **text, size_t *length, struct error *error)
{
	char *path = memory_format("%s/config.pbtxt", place);
	enum status status = file_read(path, CONFIG_FILE_MAX, text, length, error);

	(void)context;
	free(path);
	return status;
}

static enum status
versions(void *context, const char *place, int64_t **found, size_t *count, struct error *error)
{
	(void)context;
	return folder_versions(place, found, count, error);
}

struct model_source
folder_source(struct folder_source *folders)
{
	return (struct model_source){.list = list,
				     .find = find,
				     .stamp = stamp,
				     .config = config,
				     .versions = versions,
				     .has_files = true,
				     .context = folders};
}
