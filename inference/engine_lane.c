/* Making and freeing the engine and its lanes. */
#include "base/clock.h"
#include "base/memory.h"
#include "inference/cache/cache_host.h"
#include "inference/engine_internal.h"
#include "inference/ensemble_run.h"
#include "inference/models/model_run.h"
#include "inference/remote_run.h"
#include "inference/rows.h"

#include <stdlib.h>

#define HEARD_AFTER_MS 10000 /* oldest plausible news of a purge: stores that do not push are polled every 5 s */

/*
 * Another server made a purge. Its clock or ours may be wrong, so a time in the future, or long past, counts as now. A
 * purge never affects entries that are made after it was heard of. A time of 0 means that the store lost its record of
 * purges, which says nothing about its entries.
 */
static void
on_purged_elsewhere(void *listener, struct bytes model, struct bytes version, uint64_t at_ms)
{
	struct engine_lane *lane = listener;
	uint64_t now_ms = clock_wall_ms();
	bool doubtful = at_ms > now_ms || at_ms + HEARD_AFTER_MS < now_ms;
	uint64_t since_ms = doubtful ? 0 : now_ms - at_ms; /* what began after the purge is not affected by it */
	uint64_t now_ns = clock_now_ns();
	uint64_t since_ns = doubtful ? 0 : (since_ms + 1) * NS_PER_MS; /* both times were cut to milliseconds */

	if (at_ms != 0) {
		purge_marks_add(&lane->engine->cache->purges, model, version, now_ms - since_ms,
				now_ns > since_ns ? now_ns - since_ns : 1);
	}
}

struct engine *
engine_new(struct response_cache *cache)
{
	struct engine *engine = aligned_alloc(_Alignof(struct engine), sizeof(*engine));

	if (engine == NULL) {
		abort();
	}
	engine->cache = cache;
	memset(&engine->renewals, 0, sizeof(engine->renewals));
	memset(&engine->lateness, 0, sizeof(engine->lateness));
	atomic_init(&engine->apart_told_ns, 0);
	flight_table_init(&engine->flights);
	return engine;
}

void
engine_free(struct engine *engine)
{
	flight_table_fini(&engine->flights);
	free(engine);
}

void
engine_set_trace(struct engine *engine, struct request_trace *trace)
{
	engine->trace = trace;
}

struct engine_lane *
engine_lane_new(struct engine *engine, struct loop *loop, struct offload *offload, size_t index)
{
	struct engine_lane *lane = memory_new(sizeof(*lane));

	lane->engine = engine;
	lane->loop = loop;
	lane->index = index;
	lane->models = &model_executor_ops;
	lane->ensembles = &ensemble_executor_ops;
	lane->remotes = &remote_executor_ops;
	TAILQ_INIT(&lane->looking);
	lane->deadline_timer = loop_timer_new(loop, lane_on_deadline, lane);
	TAILQ_INIT(&lane->waiting);
	lane->wait_timer = loop_timer_new(loop, lane_on_wait, lane);
	random_bytes(&lane->random, sizeof(lane->random));
	lane->random |= 1;
	lane->host_offload = (struct cache_host_offload){.offload = offload, .loop = loop};
	cache_host_init(&lane->host, loop, offload == NULL ? NULL : &lane->host_offload);
	lane->host.purged = on_purged_elsewhere;
	lane->host.listener = lane;
	lane->host.endless = engine->cache != NULL && engine->cache->settings.policy.ttl_s == 0;
	if (engine->cache != NULL) {
		lane->store = engine->cache->ops->attach(engine->cache->store, &lane->host);
		buf_init(&lane->scratch, KEY_SCRATCH_MAX);
		/* If attaching the store fails, this loop serves without a cache. */
		lane->cache = lane->store != NULL ? engine->cache : NULL;
	}
	if (lane->cache != NULL && lane->cache->has_secret) {
		lane_take_keys(lane, &lane->cache->keys);
		lane->cache = lane->key_hash != NULL ? lane->cache : NULL;
	}
	return lane;
}

void
engine_lane_set_remote(struct engine_lane *lane, const struct remote_ops *ops, void *remote)
{
	lane->remote_ops = ops;
	lane->remote = remote;
}

void
engine_lane_stop_waiting(struct engine_lane *lane)
{
	fetch_stop_waiting(lane);
}

void
engine_lane_drain(struct engine_lane *lane, void (*done)(void *argument), void *argument)
{
	engine_lane_stop_waiting(lane);
	lane->drained = done;
	lane->drained_argument = argument;
	if (lane->underway == 0) {
		done(argument);
	}
}

void
engine_lane_free(struct engine_lane *lane)
{
	if (lane->store != NULL) {
		lane->engine->cache->ops->detach(lane->store);
	}
	keyed_hash_free(lane->key_hash);
	keyed_hash_free(lane->entry_mac);
	explicit_bzero(&lane->lookup_key, sizeof(lane->lookup_key));
	explicit_bzero(&lane->entry_key, sizeof(lane->entry_key));
	buf_fini(&lane->scratch);
	loop_timer_free(lane->deadline_timer);
	loop_timer_free(lane->wait_timer);
	free(lane);
}
