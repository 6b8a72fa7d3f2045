#include "inference/engine_internal.h"
#include "inference/prepare.h"
#include "inference/rows.h"
#include "inference/validate.h"

#include <string.h>

/* Hashing so much takes about half a millisecond (bench/keyed_hash). */
#define LONG_GHASH ((size_t)4 << 20)
#define LONG_SHA256 ((size_t)256 << 10)

#define SCRATCH_MAX ((size_t)256 << 20)

/* What a worker made of a request ahead, and for what: by the time it is used things may have changed. */
struct preparation {
	struct keyed_hash_key key;
	enum keyed_hash_kind kind;
	bool makes_keys; /* with `key` */
	uint64_t secret_generation;
	uint64_t row_losses;
	bool by_row;
	enum status status; /* of its inputs */
	bool cut;
	bool keyed;
};

size_t
engine_long_inputs(const struct engine_lane *lane)
{
	return lane->cache != NULL && lane->cache->settings.key_hash == KEYED_HASH_SHA256 ? LONG_SHA256 : LONG_GHASH;
}

static enum status
check(struct inference_request *request)
{
	const struct model_config *config = &request->model->config;

	request->ordered = arena_array(request->arena, config->input_count, sizeof(*request->ordered));
	if (request->ordered == NULL) {
		return error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	return validate_request(config, request, request->ordered, &request->batch, request->error);
}

void
engine_prepare_begin(struct engine_lane *lane, struct inference_request *request)
{
	struct preparation *preparation = arena_get(request->arena, sizeof(*preparation));
	struct model *model = request->model;

	request->preparation = preparation;
	if (preparation == NULL || lane->cache == NULL || !model->config.response_cache || !lane_has_keys(lane)) {
		return;
	}
	preparation->makes_keys = true;
	preparation->key = lane->lookup_key;
	preparation->kind = (enum keyed_hash_kind)lane->cache->settings.key_hash;
	preparation->secret_generation = lane->secret_generation;
	preparation->by_row = model_by_row(model);
	preparation->row_losses = model_row_losses(model);
}

static bool
make_keys(struct inference_request *request)
{
	struct preparation *preparation = request->preparation;
	struct keyed_hash *hash = keyed_hash_new(preparation->kind, &preparation->key);
	struct buf scratch;
	bool made;

	buf_init(&scratch, SCRATCH_MAX);
	request->row_losses = preparation->row_losses;
	made = hash != NULL && rows_make_keys(request, hash, &scratch);
	buf_fini(&scratch);
	keyed_hash_free(hash);
	return made;
}

void
engine_prepare(struct inference_request *request)
{
	struct preparation *preparation = request->preparation;

	if (preparation == NULL) {
		return;
	}
	preparation->status = check(request);
	if (preparation->status == STATUS_OK && preparation->makes_keys && !request->directives.bypass) {
		preparation->cut = rows_cut(request, preparation->by_row);
		preparation->keyed = preparation->cut && make_keys(request);
	}
	explicit_bzero(&preparation->key, sizeof(preparation->key));
}

enum status
request_checked(struct inference_request *request)
{
	return request->preparation == NULL ? check(request) : request->preparation->status;
}

bool
request_is_cut(const struct inference_request *request, bool by_row)
{
	return request->preparation != NULL && request->preparation->cut && request->preparation->by_row == by_row;
}

bool
request_has_keys(const struct inference_request *request)
{
	const struct preparation *preparation = request->preparation;

	return preparation != NULL && preparation->keyed && preparation->row_losses == request->row_losses &&
	       preparation->secret_generation == request->lane->secret_generation;
}
