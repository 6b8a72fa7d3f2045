/*
 * The part of a request's work that grows with its inputs: checking them, cutting them into rows and making keys. It is
 * done on the loop, or ahead on another thread (engine_prepare); then the results are used if they still hold.
 * Room-private.
 */
#ifndef HIPPOCAMP_INFERENCE_PREPARE_H
#define HIPPOCAMP_INFERENCE_PREPARE_H

#include "inference/fetch/request_state.h"

/* The state of a request, made at the first call; NULL when memory runs out. */
struct request_state *request_state_of(struct inference_request *request);

/* Are the inputs what the model takes? Fills `ordered` and `batch`, or `error`. */
enum status request_checked(struct inference_request *request);

/* Does the request ask the cache, by its directives and by admission (lane_admits)? */
bool request_asks_cache(const struct inference_request *request);

/* Are the slices that rows_cut would make now there already, still unused? */
bool request_is_cut(const struct inference_request *request, bool by_row);

/* Do those slices have the keys that would be made now, or can they have none? */
enum key_state { KEY_NOT_MADE, KEY_MADE, KEY_IMPOSSIBLE };
enum key_state request_key_state(const struct inference_request *request);

/* Time taken to make keys ahead, to be counted as a cost of the cache. */
uint64_t request_key_ns(const struct inference_request *request);

#endif
