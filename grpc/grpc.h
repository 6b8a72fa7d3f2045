/*
 * A gRPC server over HTTP/2 (the protocol's specification: "gRPC over HTTP2", PROTOCOL-HTTP2.md of the grpc project;
 * RFC 9113, RFC 7541). It knows no service: the caller gives it methods, each with functions to call.
 *
 * A lane belongs to one loop and is used on that loop's thread only; so are its connections and calls. Every function
 * of a method runs there, never inside a function of this header that the method called.
 */
#ifndef HIPPOCAMP_GRPC_GRPC_H
#define HIPPOCAMP_GRPC_GRPC_H

#include "base/blob.h"
#include "base/budget.h"
#include "loop/offload.h"
#include "loop/tls_server.h"
#include "wire/compress.h"
#include "wire/grpc_code.h"

#include <sys/queue.h>

/* --- Messages received --- */

/* A whole message, decompressed. Whoever is given one releases it. */
struct grpc_message {
	struct bytes content; /* in `block` */
	struct blob *block;
	struct budget *budget; /* that `charged` bytes were taken from */
	size_t charged;
	bool was_compressed;
};

void grpc_message_release(struct grpc_message *message);

/* Another reference to the same content, which takes over what is charged for it. Release both. */
struct grpc_message grpc_message_share(struct grpc_message *message);

/* --- Methods --- */

struct grpc_call;

/*
 * A call goes on until its method has finished it (grpc_call_finish) or `cancelled` is called; after either the method
 * must not use it.
 */
struct grpc_method {
	const char *path;	  /* "/package.Service/Method"; NULL: see grpc_options.other and grpc_call_hand_over */
	bool is_client_streaming; /* else there is exactly one message, and `message` is called after the half-close */
	void (*begin)(struct grpc_call *call); /* before the first message; may be NULL */
	void (*message)(struct grpc_call *call, struct grpc_message message); /* the callee releases it */
	void (*half_close)(struct grpc_call *call); /* after the last message; only where the client streams */
	/*
	 * The client has reset the call or left, or the call's deadline has passed; perhaps before the first message.
	 * NULL: the method keeps nothing between its functions.
	 */
	void (*cancelled)(struct grpc_call *call);
	/*
	 * The lane stops. A call that waits for its client should end, once what is under way has been answered: else
	 * it would keep its connection open. NULL: the method does not wait.
	 */
	void (*stopping)(struct grpc_call *call);
	/*
	 * For long messages, given the beginning of one: returns the offset in the message of the byte that should
	 * lie at a multiple of BLOB_ALIGNMENT. NULL: the first.
	 */
	size_t (*alignment_point)(struct bytes beginning);
};

/* --- Calls --- */

void *grpc_call_context(const struct grpc_call *call); /* of grpc_lane_new */

const struct grpc_method *grpc_call_method(const struct grpc_call *call);
struct bytes grpc_call_path(const struct grpc_call *call); /* of the request; for lanes with grpc_options.other */

/*
 * From now on the functions of `method` are called for the call. Set its state, too. One with a stream of messages in
 * place of one without is told of the half-close only if this is called within that one's `message`.
 */
void grpc_call_hand_over(struct grpc_call *call, const struct grpc_method *method);
bool grpc_call_is_over(const struct grpc_call *call); /* for a method that may have finished it in `begin` */

/* A pointer of the method's own; NULL at first. */
void grpc_call_set_state(struct grpc_call *call, void *state);
void *grpc_call_state(const struct grpc_call *call);

/* Request metadata other than the protocol's own. A value of a name that ends in "-bin" is as it came, in base64. */
struct grpc_metadata {
	struct bytes name;
	struct bytes value;
};

/* The first value of that name, or a view with `at` NULL. */
struct bytes grpc_call_metadata(const struct grpc_call *call, const char *name);
size_t grpc_call_metadata_list(const struct grpc_call *call, const struct grpc_metadata **list);

/* Sets *ns to the call's whole timeout (grpc-timeout), or to what is left of it. False: it has none. */
bool grpc_call_timeout(const struct grpc_call *call, uint64_t *ns);
bool grpc_call_time_left(const struct grpc_call *call, uint64_t *ns);

/* The coding that the client used for its messages, and whether it accepts a coding in replies. */
enum coding grpc_call_request_coding(const struct grpc_call *call);
bool grpc_call_accepts(const struct grpc_call *call, enum coding coding);

/* States the coding of outputs that are marked as compressed. Call it before anything is sent. */
void grpc_call_set_coding(struct grpc_call *call, enum coding coding);

/* Have the header fields been sent? Then *coding is the one that they state. */
bool grpc_call_has_sent_headers(const struct grpc_call *call, enum coding *coding);

/* Add metadata: headers before they are sent, trailers before the end. Copy their arguments. Names are in lower case.
 */
void grpc_call_add_header(struct grpc_call *call, const char *name, struct bytes value);
void grpc_call_add_trailer(struct grpc_call *call, const char *name, struct bytes value);

/* Sends the header fields now, not with the first message: for a client that waits for them. */
void grpc_call_send_headers(struct grpc_call *call);

/*
 * A message to send, in memory of the method's own. `released` is called once, later than grpc_call_send returns or
 * within it, when the pieces have been written or never will be.
 */
struct grpc_output {
	const struct bytes *pieces; /* together the message */
	size_t count;
	bool is_compressed; /* by the coding of grpc_call_set_coding */
	bool is_raw;	    /* the bytes are a part of messages with their prefixes, as another server has sent them */
	void (*released)(struct grpc_output *output);

	/* Private. */
	STAILQ_ENTRY(grpc_output) entry;
	uint8_t prefix[5];
	size_t prefix_length;
	unsigned references;
	size_t total; /* with the prefix */
};

void grpc_call_send(struct grpc_call *call, struct grpc_output *output);

/* Sends a message that is all in one buffer, which it takes over. `is_compressed`: as in struct grpc_output. */
void grpc_call_send_text(struct grpc_call *call, const struct buf *text, bool is_compressed);

/* Bytes that wait to be sent in this call. */
size_t grpc_call_unsent(const struct grpc_call *call);

/* Ends the call, after what has been sent. `text` may hold any bytes; some 2,000 of them are copied. */
void grpc_call_finish(struct grpc_call *call, enum grpc_code code, struct bytes text);

/* The same with a grpc-message that is encoded already, as another server has sent it. It is copied as it is. */
void grpc_call_finish_encoded(struct grpc_call *call, enum grpc_code code, struct bytes message);

/* While a call is paused no message is delivered, and the client's flow-control window of the call is not refilled. */
void grpc_call_pause(struct grpc_call *call);
void grpc_call_resume(struct grpc_call *call); /* messages come later, not within this */

/* --- Lanes and connections --- */

struct grpc_options {
	const struct grpc_method *const *methods;
	size_t method_count;
	const struct grpc_method *other; /* for all other paths; NULL: they are refused */
	size_t max_message;		 /* bytes, before and after decompression */
	struct budget *budget;		 /* for messages being received or handled */
	uint64_t keepalive_time_ms;	 /* without a frame from the client, after which the server pings; 0: never */
	uint64_t keepalive_timeout_ms;	 /* after which a connection without a reply to the ping is closed */
	bool keepalive_without_calls;
	unsigned max_pings_without_data; /* of the server's own; 0: any number */
	uint64_t min_ping_interval_ms;	 /* between a client's pings without data */
	unsigned max_ping_strikes;	 /* pings that come sooner before the connection is closed; 0: any number */
	uint64_t max_connection_age_ms;	 /* 0: no limit */
	uint64_t max_connection_age_grace_ms; /* 0: no limit */
};

struct grpc_lane;

/* `options`, `offload` and `context` outlive the lane. */
struct grpc_lane *grpc_lane_new(const struct grpc_options *options, struct loop *loop, struct offload *offload,
				void *context);

/* Takes over the descriptor of an accepted connection. `tls` NULL: plain; else it must outlive the call only. */
void grpc_lane_accept(struct grpc_lane *lane, int fd, struct tls_server *tls);

/* Call once a second: ends connections that are idle too long, silent or slow. */
void grpc_lane_sweep(struct grpc_lane *lane);

/*
 * Tells all clients to open no more calls here (GOAWAY), lets calls in flight finish, closes the connections, then
 * calls `done` once, perhaps before this returns.
 */
void grpc_lane_stop(struct grpc_lane *lane, void (*done)(void *argument), void *argument);
void grpc_lane_free(struct grpc_lane *lane); /* without connections; NULL is fine */

#endif
