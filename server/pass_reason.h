/*
 * Why an inference request passes through to the server behind, in place of being answered from the cache: for clients,
 * in the Cache-Status of the reply (RFC 9211), and for the metrics. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_PASS_REASON_H
#define HIPPOCAMP_SERVER_PASS_REASON_H

#include "base/metric.h"

enum pass_reason {
	PASS_NO_INFERENCE,  /* it is no inference request; not counted */
	PASS_NOT_CACHED,    /* the model is none of those that are cached, or there is no cache */
	PASS_SUSPENDED,	    /* for now, or since its responses have what an entry cannot hold */
	PASS_AUTHORIZATION, /* it carries one, or a field that counts as one */
	PASS_VERSION,	    /* which version answers is for the server to say */
	PASS_REQUEST,	    /* not all of it is understood, or it would be refused here */
	PASS_RESPONSE,	    /* the response, or failure, is the server's to give */
	PASS_REASONS
};

/* The counts of all loops, by reason. */
struct pass_counts {
	counter by_reason[PASS_REASONS];
};

/* The Cache-Status of the reply; empty for PASS_NO_INFERENCE. */
struct bytes pass_reason_status(enum pass_reason reason);

/* Counts the pass. Returns its Cache-Status. */
struct bytes pass_reason_count(struct pass_counts *counts, enum pass_reason reason);

void pass_reason_metrics(const struct pass_counts *counts, const struct metric_sink *sink);

#endif
