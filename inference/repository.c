#include "inference/repository.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/folder.h"
#include "loop/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_FILE_MAX ((size_t)16 << 20)

enum version_state { VERSION_LOADING, VERSION_READY, VERSION_UNLOADING, VERSION_UNAVAILABLE };

struct version {
	int64_t number;
	enum version_state state;
	char *reason;	     /* of VERSION_UNAVAILABLE */
	struct model *model; /* of VERSION_READY: the repository's reference */
};

/* One model of the repository, loaded or not. */
struct known_model {
	LIST_ENTRY(known_model) next;
	char *name;
	char *folder;
	uint64_t stamp;		  /* of the folder when it was loaded */
	struct version *versions; /* ascending */
	size_t version_count;
	bool failed;	       /* the last attempt to load it did */
	char *override_config; /* JSON that a load request gave; kept until unload */
	char *override_folder; /* files that a load request gave */
};

struct repository {
	const struct repository_options *options;
	pthread_t thread;
	pthread_mutex_t mutex; /* commands come from loops, and loops read the table and the index */
	pthread_cond_t changed;
	STAILQ_HEAD(, repository_command) commands;
	SLIST_HEAD(, model) closing;
	size_t open_models;
	bool stopping;
	LIST_HEAD(, known_model) known; /* written by the repository's thread, under the mutex */
	struct model_table *table;
	_Atomic uint64_t generation; /* of the table */
	atomic_bool ready;
};

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

static bool
is_loaded(const struct known_model *known)
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
		if (known->failed && !is_loaded(known)) { /* after a failed reload the old one serves */
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

/* After any change of what is known or loaded; with the mutex held. The old table is dropped outside of it. */
static struct model_table *
publish(struct repository *repository)
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

/* --- Known models --- */

static struct known_model *
find_known(struct repository *repository, struct bytes name)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		if (bytes_equal_text(name, known->name)) {
			return known;
		}
	}
	return NULL;
}

static struct known_model *
add_known(struct repository *repository, struct bytes name)
{
	struct known_model *known = memory_new(sizeof(*known));
	struct known_model *last = NULL;
	struct known_model *other;

	known->name = memory_format("%.*s", (int)name.length, (const char *)name.at);
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

static void
set_version(struct version *version, enum version_state state, const char *reason)
{
	free(version->reason);
	version->state = state;
	version->reason = memory_text(reason);
}

static void
drop_override(struct known_model *known)
{
	free(known->override_config);
	known->override_config = NULL;
	if (known->override_folder != NULL) {
		folder_remove(known->override_folder);
		free(known->override_folder);
		known->override_folder = NULL;
	}
}

static void
free_known(struct known_model *known)
{
	for (size_t i = 0; i < known->version_count; i++) {
		free(known->versions[i].reason);
	}
	free(known->versions);
	drop_override(known);
	free(known->folder);
	free(known->name);
	free(known);
}

/* Where the model lies. The same name in two repositories is an error, as in Triton. */
static enum status
find_folder(struct repository *repository, const char *name, char **folder, struct error *error)
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
		.autocomplete = repository->options->autocomplete,
		.default_batch = repository->options->default_batch,
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
		if (version->model->config.has_warmup) {
			log_warning("model '%s' asks for model_warmup, which is not done yet", loading->name);
		}
		repository->open_models++;
		set_version(version, VERSION_READY, NULL);
		return;
	}
	reason = memory_format("%s: %s", status_text(error.status), error.text);
	set_version(version, VERSION_UNAVAILABLE, reason);
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
			set_version(gone, old[i].model != NULL ? VERSION_UNLOADING : VERSION_UNAVAILABLE, "unloaded");
		}
	}
	old_table = publish(repository);
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
	old_table = publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	model_table_unref(old_table);
}

static enum status
poll_failed(const char *name, struct error *error)
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
		return poll_failed(loading->name, error);
	}
	if (config.name.length > 0 && !bytes_equal_text(config.name, loading->name)) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"unexpected directory name '%s' for model '%.*s', directory name must equal model name",
				loading->name, BYTES_ARGS(config.name));
		status = poll_failed(loading->name, error);
	} else {
		status = choose_versions(loading, &config, error);
	}
	model_config_fini(&config);
	return status;
}

/* Loads or reloads from known->folder, or from what a load request gave. */
static enum status
load(struct repository *repository, struct known_model *known, struct error *error)
{
	struct loading loading = {
		.repository = repository,
		.name = known->name,
		.folder = known->override_folder != NULL ? known->override_folder : known->folder,
		.config = known->override_config,
	};
	uint64_t stamp = folder_stamp(loading.folder);
	uint64_t start = clock_now_ns();
	enum status status = check_config(&loading, error);

	if (status == STATUS_OK) {
		status = open_versions(&loading, error);
	}
	known->failed = status != STATUS_OK;
	known->stamp = stamp;
	if (status != STATUS_OK) {
		keep_old_versions(repository, known, &loading);
		return status;
	}
	replace_versions(repository, known, &loading);
	for (size_t i = 0; i < loading.version_count; i++) {
		log_info("successfully loaded '%s' version %" PRId64 " in %.3f s", known->name,
			 known->versions[i].number, (double)(clock_now_ns() - start) / 1e9);
	}
	return STATUS_OK;
}

static void
unload(struct repository *repository, struct known_model *known)
{
	struct model **models = memory_array(known->version_count, sizeof(struct model *));
	struct model_table *old_table;
	size_t count = 0;

	(void)pthread_mutex_lock(&repository->mutex);
	known->failed = false;
	for (size_t i = 0; i < known->version_count; i++) {
		struct version *version = &known->versions[i];

		if (version->model != NULL) {
			set_version(version, VERSION_UNLOADING, NULL);
			models[count++] = version->model;
			version->model = NULL;
		}
	}
	old_table = publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	/* Dropping a reference may call back into on_unused, which takes the mutex. */
	for (size_t i = 0; i < count; i++) {
		model_unref(models[i]);
	}
	model_table_unref(old_table);
	free(models);
	drop_override(known);
}

/* --- Models that nobody uses any more --- */

static void
close_model(struct repository *repository, struct model *model)
{
	char *name = memory_format("%.*s", BYTES_ARGS(model->config.name));
	int64_t number = model->version;
	struct model_table *old_table;
	struct known_model *known;

	model_close(model);
	repository->open_models--;
	(void)pthread_mutex_lock(&repository->mutex);
	known = find_known(repository, bytes_text(name));
	for (size_t i = 0; known != NULL && i < known->version_count; i++) {
		if (known->versions[i].number == number && known->versions[i].state == VERSION_UNLOADING) {
			set_version(&known->versions[i], VERSION_UNAVAILABLE, "unloaded");
			log_info("successfully unloaded '%s' version %" PRId64, name, number);
		}
	}
	old_table = publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	model_table_unref(old_table);
	free(name);
}

/* --- Commands --- */

static enum status
write_files(struct known_model *known, const struct repository_command *command, struct error *error)
{
	char root[] = "/tmp/hippocamp-model-XXXXXX";
	enum status status = STATUS_OK;

	if (mkdtemp(root) == NULL) {
		return error_set(error, STATUS_INTERNAL, "cannot make a folder in /tmp for the model's files: %s",
				 strerror(errno));
	}
	known->override_folder = memory_text(root);
	for (size_t i = 0; i < command->file_count && status == STATUS_OK; i++) {
		status = file_write_below(root, command->files[i].path, command->files[i].content, error);
	}
	return status;
}

/* Loads what the request gives in place of the files on disk. A failure leaves things as they were. */
static enum status
load_override(struct repository *repository, struct known_model *known, const struct repository_command *command,
	      struct error *error)
{
	struct known_model old = *known;
	enum status status = STATUS_OK;

	known->override_config = memory_format("%.*s", (int)command->config.length, (const char *)command->config.at);
	known->override_folder = NULL;
	if (command->file_count > 0) {
		status = write_files(known, command, error);
	}
	if (status == STATUS_OK) {
		status = load(repository, known, error);
	}
	if (status == STATUS_OK) {
		drop_override(&old);
		return STATUS_OK;
	}
	drop_override(known);
	known->override_config = old.override_config;
	known->override_folder = old.override_folder;
	return status;
}

static bool
is_model_name(struct bytes name)
{
	return name.length > 0 && name.at[0] != '.' && memchr(name.at, '/', name.length) == NULL &&
	       memchr(name.at, '\0', name.length) == NULL;
}

static bool
is_unchanged(const struct known_model *known)
{
	return is_loaded(known) && !known->failed && known->override_folder == NULL && known->folder != NULL &&
	       known->stamp == folder_stamp(known->folder);
}

static enum status
run_load(struct repository *repository, const struct repository_command *command, struct error *error)
{
	struct known_model *known = find_known(repository, command->name);
	char *name = memory_format("%.*s", (int)command->name.length, (const char *)command->name.at);
	char *folder = NULL;
	enum status status = is_model_name(command->name)
				     ? find_folder(repository, name, &folder, error)
				     : error_set(error, STATUS_INVALID_ARGUMENT, "'%s' is no name of a model", name);

	if (status != STATUS_OK && (command->file_count == 0 || status != STATUS_NOT_FOUND)) {
		status = poll_failed(name, error);
		free(name);
		return status;
	}
	if (command->file_count > 0 && !command->has_config) {
		status = error_set(error, STATUS_INVALID_ARGUMENT,
				   "failed to load '%s', override model directory requires 'config' parameter", name);
		free(folder);
		free(name);
		return status;
	}
	free(name);
	if (known == NULL) {
		known = add_known(repository, command->name);
	}
	free(known->folder);
	known->folder = folder;
	if (command->has_config) {
		return load_override(repository, known, command, error);
	}
	return is_unchanged(known) ? STATUS_OK : load(repository, known, error);
}

static void
run_command(struct repository *repository, struct repository_command *command)
{
	struct known_model *known;

	if (!command->unload) {
		command->status = run_load(repository, command, &command->error);
	} else {
		known = find_known(repository, command->name);
		if (known != NULL && is_loaded(known)) {
			unload(repository, known);
		}
		command->status = STATUS_OK;
	}
}

static void
deliver_command(struct loop_mail *mail)
{
	struct repository_command *command = (struct repository_command *)mail;

	command->done(command);
}

void
repository_command(struct repository *repository, struct repository_command *command)
{
	command->mail.deliver = deliver_command;
	(void)pthread_mutex_lock(&repository->mutex);
	STAILQ_INSERT_TAIL(&repository->commands, command, queue);
	(void)pthread_cond_broadcast(&repository->changed);
	(void)pthread_mutex_unlock(&repository->mutex);
}

/* --- Looking at the disk --- */

/* Notes every model that lies in the repositories, whether it gets loaded or not. */
static enum status
scan(struct repository *repository, struct error *error)
{
	for (size_t i = 0; i < repository->options->path_count; i++) {
		char **names = NULL;
		size_t count = 0;
		enum status status = folder_list(repository->options->paths[i], &names, &count, error);

		if (status != STATUS_OK) {
			return error_prefix(error, "failed to read model repository: ");
		}
		for (size_t k = 0; k < count; k++) {
			if (find_known(repository, bytes_text(names[k])) == NULL) {
				(void)add_known(repository, bytes_text(names[k]));
			}
			free(names[k]);
		}
		free(names);
	}
	return STATUS_OK;
}

static bool
wanted_at_start(const struct repository *repository, const char *name)
{
	if (repository->options->mode != REPOSITORY_EXPLICIT) {
		return true;
	}
	for (size_t i = 0; i < repository->options->load_model_count; i++) {
		if (strcmp(repository->options->load_models[i], "*") == 0 ||
		    strcmp(repository->options->load_models[i], name) == 0) {
			return true;
		}
	}
	return false;
}

/* Loads a model if it is new or has changed, unloads it if it is gone. */
static enum status
refresh(struct repository *repository, struct known_model *known, struct error *error)
{
	char *folder;
	enum status status = find_folder(repository, known->name, &folder, error);

	if (status != STATUS_OK) {
		if (is_loaded(known)) {
			unload(repository, known);
		}
		known->failed = status != STATUS_NOT_FOUND;
		return status == STATUS_NOT_FOUND ? STATUS_OK : status;
	}
	free(known->folder);
	known->folder = folder;
	if ((is_loaded(known) || known->failed) && known->stamp == folder_stamp(folder)) {
		return STATUS_OK;
	}
	return load(repository, known, error);
}

static void
poll_disk(struct repository *repository)
{
	struct known_model *known;
	struct error error;

	if (scan(repository, &error) != STATUS_OK) {
		log_error("%s", error.text);
		return;
	}
	LIST_FOREACH (known, &repository->known, next) {
		if (refresh(repository, known, &error) != STATUS_OK) {
			log_error("%s", error.text);
		}
	}
}

static bool
check_wanted_exist(struct repository *repository, struct error *error)
{
	for (size_t i = 0; i < repository->options->load_model_count; i++) {
		const char *name = repository->options->load_models[i];

		if (repository->options->mode == REPOSITORY_EXPLICIT && strcmp(name, "*") != 0 &&
		    find_known(repository, bytes_text(name)) == NULL) {
			(void)error_set(error, STATUS_NOT_FOUND, "model '%s' is in no model repository", name);
			(void)poll_failed(name, error);
			return false;
		}
	}
	return true;
}

/* --- The thread --- */

static void
wait_for_work(struct repository *repository)
{
	struct timespec until;

	if (repository->options->mode != REPOSITORY_POLL) {
		(void)pthread_cond_wait(&repository->changed, &repository->mutex);
		return;
	}
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += repository->options->poll_secs;
	if (pthread_cond_timedwait(&repository->changed, &repository->mutex, &until) == ETIMEDOUT) {
		(void)pthread_mutex_unlock(&repository->mutex);
		poll_disk(repository);
		(void)pthread_mutex_lock(&repository->mutex);
	}
}

static void
unload_all(struct repository *repository)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		unload(repository, known);
	}
}

static void *
work(void *argument)
{
	struct repository *repository = argument;
	struct repository_command *command;
	struct model *model;
	bool unloaded = false;

	(void)pthread_mutex_lock(&repository->mutex);
	for (;;) {
		if ((model = SLIST_FIRST(&repository->closing)) != NULL) {
			SLIST_REMOVE_HEAD(&repository->closing, closing);
			(void)pthread_mutex_unlock(&repository->mutex);
			close_model(repository, model);
			(void)pthread_mutex_lock(&repository->mutex);
		} else if ((command = STAILQ_FIRST(&repository->commands)) != NULL) {
			STAILQ_REMOVE_HEAD(&repository->commands, queue);
			(void)pthread_mutex_unlock(&repository->mutex);
			run_command(repository, command);
			loop_post(command->loop, &command->mail);
			(void)pthread_mutex_lock(&repository->mutex);
		} else if (repository->stopping && !unloaded) {
			(void)pthread_mutex_unlock(&repository->mutex);
			unload_all(repository);
			unloaded = true;
			(void)pthread_mutex_lock(&repository->mutex);
		} else if (repository->stopping && repository->open_models == 0) {
			break;
		} else {
			wait_for_work(repository);
		}
	}
	(void)pthread_mutex_unlock(&repository->mutex);
	return NULL;
}

enum status
repository_start(struct repository *repository, struct error *error)
{
	enum status status = scan(repository, error);
	struct known_model *known;
	struct error one;
	struct model_table *old_table;

	if (status == STATUS_OK && !check_wanted_exist(repository, error)) {
		status = error->status;
	}
	LIST_FOREACH (known, &repository->known, next) {
		if (wanted_at_start(repository, known->name) && refresh(repository, known, &one) != STATUS_OK) {
			*error = one;
			status = one.status;
		}
	}
	(void)pthread_mutex_lock(&repository->mutex);
	old_table = publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	model_table_unref(old_table);
	repository->thread = thread_start("repository", work, repository);
	return status;
}

struct repository *
repository_new(const struct repository_options *options)
{
	struct repository *repository = memory_new(sizeof(*repository));

	repository->options = options;
	(void)pthread_mutex_init(&repository->mutex, NULL);
	(void)pthread_cond_init(&repository->changed, NULL);
	STAILQ_INIT(&repository->commands);
	SLIST_INIT(&repository->closing);
	LIST_INIT(&repository->known);
	repository->table = model_table_new(0);
	repository->generation = 1;
	return repository;
}

void
repository_free(struct repository *repository)
{
	struct known_model *known;

	(void)pthread_mutex_lock(&repository->mutex);
	repository->stopping = true;
	(void)pthread_cond_broadcast(&repository->changed);
	(void)pthread_mutex_unlock(&repository->mutex);
	(void)pthread_join(repository->thread, NULL);
	model_table_unref(repository->table);
	while ((known = LIST_FIRST(&repository->known)) != NULL) {
		LIST_REMOVE(known, next);
		free_known(known);
	}
	(void)pthread_cond_destroy(&repository->changed);
	(void)pthread_mutex_destroy(&repository->mutex);
	free(repository);
}
