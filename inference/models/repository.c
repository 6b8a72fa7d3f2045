#include "inference/models/repository.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/models/folder.h"
#include "inference/models/repository_internal.h"
#include "loop/thread.h"

#include <errno.h>
#include <stdlib.h>

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

/* Loads what the request gives instead of the files on disk. A failure changes nothing. */
static enum status
load_override(struct repository *repository, struct known_model *known, const struct repository_command *command,
	      struct error *error)
{
	struct known_model old = *known;
	enum status status = STATUS_OK;

	known->override_config = memory_text_of(command->config);
	known->override_folder = NULL;
	if (command->file_count > 0) {
		status = write_files(known, command, error);
	}
	if (status == STATUS_OK) {
		known->trying = true;
		status = repository_load(repository, known, true, error);
		known->trying = false;
	}
	if (status == STATUS_OK) {
		known_model_drop_override(&old);
		return STATUS_OK;
	}
	known_model_drop_override(known);
	known->override_config = old.override_config;
	known->override_folder = old.override_folder;
	return status;
}

static bool
is_unchanged(const struct repository *repository, const struct known_model *known)
{
	return known_model_is_loaded(known) && !known->failed && known->override_folder == NULL &&
	       known->folder != NULL && known->stamp == repository_stamp(repository, known->folder) &&
	       !repository_has_changed_remotely(repository, known);
}

static enum status
run_load(struct repository *repository, const struct repository_command *command, struct error *error)
{
	struct known_model *known = repository_find(repository, command->name);
	char *name = memory_text_of(command->name);
	char *folder = NULL;
	enum status status = repository_is_name(command->name)
				     ? repository_find_folder(repository, name, &folder, error)
				     : error_set(error, STATUS_INVALID_ARGUMENT, "'%s' is no name of a model", name);

	if (status != STATUS_OK && (command->file_count == 0 || status != STATUS_NOT_FOUND)) {
		status = repository_poll_failed(name, error);
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
		known = repository_add(repository, command->name);
	}
	free(known->folder);
	known->folder = folder;
	if (command->has_config) {
		status = load_override(repository, known, command, error);
	} else {
		status = repository_load(repository, known, !is_unchanged(repository, known), error);
	}
	known->requested = known->requested || status == STATUS_OK;
	return status;
}

static void
run_command(struct repository *repository, struct repository_command *command)
{
	struct known_model *known;

	if (!command->unload) {
		command->status = run_load(repository, command, &command->error);
		if (command->status != STATUS_OK) {
			log_error("%s", command->error.text);
		}
	} else {
		known = repository_find(repository, command->name);
		if (known != NULL) {
			repository_unload(repository, known);
		}
		if (known != NULL && command->unload_dependents) {
			repository_unload_members(repository, known);
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

/* --- Looking for changes --- */

/* Adds every model of the source to the known ones, whether it gets loaded or not. */
static enum status
scan(struct repository *repository, struct error *error)
{
	const struct model_source *source = repository->options->source;
	char **names = NULL;
	size_t count = 0;
	enum status status = source->list(source->context, &names, &count, error);

	for (size_t i = 0; i < count; i++) {
		if (status == STATUS_OK && repository_find(repository, bytes_text(names[i])) == NULL) {
			(void)repository_add(repository, bytes_text(names[i]));
		}
		free(names[i]);
	}
	free(names);
	return status == STATUS_OK ? status : error_prefix(error, "failed to read model repository: ");
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
	enum status status = repository_find_folder(repository, known->name, &folder, error);

	if (status != STATUS_OK) {
		if (known_model_is_loaded(known)) {
			repository_unload(repository, known);
		}
		known->failed = status != STATUS_NOT_FOUND;
		return status == STATUS_NOT_FOUND ? STATUS_OK : status;
	}
	free(known->folder);
	known->folder = folder;
	known->requested = true;
	if ((known_model_is_loaded(known) || known->failed || known->waiting) &&
	    known->stamp == repository_stamp(repository, folder)) {
		return STATUS_OK;
	}
	return repository_load(repository, known, true, error);
}

static void
poll_source(struct repository *repository)
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

/* What a model answers from now on is not known: nothing of it is taken from the cache, or stored. */
static void
suspend(const struct known_model *known)
{
	for (size_t i = 0; i < known->version_count; i++) {
		if (known->versions[i].model != NULL) {
			atomic_store(&known->versions[i].model->suspended, true);
		}
	}
}

/* Loads it again, as it was stated. A failure is tried again, but told once. */
static void
follow_remote(struct repository *repository, struct known_model *known)
{
	struct error error;
	char *told = known->told_remote_failure;

	known->follows_remote = true;
	known->told_remote_failure = NULL;
	if (repository_load(repository, known, true, &error) != STATUS_OK) {
		suspend(known);
		known->told_remote_failure = memory_text(error.text);
		if (told == NULL || strcmp(told, error.text) != 0) {
			log_error("%s", error.text);
		}
	}
	known->follows_remote = false;
	free(told);
}

/* Loads the models again that have changed on the servers on which they run. */
static void
look_at_remotes(struct repository *repository)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		if ((known_model_is_loaded(known) || known->failed) &&
		    repository_has_changed_remotely(repository, known)) {
			follow_remote(repository, known);
		}
	}
}

static bool
check_wanted_exist(struct repository *repository, struct error *error)
{
	for (size_t i = 0; i < repository->options->load_model_count; i++) {
		const char *name = repository->options->load_models[i];

		if (repository->options->mode == REPOSITORY_EXPLICIT && strcmp(name, "*") != 0 &&
		    repository_find(repository, bytes_text(name)) == NULL) {
			(void)error_set(error, STATUS_NOT_FOUND, "model '%s' is in no model repository", name);
			(void)repository_poll_failed(name, error);
			return false;
		}
	}
	return true;
}

/* --- The thread --- */

static void
set_due(struct repository *repository)
{
	const struct repository_options *options = repository->options;

	repository->poll_due_ns = options->mode == REPOSITORY_POLL
					  ? clock_now_ns() + (uint64_t)options->poll_secs * NS_PER_S
					  : UINT64_MAX;
}

static void
look(struct repository *repository)
{
	if (repository->options->mode == REPOSITORY_POLL) {
		poll_source(repository);
	}
	if (repository->options->remotes != NULL) {
		look_at_remotes(repository);
	}
	set_due(repository);
}

static void
wait_for_work(struct repository *repository)
{
	uint64_t now = clock_now_ns();
	uint64_t due = repository->poll_due_ns;

	if (repository->looks_now || due <= now) {
		repository->looks_now = false;
		(void)pthread_mutex_unlock(&repository->mutex);
		look(repository);
		(void)pthread_mutex_lock(&repository->mutex);
	} else if (due == UINT64_MAX) {
		(void)pthread_cond_wait(&repository->changed, &repository->mutex);
	} else {
		clock_wait(&repository->changed, &repository->mutex, due);
	}
}

static void
unload_all(struct repository *repository)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		repository_unload(repository, known);
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
			repository_close_model(repository, model);
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
			if (status != STATUS_OK) {
				log_error("%s", error->text);
			}
			*error = one;
			status = one.status;
		}
	}
	(void)pthread_mutex_lock(&repository->mutex);
	old_table = repository_publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	model_table_unref(old_table);
	set_due(repository);
	repository->thread = thread_start("repository", work, repository);
	return status;
}

void
repository_look(struct repository *repository)
{
	(void)pthread_mutex_lock(&repository->mutex);
	repository->looks_now = true;
	(void)pthread_cond_broadcast(&repository->changed);
	(void)pthread_mutex_unlock(&repository->mutex);
}

void
repository_flush(struct repository *repository)
{
	struct repository_view view = {0};
	const struct model_table *table = repository_table(repository, &view);

	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			model_flush(table->entries[i].versions[k]);
		}
	}
	repository_view_fini(&view);
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
	STAILQ_INIT(&repository->change);
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
		known_model_free(known);
	}
	(void)pthread_cond_destroy(&repository->changed);
	(void)pthread_mutex_destroy(&repository->mutex);
	free(repository);
}
