#include "app/health.h"

#include "base/log.h"
#include "upstream/upstream.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_URL "http://127.0.0.1:8000"
#define TIMEOUT_S 5U

struct probe {
	struct upstream_call call; /* first */
	int status;
	bool is_done;
	char why[512]; /* there was no response */
};

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	((struct probe *)call)->status = head->status;
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	(void)call;
	(void)part;
	return true;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct probe *probe = (struct probe *)call;

	(void)outcome;
	probe->is_done = true;
	(void)snprintf(probe->why, sizeof(probe->why), "%s", why == NULL ? "" : why);
}

static int
fail(const char *format, const char *text)
{
	(void)fputs("hippocamp health: ", stderr);
	(void)fprintf(stderr, format, text);
	(void)fputc('\n', stderr);
	return 1;
}

static bool
is_address(const char *text)
{
	struct upstream_url url;
	struct error unused;
	bool good = upstream_url_parse(text, &url, &unused) == STATUS_OK;

	if (good) {
		good = !url.grpc;
		upstream_url_fini(&url);
	}
	return good;
}

static void
ask(struct upstream *upstream, struct loop *loop, struct probe *probe)
{
	struct upstream_lane *lane = upstream_lane_new(upstream, loop);

	upstream_call_start(lane, &probe->call);
	while (!probe->is_done) {
		loop_turn(loop);
	}
	upstream_lane_free(lane);
}

static int
judge(const struct probe *probe)
{
	char status[64];

	if (*probe->why != '\0') {
		return fail("%s", probe->why);
	}
	(void)snprintf(status, sizeof(status), "%d", probe->status);
	return probe->status == 200 ? 0 : fail("the server is not ready (HTTP status %s)", status);
}

int
health(int count, char **arguments)
{
	const char *url = count > 0 ? arguments[0] : DEFAULT_URL;
	struct upstream_options options = {
		.urls = &url, .url_count = 1, .tls = {.prefix = "upstream"}, .connect_timeout_s = TIMEOUT_S};
	struct probe probe = {.call = {.method = "GET",
				       .target = bytes_text("/v2/health/ready"),
				       .only = -1,
				       .timeout_s = TIMEOUT_S,
				       .on_head = on_head,
				       .on_body = on_body,
				       .done = on_done}};
	struct error error;
	struct upstream *upstream;
	struct loop *loop;
	int code;

	if (count > 1 || *url == '-') {
		return fail("usage: hippocamp health [URL] (default %s)", DEFAULT_URL);
	}
	if (!is_address(url)) {
		return fail("'%s' is no address: give http://HOST:PORT, https://HOST:PORT or unix:/PATH", url);
	}
	log_configure(&(struct log_settings){0});
	upstream = upstream_new(&options, &error);
	loop = upstream == NULL ? NULL : loop_new(&error);
	if (loop == NULL) {
		upstream_free(upstream);
		return fail("%s", error.text);
	}
	ask(upstream, loop, &probe);
	code = judge(&probe);
	loop_free(loop);
	upstream_free(upstream);
	return code;
}
