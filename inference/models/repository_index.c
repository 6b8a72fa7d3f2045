#include "base/memory.h"
#include "inference/models/folder.h"
#include "inference/models/repository_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- Known models --- */

bool
repository_is_name(struct bytes name)
{
	return name.length > 0 && name.at[0] != '.' && memchr(name.at, '/', name.length) == NULL &&
	       memchr(name.at, '\0', name.length) == NULL;
}

struct known_model *
repository_find(struct repository *repository, struct bytes name)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		if (bytes_equal_text(name, known->name)) {
			return known;
		}
	}
	return NULL;
}

struct known_model *
repository_add(struct repository *repository, struct bytes name)
{
	struct known_model *known = memory_new(sizeof(*known));
	struct known_model *last = NULL;
	struct known_model *other;

	known->name = memory_text_of(name);
	(void)pthread_mutex_lock(&repository->mutex);
	LIST_FOREACH (other, &repository->known, next) {
		if (strcmp(other->name, known->name) < 0) {
			last = other;
		}
	}
	if (last == NULL) {
		LIST_INSERT_HEAD(&repository->known, known, next);
	} else {
		LIST_INSERT_AFTER(last, known, next);
	}
	(void)pthread_mutex_unlock(&repository->mutex);
	return known;
}

void
known_model_set_version(struct version *version, enum version_state state, const char *reason)
{
	free(version->reason);
	version->state = state;
	version->reason = memory_text(reason);
}

void
known_model_drop_override(struct known_model *known)
{
	free(known->override_config);
	known->override_config = NULL;
	if (known->override_folder != NULL) {
		folder_remove(known->override_folder);
		free(known->override_folder);
		known->override_folder = NULL;
	}
}

void
known_model_free(struct known_model *known)
{
	for (size_t i = 0; i < known->version_count; i++) {
		free(known->versions[i].reason);
	}
	free(known->versions);
	known_model_drop_override(known);
	ensemble_members_free(&known->members);
	free(known->stated.at);
	free(known->told_remote_failure);
	free(known->folder);
	free(known->name);
	free(known);
}

/* --- The snapshot that loops see --- */

static int
by_name(const void *left, const void *right)
{
	const struct model_table_entry *a = left;
	const struct model_table_entry *b = right;

	return strcmp(a->name, b->name);
}

static struct model_table *
build_table(struct repository *repository)
{
	struct model_table *table;
	struct known_model *known;
	size_t count = 0;

	LIST_FOREACH (known, &repository->known, next) {
		count += known->version_count > 0;
	}
	table = model_table_new(count);
	count = 0;
	LIST_FOREACH (known, &repository->known, next) {
		struct model_table_entry *entry = &table->entries[count];

		if (known->version_count == 0) {
			continue; /* in the index, but never loaded: clients are told that it is not found */
		}
		count++;
		entry->name = memory_text(known->name);
		entry->versions = memory_array(known->version_count, sizeof(struct model *));
		for (size_t i = 0; i < known->version_count; i++) {
			if (known->versions[i].model != NULL) {
				entry->versions[entry->version_count++] = model_ref(known->versions[i].model);
			}
		}
	}
	qsort(table->entries, table->count, sizeof(*table->entries), by_name);
	return table;
}

static bool
version_is_well(const struct version *version)
{
	return version->state == VERSION_READY ||
	       (version->state == VERSION_UNAVAILABLE && strcmp(version->reason, "unloaded") == 0);
}

bool
known_model_is_loaded(const struct known_model *known)
{
	for (size_t i = 0; i < known->version_count; i++) {
		if (known->versions[i].model != NULL) {
			return true;
		}
	}
	return false;
}

static bool
all_well(struct repository *repository)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		if (known->failed && !known_model_is_loaded(known)) { /* after a failed reload the old one serves */
			return false;
		}
		for (size_t i = 0; i < known->version_count; i++) {
			if (!version_is_well(&known->versions[i])) {
				return false;
			}
		}
	}
	return true;
}

struct model_table *
repository_publish(struct repository *repository)
{
	struct model_table *old = repository->table;

	repository->table = build_table(repository);
	atomic_store(&repository->ready, !repository->options->strict_readiness || all_well(repository));
	atomic_fetch_add(&repository->generation, 1);
	return old;
}

const struct model_table *
repository_table(struct repository *repository, struct repository_view *view)
{
	struct model_table *old = NULL;

	if (atomic_load_explicit(&repository->generation, memory_order_acquire) != view->generation) {
		old = view->table;
		(void)pthread_mutex_lock(&repository->mutex);
		view->generation = atomic_load(&repository->generation);
		view->table = model_table_ref(repository->table);
		(void)pthread_mutex_unlock(&repository->mutex);
		model_table_unref(old);
	}
	return view->table;
}

void
repository_view_fini(struct repository_view *view)
{
	model_table_unref(view->table);
	*view = (struct repository_view){0};
}

bool
repository_ready(struct repository *repository)
{
	return atomic_load(&repository->ready);
}

void
repository_index(struct repository *repository, bool ready_only, repository_item_fn item, void *context)
{
	static const char *const states[] = {"LOADING", "READY", "UNLOADING", "UNAVAILABLE"};
	struct known_model *known;

	(void)pthread_mutex_lock(&repository->mutex);
	LIST_FOREACH (known, &repository->known, next) {
		if (known->version_count == 0 && !ready_only) {
			item(context, known->name, 0, NULL, NULL);
		}
		for (size_t i = 0; i < known->version_count; i++) {
			const struct version *version = &known->versions[i];

			if (!ready_only || version->state == VERSION_READY) {
				item(context, known->name, version->number, states[version->state],
				     version->reason == NULL ? "" : version->reason);
			}
		}
	}
	(void)pthread_mutex_unlock(&repository->mutex);
}

/* --- Members of ensembles --- */

void
ensemble_members_free(struct ensemble_members *members)
{
	for (size_t i = 0; i < members->count; i++) {
		free(members->list[i].name);
	}
	free(members->list);
	*members = (struct ensemble_members){0};
}

static struct model *
find_version(const struct version *versions, size_t count, int64_t number)
{
	struct model *newest = NULL;

	for (size_t i = 0; i < count; i++) {
		if (versions[i].model != NULL && (number == -1 || versions[i].number == number) &&
		    (newest == NULL || versions[i].number > newest->version)) {
			newest = versions[i].model;
		}
	}
	return newest;
}

struct model *
repository_find_member(void *context, struct bytes name, int64_t version, struct error *error)
{
	const struct known_model *member = repository_find(context, name);
	struct model *model = NULL;

	if (member != NULL && member->staging != NULL && member->staging->state == STAGING_READY) {
		model = find_version(member->staging->versions, member->staging->version_count, version);
	} else if (member != NULL) {
		model = find_version(member->versions, member->version_count, version);
	}
	if (model != NULL) {
		return model_ref(model);
	}
	if (version == -1) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "depends on '%.*s' which has no loaded version",
				BYTES_ARGS(name));
	} else {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"depends on '%.*s' whose required version %" PRId64
				" is not loaded (model_version: -1 is the newest; left out it is 0)",
				BYTES_ARGS(name), version);
	}
	return NULL;
}
