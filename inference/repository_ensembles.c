/* What ties ensembles to the models of their steps: they are loaded together, and fall together. */
#include "base/log.h"
#include "base/memory.h"
#include "inference/folder.h"
#include "inference/repository_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* --- Members: the models of an ensemble's steps --- */

static int
by_name(const void *left, const void *right)
{
	const struct ensemble_member *a = left;
	const struct ensemble_member *b = right;

	return strcmp(a->name, b->name);
}

void
ensemble_members_free(struct ensemble_members *members)
{
	for (size_t i = 0; i < members->count; i++) {
		free(members->list[i].name);
	}
	free(members->list);
	*members = (struct ensemble_members){0};
}

void
ensemble_members_read(struct ensemble_members *members, const struct model_config *config)
{
	members->list = memory_array(config->step_count, sizeof(*members->list));
	members->count = config->step_count;
	for (size_t i = 0; i < config->step_count; i++) {
		members->list[i].name = memory_format("%.*s", BYTES_ARGS(config->steps[i].model));
		members->list[i].version = config->steps[i].version;
	}
	qsort(members->list, members->count, sizeof(*members->list), by_name);
}

static bool
has_member(const struct known_model *ensemble, const struct known_model *model)
{
	for (size_t i = 0; i < ensemble->members.count; i++) {
		if (strcmp(ensemble->members.list[i].name, model->name) == 0) {
			return true;
		}
	}
	return false;
}

/* --- Loading an ensemble: its members first --- */

/* Triton names all that are missing. */
static enum status
check_members_exist(struct repository *repository, const struct known_model *ensemble, struct error *error)
{
	struct buf names;
	enum status status = STATUS_OK;

	buf_init(&names, ERROR_TEXT_SIZE);
	for (size_t i = 0; i < ensemble->members.count; i++) {
		const char *name = ensemble->members.list[i].name;
		const struct known_model *member = repository_find(repository, bytes_text(name));
		char *folder = NULL;

		if ((member != NULL && known_model_is_loaded(member)) ||
		    (i > 0 && strcmp(name, ensemble->members.list[i - 1].name) == 0)) {
			continue;
		}
		if (!repository_is_name(bytes_text(name)) ||
		    repository_find_folder(repository, name, &folder, error) != STATUS_OK) {
			buf_format(&names, "%s%s", names.length > 0 ? ", " : "", name);
		}
		free(folder);
	}
	if (names.length > 0) {
		status = error_set(error, STATUS_INVALID_ARGUMENT,
				   "ensemble %s contains models that are not available or ambiguous: %.*s",
				   ensemble->name, BYTES_ARGS(buf_bytes(&names)));
	}
	buf_fini(&names);
	return status;
}

/* Loads it if it is new or has changed on disk; what a load request gave stays. */
static enum status
load_if_changed(struct repository *repository, struct known_model *known, struct error *error)
{
	bool loaded = known_model_is_loaded(known);
	char *folder = NULL;

	if (loaded && known->override_config != NULL) {
		return STATUS_OK;
	}
	if (repository_find_folder(repository, known->name, &folder, error) != STATUS_OK) {
		return loaded ? STATUS_OK : error->status;
	}
	free(known->folder);
	known->folder = folder;
	if (loaded && !known->failed && known->stamp == folder_stamp(folder)) {
		return repository_load_members(repository, known, error);
	}
	return repository_load(repository, known, error);
}

static enum status
load_member(struct repository *repository, const struct known_model *ensemble, const char *name, struct error *error)
{
	struct known_model *member = repository_find(repository, bytes_text(name));
	struct error why;
	char *prefix;
	const char *text = why.text;

	if (member == NULL) {
		member = repository_add(repository, bytes_text(name));
	}
	if (member->loading) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "circular dependency between ensembles: %s -> ... -> %s -> %s", name, ensemble->name,
				 name);
	}
	if (load_if_changed(repository, member, &why) == STATUS_OK || known_model_is_loaded(member)) {
		return STATUS_OK;
	}
	prefix = memory_format("load failed for model '%s': ", name);
	if (strncmp(text, prefix, strlen(prefix)) == 0) {
		text += strlen(prefix);
	}
	(void)error_set(error, STATUS_INVALID_ARGUMENT,
			"ensemble '%s' depends on '%s' which has no loaded version. Model '%s' loading failed with "
			"error: %.*s",
			ensemble->name, name, name, (int)strcspn(text, "\n"), text);
	free(prefix);
	return error->status;
}

static struct model *
find_version(const struct known_model *known, int64_t number)
{
	struct model *newest = NULL;

	for (size_t i = 0; i < known->version_count; i++) {
		const struct version *version = &known->versions[i];

		if (version->model != NULL && (number == -1 || version->number == number) &&
		    (newest == NULL || version->number > newest->version)) {
			newest = version->model;
		}
	}
	return newest;
}

struct model *
repository_find_member(void *context, struct bytes name, int64_t version, struct error *error)
{
	const struct known_model *member = repository_find(context, name);
	struct model *model = member == NULL ? NULL : find_version(member, version);

	if (model != NULL) {
		return model_ref(model);
	}
	if (version == -1) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "depends on '%.*s' which has no loaded version",
				BYTES_ARGS(name));
	} else {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"depends on '%.*s' whose required version %" PRId64 " is not loaded", BYTES_ARGS(name),
				version);
	}
	return NULL;
}

static enum status
check_versions(struct repository *repository, const struct known_model *ensemble, struct error *error)
{
	for (size_t i = 0; i < ensemble->members.count; i++) {
		const struct ensemble_member *member = &ensemble->members.list[i];
		struct model *model =
			repository_find_member(repository, bytes_text(member->name), member->version, error);

		if (model == NULL) {
			return error_prefix(error, "ensemble '%s' ", ensemble->name);
		}
		model_unref(model);
	}
	return STATUS_OK;
}

enum status
repository_load_members(struct repository *repository, struct known_model *ensemble, struct error *error)
{
	enum status status = check_members_exist(repository, ensemble, error);

	for (size_t i = 0; i < ensemble->members.count && status == STATUS_OK; i++) {
		status = load_member(repository, ensemble, ensemble->members.list[i].name, error);
	}
	return status == STATUS_OK ? check_versions(repository, ensemble, error) : status;
}

/* --- A member comes or goes --- */

void
repository_reload_ensembles(struct repository *repository, const struct known_model *member)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		struct error error;

		if (known->loading || !has_member(known, member) ||
		    (!known_model_is_loaded(known) && !known->failed && !known->waiting)) {
			continue;
		}
		if (repository_load(repository, known, &error) != STATUS_OK) {
			log_error("%s", error.text);
			repository_unload(repository, known); /* it must not go on with a member of old */
			known->waiting = true;
		}
	}
}

void
repository_unload_ensembles(struct repository *repository, const struct known_model *member)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		if (has_member(known, member) && known_model_is_loaded(known)) {
			repository_unload(repository, known);
			known->waiting = true;
		}
	}
}

static bool
is_needed(struct repository *repository, const struct known_model *member)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		if (has_member(known, member) && known_model_is_loaded(known)) {
			return true;
		}
	}
	return member->requested;
}

void
repository_unload_members(struct repository *repository, const struct known_model *ensemble)
{
	for (size_t i = 0; i < ensemble->members.count; i++) {
		struct known_model *member = repository_find(repository, bytes_text(ensemble->members.list[i].name));

		if (member != NULL && known_model_is_loaded(member) && !is_needed(repository, member)) {
			repository_unload(repository, member);
			repository_unload_members(repository, member);
		}
	}
}
