#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/autocomplete.h"
#include "inference/folder.h"
#include "inference/repository_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_FILE_MAX ((size_t)16 << 20)

/* Where the model lies. The same name in two repositories is an error, as in Triton. */
enum status
repository_find_folder(struct repository *repository, const char *name, char **folder, struct error *error)
{
	*folder = NULL;
	for (size_t i = 0; i < repository->options->path_count; i++) {
		char *candidate = memory_format("%s/%s", repository->options->paths[i], name);

		if (!folder_exists(candidate)) {
			free(candidate);
		} else if (*folder == NULL) {
			*folder = candidate;
		} else {
			(void)error_set(error, STATUS_INVALID_ARGUMENT,
					"model '%s' is in two repositories: '%s' and '%s'", name, *folder, candidate);
			free(candidate);
			free(*folder);
			*folder = NULL;
			return error->status;
		}
	}
	return *folder != NULL ? STATUS_OK
			       : error_set(error, STATUS_NOT_FOUND, "model '%s' is in no model repository", name);
}

/* --- Loading --- */

/* What one load works with. */
struct loading {
	struct repository *repository;
	struct known_model *known;
	const char *name;
	const char *folder;
	const char *config; /* JSON, or NULL: config.pbtxt */
	struct version *versions;
	size_t version_count;
};

static enum status
read_config(const struct loading *loading, struct model_config *config, struct error *error)
{
	const struct model_config_format *format = loading->repository->options->format;
	char *path;
	char *text = NULL;
	size_t length = 0;
	enum status status;

	if (loading->config != NULL) {
		return format->parse_json(bytes_text(loading->config), config, error);
	}
	path = memory_format("%s/config.pbtxt", loading->folder);
	status = file_read(path, CONFIG_FILE_MAX, &text, &length, error);
	if (status == STATUS_NOT_FOUND && loading->repository->options->autocomplete) {
		status = STATUS_OK;
	}
	if (status == STATUS_OK) {
		status = format->parse_text(bytes_make(text, length), path, config, error);
	}
	free(text);
	free(path);
	return status;
}

static bool
policy_takes(const struct model_config *config, int64_t version, size_t newer)
{
	switch (config->version_policy) {
	case MODEL_VERSIONS_LATEST:
		return newer < config->version_latest;
	case MODEL_VERSIONS_ALL:
		return true;
	case MODEL_VERSIONS_SPECIFIC:
		break;
	}
	for (size_t i = 0; i < config->version_count; i++) {
		if (config->versions[i] == version) {
			return true;
		}
	}
	return false;
}

static enum status
choose_versions(struct loading *loading, const struct model_config *config, struct error *error)
{
	int64_t *found = NULL;
	size_t count = 0;
	enum status status = folder_versions(loading->folder, &found, &count, error);

	if (status != STATUS_OK) {
		return status;
	}
	loading->versions = memory_array(count, sizeof(*loading->versions));
	for (size_t i = 0; i < count; i++) {
		if (policy_takes(config, found[i], count - 1 - i)) {
			loading->versions[loading->version_count++].number = found[i];
		}
	}
	free(found);
	if (loading->version_count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "load failed for model '%s': at least one version must be available under the version "
				 "policy of model '%s'\n",
				 loading->name, loading->name);
	}
	return STATUS_OK;
}

static void
on_unused(struct model *model, void *context)
{
	struct repository *repository = context;

	(void)pthread_mutex_lock(&repository->mutex);
	SLIST_INSERT_HEAD(&repository->closing, model, closing);
	(void)pthread_cond_broadcast(&repository->changed);
	(void)pthread_mutex_unlock(&repository->mutex);
}

static void
open_version(const struct loading *loading, struct version *version)
{
	struct repository *repository = loading->repository;
	struct model_options options = {
		.name = loading->name,
		.folder = loading->folder,
		.version = version->number,
		.backends = repository->options->backends,
		.format = repository->options->format,
		.name_space = repository->options->name_space,
		.cache_policy = repository->options->cache_policy,
		.autocomplete = repository->options->autocomplete,
		.default_batch = repository->options->default_batch,
		.find = repository_find_member,
		.find_context = repository,
		.unused = on_unused,
		.unused_context = repository,
	};
	char *path = memory_format("%s/%" PRId64, loading->folder, version->number);
	struct model_config config;
	struct error error = {0};
	char *reason;

	options.path = path;
	if (read_config(loading, &config, &error) == STATUS_OK) {
		version->model = model_open(&options, &config, &error);
	}
	free(path);
	if (version->model != NULL) {
		repository->open_models++;
		known_model_set_version(version, VERSION_READY, NULL);
		return;
	}
	reason = memory_format("%s: %s", status_text(error.status), error.text);
	known_model_set_version(version, VERSION_UNAVAILABLE, reason);
	free(reason);
	log_error("failed to load '%s' version %" PRId64 ": %s: %s", loading->name, version->number,
		  status_text(error.status), error.text);
}

static enum status
open_versions(struct loading *loading, struct error *error)
{
	char text[ERROR_TEXT_SIZE / 2] = "";
	bool good = true;

	for (size_t i = 0; i < loading->version_count; i++) {
		struct version *version = &loading->versions[i];

		open_version(loading, version);
		if (version->state != VERSION_READY) {
			size_t length = strlen(text);

			(void)snprintf(text + length, sizeof(text) - length,
				       "version %" PRId64 " is at UNAVAILABLE state: %s;", version->number,
				       version->reason);
			good = false;
		}
	}
	return good ? STATUS_OK
		    : error_set(error, STATUS_INVALID_ARGUMENT, "load failed for model '%s': %s\n", loading->name,
				text);
}

static void
release_versions(struct version *versions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (versions[i].model != NULL) {
			model_hurry(versions[i].model);
			model_unref(versions[i].model);
		}
		free(versions[i].reason);
	}
	free(versions);
}

static bool
has_version(const struct version *versions, size_t count, int64_t number)
{
	for (size_t i = 0; i < count; i++) {
		if (versions[i].number == number) {
			return true;
		}
	}
	return false;
}

/* The new versions take the place of the old; old ones that are gone stay listed while they finish. */
static void
replace_versions(struct repository *repository, struct known_model *known, struct loading *loading)
{
	struct version *old = known->versions;
	size_t old_count = known->version_count;
	struct model_table *old_table;

	loading->versions = memory_grow(loading->versions, loading->version_count + old_count, sizeof(*old));
	(void)pthread_mutex_lock(&repository->mutex);
	known->versions = loading->versions;
	known->version_count = loading->version_count;
	for (size_t i = 0; i < old_count; i++) {
		if (!has_version(loading->versions, loading->version_count, old[i].number)) {
			struct version *gone = &known->versions[known->version_count++];

			*gone = (struct version){.number = old[i].number};
			known_model_set_version(gone, old[i].model != NULL ? VERSION_UNLOADING : VERSION_UNAVAILABLE,
						"unloaded");
		}
	}
	old_table = repository_publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	release_versions(old, old_count);
	model_table_unref(old_table);
}

/* Versions that serve already stay; only what failed is written down beside them. */
static void
keep_old_versions(struct repository *repository, struct known_model *known, struct loading *loading)
{
	struct model_table *old_table;
	bool serves = false;

	for (size_t i = 0; i < known->version_count; i++) {
		serves = serves || known->versions[i].model != NULL;
	}
	if (!serves) {
		replace_versions(repository, known, loading);
		return;
	}
	release_versions(loading->versions, loading->version_count);
	(void)pthread_mutex_lock(&repository->mutex);
	old_table = repository_publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	model_table_unref(old_table);
}

enum status
repository_poll_failed(const char *name, struct error *error)
{
	log_error("failed to poll model '%s': %s", name, error->text);
	return error_set(error, STATUS_INTERNAL, "failed to load '%s', failed to poll from model repository", name);
}

static enum status
check_config(struct loading *loading, struct error *error)
{
	struct model_config config;
	enum status status = read_config(loading, &config, error);

	if (status != STATUS_OK) {
		return repository_poll_failed(loading->name, error);
	}
	if (config.name.length > 0 && !bytes_equal_text(config.name, loading->name)) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"unexpected directory name '%s' for model '%.*s', directory name must equal model name",
				loading->name, BYTES_ARGS(config.name));
		status = repository_poll_failed(loading->name, error);
	} else if (autocomplete_is_ensemble(&config)) {
		status = autocomplete_ensemble(&config, loading->name, error);
		if (status != STATUS_OK) {
			(void)error_prefix(error, "load failed for model '%s': ", loading->name);
		}
		ensemble_members_read(&loading->known->members, &config);
	}
	if (status == STATUS_OK) {
		status = choose_versions(loading, &config, error);
	}
	model_config_fini(&config);
	return status;
}

/* Members before the ensemble. Here, as in Triton, no version is to blame for what they lack. */
static enum status
load_members(struct loading *loading, struct error *error)
{
	enum status status;

	loading->known->loading = true;
	status = repository_load_members(loading->repository, loading->known, error);
	loading->known->loading = false;
	return status == STATUS_OK ? STATUS_OK : error_prefix(error, "load failed for model '%s': ", loading->name);
}

/* Loads or reloads from known->folder, or from what a load request gave. */
enum status
repository_load(struct repository *repository, struct known_model *known, struct error *error)
{
	struct loading loading = {
		.repository = repository,
		.known = known,
		.name = known->name,
		.folder = known->override_folder != NULL ? known->override_folder : known->folder,
		.config = known->override_config,
	};
	uint64_t stamp = folder_stamp(loading.folder);
	uint64_t start = clock_now_ns();
	struct ensemble_members old_members = known->members;
	enum status status;

	known->members = (struct ensemble_members){0};
	status = check_config(&loading, error);
	if (status == STATUS_OK) {
		status = load_members(&loading, error);
	}
	if (status == STATUS_OK) {
		status = open_versions(&loading, error);
	}
	known->failed = status != STATUS_OK;
	known->stamp = stamp;
	if (status != STATUS_OK) {
		keep_old_versions(repository, known, &loading);
		if (known_model_is_loaded(known)) {
			ensemble_members_free(&known->members);
			known->members = old_members;
		} else {
			ensemble_members_free(&old_members);
		}
		return status;
	}
	ensemble_members_free(&old_members);
	known->waiting = false;
	replace_versions(repository, known, &loading);
	for (size_t i = 0; i < loading.version_count; i++) {
		log_info("successfully loaded '%s' version %" PRId64 " in %.3f s", known->name,
			 known->versions[i].number, (double)(clock_now_ns() - start) / 1e9);
	}
	repository_reload_ensembles(repository, known);
	return STATUS_OK;
}

void
repository_unload(struct repository *repository, struct known_model *known)
{
	struct model **models = memory_array(known->version_count, sizeof(struct model *));
	struct model_table *old_table;
	size_t count = 0;

	repository_unload_ensembles(repository, known);
	known->waiting = false;
	known->requested = false;
	(void)pthread_mutex_lock(&repository->mutex);
	known->failed = false;
	for (size_t i = 0; i < known->version_count; i++) {
		struct version *version = &known->versions[i];

		if (version->model != NULL) {
			known_model_set_version(version, VERSION_UNLOADING, NULL);
			models[count++] = version->model;
			version->model = NULL;
		}
	}
	old_table = repository_publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	/* Dropping a reference may call back into on_unused, which takes the mutex. */
	for (size_t i = 0; i < count; i++) {
		model_hurry(models[i]);
		model_unref(models[i]);
	}
	model_table_unref(old_table);
	free(models);
	known_model_drop_override(known);
}

/* --- Models that nobody uses any more --- */

void
repository_close_model(struct repository *repository, struct model *model)
{
	char *name = memory_format("%.*s", BYTES_ARGS(model->config.name));
	int64_t number = model->version;
	struct model_table *old_table;
	struct known_model *known;

	model_close(model);
	repository->open_models--;
	(void)pthread_mutex_lock(&repository->mutex);
	known = repository_find(repository, bytes_text(name));
	for (size_t i = 0; known != NULL && i < known->version_count; i++) {
		if (known->versions[i].number == number && known->versions[i].state == VERSION_UNLOADING) {
			known_model_set_version(&known->versions[i], VERSION_UNAVAILABLE, "unloaded");
			log_info("successfully unloaded '%s' version %" PRId64, name, number);
		}
	}
	old_table = repository_publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	model_table_unref(old_table);
	free(name);
}
