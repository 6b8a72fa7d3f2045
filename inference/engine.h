/*
 * The heart: a request in, an answer out, from the cache, from an equal request under way, or from the model.
 *
 * The engine is one for the process; each loop has a lane of it, which it makes, uses and frees on its own thread.
 */
#ifndef HIPPOCAMP_INFERENCE_ENGINE_H
#define HIPPOCAMP_INFERENCE_ENGINE_H

#include "inference/cache/response_cache.h"
#include "inference/fetch/request.h"
#include "inference/models/model.h"
#include "loop/loop.h"

struct engine;
struct engine_lane;
struct offload;

/* `cache` may be NULL (no caching); it outlives the engine. */
struct engine *engine_new(struct response_cache *cache);
void engine_free(struct engine *engine); /* after its lanes */

/* `index` numbers the loops from 0; the offload outlives the lane. */
struct engine_lane *engine_lane_new(struct engine *engine, struct loop *loop, struct offload *offload, size_t index);

/* From now on nothing waits for what other servers compute: the process is to end. */
void engine_lane_stop_waiting(struct engine_lane *lane);

/*
 * Calls `done` once (perhaps before this returns) when nothing of this lane is under way any more, write-behind inserts
 * and late look-ups included. No request may be given to the lane after this, but by what is under way.
 */
void engine_lane_drain(struct engine_lane *lane, void (*done)(void *argument), void *argument);
void engine_lane_free(struct engine_lane *lane); /* drained */

/*
 * Answers the request or sets out to. The caller owns the request until the answer, which it gets exactly once: true
 * means that it is there now; else request->done is called on this lane's thread, never before engine_infer returns.
 * The answer is request->status with request->entry or request->error.
 *
 * The request's model must be alive (referenced, or in the table of this loop) during the call; from then on the engine
 * keeps it alive until `done` has returned.
 */
bool engine_infer(struct engine_lane *lane, struct inference_request *request);

/*
 * engine_infer takes longer the longer the inputs are: it checks them, and makes keys of them. For more than
 * engine_long_inputs bytes a loop has no time. Then engine_prepare_begin is called on the lane's thread, engine_prepare
 * on any other, and engine_infer on the lane's again, which is not called where `good` was false. The answer is the
 * same. engine_prepare_begin needs the model and the arena of the request only.
 */
size_t engine_long_inputs(const struct engine_lane *lane, const struct model *model);
void engine_prepare_begin(struct engine_lane *lane, struct inference_request *request);
void engine_prepare(struct inference_request *request, bool good);

/*
 * Nobody wants the answer any more. A request that waits in a queue, or for the steps of an ensemble, is answered as
 * cancelled, perhaps before this returns; one whose model runs already is answered as ever. Not after its answer.
 */
void engine_cancel(struct inference_request *request);

/*
 * Removes entries from the store; answered as a look-up is (see caches/cache.h). True: answered now, which is also so
 * where there is no cache.
 */
bool engine_purge(struct engine_lane *lane, struct cache_purge *purge);

#endif
