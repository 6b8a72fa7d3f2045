/*
 * One version of a model, loaded: its config, its backend's model, its queue and workers, its statistics.
 *
 * Counted: the model table holds a reference, and so does every request that is not answered at once. When the last one
 * goes, on whatever thread, the model's owner is told and closes it on the thread that loads models, so requests in
 * flight finish on the version they started on.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_MODEL_H
#define HIPPOCAMP_INFERENCE_MODELS_MODEL_H

#include "backends/backend.h"
#include "base/buf.h"
#include "base/keyed_hash.h"
#include "inference/cache/cache_policy.h"
#include "inference/models/classification.h"
#include "inference/models/ensemble.h"
#include "inference/scheduler/ordering.h"
#include "inference/cache/purge_marks.h"
#include "inference/models/row_record.h"
#include "inference/models/row_trust.h"
#include "inference/scheduler/scheduler.h"
#include "inference/models/statistics.h"

struct model {
	atomic_size_t references;
	void (*unused)(struct model *model, void *context); /* the last reference went */
	void *unused_context;
	SLIST_ENTRY(model) closing; /* the owner's */
	LIST_ENTRY(model) loaded;   /* of ensembles, to be found by their models */

	int64_t version;
	struct model_config config;
	struct ensemble *ensemble; /* instead of the next three */
	const struct backend_ops *backend;
	struct backend_model *backend_model;
	struct scheduler *scheduler;
	struct statistics *statistics;

	struct cache_policy cache_policy;
	struct freshness_policy freshness;
	struct purge_marks_seen purges;
	struct row_trust rows;
	struct row_record *row_record;
	atomic_bool too_large;		 /* its last answer was not stored for its size */
	struct ordering *ordering;	 /* NULL: answers go out as they come */
	_Atomic uint64_t run_span_ns;	 /* of a run, whatever its rows */
	_Atomic uint64_t run_cost_ns;	 /* of a row; moving averages, 0: not known yet */
	_Atomic uint64_t lookup_cost_ns; /* of a row, key included */

	struct digest_value fingerprint;
	char scope[600]; /* "name:version:fingerprint", as cache keys show it */
	struct buf key_prefix;
	size_t *inputs_by_name; /* indexes of config.inputs in byte order of their names */
	struct labels **labels; /* by output; NULL: none */
};

struct model_options {
	const char *name;   /* by which clients ask for it */
	const char *folder; /* <repository>/<model>, or wherever its files are */
	const char *path;   /* <folder>/<version> */
	int64_t version;
	const struct backend_ops *const *backends;
	ensemble_find_fn find; /* of the models of an ensemble's steps */
	void *find_context;
	const struct model_config_format *format;
	struct bytes name_space;	  /* of the cache keys */
	enum keyed_hash_kind key_hash;	  /* the same */
	struct cache_policy cache_policy; /* the cache's settings */
	bool cache_all;			  /* see struct repository_options */
	bool autocomplete;
	int32_t default_batch;
	void (*unused)(struct model *model, void *context);
	void *unused_context;
};

/* Takes over *config, also on failure. One reference. May take seconds: not on a loop. */
struct model *model_open(const struct model_options *options, struct model_config *config, struct error *error);

/* On the thread that opened it, when it is unused. */
void model_close(struct model *model);

static inline struct model *
model_ref(struct model *model)
{
	atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
	return model;
}

void model_unref(struct model *model);

/* Is a request to it cached row by row? Of an ensemble only while all models of its steps keep rows apart. */
bool model_by_row(struct model *model);

/*
 * A number that grows when the trust in its rows is lost, and of an ensemble also in those of the models that it is
 * made of, for as long as the process lives. Keys contain it: what was stored before a loss is not found afterwards.
 */
uint64_t model_row_losses(struct model *model);

/*
 * Its rows are not to be told apart from now on; `evidence` is what was seen. Told once in the log. What is stored
 * already goes when a loop takes the purge that is due. Of an ensemble that was found out itself all models lose it,
 * too, since one of them is the reason. Any thread.
 */
void model_lose_row_trust(struct model *model, enum row_standing why, const char *evidence);

/* Does each row of an ensemble's outputs come of that row of its inputs alone, as far as is known of its models? */
bool model_members_keep_rows(const struct model *model);

/* An ensemble is in the list of those that are loaded, for model_each_ensemble_of; others are not. */
void model_list_ensemble(struct model *model);
void model_unlist_ensemble(struct model *model);

/* Tells the loaded ensembles that are made of it, directly or not. `tell` must not come back here. Any thread. */
void model_each_ensemble_of(const struct model *model, void (*tell)(void *context, struct bytes name, int64_t version),
			    void *context);

static inline bool
model_batches(const struct model *model)
{
	return model->config.max_batch_size > 0;
}

/* From now on none of its requests waits for a fuller batch. Any thread. */
static inline void
model_flush(struct model *model)
{
	if (model->scheduler != NULL) {
		scheduler_flush(model->scheduler);
	}
}

/* Runs that wait; of an ensemble none do, but those of its steps. Any thread. */
static inline size_t
model_pending(const struct model *model)
{
	return model->scheduler == NULL ? 0 : scheduler_pending(model->scheduler);
}

/*
 * The shape that the model wants for an input that clients gave as `tensor`: the config's reshape undone. Room for
 * TENSOR_RANK_MAX; returns the rank.
 */
size_t model_input_shape(const struct model *model, size_t input, const struct tensor *tensor, int64_t *shape);

/*
 * The client's shape of an output that the model gave; false where it is not what the config promises. Room for
 * TENSOR_RANK_MAX + 1.
 */
bool model_output_shape(const struct model *model, size_t index, const struct backend_output *output, int64_t *shape,
			size_t *rank);

#endif
