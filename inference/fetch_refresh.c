/* Renewals: the model runs for what is answered already, and what comes of it goes into the store. */
#include "inference/engine_internal.h"

/* Under a name of their own: who looks for an answer must find the old one in the store, not wait for this. */
static bool
enter_refresh(struct trip *trip, const struct slice *slice)
{
	struct digest_value digest = slice->key.digest;
	struct flight_shard *shard;
	bool alone;

	digest.bytes[DIGEST_SIZE_MAX - 1] ^= 0xff;
	shard = flight_shard_lock(&trip->lane->engine->flights, &digest);
	alone = flight_find(shard, &digest, 0) == NULL;
	if (alone) {
		trip_add_flight(trip, slice);
		trip->flights[trip->count - 1].digest = digest;
		trip->flights[trip->count - 1].steering = 0;
		flight_enter(shard, &trip->flights[trip->count - 1]);
	}
	flight_shard_unlock(shard);
	return alone;
}

void
trip_start_refresh(struct engine_lane *lane, struct slice *const *slices, size_t count)
{
	struct trip_mode mode = {.runs = true, .stores = true, .background = true};
	struct trip *trip = trip_new(lane, slices[0]->request, mode, count);
	size_t rows = 0;

	lane->underway++;
	trip_hold(trip);
	for (size_t i = 0; i < count; i++) {
		rows += enter_refresh(trip, slices[i]);
	}
	if (rows > 0) {
		account_refreshes(lane, trip->model, rows);
		trip_run(trip);
	}
	trip->leader = NULL; /* it does not wait for this */
	trip_release(trip);
}
