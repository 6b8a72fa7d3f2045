/*
 * The inference engine: answers a request from the cache, from an equal request under way, or by running the model.
 *
 * There is one engine in the process. Each loop has a lane of it, which it makes, uses and frees on its own thread.
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
struct remote_ops;
struct request_trace;

/* `cache` may be NULL (no caching); it outlives the engine. */
struct engine *engine_new(struct response_cache *cache);
void engine_free(struct engine *engine); /* after its lanes */

/* Records look-ups (fetch/request_trace.h). Before the first lane is made; the trace outlives the lanes. NULL: none. */
void engine_set_trace(struct engine *engine, struct request_trace *trace);

/* `index` numbers the loops from 0. `offload` outlives the lane; NULL: none. */
struct engine_lane *engine_lane_new(struct engine *engine, struct loop *loop, struct offload *offload, size_t index);

/* Sets the client that runs the models of another server (remote.h). Before the first request to such a model. */
void engine_lane_set_remote(struct engine_lane *lane, const struct remote_ops *ops, void *remote);

/* Stops waiting for answers that other servers compute, before the process ends. */
void engine_lane_stop_waiting(struct engine_lane *lane);

/*
 * Calls `done` once (perhaps before this returns) when nothing of this lane is under way any more, write-behind inserts
 * and late look-ups included. From now on, only work under way may give requests to the lane.
 */
void engine_lane_drain(struct engine_lane *lane, void (*done)(void *argument), void *argument);
void engine_lane_free(struct engine_lane *lane); /* must be drained */

/*
 * Starts a request. The caller keeps it unchanged until the answer, which comes exactly once: either this returns true
 * and the answer is there, or request->done is called on this lane's thread, never before engine_infer returns. The
 * answer is request->status with request->entry or request->error.
 *
 * The request's model must be alive (referenced, or in the table of this loop) during the call; from then on the engine
 * keeps it alive until `done` has returned.
 */
bool engine_infer(struct engine_lane *lane, struct inference_request *request);

/*
 * engine_infer checks the inputs and hashes them into keys, which takes time in proportion to their size. Inputs of
 * more than engine_long_inputs bytes would hold up the loop: call engine_prepare_begin on the lane's thread,
 * engine_prepare on any other, then engine_infer on the lane's again. If `good` is false (the request could not be
 * decoded), do not call engine_infer. The answer is the same. engine_prepare_begin needs only the model and the arena
 * of the request.
 */
size_t engine_long_inputs(const struct engine_lane *lane, const struct model *model);
void engine_prepare_begin(struct engine_lane *lane, struct inference_request *request);
void engine_prepare(struct inference_request *request, bool good);

/*
 * Cancels a request whose answer nobody wants any more. If it waits in a queue, or for the steps of an ensemble, it is
 * answered as cancelled, perhaps before this returns; if its model runs already, it is answered as usual. Must not be
 * called after the answer.
 */
void engine_cancel(struct inference_request *request);

/*
 * Removes entries from the store. Answered like a look-up (see caches/cache.h): true means answered now, also if there
 * is no cache.
 */
bool engine_purge(struct engine_lane *lane, struct cache_purge *purge);

#endif
