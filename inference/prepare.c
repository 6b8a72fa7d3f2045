#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/prepare.h"
#include "inference/rows.h"
#include "inference/models/validate.h"

#include <string.h>

/* Hashing so many bytes takes about half a millisecond (bench/keyed_hash). */
#define LONG_GHASH ((size_t)4 << 20)
#define LONG_SHA256 ((size_t)256 << 10)

/* What a worker prepared for a request, and for which state, which may have changed by the time of use. */
struct preparation {
	struct keyed_hash_key key;
	enum keyed_hash_kind kind;
	bool admitted;	 /* the cache is worth asking, whatever the request says */
	bool makes_keys; /* with `key` */
	uint64_t secret_generation;
	uint64_t row_losses;
	bool by_row;
	enum status status;	    /* of its inputs */
	const struct slice *slices; /* that were made; NULL: none */
	bool keyed;
	uint64_t key_ns; /* time taken to make the keys */
};

static bool
has_texts(const struct model_config *config)
{
	for (size_t i = 0; i < config->input_count; i++) {
		if (config->inputs[i].datatype == DATATYPE_BYTES) {
			return true;
		}
	}
	return false;
}

size_t
engine_long_inputs(const struct engine_lane *lane, const struct model *model)
{
	bool cached = lane->cache != NULL && model->config.response_cache;

	if (!cached && !has_texts(&model->config)) {
		return SIZE_MAX;
	}
	return cached && lane->cache->settings.key_hash == KEYED_HASH_SHA256 ? LONG_SHA256 : LONG_GHASH;
}

static enum status
check(struct inference_request *request)
{
	struct request_state *state = request->state;
	const struct model_config *config = &request->model->config;

	state->ordered = arena_array(request->arena, config->input_count, sizeof(*state->ordered));
	if (state->ordered == NULL) {
		return error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	return validate_inputs(config,
			       &(struct given_inputs){.id = request->id,
						      .inputs = request->inputs,
						      .input_count = request->input_count},
			       state->ordered, &state->batch, request->error);
}

struct request_state *
request_state_of(struct inference_request *request)
{
	if (request->state == NULL) {
		request->state = arena_get(request->arena, sizeof(*request->state));
		if (request->state != NULL) {
			request->state->request = request;
		}
	}
	return request->state;
}

void
engine_prepare_begin(struct engine_lane *lane, struct inference_request *request)
{
	struct request_state *state = request_state_of(request);
	struct preparation *preparation = state == NULL ? NULL : arena_get(request->arena, sizeof(*preparation));
	struct model *model = request->model;

	if (preparation == NULL) {
		return;
	}
	state->preparation = preparation;
	if (lane->cache == NULL || !model->config.response_cache || !lane_has_keys(lane)) {
		return;
	}
	preparation->makes_keys = true;
	preparation->admitted = lane_admits(lane, model);
	preparation->key = lane->lookup_key;
	preparation->kind = (enum keyed_hash_kind)lane->cache->settings.key_hash;
	preparation->secret_generation = lane->secret_generation;
	preparation->by_row = model_by_row(model);
	preparation->row_losses = model_row_losses(model);
}

static bool
make_keys(struct inference_request *request)
{
	struct preparation *preparation = request->state->preparation;
	struct keyed_hash *hash = keyed_hash_new(preparation->kind, &preparation->key);
	uint64_t start = clock_now_ns();
	struct buf scratch;
	bool made;

	buf_init(&scratch, KEY_SCRATCH_MAX);
	request->state->row_losses = preparation->row_losses;
	made = hash != NULL && rows_make_keys(request, hash, &scratch);
	buf_fini(&scratch);
	keyed_hash_free(hash);
	preparation->key_ns = clock_now_ns() - start;
	return made;
}

void
engine_prepare(struct inference_request *request, bool good)
{
	struct request_state *state = request->state;
	struct preparation *preparation = state == NULL ? NULL : state->preparation;

	if (preparation == NULL) {
		return;
	}
	state->start_ns = clock_now_ns();
	if (good) {
		preparation->status = check(request);
		if (preparation->status == STATUS_OK && preparation->makes_keys && request_asks_cache(request) &&
		    rows_cut(request, preparation->by_row)) {
			preparation->slices = state->slices;
			preparation->keyed = make_keys(request);
		}
	}
	explicit_bzero(&preparation->key, sizeof(preparation->key));
}

enum status
request_checked(struct inference_request *request)
{
	return request->state->preparation == NULL ? check(request) : request->state->preparation->status;
}

static bool
is_admitted(const struct inference_request *request)
{
	const struct preparation *preparation = request->state->preparation;

	return preparation != NULL && preparation->makes_keys ? preparation->admitted
							      : lane_admits(request->state->lane, request->model);
}

bool
request_asks_cache(const struct inference_request *request)
{
	const struct cache_directives *wish = &request->directives;

	return !wish->bypass && !model_is_suspended(request->model) &&
	       (wish->only || wish->refresh || is_admitted(request));
}

/* A request that starts over has other slices than the prepared ones. */
bool
request_is_cut(const struct inference_request *request, bool by_row)
{
	const struct request_state *state = request->state;
	const struct preparation *preparation = state->preparation;

	return preparation != NULL && preparation->slices != NULL && preparation->slices == state->slices &&
	       state->by_row == (by_row && state->batch > 0);
}

enum key_state
request_key_state(const struct inference_request *request)
{
	const struct request_state *state = request->state;
	const struct preparation *preparation = state->preparation;

	if (preparation == NULL || preparation->slices != state->slices ||
	    preparation->row_losses != state->row_losses ||
	    preparation->secret_generation != state->lane->secret_generation) {
		return KEY_NOT_MADE;
	}
	return preparation->keyed ? KEY_MADE : KEY_IMPOSSIBLE;
}

uint64_t
request_key_ns(const struct inference_request *request)
{
	return request->state->preparation == NULL ? 0 : request->state->preparation->key_ns;
}
