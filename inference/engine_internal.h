/*
 * What the files of the engine share. Room-private. Each calls those below it only: engine_lane, ensemble_run, engine,
 * answer, prepare, answer_report, waiting, rows.
 */
#ifndef HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H
#define HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H

#include "inference/engine.h"
#include "inference/fetch/account.h"
#include "inference/fetch/fetch.h"

/* --- waiting.c --- */

void request_set_level(struct inference_request *request);

/* How long it may wait before its run begins, in µs; 0: for ever. */
uint64_t request_queue_timeout(const struct inference_request *request);

/* --- answer_report.c --- */

/* Writes what an answer tells of itself: dates, the cache's part, what runs took. */
void request_report(struct inference_request *request);

/* --- answer.c --- */

/* Sends slices of the request on their way. It may be answered and gone afterwards, if it is not held. */
void request_send(struct inference_request *request, struct slice *const *slices, size_t count, struct fetch_mode mode);

/* Held, a request is not answered: it counts one unresolved slice more. */
void request_hold(struct inference_request *request);
void request_release(struct inference_request *request);

/*
 * Nobody waits for it any more: where no run of it has begun it leaves the queues that it waits in, and this failure is
 * its answer. It may be gone afterwards.
 */
void request_withdraw(struct inference_request *request, enum status status, const char *text);

/* It is not answered at once: from here on it holds its model and its lane, and its queue timeout runs. */
void request_become_pending(struct inference_request *request);

/* All slices have their answers. */
void request_finish(struct inference_request *request);

/* Counts and hands out what request->status says. */
void request_conclude(struct inference_request *request);

#endif
