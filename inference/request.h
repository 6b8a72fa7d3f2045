/*
 * One inference request on its way through this room, and its answer.
 *
 * Whoever makes a request owns it and everything it points to until it is answered (see engine.h), then owns the answer
 * too: `entry` is a reference to drop with blob_unref.
 */
#ifndef HIPPOCAMP_INFERENCE_REQUEST_H
#define HIPPOCAMP_INFERENCE_REQUEST_H

#include "base/arena.h"
#include "base/blob.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"
#include "loop/loop.h"

#include <sys/queue.h>

struct engine_lane;
struct model;

enum request_outcome { REQUEST_RAN, REQUEST_HIT, REQUEST_JOINED };

struct inference_request {
	/* What is asked. */
	struct model *model;
	struct bytes id;
	const struct tensor *inputs;
	size_t input_count;
	const struct parameter *parameters;
	size_t parameter_count;
	struct blob *body;   /* the block that the inputs' data lie in, or NULL: they are copied for a run */
	struct arena *arena; /* for what has to live as long as the request */
	void (*done)(struct inference_request *request);

	/* The answer. */
	enum status status;
	struct blob *entry; /* on success */
	struct error error; /* on failure */
	enum request_outcome outcome;

	/* This room's. */
	struct loop_mail mail; /* first use: an answer from another loop */
	struct engine_lane *lane;
	TAILQ_ENTRY(inference_request) waiting;
	uint64_t start_ns;
	uint64_t keyed_ns; /* when its key was known, or there was nothing to look up */
};

#endif
