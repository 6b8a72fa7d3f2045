/* Renewals: the model runs for answered slices, and the results go into the store. */
#include "inference/fetch/account.h"
#include "inference/fetch/fetch.h"

/* Under a digest of its own: other requests must find the old entry in the store, not join this run. */
static bool
enter_refresh(struct fetch *fetch, const struct slice *slice)
{
	static const struct queue_class none;
	struct digest_value digest = slice->key.digest;
	struct flight_shard *shard;
	bool alone;

	digest.bytes[DIGEST_SIZE_MAX - 1] ^= 0xff;
	shard = flight_shard_lock(&fetch->lane->engine->flights, &digest);
	alone = flight_find(shard, &digest, &none) == NULL;
	if (alone) {
		fetch_add_flight(fetch, slice);
		fetch->flights[fetch->count - 1].digest = digest;
		fetch->flights[fetch->count - 1].queue_class = none;
		flight_enter(shard, &fetch->flights[fetch->count - 1]);
	}
	flight_shard_unlock(shard);
	return alone;
}

void
fetch_start_refresh(struct engine_lane *lane, struct slice *const *slices, size_t count)
{
	struct fetch_mode mode = {.runs = true, .stores = true, .background = true};
	struct fetch *fetch = fetch_new(lane, slices[0]->request, mode, count);
	size_t rows = 0;

	lane->underway++;
	fetch_hold(fetch);
	for (size_t i = 0; i < count; i++) {
		rows += enter_refresh(fetch, slices[i]);
	}
	if (rows > 0) {
		account_refreshes(lane, fetch->model, rows);
		fetch_run(fetch);
	}
	fetch->leader = NULL; /* the leader does not wait for the renewal */
	fetch_release(fetch);
}
