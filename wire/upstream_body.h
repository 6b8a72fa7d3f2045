/*
 * Bodies of the KServe v2 protocol as its client sees them: inference requests to a server behind and their responses,
 * and what it tells about itself and its models.
 */
#ifndef HIPPOCAMP_WIRE_UPSTREAM_BODY_H
#define HIPPOCAMP_WIRE_UPSTREAM_BODY_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/model_config.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"

/* --- Inference --- */

struct upstream_request {
	struct bytes id;
	const struct tensor *inputs;
	size_t input_count;
	const struct parameter *parameters;
	size_t parameter_count;
	bool binary; /* tensors in binary, both ways: Triton's extension */
};

/* Writes the JSON; the data of binary inputs follow it, in their order. It asks for all outputs. */
enum status upstream_request_encode(const struct upstream_request *request, struct buf *json, struct error *error);

/* Views into the body, the arena and `document`, all of which must outlive it. */
struct upstream_response {
	struct bytes model_name; /* empty: not stated; so the next one */
	struct bytes model_version;
	struct tensor *outputs;
	size_t output_count;
	bool is_plain; /* it says nothing else, and nothing twice: no parameters but those of struct tensor */
	void *document;
};

/* `json` and `binary` are the two parts of the HTTP body. On failure there is nothing to free. */
enum status upstream_response_decode(struct bytes json, struct bytes binary, struct arena *arena,
				     struct upstream_response *response, struct error *error);
void upstream_response_fini(struct upstream_response *response);

/* Copies the text of {"error": "…"} to `text`. False: the body says more, or the text does not fit in `size` bytes. */
bool upstream_error_text(struct bytes body, char *text, size_t size);

/* --- What a server tells --- */

/*
 * Calls `item` for each line of a repository index (Triton's extension). `word` is the version where that is no number
 * above 0, or empty if there is none, as MLServer has them; `version` is then 1. `word.at` is NULL if it is a number.
 * `state` is empty where the server states none.
 */
typedef void (*upstream_index_fn)(void *context, struct bytes name, int64_t version, struct bytes word,
				  struct bytes state);
enum status upstream_index_decode(struct bytes json, upstream_index_fn item, void *context, struct error *error);

/*
 * Makes the index of a server without that extension from its list of models, as KServe's Python server has at
 * /v2/models: {"models": ["name", …]}. Each has no version, and is ready. False: it is no such list.
 */
bool upstream_index_from_names(struct bytes json, struct buf *index);

/*
 * Calls `item` for each model and version of a statistics response (Triton's extension) with all of its numbers that
 * only grow while the model stays loaded, in an order that does not change. Models of which one of our servers says
 * "unseen_changes" are left out: another server behind it answers for them, and may change without these numbers.
 */
#define UPSTREAM_COUNTERS_MAX 64
#define UPSTREAM_COUNTER_SUCCESS 0 /* its index: how many requests were answered; UINT64_MAX: not stated */
typedef void (*upstream_statistics_fn)(void *context, struct bytes name, struct bytes version, const uint64_t *counters,
				       size_t count);
enum status upstream_statistics_decode(struct bytes json, upstream_statistics_fn item, void *context,
				       struct error *error);

/* Does the metadata of a server list this extension? */
bool upstream_has_extension(struct bytes metadata, const char *extension);

struct upstream_model_document {
	struct bytes name;
	struct bytes metadata;		 /* JSON */
	struct bytes config;		 /* JSON; empty: the server has no such extension */
	struct bytes fingerprint;	 /* printable: changes when answers may */
	bool cached;			 /* whatever the config says */
	struct model_parameter marks[2]; /* to be added; with an empty name: none */
};

/*
 * Writes the configuration, as JSON, of a model of ours that stands for one behind: its inputs and outputs as clients
 * see them, its batching, parameters and cache policy, but nothing of how it runs. Sets *usable to false if its answers
 * can never be cached (decoupled, sequences) or are not to be.
 */
enum status upstream_model_convert(const struct upstream_model_document *document, struct buf *config, bool *usable,
				   struct error *error);

#endif
