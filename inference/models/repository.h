/*
 * The model repository: which models exist and which are loaded, and loading and unloading them, with Triton's rules.
 *
 * A thread of its own does the slow work (reading, loading, closing), one command at a time. Loops read snapshots
 * (model_table.h) and send commands. A load replaces a model only when the new one is ready; a failed load leaves the
 * old one serving.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_REPOSITORY_H
#define HIPPOCAMP_INFERENCE_MODELS_REPOSITORY_H

#include "inference/models/model_source.h"
#include "inference/models/model_table.h"
#include "loop/loop.h"

enum repository_mode { REPOSITORY_NONE, REPOSITORY_POLL, REPOSITORY_EXPLICIT };

struct repository_options {
	const struct model_source *source;
	const struct remote_models *remotes; /* NULL: none of the source's models runs on another server */
	enum repository_mode mode;
	const char *const *load_models; /* mode explicit: names, or "*" */
	size_t load_model_count;
	int64_t poll_secs;
	bool autocomplete;
	bool strict_readiness;
	int32_t default_batch;
	const struct backend_ops *const *backends; /* NULL at the end */
	const struct model_config_format *format;
	struct bytes name_space;	  /* of cache keys */
	enum keyed_hash_kind key_hash;	  /* the same */
	struct cache_policy cache_policy; /* the cache's settings */
	bool cache_all;			  /* cache all models whose config does not state response_cache */
};

struct repository;

/* `options` and what they point to outlive the repository. */
struct repository *repository_new(const struct repository_options *options);

/*
 * Loads the models that the mode selects, and waits for them. Fails if a model failed; the others serve all the same.
 * Of several failures the last is returned, and the others are logged.
 */
enum status repository_start(struct repository *repository, struct error *error);

/* Looks for changes now: in mode poll of all models, else of those that run on other servers. Any thread, while the
 * repository runs. */
void repository_look(struct repository *repository);

/* Before shutdown: requests that wait for a fuller batch run now. Any thread, while the repository runs. */
void repository_flush(struct repository *repository);

/* Unloads all models, and waits until the last request in flight has released its model. */
void repository_free(struct repository *repository);

/* --- For loops --- */

/* Each loop's view of the newest snapshot. Zero it first; fini drops it. */
struct repository_view {
	uint64_t generation;
	struct model_table *table;
};

/* The newest snapshot; valid until the next call with this view. */
const struct model_table *repository_table(struct repository *repository, struct repository_view *view);
void repository_view_fini(struct repository_view *view);

bool repository_ready(struct repository *repository);

/*
 * Calls `item` for each line of the index, with a lock held: it must only copy. `version` 0 and NULL `state`: only the
 * name is known.
 */
typedef void (*repository_item_fn)(void *context, const char *name, int64_t version, const char *state,
				   const char *reason);
void repository_index(struct repository *repository, bool ready_only, repository_item_fn item, void *context);

/* --- Commands --- */

struct repository_file {
	struct bytes path; /* relative to the model's folder */
	struct bytes content;
};

/*
 * A load or unload. Owned by the repository from repository_command until `done` is delivered on `loop`, exactly once,
 * never before repository_command returns; then `status` and `error` say how it went.
 */
struct repository_command {
	struct loop_mail mail; /* first */
	struct loop *loop;
	void (*done)(struct repository_command *command);
	bool unload;
	bool unload_dependents; /* of an ensemble: its members, too, unless others need them */
	struct bytes name;
	bool has_config;
	struct bytes config;	       /* JSON; replaces the model's whole config */
	struct repository_file *files; /* require a config; the model then exists only in a private copy */
	size_t file_count;
	enum status status;
	struct error error;
	STAILQ_ENTRY(repository_command) queue;
};

void repository_command(struct repository *repository, struct repository_command *command);

#endif
