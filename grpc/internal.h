/*
 * The structs that the files of this room share. Room-private.
 */
#ifndef HIPPOCAMP_GRPC_INTERNAL_H
#define HIPPOCAMP_GRPC_INTERNAL_H

#include "base/arena.h"
#include "grpc/bandwidth.h"
#include "grpc/chain.h"
#include "grpc/grpc.h"
#include "loop/transport.h"

#include <nghttp2/nghttp2.h>

#define HEADER_LIST_MAX ((size_t)16 * 1024) /* of a request; gRPC's libraries have 8 to 16 KiB, too */
/* A call whose fields are larger yet is reset, and the rest of them is not looked at: HPACK's table can make a thousand
 * large fields out of a kilobyte. */
#define HEADER_LIST_RESET ((size_t)64 * 1024)
#define GRPC_PREFIX_SIZE 5 /* of a message: a flag, and its length in four bytes */
#define GRPC_CODINGS 3	   /* identity, gzip, deflate */

#define MS_PER_TICK 1000 /* between two calls of grpc_lane_sweep */

struct grpc_lane {
	const struct grpc_options *options;
	struct loop *loop;
	struct offload *offload;
	void *context;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *session_options;
	TAILQ_HEAD(, grpc_connection) connections;
	TAILQ_HEAD(, grpc_connection) dirty;	/* have something to send at the end of this turn of the loop */
	TAILQ_HEAD(, grpc_connection) flushing; /* of these, those whose turn has come */
	struct loop_task *flush_task;
	struct grpc_call *spare_calls;
	size_t spare_count;
	size_t call_count;	/* of all connections */
	size_t inflation_count; /* messages on offload threads; their calls may be gone */
	uint8_t *scratch;	/* what is read, and what is sent, within one turn */
	unsigned ticks;		/* seconds */
	bool stopping;
	void (*stopped)(void *argument);
	void *stopped_argument;
};

struct grpc_connection {
	TAILQ_ENTRY(grpc_connection) entry;
	TAILQ_ENTRY(grpc_connection) dirty_entry;
	struct grpc_lane *lane;
	struct loop_watch *watch;
	nghttp2_session *session;
	struct transport transport;
	bool is_dirty;
	bool is_ending;	      /* nothing is sent any more */
	bool is_flushing;     /* dirty, and in lane->flushing */
	bool is_refused;      /* GOAWAY is under way; then it is over */
	bool is_lingering;    /* over; what the client still sends is thrown away, so that it reads what was sent */
	unsigned linger_tick; /* when its client last took something */
	int linger_left;      /* bytes that the kernel still holds for it */
	size_t read_size;     /* bytes to read at once: fewer where they cause much work */
	bool is_broken;	      /* to be freed */
	bool is_greeted;      /* the client's preface and SETTINGS have come */
	bool wants_finish;    /* GOAWAY with the last stream is still to be sent */
	struct chain out;
	TAILQ_HEAD(, grpc_call) calls;
	size_t call_count;
	TAILQ_HEAD(, grpc_call) timed; /* calls of this turn that have a timeout, and no timer yet */
	bool has_resumed;	       /* a call was resumed in this turn */
	uint64_t now_ns;	       /* when this turn began to read */
	struct bandwidth bandwidth;
	unsigned made_tick;
	unsigned received_tick;	 /* of the last frame from the client */
	unsigned written_tick;	 /* of the last progress in writing, or when there began to be something to write */
	unsigned drain_tick;	 /* when GOAWAY was first sent; 0: not yet */
	unsigned max_age;	 /* seconds; 0: no limit */
	unsigned ping_tick;	 /* when the keep-alive's PING was sent; 0: none is under way */
	unsigned pings_sent;	 /* keep-alive PINGs since the last data */
	uint64_t client_ping_ns; /* when the client's last PING came */
	unsigned ping_strikes;
};

/* How a call will be refused once its request has ended. */
struct refusal {
	int http_status;     /* other than 200: the client does not speak gRPC */
	enum grpc_code code; /* of a gRPC call, which is refused at once */
	const char *text;    /* NULL: not refused */
};

/* A message that has not been delivered yet. */
struct received {
	STAILQ_ENTRY(received) entry;
	struct grpc_message message;
	bool is_compressed;
};

/* A message under decompression; it outlives its call if that is cancelled meanwhile. */
struct inflation {
	struct offload_work work; /* first */
	struct grpc_lane *lane;
	struct grpc_call *call; /* NULL: cancelled */
	enum coding coding;
	size_t maximum;
	struct received *received;
	bool is_over_budget;
	bool is_too_long;
	enum status status;
	struct error error;
};

struct grpc_call {
	TAILQ_ENTRY(grpc_call) entry;
	TAILQ_ENTRY(grpc_call) timed_entry;
	bool is_timed; /* in that list */
	struct grpc_call *next_spare;
	struct grpc_connection *connection;
	const struct grpc_method *method;
	struct bytes path; /* see grpc_call_path */
	int32_t stream;
	void *state;
	struct arena arena; /* for the metadata of both directions */

	/* The request's head. */
	bool is_post;
	bool has_path;
	bool has_trailers_field; /* te: trailers */
	bool has_content_type;
	bool is_content_type_good;
	bool is_timeout_bad;
	bool has_timeout;
	enum coding coding;
	bool accepted[GRPC_CODINGS];
	size_t header_bytes; /* RFC 9113, section 6.5.2 */
	bool lacks_room;     /* the lane has too many calls */
	size_t charged;	     /* for metadata, to the budget */
	uint64_t timeout_ns;
	uint64_t begun_ns; /* where it has a timeout */
	struct grpc_metadata *metadata;
	size_t metadata_count;
	size_t metadata_capacity;
	struct refusal refusal;

	/* Receiving. */
	uint8_t prefix[GRPC_PREFIX_SIZE];
	size_t prefix_length;
	struct received *incoming; /* being received */
	size_t incoming_left;	   /* bytes still to come */
	STAILQ_HEAD(, received) received;
	unsigned message_count;
	size_t unconsumed; /* bytes by which the client's window is to be refilled */
	size_t discarded;
	bool is_remote_closed;
	bool has_begun;
	bool has_half_closed; /* the method has been told */
	bool is_paused;
	bool is_backed_up;	     /* nothing is delivered until the client takes replies */
	bool resumes;		     /* deliver at the end of this turn */
	bool is_ended;		     /* finished or cancelled: the method has let go of it */
	struct inflation *inflation; /* under way on an offload thread */

	/* Sending. */
	STAILQ_HEAD(, grpc_output) outputs;
	size_t output_sent; /* bytes of the first output that nghttp2 has taken */
	size_t unsent;	    /* of all outputs */
	size_t output_count;
	unsigned sent_tick; /* when bytes were last sent, or when there began to be something to send */
	bool has_headers;   /* nghttp2 has been given the response */
	bool is_deferred;   /* nghttp2 waits for grpc_call_send or grpc_call_finish */
	bool is_finished;
	enum coding reply_coding;
	enum grpc_code code;
	struct bytes text;
	bool is_encoded;	 /* the text */
	struct bytes plain_body; /* of a reply to a client that does not speak gRPC */
	nghttp2_nv *headers;
	size_t header_count;
	size_t header_capacity;
	nghttp2_nv *trailers;
	size_t trailer_count;
	size_t trailer_capacity;

	struct loop_timer *deadline;
	unsigned active_tick;  /* when bytes were last received */
	unsigned message_tick; /* when the message being received began */
	bool is_reset;	       /* RST_STREAM is on its way */
};

/* Tells when a lane that stops has nothing left. */
static inline void
lane_check_stopped(struct grpc_lane *lane)
{
	if (lane->stopping && TAILQ_EMPTY(&lane->connections) && lane->inflation_count == 0) {
		lane->stopped(lane->stopped_argument);
	}
}

/* Sends what the session has to send at the end of this turn. */
static inline void
connection_touch(struct grpc_connection *connection)
{
	struct grpc_lane *lane = connection->lane;

	if (!connection->is_dirty && !connection->is_ending) {
		if (TAILQ_EMPTY(&lane->dirty)) {
			loop_task_set(lane->flush_task);
		}
		connection->is_dirty = true;
		TAILQ_INSERT_TAIL(&lane->dirty, connection, dirty_entry);
	}
}

/* The window of the whole connection, which has twice that of a call. */
static inline void
connection_set_window(struct grpc_connection *connection)
{
	(void)nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
						    (int32_t)(2 * connection->bandwidth.window));
}

/* Lets the call's messages be delivered at the end of this turn. The time in which it was held up does not count. */
static inline void
call_resume_later(struct grpc_call *call)
{
	call->resumes = true;
	call->active_tick = call->message_tick = call->connection->lane->ticks;
	call->connection->has_resumed = true;
	connection_touch(call->connection);
}

/* --- drain.c: the end of a connection, by GOAWAY --- */

/* The first GOAWAY: no more calls, please. Those that are on their way are still taken. */
void drain_begin(struct grpc_connection *connection);

/* The second GOAWAY, with the last call; the connection ends after that call. */
void drain_finish(struct grpc_connection *connection);

/* True: the calls in flight have had their time. Call once a second; sends the second GOAWAY when it is due. */
bool drain_sweep(struct grpc_connection *connection);

/* --- ping.c --- */

/* Counts a PING of the client's; tells a client to leave that sends too many. */
void ping_received(struct grpc_connection *connection);

/* The client has replied to a PING of the server's. */
void ping_answered(struct grpc_connection *connection, const uint8_t *opaque);

/* HEADERS or DATA were sent, or DATA came: the PINGs before, of either side, do not count. */
void ping_excuse(struct grpc_connection *connection);

/* Counts data received, and measures the bandwidth. */
void ping_data_received(struct grpc_connection *connection, size_t length);

/* Sends the PING behind the first GOAWAY, whose reply lets the second go. */
void ping_drain(struct grpc_connection *connection);

/* The keep-alive, once a second. True: the connection is dead. */
bool ping_sweep(struct grpc_connection *connection);

/* --- session.c: nghttp2's callbacks --- */

nghttp2_session_callbacks *session_callbacks(void); /* NULL when memory runs out */

/* --- head.c: the fields of a request --- */

/* Counts a field of the head or of the trailers. Returns false when they are more than HEADER_LIST_RESET. */
bool head_count(struct grpc_call *call, struct bytes name, struct bytes value);

/* Takes one field of the head, which has been counted. */
void head_take(struct grpc_call *call, struct bytes name, struct bytes value);

/* At the end of the header block: decides whether the call is served, and sets call->refusal if it is not. */
void head_judge(struct grpc_call *call);

/* --- message.c --- */

void received_free(struct received *received);

/* Frees what has been received and not delivered. */
void received_drop(struct grpc_call *call);

/* --- call.c: life cycle --- */

struct grpc_call *call_new(struct grpc_connection *connection, int32_t stream);

/* Takes large metadata from the budget. False: too little is left. */
bool call_charge_metadata(struct grpc_call *call);

/* Is there room for one more call on the lane? If not, the connection with the most calls loses one to the others. */
bool call_has_room(struct grpc_connection *connection);

/* When nghttp2 closes the stream: cancels what is under way and frees the call. */
void call_closed(struct grpc_call *call);

/* After the head: begins the call, or refuses it. */
void call_begin(struct grpc_call *call);

/* Tells the method that the call is over, unless it has ended before. */
void call_cancel(struct grpc_call *call);

/* Cancels the call and ends it with a status of the server's own. */
void call_fail(struct grpc_call *call, enum grpc_code code, const char *text);

/* Cancels the call and resets its stream. */
void call_reset(struct grpc_call *call, uint32_t error_code);

/* Starts the call's timer if it goes on and has a timeout. */
void call_start_deadline(struct grpc_call *call);

/* --- receive.c --- */

void receive_data(struct grpc_call *call, struct bytes data);
void receive_end(struct grpc_call *call); /* the client's half-close */

/* Gives the method what has been received, as far as it takes it. */
void receive_deliver(struct grpc_call *call);

/* Does the call wait for something else than its client's messages? */
bool receive_is_held_up(const struct grpc_call *call);

/* --- send.c --- */

/* For nghttp2's data provider, and its callbacks for data that is not copied and for the length of DATA frames. */
ssize_t send_read(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t length, uint32_t *flags,
		  nghttp2_data_source *source, void *user);
int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
	      nghttp2_data_source *source, void *user);
ssize_t send_length(nghttp2_session *session, uint8_t frame_type, int32_t stream, int32_t connection_window,
		    int32_t stream_window, uint32_t frame_max, void *user);
void send_drop(struct grpc_call *call);

/* Does the client take too little of what is sent? `part` 2: half of what is too much. */
bool send_is_backed_up(const struct grpc_call *call, size_t part);

/* Called when the call has been finished: gives nghttp2 the response, or wakes it. */
void send_finish(struct grpc_call *call);

/* Replies to a client that does not speak gRPC. */
void send_plain(struct grpc_call *call, int http_status, const char *text);

#endif
