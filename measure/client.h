/*
 * Calls to the server that is measured, over HTTP/1.1 or gRPC, on one loop's thread.
 */
#ifndef HIPPOCAMP_MEASURE_CLIENT_H
#define HIPPOCAMP_MEASURE_CLIENT_H

#include "loop/loop.h"
#include "loop/tls_client.h"
#include "measure/request.h"
#include "upstream/http2_client.h"
#include "upstream/http_client.h"

struct client;

/* `url` is one of url.h's, of the protocol; `tls` for one that asks for it. NULL: the message says why. */
struct client *client_new(struct loop *loop, const char *url, const struct tls_client_options *tls,
			  struct error *error);
void client_free(struct client *client); /* no call may be under way; NULL: none */

/* A client_ask that is under way when *stopped is set ends with STATUS_CANCELLED. */
void client_stop_with(struct client *client, const bool *stopped);

enum measure_protocol client_protocol(const struct client *client);

/* For struct request_form. */
struct bytes client_host(const struct client *client);
struct bytes client_path(const struct client *client);

/* Whether the cache answered, as the reply says (RFC 9211). */
enum client_cache { CLIENT_CACHE_UNTOLD, CLIENT_CACHE_HIT, CLIENT_CACHE_MISS };

/* The caller owns it from client_start until `done`; the functions are called on the loop, never within client_start.
 */
struct client_call {
	struct bytes method;	    /* gRPC: "/inference.GRPCInferenceService/…" */
	struct bytes head;	    /* HTTP: see struct request */
	const struct bytes *pieces; /* of the body; they outlive the call, and so does what they point to */
	size_t piece_count;
	bool keeps_body; /* else only that of a failure is kept */
	size_t body_max; /* a longer one is a failure; 0: 2 GiB */
	void *context;	 /* the caller's */
	/* May start the call again. */
	void (*done)(struct client_call *call);

	/* In `done`. */
	bool is_ok; /* status 200, or gRPC's 0 */
	int status; /* that; of a call that failed otherwise, anything */
	enum client_cache cache;
	size_t received;      /* bytes of the body */
	uint64_t json_length; /* HTTP: of the body, the part before the tensors; 0: it is not stated */
	struct buf body;      /* gRPC: the message behind its prefix. Until client_call_fini. */
	char why[512];	      /* of a failure */

	/* Internal. */
	struct client *client;
	bool has_body; /* `body` was made */
	union {
		struct http_call http;
		struct http2_call http2;
	};
	struct http2_field fields[4];
	struct http2_piece *sent; /* of gRPC, one for each piece */
	size_t sent_capacity;
	char grpc_message[256];
};

void client_start(struct client *client, struct client_call *call);
void client_cancel(struct client_call *call);	 /* without `done` */
void client_call_fini(struct client_call *call); /* of one reply */
void client_call_free(struct client_call *call); /* what it has kept for the next call */

/*
 * One call and its reply, while the loop turns, for CLIENT_PATIENCE_MS at most. The message says what is wrong. `call`
 * has its body until client_call_fini.
 */
#define CLIENT_PATIENCE_MS 60000
enum status client_ask(struct loop *loop, struct client *client, struct client_call *call, struct error *error);

#endif
