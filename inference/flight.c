#include "inference/flight.h"

#include "base/memory.h"

#include <stdlib.h>

#define JOB_ARENA_MAX ((size_t)1 << 30)
#define DATA_ALIGNMENT ((size_t)64)

void
flight_table_init(struct flight_table *table)
{
	for (size_t i = 0; i < FLIGHT_SHARDS; i++) {
		(void)pthread_mutex_init(&table->shards[i].mutex, NULL);
		for (size_t k = 0; k < FLIGHT_CHAINS; k++) {
			LIST_INIT(&table->shards[i].chains[k]);
		}
	}
}

void
flight_table_fini(struct flight_table *table)
{
	for (size_t i = 0; i < FLIGHT_SHARDS; i++) {
		(void)pthread_mutex_destroy(&table->shards[i].mutex);
	}
}

struct flight_shard *
flight_shard_lock(struct flight_table *table, const struct digest_value *digest)
{
	struct flight_shard *shard = &table->shards[digest->bytes[0] % FLIGHT_SHARDS];

	(void)pthread_mutex_lock(&shard->mutex);
	return shard;
}

void
flight_shard_unlock(struct flight_shard *shard)
{
	(void)pthread_mutex_unlock(&shard->mutex);
}

struct flight *
flight_find(struct flight_shard *shard, const struct digest_value *digest)
{
	struct flight *flight;

	LIST_FOREACH (flight, &shard->chains[digest->bytes[1] % FLIGHT_CHAINS], chain) {
		if (memcmp(&flight->key.digest, digest, sizeof(*digest)) == 0) {
			return flight;
		}
	}
	return NULL;
}

void
flight_enter(struct flight_shard *shard, struct flight *flight)
{
	LIST_INSERT_HEAD(&shard->chains[flight->key.digest.bytes[1] % FLIGHT_CHAINS], flight, chain);
	flight->in_table = true;
}

void
flight_leave(struct flight *flight)
{
	if (flight->in_table) {
		LIST_REMOVE(flight, chain);
		flight->in_table = false;
	}
}

struct flight *
flight_new(struct engine_lane *lane, struct model *model)
{
	struct flight *flight = memory_new(sizeof(*flight));

	flight->lane = lane;
	flight->model = model_ref(model);
	TAILQ_INIT(&flight->waiting);
	arena_init(&flight->arena, JOB_ARENA_MAX);
	return flight;
}

void
flight_free(struct flight *flight)
{
	arena_fini(&flight->arena);
	blob_unref(flight->inputs);
	blob_unref(flight->entry);
	model_unref(flight->model);
	free(flight);
}

/* --- The job --- */

static bool
lies_in(const struct blob *block, struct bytes data, size_t alignment)
{
	return block != NULL && data.at >= block->data && data.at + data.length <= block->data + block->length &&
	       (uintptr_t)data.at % alignment == 0;
}

static size_t
alignment_of(enum datatype datatype)
{
	size_t size = datatype_size(datatype);

	return size == 0 ? 1 : size;
}

/* All or nothing, so that a job has one block to hold: large bodies arrive aligned (see the HTTP server). */
static bool
place_data(struct flight *flight, const struct inference_request *request, struct tensor *inputs, size_t count)
{
	bool in_body = request->body != NULL;
	size_t total = 0;

	for (size_t i = 0; i < count; i++) {
		in_body = in_body && lies_in(request->body, inputs[i].data, alignment_of(inputs[i].datatype));
		total += (inputs[i].data.length + DATA_ALIGNMENT - 1) & ~(DATA_ALIGNMENT - 1);
	}
	if (in_body) {
		flight->inputs = blob_ref(request->body);
		return true;
	}
	flight->inputs = blob_new(total);
	if (flight->inputs == NULL) {
		return false;
	}
	total = 0;
	for (size_t i = 0; i < count; i++) {
		uint8_t *to = flight->inputs->data + total;

		if (inputs[i].data.length > 0) {
			memcpy(to, inputs[i].data.at, inputs[i].data.length);
		}
		total += (inputs[i].data.length + DATA_ALIGNMENT - 1) & ~(DATA_ALIGNMENT - 1);
		inputs[i].data.at = to;
	}
	return true;
}

static bool
copy_parameters(struct flight *flight, const struct inference_request *request)
{
	struct parameter *copies = arena_array(&flight->arena, request->parameter_count, sizeof(*request->parameters));

	for (size_t i = 0; copies != NULL && i < request->parameter_count; i++) {
		copies[i] = request->parameters[i];
		copies[i].name = arena_copy(&flight->arena, copies[i].name);
		if (copies[i].kind == PARAMETER_TEXT) {
			copies[i].text = arena_copy(&flight->arena, copies[i].text);
		}
		if (copies[i].name.at == NULL || (copies[i].kind == PARAMETER_TEXT && copies[i].text.at == NULL)) {
			return false;
		}
	}
	flight->job.parameters = copies;
	flight->job.parameter_count = request->parameter_count;
	return copies != NULL;
}

bool
flight_fill_job(struct flight *flight)
{
	const struct inference_request *request = flight->leader;
	const struct tensor *const *ordered = flight->ordered;
	const struct model *model = flight->model;
	size_t total = model->config.input_count;
	struct tensor *inputs = arena_array(&flight->arena, total, sizeof(*inputs));
	size_t count = 0;

	for (size_t i = 0; inputs != NULL && i < total; i++) {
		int64_t *shape;

		if (ordered[i] == NULL) {
			continue;
		}
		shape = arena_array(&flight->arena, TENSOR_RANK_MAX + 1, sizeof(*shape));
		if (shape == NULL) {
			return false;
		}
		inputs[count] = *ordered[i];
		inputs[count].name = model->config.inputs[i].name;
		inputs[count].rank = model_input_shape(model, i, ordered[i], shape);
		inputs[count].shape = shape;
		count++;
	}
	flight->job.inputs = inputs;
	flight->job.input_count = count;
	return inputs != NULL && place_data(flight, request, inputs, count) && copy_parameters(flight, request);
}
