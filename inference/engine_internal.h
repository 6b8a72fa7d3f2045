/*
 * Shared by the files of the engine. Room-private. Each file calls only files after it in this list: engine_lane,
 * remote_run, ensemble_run, engine, answer, prepare, answer_report, waiting, rows.
 */
#ifndef HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H
#define HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H

#include "inference/engine.h"
#include "inference/fetch/account.h"
#include "inference/fetch/fetch.h"

/* --- waiting.c --- */

void request_set_level(struct inference_request *request);

/* How long the request may wait for its run to begin, in µs; 0: for ever. */
uint64_t request_queue_timeout(const struct inference_request *request);

/* --- answer_report.c --- */

/* Fills in what the request reports beside its answer: dates, the cache's part, how long its runs took. */
void request_report(struct inference_request *request);

/* --- answer.c --- */

/* Sends slices of the request. The request may be answered and gone afterwards, unless it is held. */
void request_send(struct inference_request *request, struct slice *const *slices, size_t count, struct fetch_mode mode);

/* While held, a request is not answered: a hold counts as one more unresolved slice. */
void request_hold(struct inference_request *request);
void request_release(struct inference_request *request);

/*
 * Withdraws a request that nobody waits for: if any of its slices waits for a run that has not begun, the request
 * leaves all queues and is answered with this failure. It may be gone afterwards.
 */
void request_withdraw(struct inference_request *request, enum status status, const char *text);

/* Marks a request that is not answered at once: it now holds its model and its lane, and its queue timeout runs. */
void request_become_pending(struct inference_request *request);

/* Finishes a request whose slices all have answers. */
void request_finish(struct inference_request *request);

/* Counts the request and delivers its answer: request->status. */
void request_conclude(struct inference_request *request);

#endif
