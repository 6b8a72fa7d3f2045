/*
 * The part of a request's way that takes longer the longer its inputs are: checking them, cutting them into rows and
 * making keys. It is done on the loop, or ahead on another thread (engine_prepare); then what was done ahead counts
 * where it still holds. Room-private.
 */
#ifndef HIPPOCAMP_INFERENCE_PREPARE_H
#define HIPPOCAMP_INFERENCE_PREPARE_H

#include "inference/fetch/request.h"

/* Are the inputs what the model takes? Fills `ordered` and `batch`, or `error`. */
enum status request_checked(struct inference_request *request);

/* Is the cache asked, by what the request says and by what that is worth (lane_admits)? */
bool request_asks_cache(const struct inference_request *request);

/* Are there slices as rows_cut would make them now? They have been used for nothing yet. */
bool request_is_cut(const struct inference_request *request, bool by_row);

/* Have those slices the keys that they would be given now, or can they have none? */
enum key_state { KEY_NOT_MADE, KEY_MADE, KEY_IMPOSSIBLE };
enum key_state request_key_state(const struct inference_request *request);

/* What making keys ahead took, for who counts what the cache costs. */
uint64_t request_key_ns(const struct inference_request *request);

#endif
