/*
 * A transcoder's call, and what its files ask of each other, in this order: transcoder.c: the request, life;
 * transcoder_response.c: the response over gRPC; transcoder_answer.c: the answer to the caller; transcoder_work.c:
 * offload threads and memory. Private to them.
 */
#ifndef HIPPOCAMP_UPSTREAM_TRANSCODER_INTERNAL_H
#define HIPPOCAMP_UPSTREAM_TRANSCODER_INTERNAL_H

#include "upstream/http2_client.h"
#include "upstream/transcoder.h"
#include "wire/grpc_code.h"
#include "wire/transcode.h"

#define TRANSCODER_MESSAGE_MAX ((size_t)INT32_MAX) /* as libraries of gRPC have it */
#define TRANSCODER_OVER_BUDGET                                                                                         \
	"the bodies in flight have used up the memory that they may take together: try again later. Use "              \
	"--http-max-inflight-bytes to increase the limit."

struct transcoder {
	struct loop *loop;
	const struct dial_options *dial;
	const struct work_options *options; /* NULL: none */
	struct http2_client *client;
	struct http1_parser *parser;
	TAILQ_HEAD(, transcoded_call) answered; /* to be given to their callers */
	struct loop_task *answer;
};

struct transcoded_call {
	struct http2_call http2; /* first */
	struct http_call *http;
	struct transcoder *transcoder;
	TAILQ_ENTRY(transcoded_call) entry;
	struct loop_timer *silence; /* NULL: it has no limit */
	bool is_sent;		    /* http2 is under way */
	bool is_answered;	    /* in transcoder->answered */
	struct transcoding transcoding;
	struct offload_work work;
	bool is_working; /* on an offload thread */
	enum status status;
	struct error error;
	size_t charged;		/* to the budget */
	struct buf own_head;	/* of the request, for that thread */
	struct http1_head head; /* of the request */
	struct bytes body;
	struct buf joined; /* it, if it came in pieces, or is for that thread */
	struct http2_field *fields;
	struct http2_piece *pieces;

	struct buf received; /* the message with its prefix */
	bool has_prefix;
	unsigned http_status;
	bool has_code;
	enum grpc_code code;
	struct buf text;     /* grpc-message */
	struct buf metadata; /* of the response, as lines of NAME NUL VALUE NUL */
	size_t metadata_count;

	enum http_outcome outcome;
	char why[512];
	struct transcoded response;
	struct http1_head response_head;
	char lengths[2][24];
	bool has_begun; /* the caller has its head */
	size_t given;	/* pieces */
	bool is_paused;
	bool is_giving;	   /* within the caller's functions */
	bool is_cancelled; /* by them, or while an offload thread works */
};

/* --- transcoder_work.c --- */

void transcoded_free(struct transcoded_call *this);

/* Takes memory from the budget, until the call is freed. False: there is no more. */
bool transcoded_charge(struct transcoded_call *this, size_t bytes);

/* Charges for the memory that the transcoding has taken, beyond `before`, and sets the status. */
void transcoded_charge_work(struct transcoded_call *this, size_t before);

/* Runs `run` on an offload thread and then `done` on the loop; or both at once, if `size` is small. */
void transcoded_work(struct transcoded_call *this, size_t size, void (*run)(struct offload_work *work),
		     void (*done)(struct offload_work *work));

/* To begin `done` with. False: nobody waits for the call any more, and it is freed. */
bool transcoded_end_work(struct transcoded_call *this);

/* --- transcoder_answer.c: each of them at the end of this turn --- */

void transcoder_on_answer(void *transcoder); /* the task's function */
void transcoded_answer(struct transcoded_call *this);
void transcoded_fail(struct transcoded_call *this, enum http_outcome outcome, const char *why);
void transcoded_answer_response(struct transcoded_call *this);
void transcoded_answer_failure(struct transcoded_call *this, int status, struct bytes text);

/* --- transcoder_response.c: functions of http2, and of the timer --- */

/* Is the field metadata that are header fields over HTTP, too? */
bool transcoded_is_metadata(struct bytes name);

void transcoded_on_head(struct http2_call *http2, const struct http2_field *fields, size_t count, bool ends);
void transcoded_on_body(struct http2_call *http2, struct bytes part);
void transcoded_on_done(struct http2_call *http2, enum http2_outcome outcome, const struct http2_field *trailers,
			size_t count, const char *why);
void transcoded_on_silence(void *argument);

#endif
