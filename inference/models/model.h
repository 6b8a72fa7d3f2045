/*
 * One loaded version of a model: its config, its backend's model, its queue and workers, its statistics.
 *
 * Reference-counted: the model table holds a reference, and so does every request that is not answered at once. When
 * the last one is dropped, on any thread, the model's owner is told and closes it on the thread that loads models, so
 * requests in flight finish on the version they started on.
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
	void (*unused)(struct model *model, void *context); /* the last reference was dropped */
	void *unused_context;
	SLIST_ENTRY(model) closing; /* for the owner */
	LIST_ENTRY(model) loaded;   /* of ensembles: see model_each_ensemble_of */

	int64_t version;
	struct model_config config;
	struct ensemble *ensemble; /* instead of the next three */
	const struct backend_ops *backend;
	struct backend_model *backend_model;
	void *remote_server;   /* of a model that runs on another server: see struct remote_link; so the next one */
	uint64_t remote_stamp; /* when it was opened */
	struct scheduler *scheduler;
	struct statistics *statistics;

	struct cache_policy cache_policy;
	struct freshness_policy freshness;
	struct purge_marks_seen purges;
	struct row_trust rows;
	struct row_record *row_record;
	atomic_bool too_large;	    /* its last answer was too large to be stored */
	atomic_uint not_understood; /* responses of the other server, in succession */
	/* Of a model on another server: which answers it gives is not known any more, or an entry cannot hold them. */
	atomic_bool suspended;
	struct ordering *ordering;	 /* NULL: answers go out as they come */
	_Atomic uint64_t run_span_ns;	 /* usual time of a run, whatever its rows; 0: unknown */
	_Atomic uint64_t run_cost_ns;	 /* usual cost of a row; 0: unknown */
	_Atomic uint64_t lookup_cost_ns; /* usual cost of a look-up per row, key included */

	struct digest_value fingerprint;
	char scope[600]; /* "name:version:fingerprint", as cache keys show it */
	struct buf key_prefix;
	size_t *inputs_by_name; /* indexes of config.inputs in byte order of their names */
	struct labels **labels; /* by output; NULL: none */
};

struct model_options {
	const char *name;   /* by which clients ask for it */
	const char *folder; /* <repository>/<model>, or wherever its files are */
	const char *path;   /* <folder>/<version>; "": the model has no files */
	int64_t version;
	const struct backend_ops *const *backends;
	ensemble_find_fn find; /* finds the models of an ensemble's steps */
	void *find_context;
	const struct model_config_format *format;
	struct bytes name_space;	  /* of the cache keys */
	enum keyed_hash_kind key_hash;	  /* the same */
	struct cache_policy cache_policy; /* the cache's settings */
	bool cache_all;			  /* see struct repository_options */
	bool autocomplete;
	int32_t default_batch;
	void *remote_server; /* see struct model */
	uint64_t remote_stamp;
	void (*unused)(struct model *model, void *context);
	void *unused_context;
};

/* Opens a model; returns one reference. Takes over *config, also on failure. May take seconds: not on a loop. */
struct model *model_open(const struct model_options *options, struct model_config *config, struct error *error);

/* Closes an unused model, on the thread that opened it. */
void model_close(struct model *model);

static inline struct model *
model_ref(struct model *model)
{
	atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
	return model;
}

void model_unref(struct model *model);

/* Are requests to the model cached by row? For an ensemble, only while the rows of all its members are trusted. */
bool model_by_row(struct model *model);

/*
 * A number that grows with each loss of row trust by the model or, for an ensemble, by its members, for the life of the
 * process. Keys contain it, so entries stored before a loss are not found after it.
 */
uint64_t model_row_losses(struct model *model);

/*
 * Ends the trust in the model's rows; `evidence` is what was observed, logged once. Stored entries are removed when a
 * loop makes the purge that is due. If the observation was of an ensemble itself, all its members lose row trust, too,
 * since one of them is the cause. Any thread.
 */
void model_lose_row_trust(struct model *model, enum row_standing why, const char *evidence);

/* Does each row of an ensemble's outputs depend on that row of its inputs alone, as far as its members are trusted? */
bool model_members_keep_rows(const struct model *model);

/* Add a loaded ensemble to the list for model_each_ensemble_of, and remove it; other models are ignored. */
void model_list_ensemble(struct model *model);
void model_unlist_ensemble(struct model *model);

/*
 * Calls `tell` for each loaded ensemble that contains the model, directly or not. `tell` must not use this list. Any
 * thread.
 */
void model_each_ensemble_of(const struct model *model, void (*tell)(void *context, struct bytes name, int64_t version),
			    void *context);

/* The same, for each ensemble that contains any model of that name. */
void model_each_ensemble_with(struct bytes name, void (*tell)(void *context, struct bytes name, int64_t version),
			      void *context);

static inline bool
model_batches(const struct model *model)
{
	return model->config.max_batch_size > 0;
}

/* Does the model run on another server? See inference/remote.h. */
static inline bool
model_is_remote(const struct model *model)
{
	return model->backend != NULL && model->backend->run == NULL;
}

/* Must nothing be taken from the cache or stored, since the model, or one of an ensemble's, is suspended? Any thread.
 */
bool model_is_suspended(const struct model *model);

/* From now on, no request to the model waits for a fuller batch. Any thread. */
static inline void
model_flush(struct model *model)
{
	if (model->scheduler != NULL) {
		scheduler_flush(model->scheduler);
	}
}

/* The number of queued jobs; 0 for an ensemble, whose steps queue instead. Any thread. */
static inline size_t
model_pending(const struct model *model)
{
	return model->scheduler == NULL ? 0 : scheduler_pending(model->scheduler);
}

/*
 * Writes the model's shape of an input that a client gave as `tensor`, applying the config's reshape, and returns its
 * rank. `shape` has room for TENSOR_RANK_MAX.
 */
size_t model_input_shape(const struct model *model, size_t input, const struct tensor *tensor, int64_t *shape);

/*
 * Writes the client's shape of an output that the model gave. Returns false if it is not what the config promises.
 * `shape` has room for TENSOR_RANK_MAX + 1.
 */
bool model_output_shape(const struct model *model, size_t index, const struct backend_output *output, int64_t *shape,
			size_t *rank);

#endif
