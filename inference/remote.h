/*
 * Models that run on another server: what the engine asks of the client of that server, which is not its own part. A
 * model is such a one if its backend has no `run` (see backend.h).
 */
#ifndef HIPPOCAMP_INFERENCE_REMOTE_H
#define HIPPOCAMP_INFERENCE_REMOTE_H

#include "base/parameter.h"
#include "base/tensor.h"
#include "inference/cache/key.h"
#include "inference/models/model.h"

struct job;
struct loop;
struct metric_sink;

/*
 * Prefixes of parameters that are no parameters of the request, but header fields that go along with it to the other
 * server: REMOTE_FIELD is part of the key, so that only requests with the same value share answers;
 * REMOTE_UNKEYED_FIELD is not. The rest of the name is the field's; the value is a text.
 */
#define REMOTE_PREFIX MODEL_OWN_PARAMETER
#define REMOTE_FIELD REMOTE_PREFIX "field."
#define REMOTE_UNKEYED_FIELD KEY_LEFT_OUT "field."

/*
 * A parameter in the config of models whose server has no number for their version, though here they have one. Its
 * value is what the server states in its place, or empty.
 */
#define REMOTE_UNVERSIONED REMOTE_PREFIX "unversioned"

/*
 * A parameter in the config of models beside models of our own: the model's name on its server. Such models have
 * versions of their own.
 */
#define REMOTE_MODEL REMOTE_PREFIX "model"

static inline bool
remote_is_unversioned(const struct model *model)
{
	return model_is_remote(model) && model_config_parameter(&model->config, REMOTE_UNVERSIONED) != NULL &&
	       model_config_parameter(&model->config, REMOTE_MODEL) == NULL;
}

/*
 * One inference request to the other server. The engine owns it, and all that it points to, from `start` until `done`,
 * which is called exactly once, on the same thread, never before `start` has returned, or until `cancel`.
 *
 * A status of STATUS_PASS says that the client is to be answered by the server itself: see server/infer.c.
 */
struct remote_call {
	struct model *model;
	const struct tensor *inputs; /* with all rows of a batch */
	size_t input_count;
	const struct parameter *parameters; /* those that steer the cache left out */
	size_t parameter_count;
	struct bytes id;
	const struct job *job; /* whose call it is: for `is_joined` */

	/*
	 * Allocates memory for all outputs, in the order of the config, as in struct backend_run. Before `done`, which
	 * says whether the data have been written.
	 */
	enum status (*allocate)(struct remote_call *call, const struct backend_output *outputs, uint8_t **data,
				struct error *error);
	/* STATUS_UNAVAILABLE: the server was not reached, or did not answer. `error` is valid during the call. */
	void (*done)(struct remote_call *call, enum status status, const struct error *error);

	void *state; /* the client's own */
};

/* `remote` is what engine_lane_set_remote was given. On the lane's thread. */
struct remote_ops {
	/*
	 * The part of one loop of what all loops share; freed by `close`. NULL, and so is `close`: the owner of the
	 * loop makes it. Perhaps not on the lane's thread, but before its first call and after its last one.
	 */
	void *(*open)(void *shared, struct loop *loop);
	void (*close)(void *remote);
	/* Reports what has become of the requests of all loops, on any thread. NULL: the owner of the loops does. */
	void (*metrics)(void *shared, const struct metric_sink *sink);
	/* On failure `done` is not called. */
	enum status (*start)(void *remote, struct remote_call *call, struct error *error);
	/* Ends a call that nobody waits for, without `done`. */
	void (*cancel)(void *remote, struct remote_call *call);
};

#endif
