#include "front/follower_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "upstream/replica.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- Models --- */

static struct followed_model *
add_model(struct follower *follower, const char *name)
{
	struct followed_model *model;

	follower->models = memory_grow(follower->models, follower->model_count + 1, sizeof(*follower->models));
	model = &follower->models[follower->model_count++];
	*model = (struct followed_model){.name = memory_text(name), .is_to_be_read = true};
	buf_init(&model->config, FOLLOWER_DOCUMENT_MAX);
	return model;
}

/* --- Generations --- */

/* Keys are made for the group's generation from now on. */
static void
enter_generation(struct follower *follower)
{
	group_enter(follower->group, follower->generation);
	for (size_t i = 0; i < follower->model_count; i++) {
		follower->models[i].is_to_be_read = true;
	}
	for (size_t i = 0; i < follower->replica_count; i++) {
		replica_view_begin(&follower->replicas[i].view, upstream_ledger(follower->options->upstream), i);
	}
}

static void
begin_generation(struct follower *follower)
{
	log_info("models behind may have changed, as %s: what was cached before is used no longer", follower->moved);
	if (follower->options->generation != NULL && *follower->generation == '\0') {
		log_warning("the generation '%s' is used up: what is cached is not shared any more; start again with "
			    "another --upstream-generation",
			    follower->options->generation);
	}
	group_move(follower->group);
	for (size_t i = 0; i < follower->model_count; i++) {
		if (follower->options->purge != NULL && follower->models[i].is_usable) {
			(void)follower->options->purge(follower->options->purge_context, follower->models[i].name);
		}
	}
	enter_generation(follower);
	follower->moved = NULL;
}

/* --- Models behind --- */

static void
add_version(struct followed_model *model, const struct version_view *one)
{
	model->versions = memory_grow(model->versions, model->version_count + 1, sizeof(*model->versions));
	model->versions[model->version_count++] = one->version;
	free(model->word);
	model->word = memory_text(one->word);
}

/* A view is sorted by name and version: so are the models' versions. */
static void
take_versions(struct follower *follower, const struct replica_view *view)
{
	for (size_t i = 0; i < follower->model_count; i++) {
		follower->models[i].version_count = 0;
	}
	for (size_t i = 0; i < view->count; i++) {
		struct followed_model *model = follower_find_model(follower, view->versions[i].name);

		if (model == NULL && !follower->options->by_name) {
			model = add_model(follower, view->versions[i].name);
		}
		if (model != NULL) {
			add_version(model, &view->versions[i]);
		}
	}
}

/* --- The source --- */

static const struct replica_state *
first_reached(const struct follower *follower)
{
	for (size_t i = 0; i < follower->replica_count; i++) {
		if (follower->replicas[i].was_reached) {
			return &follower->replicas[i];
		}
	}
	return NULL;
}

static void
tell_unreachable(struct follower *follower)
{
	if (!follower->told_unreachable) {
		log_warning("cannot read the models of upstream %s; it is tried again every %" PRId64 " s",
			    follower->why, follower->options->poll_secs);
		follower->told_unreachable = true;
	}
}

/* After so long without a look another model may have counted as much as the one before. */
static uint64_t
asleep_ns(const struct follower *follower)
{
	return 3 * (uint64_t)follower->options->poll_secs * NS_PER_S + FOLLOWER_ASLEEP_NS;
}

/* Others have left the old answers, and nobody can say which are right: nothing is cached until a server is reached. */
static void
forget_models(struct follower *follower)
{
	for (size_t i = 0; i < follower->model_count; i++) {
		follower->models[i].is_usable = false;
		follower->models[i].is_to_be_read = true;
	}
}

static void
poll_all(struct follower *follower)
{
	const struct replica_state *reached;
	bool changed = atomic_exchange(&follower->changed, false); /* before the views, which then show it */

	if (follower->has_reached) { /* else it would take over what it cannot judge */
		group_listen(follower->group);
	}
	if (follower->has_reached && clock_boot_ns() - follower->ended_ns > asleep_ns(follower)) {
		follower->was_asleep = true;
	}
	for (size_t i = 0; i < follower->replica_count; i++) {
		follower_poll_replica(follower, i);
		replica_note_read(&upstream_replicas(follower->options->upstream)->replicas[i],
				  follower->replicas[i].was_reached);
	}
	if (follower->was_asleep) {
		follower->moved = "they were not looked at for long: this process, or its machine, stood still";
	}
	follower->was_asleep = false;
	if (changed) {
		follower->moved = "a request to load or unload one passed through";
	}
	reached = first_reached(follower);
	if (atomic_load(&follower->stopping)) {
		return;
	}
	if (reached == NULL) {
		tell_unreachable(follower);
		if (group_has_moved(follower->group)) {
			forget_models(follower);
		}
		return;
	}
	if (follower->told_unreachable) {
		log_info("the models of upstream %s are known", upstream_name(follower->options->upstream, 0));
	}
	follower->told_unreachable = false;
	take_versions(follower, &reached->view);
	follower_read_again(follower);
	if (atomic_load(&follower->stopping)) { /* what was read meanwhile is not complete */
		return;
	}
	if (follower->moved != NULL) {
		begin_generation(follower);
	} else if (group_has_moved(follower->group)) {
		if (group_is_anothers(follower->group)) {
			log_info("the generation is that of another front from now on, with which answers are shared");
		}
		enter_generation(follower);
	}
	follower_read_new(follower);
	group_tell(follower->group);
}

static bool
is_there(const struct followed_model *model)
{
	return model->version_count > 0 && model->is_usable;
}

static enum status
list(void *context, char ***names, size_t *count, struct error *error)
{
	struct follower *follower = context;
	size_t models = 0;

	(void)error;
	if (!atomic_load(&follower->stopping)) {
		poll_all(follower);
		follower->ended_ns = clock_boot_ns();
	}
	*names = memory_array(follower->model_count + 1, sizeof(**names));
	*count = 0;
	for (size_t i = 0; i < follower->model_count; i++) {
		models += follower->models[i].version_count > 0;
		if (is_there(&follower->models[i])) {
			(*names)[(*count)++] = memory_text(follower->models[i].name);
		}
	}
	atomic_store(&follower->told_models, models);
	atomic_store(&follower->told_cached, *count);
	atomic_store(&follower->told_reached, follower->has_reached);
	return STATUS_OK;
}

static enum status
find(void *context, const char *name, char **place, struct error *error)
{
	const struct followed_model *model = follower_find_model(context, name);

	*place = NULL;
	if (model == NULL || !is_there(model)) {
		return error_set(error, STATUS_NOT_FOUND, "model '%s' is not cached", name);
	}
	*place = memory_text(name);
	return STATUS_OK;
}

static uint64_t
stamp(void *context, const char *place)
{
	const struct followed_model *model = follower_find_model(context, place);
	uint64_t parts[2];

	if (model == NULL) {
		return 0;
	}
	parts[0] = checksum64(buf_bytes(&model->config));
	parts[1] = checksum64(bytes_make(model->versions, model->version_count * sizeof(*model->versions)));
	return checksum64(bytes_make(parts, sizeof(parts)));
}

static enum status
config(void *context, const char *place, char **text, size_t *length, struct error *error)
{
	const struct followed_model *model = follower_find_model(context, place);

	if (model == NULL) {
		return error_set(error, STATUS_NOT_FOUND, "model '%s' is gone", place);
	}
	*length = model->config.length;
	*text = memory_text_of(buf_bytes(&model->config));
	return STATUS_OK;
}

static enum status
versions(void *context, const char *place, int64_t **found, size_t *count, struct error *error)
{
	const struct followed_model *model = follower_find_model(context, place);

	*found = NULL;
	*count = 0;
	if (model == NULL) {
		return error_set(error, STATUS_NOT_FOUND, "model '%s' is gone", place);
	}
	*found = memory_array(model->version_count, sizeof(**found));
	if (model->version_count > 0) {
		memcpy(*found, model->versions, model->version_count * sizeof(**found));
	}
	*count = model->version_count;
	return STATUS_OK;
}

struct model_source
follower_source(struct follower *follower)
{
	return (struct model_source){.list = list,
				     .find = find,
				     .stamp = stamp,
				     .config = config,
				     .config_is_json = true,
				     .versions = versions,
				     .context = follower};
}

/* --- Life --- */

static void
free_model(struct followed_model *model)
{
	free(model->name);
	free(model->versions);
	free(model->word);
	buf_fini(&model->config);
}

static bool
is_among(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0) {
			return true;
		}
	}
	return false;
}

void
follower_want(struct follower *follower, const char *const *names, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < follower->model_count; i++) {
		if (is_among(follower->models[i].name, names, count)) {
			follower->models[kept++] = follower->models[i];
		} else {
			free_model(&follower->models[i]);
		}
	}
	follower->model_count = kept;
	for (size_t i = 0; i < count; i++) {
		if (follower_find_model(follower, names[i]) == NULL) {
			(void)add_model(follower, names[i]);
		}
	}
}

const char *
follower_generation(const struct follower *follower)
{
	return follower->generation;
}

bool
follower_has_number(const struct follower *follower, const char *name)
{
	const struct followed_model *model = follower_find_model(follower, name);

	return model != NULL && model->word == NULL;
}

const char *
follower_trouble(const struct follower *follower)
{
	return follower->told_unreachable ? follower->why : NULL;
}

bool
follower_count(const struct follower *follower, size_t *models, size_t *cached)
{
	*models = atomic_load(&follower->told_models);
	*cached = atomic_load(&follower->told_cached);
	return atomic_load(&follower->told_reached);
}

void
follower_note_change(struct follower *follower)
{
	atomic_store(&follower->changed, true);
}

static void
on_wake(struct loop_mail *mail)
{
	(void)mail;
}

void
follower_stop(struct follower *follower)
{
	if (!atomic_exchange(&follower->stopping, true)) {
		follower->wake.deliver = on_wake;
		loop_post(follower->loop, &follower->wake);
	}
}

struct follower *
follower_new(const struct follower_options *options, struct error *error)
{
	struct follower *follower = memory_new(sizeof(*follower));

	follower->options = options;
	follower->loop = loop_new(error);
	if (follower->loop == NULL) {
		follower_free(follower);
		return NULL;
	}
	follower->lane = upstream_lane_new(options->upstream, follower->loop, NULL);
	follower->replica_count = upstream_count(options->upstream);
	follower->replicas = memory_array(follower->replica_count, sizeof(*follower->replicas));
	follower->group = group_new(&(struct group_options){.name = options->group,
							    .store = options->store,
							    .loop = follower->loop,
							    .stopping = &follower->stopping,
							    .poll_secs = options->poll_secs});
	if (options->generation == NULL) {
		group_enter(follower->group, follower->generation);
	}
	return follower;
}

/* What has just passed through is news for others, although it is not looked at any more. */
static void
tell_last(struct follower *follower)
{
	if (atomic_load(&follower->changed) || follower->moved != NULL) {
		group_move(follower->group);
	}
	atomic_store(&follower->stopping, false); /* the store is waited for */
	group_tell_last(follower->group);
}

void
follower_free(struct follower *follower)
{
	if (follower == NULL) {
		return;
	}
	if (follower->group != NULL) {
		tell_last(follower);
	}
	group_free(follower->group);
	upstream_lane_free(follower->lane);
	loop_free(follower->loop);
	for (size_t i = 0; i < follower->replica_count; i++) {
		replica_view_fini(&follower->replicas[i].view);
		buf_fini(&follower->replicas[i].metadata);
	}
	for (size_t i = 0; i < follower->model_count; i++) {
		free_model(&follower->models[i]);
	}
	free(follower->models);
	free(follower->replicas);
	free(follower);
}
