#include "front/follower_internal.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define FETCH_NS UINT64_C(2000000000) /* for a whole response */

struct fetch {
	struct upstream_call call; /* first */
	int status;
	struct buf *body;
	bool is_done;
	bool is_whole;
	char why[FOLLOWER_WHY_MAX]; /* it failed */
};

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	((struct fetch *)call)->status = head->status;
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	buf_append(((struct fetch *)call)->body, part);
	return true;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct fetch *fetch = (struct fetch *)call;

	fetch->is_done = true;
	fetch->is_whole = outcome == HTTP_CALL_DONE;
	(void)snprintf(fetch->why, sizeof(fetch->why), "%s", why == NULL ? "" : why);
}

const char *
follower_port(const struct follower *follower, size_t replica)
{
	return upstream_is_grpc(follower->options->upstream, replica) ? "gRPC" : "HTTP";
}

/* Keeps what is to be said if no replica answers as it should. */
static void
tell_why(struct follower *follower, const struct fetch *fetch, size_t replica, const char *method, const char *target)
{
	const char *name = upstream_name(follower->options->upstream, replica);

	if (!fetch->is_done) {
		(void)snprintf(follower->why, sizeof(follower->why), "%s: no answer to %s %s", name, method, target);
	} else if (!fetch->is_whole) {
		(void)snprintf(follower->why, sizeof(follower->why), "%s", fetch->why);
	} else if (fetch->status != 200) {
		(void)snprintf(
			follower->why, sizeof(follower->why),
			"%s: HTTP status %d to %s %s; is this the %s port of a server of the KServe v2 protocol?%s",
			name, fetch->status, method, target, follower_port(follower, replica),
			upstream_is_grpc(follower->options->upstream, replica)
				? ""
				: " The address comes before the /v2 of its paths");
	}
}

int
follower_ask(struct follower *follower, size_t replica, const char *method, const char *target, struct buf *body)
{
	struct bytes content = bytes_text("{}"); /* MLServer wants one */
	bool posts = strcmp(method, "POST") == 0;
	struct fetch fetch = {
		.call = {.method = method,
			 .target = bytes_text(target),
			 .headers = posts ? bytes_text("Content-Type: application/json\r\n") : bytes_make(NULL, 0),
			 .body = &content,
			 .body_count = posts,
			 .is_repeatable = true,
			 .only = (ptrdiff_t)replica,
			 .on_head = on_head,
			 .on_body = on_body,
			 .done = on_done},
		.body = body,
	};
	uint64_t deadline;

	buf_init(body, FOLLOWER_DOCUMENT_MAX);
	if (atomic_load(&follower->stopping)) {
		return 0;
	}
	deadline = clock_now_ns() + FETCH_NS;
	upstream_call_start(follower->lane, &fetch.call);
	while (!fetch.is_done && !atomic_load(&follower->stopping) && clock_now_ns() < deadline) {
		uint64_t turned = clock_boot_ns();

		loop_turn(follower->loop); /* at least once a second */
		follower->was_asleep = follower->was_asleep || clock_boot_ns() - turned > FOLLOWER_ASLEEP_NS;
	}
	if (!fetch.is_done) {
		upstream_call_cancel(&fetch.call);
	}
	tell_why(follower, &fetch, replica, method, target);
	return fetch.is_whole && buf_ok(body) ? fetch.status : 0;
}
