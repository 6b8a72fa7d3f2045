/* Changes of the repository: what is loaded or unloaded along with a model, and how it takes effect all at once. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/models/repository_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* Why a model is visited. */
enum visit {
	VISIT_ALWAYS,  /* to be loaded in any case */
	VISIT_CHANGED, /* to be loaded if it is new or has changed on disk */
	VISIT_FOLLOW   /* an ensemble, to be loaded if one of its members was */
};

/* --- Members: the models of an ensemble's steps --- */

static bool
is_repeated(const struct ensemble_members *members, size_t index)
{
	return index > 0 && strcmp(members->list[index].name, members->list[index - 1].name) == 0;
}

static struct known_model *
member_at(struct repository *repository, struct ensemble_members *members, size_t index)
{
	struct ensemble_member *member = &members->list[index];

	if (member->known == NULL) { /* it may have been added since */
		member->known = repository_find(repository, bytes_text(member->name));
	}
	return member->known;
}

static bool
is_replaced(const struct known_model *known)
{
	return known->leaving || (known->staging != NULL && known->staging->state == STAGING_READY);
}

static bool
has_replaced_member(struct repository *repository, struct ensemble_members *members)
{
	for (size_t i = 0; i < members->count; i++) {
		const struct known_model *member = member_at(repository, members, i);

		if (member != NULL && is_replaced(member)) {
			return true;
		}
	}
	return false;
}

/* Can an ensemble that is opened now use this model? */
static bool
is_usable(const struct known_model *known)
{
	return (known->staging != NULL && known->staging->state == STAGING_READY) ||
	       (known_model_is_loaded(known) && !known->leaving);
}

/* --- Visiting a model: first its members, then itself --- */

static bool visit(struct repository *repository, struct known_model *known, enum visit why);

/* Members must be usable, or on disk to be loaded now; the error names all that are missing, as in Triton. */
static enum status
check_members_exist(struct repository *repository, struct staging *staging, enum visit why, struct error *error)
{
	struct ensemble_members *members = &staging->members;
	enum status status = STATUS_OK;
	struct buf names;

	buf_init(&names, ERROR_TEXT_SIZE);
	for (size_t i = 0; i < members->count; i++) {
		const struct known_model *member = member_at(repository, members, i);
		struct bytes name = bytes_text(members->list[i].name);
		char *folder = NULL;

		if (is_repeated(members, i) || (member != NULL && is_usable(member))) {
			continue;
		}
		if (why == VISIT_FOLLOW || !repository_is_name(name) ||
		    repository_find_folder(repository, members->list[i].name, &folder, error) != STATUS_OK) {
			buf_format(&names, "%s%.*s", names.length > 0 ? ", " : "", BYTES_ARGS(name));
		}
		free(folder);
	}
	if (names.length > 0) {
		status = error_set(error, STATUS_INVALID_ARGUMENT,
				   "ensemble %s contains models that are not available or ambiguous: %.*s",
				   staging->known->name, BYTES_ARGS(buf_bytes(&names)));
	}
	buf_fini(&names);
	return status;
}

/* A member's error, without the prefix that names it. */
static const char *
reason_of(const struct known_model *member)
{
	char *prefix = memory_format("load failed for model '%s': ", member->name);
	const char *text = member->staging == NULL ? "" : member->staging->error.text;

	if (strncmp(text, prefix, strlen(prefix)) == 0) {
		text += strlen(prefix);
	}
	free(prefix);
	return text;
}

static enum status
tell_circle(struct staging *staging, const struct known_model *member, struct error *error)
{
	staging->circular = true;
	if (member->staging->state != STAGING_UNDERWAY) { /* the cycle was found further down */
		return error_set(error, STATUS_INVALID_ARGUMENT, "%s", reason_of(member));
	}
	return error_set(error, STATUS_INVALID_ARGUMENT, "circular dependency between ensembles: %s -> ... -> %s -> %s",
			 member->name, staging->known->name, member->name);
}

static enum status
visit_members(struct repository *repository, struct staging *staging, struct ensemble_members *members, enum visit why,
	      struct error *error)
{
	for (size_t i = 0; i < members->count; i++) {
		struct known_model *member = member_at(repository, members, i);

		if (member == NULL && why == VISIT_CHANGED) {
			member = repository_add(repository, bytes_text(members->list[i].name));
			members->list[i].known = member;
		}
		if (member != NULL && !visit(repository, member, why)) {
			return tell_circle(staging, member, error);
		}
	}
	return STATUS_OK;
}

static enum status
check_members(struct repository *repository, struct staging *staging, struct error *error)
{
	struct ensemble_members *members = &staging->members;

	for (size_t i = 0; i < members->count; i++) {
		const struct known_model *member = members->list[i].known;
		struct model *model;

		if (!is_usable(member)) {
			if (member->staging != NULL) {
				member->staging->told = true;
			}
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "ensemble '%s' depends on '%s' which has no loaded version. Model '%s' "
					 "loading failed with error: %.*s",
					 staging->known->name, member->name, member->name,
					 (int)strcspn(reason_of(member), "\n"), reason_of(member));
		}
		model = repository_find_member(repository, bytes_text(member->name), members->list[i].version, error);
		if (model == NULL) {
			return error_prefix(error, "ensemble '%s' ", staging->known->name);
		}
		model_unref(model);
	}
	return STATUS_OK;
}

/* As in Triton, errors of members are not errors of a version. */
static enum status
stage_members(struct repository *repository, struct staging *staging, enum visit why, struct error *error)
{
	enum status status = check_members_exist(repository, staging, why, error);

	if (status == STATUS_OK) {
		status = visit_members(repository, staging, &staging->members, why, error);
	}
	if (status == STATUS_OK) {
		status = check_members(repository, staging, error);
	}
	return status == STATUS_OK ? STATUS_OK
				   : error_prefix(error, "load failed for model '%s': ", staging->known->name);
}

static void
stage(struct repository *repository, struct staging *staging, enum visit why)
{
	struct known_model *known = staging->known;
	struct error *error = &staging->error;
	enum status status = STATUS_OK;

	if (known->override_folder == NULL && known->folder == NULL) {
		status = repository_find_folder(repository, known->name, &known->folder, error);
	}
	staging->folder = known->override_folder != NULL ? known->override_folder : known->folder;
	if (status == STATUS_OK) {
		status = staging_read(repository, staging, error);
	}
	if (status == STATUS_OK) {
		/* In the other modes, everything on disk gets loaded sooner or later. */
		bool as_they_are = why == VISIT_FOLLOW && repository->options->mode == REPOSITORY_EXPLICIT;

		status = stage_members(repository, staging, as_they_are ? VISIT_FOLLOW : VISIT_CHANGED, error);
	}
	if (status == STATUS_OK) {
		status = staging_open(repository, staging, error);
	}
	staging->state = status == STATUS_OK ? STAGING_READY : STAGING_FAILED;
}

/* A loaded ensemble must be unloaded if its members were replaced and it was not reloaded itself. */
static void
decide_leaving(struct repository *repository, struct known_model *known)
{
	bool ready = known->staging != NULL && known->staging->state == STAGING_READY;

	if (!ready && known_model_is_loaded(known) && has_replaced_member(repository, &known->members)) {
		known->leaving = true;
	}
}

static struct staging *
staging_new(struct repository *repository, struct known_model *known, enum visit why)
{
	struct staging *staging = memory_new(sizeof(*staging));

	staging->known = known;
	staging->start_ns = clock_now_ns();
	staging->follows = why == VISIT_FOLLOW;
	known->staging = staging;
	STAILQ_INSERT_TAIL(&repository->change, staging, next);
	return staging;
}

/* Has the model changed on disk? A loaded override counts as unchanged. */
static bool
has_changed(struct repository *repository, struct known_model *known)
{
	bool loaded = known_model_is_loaded(known);
	struct error error;
	char *folder;

	if (loaded && known->override_config != NULL) {
		return false;
	}
	if (repository_find_folder(repository, known->name, &folder, &error) != STATUS_OK && loaded) {
		return false;
	}
	free(known->folder);
	known->folder = folder;
	return !loaded || known->failed || known->stamp != repository_stamp(repository, folder) ||
	       repository_has_changed_remotely(repository, known);
}

/* Visits a model once. Returns false if it leads to a cycle. */
static bool
visit(struct repository *repository, struct known_model *known, enum visit why)
{
	struct staging *staging = known->staging;

	if (staging != NULL) {
		return staging->state != STAGING_UNDERWAY && !staging->circular;
	}
	if (why == VISIT_FOLLOW && !known_model_is_loaded(known) && !known->failed && !known->waiting) {
		return true;
	}
	staging = staging_new(repository, known, why);
	if (why == VISIT_ALWAYS || (why == VISIT_CHANGED && has_changed(repository, known))) {
		stage(repository, staging, why);
	} else if (visit_members(repository, staging, &known->members, why, &staging->error) != STATUS_OK) {
		staging->state = STAGING_FAILED;
		staging->follows = true; /* the model itself is not at fault */
	} else if (has_replaced_member(repository, &known->members)) {
		stage(repository, staging, why);
	} else {
		staging->state = STAGING_SAME;
	}
	decide_leaving(repository, known);
	return !staging->circular;
}

/* --- Models that must be unloaded --- */

/* Ensembles that use leaving models leave, too. */
static void
settle(struct repository *repository)
{
	struct known_model *known;
	bool again = true;

	while (again) {
		again = false;
		LIST_FOREACH (known, &repository->known, next) {
			bool left = known->leaving;

			decide_leaving(repository, known);
			again = again || known->leaving != left;
		}
	}
	LIST_FOREACH (known, &repository->known, next) {
		if (known->leaving && known->staging == NULL) {
			staging_new(repository, known, VISIT_FOLLOW)->state = STAGING_SAME;
		}
	}
}

/* Ends a failed load: nothing that it prepared takes effect. */
static void
give_up(struct repository *repository, const struct known_model *root)
{
	struct staging *staging;

	STAILQ_FOREACH (staging, &repository->change, next) {
		staging->known->leaving = false;
		if (staging->known != root) {
			/* In the other modes the model is also loaded for itself, and its error logged then. */
			if (staging->state == STAGING_FAILED && !staging->told &&
			    repository->options->mode == REPOSITORY_EXPLICIT) {
				log_error("%s", staging->error.text);
			}
			staging->state = STAGING_SAME;
		}
	}
}

/* --- Taking effect; with the mutex held --- */

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

/*
 * A model that runs on another server is opened anew whenever that may have changed: its counts go on, as those of one
 * model to whoever watches it. Not so after a time without the model.
 */
static void
continue_counts(const struct version *versions, size_t count, const struct version *old)
{
	for (size_t i = 0; i < count; i++) {
		struct model *model = versions[i].model;

		if (versions[i].number == old->number && model != NULL && old->model != NULL &&
		    model_is_remote(model) && model_is_remote(old->model)) {
			statistics_continue(&model->statistics, old->model->statistics);
		}
	}
}

/* Replaces the old versions; those that are gone stay listed, as unloading or unavailable. */
static void
replace_versions(struct known_model *known, struct staging *staging)
{
	struct version *old = known->versions;
	size_t old_count = known->version_count;

	known->versions = memory_grow(staging->versions, staging->version_count + old_count, sizeof(*old));
	known->version_count = staging->version_count;
	for (size_t i = 0; i < old_count; i++) {
		continue_counts(known->versions, staging->version_count, &old[i]);
		if (!has_version(known->versions, staging->version_count, old[i].number)) {
			struct version *gone = &known->versions[known->version_count++];

			*gone = (struct version){.number = old[i].number};
			known_model_set_version(gone, old[i].model != NULL ? VERSION_UNLOADING : VERSION_UNAVAILABLE,
						"unloaded");
		}
	}
	staging->versions = NULL;
	staging->version_count = 0;
	staging->old_versions = old;
	staging->old_version_count = old_count;
}

static void
take_members(struct known_model *known, struct staging *staging)
{
	struct ensemble_members old = known->members;

	known->members = staging->members;
	staging->members = old;
}

/* Unloads the versions of a model that stays known. */
static void
leave(struct known_model *known, struct staging *staging)
{
	staging->old_versions = memory_array(known->version_count, sizeof(*staging->old_versions));
	staging->old_version_count = known->version_count;
	for (size_t i = 0; i < known->version_count; i++) {
		struct version *version = &known->versions[i];

		if (version->model != NULL) {
			staging->old_versions[i].model = version->model;
			version->model = NULL;
			known_model_set_version(version, VERSION_UNLOADING, NULL);
		}
	}
	staging->left = true;
	known->leaving = false;
	known->waiting = true;
}

static bool
tells_why(const struct staging *staging)
{
	for (size_t i = 0; i < staging->version_count; i++) {
		if (staging->versions[i].state == VERSION_UNAVAILABLE) {
			return true;
		}
	}
	return false;
}

static void
take_remote(const struct repository *repository, struct known_model *known, struct staging *staging)
{
	struct model_config_text old = known->stated;

	repository_take_link(repository, known, &staging->remote);
	known->stated = staging->stated;
	staging->stated = old;
}

/*
 * Records a failure. An ensemble that still cannot be loaded stays as it was; so does a model whose load request
 * failed.
 */
static void
fail(const struct repository *repository, struct known_model *known, struct staging *staging)
{
	bool loaded = known_model_is_loaded(known);

	if (known->trying || (staging->follows && !known->leaving)) {
		return;
	}
	if (!staging->follows) {
		known->failed = true;
		known->stamp = staging->stamp;
		/* The link of a model that serves stays. In mode explicit a failed load is not tried again. */
		if (!loaded && (repository->options->mode != REPOSITORY_EXPLICIT || known->requested)) {
			take_remote(repository, known, staging);
		}
	}
	if ((!loaded || known->leaving) && staging->members.count > 0) {
		take_members(known, staging);
	}
	if (!loaded && tells_why(staging)) {
		replace_versions(known, staging);
	}
}

static void
take_effect(const struct repository *repository, struct staging *staging)
{
	struct known_model *known = staging->known;

	if (staging->state == STAGING_READY) {
		replace_versions(known, staging);
		take_members(known, staging);
		known->failed = false;
		known->waiting = false;
		known->stamp = staging->stamp;
		take_remote(repository, known, staging);
	} else if (staging->state == STAGING_FAILED) {
		fail(repository, known, staging);
	}
	if (known->leaving) {
		leave(known, staging);
	}
}

static void
log_outcome(const struct staging *staging, bool asked_for)
{
	const struct known_model *known = staging->known;

	if (staging->state == STAGING_READY) {
		for (size_t i = 0; i < known->version_count; i++) {
			if (known->versions[i].model != NULL) {
				log_info("successfully loaded '%s' version %" PRId64 " in %.3f s", known->name,
					 known->versions[i].number, (double)(clock_now_ns() - staging->start_ns) / 1e9);
			}
		}
	} else if (staging->state == STAGING_FAILED && !asked_for) { /* else the caller reports it */
		log_error("%s", staging->error.text);
	}
	if (staging->left && !asked_for) {
		log_info("'%s' is unloaded together with a model that it uses", known->name);
	}
}

static void
commit(struct repository *repository, const struct known_model *root)
{
	struct model_table *old_table;
	struct staging *staging;

	(void)pthread_mutex_lock(&repository->mutex);
	STAILQ_FOREACH (staging, &repository->change, next) {
		take_effect(repository, staging);
	}
	old_table = repository_publish(repository);
	(void)pthread_mutex_unlock(&repository->mutex);
	/* Dropping a reference may call back into the repository, which takes the mutex. */
	model_table_unref(old_table);
	while ((staging = STAILQ_FIRST(&repository->change)) != NULL) {
		STAILQ_REMOVE_HEAD(&repository->change, next);
		log_outcome(staging, staging->known == root);
		staging->known->staging = NULL;
		staging_free(repository, staging);
	}
}

/* --- Loading and unloading --- */

enum status
repository_load(struct repository *repository, struct known_model *known, bool always, struct error *error)
{
	struct known_model *other;
	enum status status;

	(void)visit(repository, known, always ? VISIT_ALWAYS : VISIT_CHANGED);
	status = known->staging->state == STAGING_FAILED ? known->staging->error.status : STATUS_OK;
	if (status != STATUS_OK) {
		*error = known->staging->error;
		give_up(repository, known);
	} else {
		LIST_FOREACH (other, &repository->known, next) {
			(void)visit(repository, other, VISIT_FOLLOW);
		}
		settle(repository);
	}
	commit(repository, known);
	return status;
}

void
repository_unload(struct repository *repository, struct known_model *known)
{
	known->leaving = known_model_is_loaded(known);
	(void)pthread_mutex_lock(&repository->mutex);
	known->failed = false;
	for (size_t i = 0; i < known->version_count; i++) {
		if (known->versions[i].state == VERSION_UNAVAILABLE) { /* the reason of its failure is obsolete */
			known_model_set_version(&known->versions[i], VERSION_UNAVAILABLE, "unloaded");
		}
	}
	(void)pthread_mutex_unlock(&repository->mutex);
	settle(repository);
	commit(repository, known);
	known->waiting = false;
	known->requested = false;
	repository_take_link(repository, known, &(struct remote_link){0});
	known_model_drop_override(known);
}

static bool
is_needed(struct repository *repository, const struct known_model *member)
{
	struct known_model *known;

	LIST_FOREACH (known, &repository->known, next) {
		for (size_t i = 0; known_model_is_loaded(known) && i < known->members.count; i++) {
			if (member_at(repository, &known->members, i) == member) {
				return true;
			}
		}
	}
	return member->requested;
}

void
repository_unload_members(struct repository *repository, struct known_model *ensemble)
{
	for (size_t i = 0; i < ensemble->members.count; i++) {
		struct known_model *member = member_at(repository, &ensemble->members, i);

		if (member != NULL && known_model_is_loaded(member) && !is_needed(repository, member)) {
			repository_unload(repository, member);
			repository_unload_members(repository, member);
		}
	}
}
