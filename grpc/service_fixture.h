/*
 * For tests: a service that writes down what it is told, and a client to ask it. /test/Unary replies with its message,
 * /test/Stream with each message; so does /test/Idle, which ends when the lane stops.
 */
#ifndef HIPPOCAMP_GRPC_SERVICE_FIXTURE_H
#define HIPPOCAMP_GRPC_SERVICE_FIXTURE_H

#include "grpc/client_fixture.h"

struct service {
	struct client *client;
	char log[512];		/* what the methods were told */
	struct grpc_call *call; /* the newest */
	bool keeps;		/* calls go on after their end */
	bool is_silent;		/* streams are not echoed */
	bool is_raw;		/* messages are echoed as bytes that have their prefixes */
	unsigned sent;
	unsigned released;
};

extern struct service test; /* global, as cmocka's functions share it most simply */

/* Before and after each test. */
int service_setup(void **state);
int service_setup_with_other(void **state); /* notes the path of any other method, which then is as /test/Stream */
int service_teardown(void **state);

/* --- The server's side --- */

void note(const char *text);

/* A message that is a copy of the bytes; test.sent and test.released count them. */
void send_bytes(struct grpc_call *call, struct bytes bytes);
void finish(struct grpc_call *call);

/* --- The client's side --- */

struct stream *open_call(const char *path);
void say(struct stream *stream, const char *message);

/* Makes a whole unary call. */
struct stream *ask(const struct head *head, const char *message);

struct bytes zeros(size_t length); /* at most 6 MiB */

/* What the methods were told, separated by spaces: begin, messages (long ones as their length), end, cancelled. */
void assert_log(const char *expected);

/* Turns until the log says that, for what other threads and timers do. */
void wait_log(const char *expected);

#endif
