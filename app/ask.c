#include "app/ask.h"

#include "base/log.h"
#include "base/memory.h"
#include "upstream/upstream.h"

#include <stdlib.h>
#include <string.h>

#define BODY_MAX (64U << 20)

struct asking {
	struct upstream_call call; /* first */
	struct answer *answer;
	struct error *error;
	enum status status;
	bool is_done;
};

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	((struct asking *)call)->answer->status = head->status;
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	buf_append(&((struct asking *)call)->answer->body, part);
	return true;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct asking *asking = (struct asking *)call;

	(void)outcome;
	asking->is_done = true;
	if (why != NULL && *why != '\0') {
		asking->status = error_set(asking->error, STATUS_UNAVAILABLE, "%s", why);
	} else if (!buf_ok(&asking->answer->body)) {
		asking->status =
			error_set(asking->error, STATUS_UNAVAILABLE, "the response is longer than %u bytes", BODY_MAX);
	}
}

static void
ask_on(struct loop *loop, struct upstream *upstream, struct asking *asking)
{
	struct upstream_lane *lane = upstream_lane_new(upstream, loop, NULL);

	upstream_call_start(lane, &asking->call);
	while (!asking->is_done) {
		loop_turn(loop);
	}
	upstream_lane_free(lane);
}

char *
ask_url(const char *text)
{
	bool is_whole = strstr(text, "://") != NULL || strncmp(text, "unix:", 5) == 0;

	return memory_format("%s%s", is_whole ? "" : "http://", text);
}

enum status
ask(const struct question *question, struct answer *answer, struct error *error)
{
	char *url = ask_url(question->url);
	struct upstream_options options = {.urls = (const char *const *)&url,
					   .url_count = 1,
					   .tls = {.prefix = "upstream"},
					   .connect_timeout_s = question->timeout_s};
	struct asking asking = {.call = {.method = question->method,
					 .target = bytes_text(question->target),
					 .body = &question->body,
					 .body_count = question->body.length == 0 ? 0 : 1,
					 .only = -1,
					 .timeout_s = question->timeout_s,
					 .on_head = on_head,
					 .on_body = on_body,
					 .done = on_done},
				.answer = answer,
				.error = error};
	struct upstream *upstream;
	struct loop *loop;

	*answer = (struct answer){0};
	buf_init(&answer->body, BODY_MAX);
	if (!upstream_url_is_http(url)) {
		free(url);
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"'%s' is no address: give HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:/PATH",
			question->url);
	}
	log_configure(&(struct log_settings){0}); /* the caller says what is wrong */
	upstream = upstream_new(&options, error);
	loop = upstream == NULL ? NULL : loop_new(error);
	if (loop == NULL) {
		upstream_free(upstream);
		free(url);
		return error->status;
	}
	ask_on(loop, upstream, &asking);
	loop_free(loop);
	upstream_free(upstream);
	free(url);
	return asking.status;
}
