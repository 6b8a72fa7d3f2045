#include "base/log.h"
#include "base/memory.h"
#include "inference/models/autocomplete.h"
#include "inference/models/repository_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum status
repository_find_folder(struct repository *repository, const char *name, char **folder, struct error *error)
{
	return repository->options->source->find(repository->options->source->context, name, folder, error);
}

uint64_t
repository_stamp(const struct repository *repository, const char *folder)
{
	return repository->options->source->stamp(repository->options->source->context, folder);
}

bool
repository_has_changed_remotely(const struct repository *repository, const struct known_model *known)
{
	const struct remote_models *remotes = repository->options->remotes;

	return known->remote.held != NULL &&
	       known->remote.stamp != remotes->stamp(remotes->context, known->remote.held);
}

static void
release_link(const struct repository *repository, const struct remote_link *link)
{
	if (link->held != NULL) {
		repository->options->remotes->release(repository->options->remotes->context, link->held);
	}
}

void
repository_take_link(const struct repository *repository, struct known_model *known, struct remote_link *link)
{
	release_link(repository, &known->remote);
	known->remote = *link;
	*link = (struct remote_link){0};
}

enum status
repository_poll_failed(const char *name, struct error *error)
{
	if (error->status == STATUS_NOT_FOUND) { /* Triton's text says it all */
		return error_set(error, STATUS_INTERNAL, "failed to load '%s', failed to poll from model repository",
				 name);
	}
	error->status = STATUS_INTERNAL;
	return error_prefix(error, "failed to load '%s', failed to poll from model repository: ", name);
}

/* --- Reading --- */

static struct model_config_text
copy_text(const struct model_config_text *text)
{
	struct model_config_text copy = *text;

	copy.at = memory_text_of(bytes_make(text->at, text->length));
	return copy;
}

static enum status
read_text(struct repository *repository, struct staging *staging, struct error *error)
{
	const struct model_source *source = repository->options->source;
	const struct known_model *known = staging->known;
	struct model_config_text *text = &staging->config;
	enum status status;

	if (known->follows_remote) { /* what is on disk was not asked to be loaded */
		*text = copy_text(&known->stated);
		return STATUS_OK;
	}
	if (known->override_config != NULL) {
		text->at = memory_text(known->override_config);
		text->length = strlen(text->at);
		text->is_json = true;
		return STATUS_OK;
	}
	status = source->config(source->context, staging->folder, &text->at, &text->length, error);
	text->is_json = source->config_is_json;
	return status == STATUS_NOT_FOUND && repository->options->autocomplete ? STATUS_OK : status;
}

static enum status
complete_text(const struct repository *repository, struct staging *staging, struct error *error)
{
	const struct remote_models *remotes = repository->options->remotes;
	enum status status;

	if (remotes == NULL || staging->config.at == NULL) {
		return STATUS_OK;
	}
	staging->stated = copy_text(&staging->config);
	status = remotes->complete(remotes->context, staging->known->name, &staging->config, &staging->remote, error);
	if (staging->remote.held == NULL) {
		free(staging->stated.at);
		staging->stated = (struct model_config_text){0};
	}
	return status;
}

/* Parses the same text into a config of its own for every version. */
static enum status
parse(const struct repository *repository, const struct staging *staging, struct model_config *config,
      struct error *error)
{
	const struct model_config_format *format = repository->options->format;
	struct bytes text = bytes_make(staging->config.at, staging->config.length);
	enum status status;
	char *path;

	if (staging->config.is_json) {
		return format->parse_json(text, config, error);
	}
	path = memory_format("%s/config.pbtxt", staging->folder);
	status = format->parse_text(text, path, config, error);
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
choose_versions(const struct repository *repository, struct staging *staging, const struct model_config *config,
		struct error *error)
{
	const struct model_source *source = repository->options->source;
	const char *name = staging->known->name;
	int64_t *found = NULL;
	size_t count = 0;
	enum status status = source->versions(source->context, staging->folder, &found, &count, error);

	if (status != STATUS_OK) {
		return status;
	}
	staging->versions = memory_array(count, sizeof(*staging->versions));
	for (size_t i = 0; i < count; i++) {
		if (policy_takes(config, found[i], count - 1 - i)) {
			staging->versions[staging->version_count++].number = found[i];
		}
	}
	free(found);
	if (staging->version_count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "load failed for model '%s': at least one version must be available under the version "
				 "policy of model '%s': '%s' has %s",
				 name, name, staging->folder,
				 count == 0 ? "no folder whose name is a number, such as 1"
					    : "no version folder that it chooses");
	}
	return STATUS_OK;
}

static int
by_name(const void *left, const void *right)
{
	const struct ensemble_member *a = left;
	const struct ensemble_member *b = right;

	return strcmp(a->name, b->name);
}

/* Reads the members of an ensemble; other models have none. */
static void
read_members(struct repository *repository, struct ensemble_members *members, const struct model_config *config)
{
	members->list = memory_array(config->step_count, sizeof(*members->list));
	members->count = config->step_count;
	for (size_t i = 0; i < config->step_count; i++) {
		struct bytes name = config->steps[i].model;

		members->list[i].name = memory_text_of(name);
		members->list[i].version = config->steps[i].version;
		members->list[i].known = repository_find(repository, name);
	}
	qsort(members->list, members->count, sizeof(*members->list), by_name);
}

static enum status
check(struct repository *repository, struct staging *staging, struct model_config *config, struct error *error)
{
	const char *name = staging->known->name;

	if (config->name.length > 0 && !bytes_equal_text(config->name, name)) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"unexpected directory name '%s' for model '%.*s', directory name must equal model name",
				name, BYTES_ARGS(config->name));
		return repository_poll_failed(name, error);
	}
	if (autocomplete_is_ensemble(config)) {
		read_members(repository, &staging->members, config);
		if (autocomplete_ensemble(config, name, error) != STATUS_OK) {
			return error_prefix(error, "load failed for model '%s': ", name);
		}
	}
	return choose_versions(repository, staging, config, error);
}

enum status
staging_read(struct repository *repository, struct staging *staging, struct error *error)
{
	struct model_config config;
	enum status status;

	staging->stamp =
		staging->known->follows_remote ? staging->known->stamp : repository_stamp(repository, staging->folder);
	status = read_text(repository, staging, error);
	if (status == STATUS_OK) {
		status = complete_text(repository, staging, error);
	}
	if (status == STATUS_OK) {
		status = parse(repository, staging, &config, error);
	}
	if (status != STATUS_OK) {
		return repository_poll_failed(staging->known->name, error);
	}
	status = check(repository, staging, &config, error);
	model_config_fini(&config);
	return status;
}

/* --- Opening --- */

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
open_version(struct repository *repository, const struct staging *staging, struct version *version)
{
	const char *name = staging->known->name;
	struct model_options options = {
		.name = name,
		.folder = staging->folder,
		.version = version->number,
		.backends = repository->options->backends,
		.format = repository->options->format,
		.name_space = repository->options->name_space,
		.key_hash = repository->options->key_hash,
		.cache_policy = repository->options->cache_policy,
		.cache_all = repository->options->cache_all,
		.autocomplete = repository->options->autocomplete,
		.default_batch = repository->options->default_batch,
		.remote_server = staging->remote.server,
		.remote_stamp = staging->remote.stamp,
		.find = repository_find_member,
		.find_context = repository,
		.unused = on_unused,
		.unused_context = repository,
	};
	char *path = repository->options->source->has_files
			     ? memory_format("%s/%" PRId64, staging->folder, version->number)
			     : memory_text("");
	struct model_config config;
	struct error error = {0};
	char *reason;

	options.path = path;
	if (parse(repository, staging, &config, &error) == STATUS_OK) {
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
}

static void
drop_opened(struct staging *staging)
{
	for (size_t i = 0; i < staging->version_count; i++) {
		struct version *version = &staging->versions[i];

		if (version->model != NULL) {
			model_unref(version->model);
			version->model = NULL;
			known_model_set_version(version, VERSION_UNAVAILABLE, "unloaded");
		}
	}
}

enum status
staging_open(struct repository *repository, struct staging *staging, struct error *error)
{
	char text[ERROR_TEXT_SIZE / 2] = "";
	bool good = true;

	for (size_t i = 0; i < staging->version_count; i++) {
		struct version *version = &staging->versions[i];

		open_version(repository, staging, version);
		if (version->state != VERSION_READY) {
			size_t length = strlen(text);
			int wanted = snprintf(text + length, sizeof(text) - length,
					      "version %" PRId64 " is at UNAVAILABLE state: %s;", version->number,
					      version->reason);

			if (wanted < 0 || (size_t)wanted >= sizeof(text) - length) { /* no room in the error text */
				log_error("failed to load '%s' version %" PRId64 ": %s", staging->known->name,
					  version->number, version->reason);
			}
			good = false;
		}
	}
	if (!good) { /* all or none, as in Triton */
		drop_opened(staging);
	}
	return good ? STATUS_OK
		    : error_set(error, STATUS_INVALID_ARGUMENT, "load failed for model '%s': %s", staging->known->name,
				text);
}

/* --- Releasing --- */

static void
release_versions(struct version *versions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (versions[i].model != NULL) {
			model_flush(versions[i].model);
			model_unref(versions[i].model);
		}
		free(versions[i].reason);
	}
	free(versions);
}

void
staging_free(const struct repository *repository, struct staging *staging)
{
	release_link(repository, &staging->remote);
	release_versions(staging->versions, staging->version_count);
	release_versions(staging->old_versions, staging->old_version_count);
	ensemble_members_free(&staging->members);
	free(staging->config.at);
	free(staging->stated.at);
	free(staging);
}

void
repository_close_model(struct repository *repository, struct model *model)
{
	char *name = memory_text_of(model->config.name);
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
