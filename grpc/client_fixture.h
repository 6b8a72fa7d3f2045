/*
 * For tests: a lane, and a client's HTTP/2 session over a socket pair. The test says each message's bytes, and runs the
 * loop and the client by turns.
 */
#ifndef HIPPOCAMP_GRPC_CLIENT_FIXTURE_H
#define HIPPOCAMP_GRPC_CLIENT_FIXTURE_H

#include "base/buf.h"
#include "grpc/internal.h"

#define CLIENT_STREAMS 16
#define CLIENT_BUDGET ((size_t)8 << 20)
#define CLIENT_MAX_MESSAGE ((size_t)4 << 20)

/* A call, as its client sees it. */
struct stream {
	int32_t id;
	struct buf fields; /* "name: value\n" of all header blocks */
	unsigned blocks;   /* of header fields */
	struct buf data;   /* received */
	bool has_ended;	   /* END_STREAM has come */
	bool is_closed;
	uint32_t error_code; /* of RST_STREAM; 0 also if none came */
	bool was_reset;
	struct buf body; /* to be sent */
	size_t said;
	bool body_ends;
};

struct client {
	/* The server. */
	struct grpc_options options;
	struct budget budget;
	struct offload *offload;
	struct loop *loop;
	struct grpc_lane *lane;

	/* The client. */
	int fd; /* -1: closed */
	nghttp2_session *session;
	struct stream streams[CLIENT_STREAMS];
	size_t stream_count;
	bool is_left; /* the server has closed the connection */
	unsigned goaways;
	int32_t last_stream; /* of the newest GOAWAY */
	uint32_t goaway_code;
	char goaway_text[64]; /* of the first that has one */
	size_t padding;	      /* of each frame */
};

/* The fields of a request; NULL: left out. */
struct head {
	const char *path;
	const char *method;	  /* NULL: POST */
	const char *content_type; /* NULL: application/grpc; "": none */
	const char *te;		  /* NULL: trailers; "": none */
	const char *name;	  /* of one more field, which comes `count` times, or once */
	const char *value;
	size_t count;
};

/* `options`: what the client does not set itself. */
struct client *client_new(const struct grpc_options *options);
void client_free(struct client *client); /* also checks that the server has freed all */

/* Opens a call; nothing is sent before the next turn. */
struct stream *client_open(struct client *client, const struct head *head);

/* Append to what the call says: bytes, a message behind its prefix, the end. */
void client_say(struct client *client, struct stream *stream, struct bytes bytes);
void client_message(struct client *client, struct stream *stream, struct bytes message);
void client_half_close(struct client *client, struct stream *stream);
void client_reset(struct client *client, struct stream *stream);

/* One direction each; client_turn runs all until nothing moves any more. */
void client_send(struct client *client);
void client_run_loop(struct client *client, uint64_t ms);
bool client_receive(struct client *client);
void client_turn(struct client *client);

/* The client's side of the socket is closed. */
void client_leave(struct client *client);

/* --- What has come --- */

/* The value of the field in all header blocks; fails the test unless it is `value`, or absent where that is NULL. */
void assert_field(const struct stream *stream, const char *name, const char *value);
void assert_grpc_status(const struct stream *stream, enum grpc_code code);

/* The messages that have come, without their prefixes, one after another. */
void assert_messages(const struct stream *stream, const char *text);

#endif
