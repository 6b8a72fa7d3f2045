/*
 * A model's configuration as a struct: the part of Triton's ModelConfig (config.pbtxt) that Hippocamp uses. Field names
 * and meanings are Triton's. A field that the file omits is zero here until auto-completion sets it.
 *
 * A config's arena owns all that the config points to. The config does not change once its model is loaded, so any
 * thread may read it. `document` is the parsed file in the parser's own form, for printing all of it.
 */
#ifndef HIPPOCAMP_BASE_MODEL_CONFIG_H
#define HIPPOCAMP_BASE_MODEL_CONFIG_H

#include "base/arena.h"
#include "base/status.h"
#include "base/tensor.h"

enum model_format { MODEL_FORMAT_NONE, MODEL_FORMAT_NHWC, MODEL_FORMAT_NCHW };

struct model_dims {
	size_t rank;
	int64_t *dims; /* -1: any size */
};

struct model_tensor {
	struct bytes name;
	enum datatype datatype;
	enum model_format format;
	struct model_dims dims; /* as clients see them, without the batch dimension */
	bool has_reshape;
	struct model_dims reshape; /* as the model sees it */
	bool optional;
	bool allow_ragged_batch;
	bool is_shape_tensor;
	struct bytes label_filename;
};

enum model_version_policy { MODEL_VERSIONS_LATEST, MODEL_VERSIONS_ALL, MODEL_VERSIONS_SPECIFIC };

struct model_instance_group {
	struct bytes name;
	enum { MODEL_KIND_AUTO, MODEL_KIND_GPU, MODEL_KIND_CPU, MODEL_KIND_MODEL } kind; /* Triton's numbers */
	int32_t count;
};

struct model_queue_policy {
	bool delays; /* timeout_action is DELAY, not REJECT */
	uint64_t default_timeout_us;
	bool allow_timeout_override;
	uint32_t max_queue_size; /* 0: no limit */
};

struct model_priority_policy {
	uint64_t level;
	struct model_queue_policy policy;
};

/* dynamic_batching */
struct model_batching {
	int32_t *preferred;
	size_t preferred_count;
	uint64_t max_queue_delay_us;
	bool preserve_ordering;
	uint64_t priority_levels; /* 0: no priorities */
	uint64_t default_priority_level;
	struct model_queue_policy default_policy;
	struct model_priority_policy *policies;
	size_t policy_count;
};

struct model_warmup_input {
	struct bytes name;
	enum datatype datatype;
	struct model_dims dims; /* without the batch dimension */
	enum { WARMUP_NOTHING, WARMUP_ZERO, WARMUP_RANDOM, WARMUP_FILE } kind;
	struct bytes file; /* in <model>/warmup */
};

struct model_warmup {
	struct bytes name;
	uint32_t batch_size;
	uint32_t count;
	struct model_warmup_input *inputs;
	size_t input_count;
};

/* Maps a tensor of a step's model to a tensor of the ensemble. */
struct model_mapping {
	struct bytes tensor; /* the model's */
	struct bytes ensemble_tensor;
};

/* ensemble_scheduling */
struct model_step {
	struct bytes model;
	int64_t version; /* -1: the latest */
	struct model_mapping *inputs;
	size_t input_count;
	struct model_mapping *outputs;
	size_t output_count;
};

struct model_parameter {
	struct bytes name;
	struct bytes value;
};

/* Names of parameters that begin so are added by this program, to configs of models that run on another server. */
#define MODEL_OWN_PARAMETER "hippocamp."

/* What the model answers may change unseen: it is suspended from the start. */
#define MODEL_UNKNOWN MODEL_OWN_PARAMETER "unknown"

/* The owner has not stated the max_batch_size: a server also reports one that it has guessed. */
#define MODEL_GUESSED_BATCHING MODEL_OWN_PARAMETER "guessed_batching"

enum model_scheduling {
	MODEL_SCHEDULING_NONE,
	MODEL_SCHEDULING_DYNAMIC,
	MODEL_SCHEDULING_SEQUENCE,
	MODEL_SCHEDULING_ENSEMBLE
};

struct model_config {
	struct arena arena;
	void *document;
	void (*document_free)(void *document);

	struct bytes name;
	struct bytes platform;
	struct bytes backend;
	struct bytes default_model_filename;
	int32_t max_batch_size;
	bool states_max_batch_size; /* the file sets it, even to 0 */
	bool states_batching;	    /* the file itself sets max_batch_size above 0, or dynamic_batching */
	struct model_tensor *inputs;
	size_t input_count;
	struct model_tensor *outputs;
	size_t output_count;
	enum model_version_policy version_policy;
	uint32_t version_latest;
	int64_t *versions;
	size_t version_count;
	struct model_instance_group *instance_groups;
	size_t instance_group_count;
	struct model_parameter *parameters;
	size_t parameter_count;
	enum model_scheduling scheduling;
	struct model_batching batching;
	struct model_step *steps;
	size_t step_count;
	uint32_t max_inflight_requests; /* of ensemble_scheduling */
	struct bytes repository_agent;	/* the first one of model_repository_agents, or empty */
	bool response_cache;
	bool states_response_cache; /* the file sets it */
	bool decoupled;
	struct model_warmup *warmups;
	size_t warmup_count;
	bool has_ragged_input;
	bool has_optimization;
	bool has_graph_level;
	int32_t graph_level;	      /* optimization.graph.level */
	struct bytes cpu_accelerator; /* the first cpu_execution_accelerator of optimization, or empty */
};

/* The functions of wire/model_config.h, for the code that loads models and may not include wire/. */
struct model_config_format {
	/* `file` is for messages. Fills *config; on failure there is nothing to free. */
	enum status (*parse_text)(struct bytes text, const char *file, struct model_config *config,
				  struct error *error);
	enum status (*parse_json)(struct bytes text, struct model_config *config, struct error *error);

	/* Writes the results of auto-completion to `document`. Call once, before other threads see the config. */
	enum status (*completed)(struct model_config *config, struct error *error);
};

static inline void
model_config_fini(struct model_config *config)
{
	if (config->document_free != NULL) {
		config->document_free(config->document);
	}
	arena_fini(&config->arena);
}

static inline const struct model_queue_policy *
model_batching_policy(const struct model_batching *batching, uint64_t level)
{
	for (size_t i = 0; i < batching->policy_count; i++) {
		if (batching->policies[i].level == level) {
			return &batching->policies[i].policy;
		}
	}
	return &batching->default_policy;
}

static inline const struct model_parameter *
model_config_parameter(const struct model_config *config, const char *name)
{
	for (size_t i = 0; i < config->parameter_count; i++) {
		if (bytes_equal_text(config->parameters[i].name, name)) {
			return &config->parameters[i];
		}
	}
	return NULL;
}

/* Returns the index of the tensor with that name, or -1. */
static inline ptrdiff_t
model_tensor_index(const struct model_tensor *tensors, size_t count, struct bytes name)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes_equal(tensors[i].name, name)) {
			return (ptrdiff_t)i;
		}
	}
	return -1;
}

#endif
