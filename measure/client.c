#include "measure/client.h"

#include "base/container_of.h"
#include "base/memory.h"
#include "upstream/url.h"
#include "wire/upstream_body.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_MAX ((size_t)2 << 30)
#define FAILURE_BODY_MAX ((size_t)64 * 1024)
#define CONNECT_TIMEOUT_S 10U

struct client {
	enum measure_protocol protocol;
	struct upstream_url url;
	struct tls_client *tls; /* NULL: not needed */
	struct dial_options dial;
	struct http_client *http;
	struct http2_client *http2;
	const bool *stopped; /* NULL: nothing stops it */
};

/* --- The client --- */

struct client *
client_new(struct loop *loop, const char *url, const struct tls_client_options *tls, struct error *error)
{
	struct client *client = memory_new(sizeof(*client));

	if (upstream_url_parse("-u ", url, &client->url, error) != STATUS_OK) {
		free(client);
		return NULL;
	}
	client->protocol = client->url.grpc ? MEASURE_GRPC : MEASURE_HTTP;
	client->tls = client->url.tls ? tls_client_new(tls, error) : NULL;
	if (client->url.tls && client->tls == NULL) {
		client_free(client);
		return NULL;
	}
	client->dial =
		(struct dial_options){.url = &client->url, .tls = client->tls, .connect_timeout_s = CONNECT_TIMEOUT_S};
	if (client->protocol == MEASURE_GRPC) {
		client->http2 = http2_client_new(loop, &client->dial);
	} else {
		client->http = http_client_new(loop, &client->dial);
	}
	return client;
}

void
client_free(struct client *client)
{
	if (client == NULL) {
		return;
	}
	if (client->http != NULL) {
		http_client_free(client->http);
	}
	if (client->http2 != NULL) {
		http2_client_free(client->http2);
	}
	if (client->tls != NULL) {
		tls_client_free(client->tls);
	}
	upstream_url_fini(&client->url);
	free(client);
}

void
client_stop_with(struct client *client, const bool *stopped)
{
	client->stopped = stopped;
}

enum measure_protocol
client_protocol(const struct client *client)
{
	return client->protocol;
}

struct bytes
client_host(const struct client *client)
{
	return bytes_text(client->url.authority);
}

struct bytes
client_path(const struct client *client)
{
	return bytes_text(client->url.path);
}

/* --- Replies --- */

/* Reads a Cache-Status field: the answer is a hit if one of the caches on the way says so. */
static enum client_cache
cache_of(struct bytes field)
{
	if (field.length == 0) {
		return CLIENT_CACHE_UNTOLD;
	}
	return memmem(field.at, field.length, "; hit", strlen("; hit")) != NULL ? CLIENT_CACHE_HIT : CLIENT_CACHE_MISS;
}

static void
make_body(struct client_call *call, bool is_failure)
{
	client_call_fini(call);
	buf_init(&call->body, is_failure ? FAILURE_BODY_MAX : call->body_max > 0 ? call->body_max : BODY_MAX);
	call->has_body = true;
}

static void
take_body(struct client_call *call, struct bytes part)
{
	call->received += part.length;
	if (call->has_body) {
		buf_append(&call->body, part);
	}
}

/* The text may be the server's and comes to a terminal: control characters are shown as '?', also those above ASCII. */
static void
fail(struct client_call *call, const char *why)
{
	call->is_ok = false;
	(void)snprintf(call->why, sizeof(call->why), "%s", why);
	for (uint8_t *at = (uint8_t *)call->why; *at != '\0'; at++) {
		if (*at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)) {
			*at = '?';
		}
	}
}

/* --- HTTP --- */

static void
on_http_head(struct http_call *http, const struct http1_head *head)
{
	struct client_call *call = container_of(http, struct client_call, http);

	call->status = head->status;
	call->cache = cache_of(http1_header(head, "cache-status"));
	if (!http1_number(http1_header(head, "inference-header-content-length"), &call->json_length)) {
		call->json_length = 0;
	}
	if (call->keeps_body || head->status != 200) {
		make_body(call, head->status != 200);
	}
}

static bool
on_http_body(struct http_call *http, struct bytes part)
{
	take_body(container_of(http, struct client_call, http), part);
	return true;
}

static void
on_http_done(struct http_call *http, enum http_outcome outcome, const char *why)
{
	struct client_call *call = container_of(http, struct client_call, http);
	char text[sizeof(call->why)];

	call->is_ok = outcome == HTTP_CALL_DONE && call->status == 200;
	if (outcome != HTTP_CALL_DONE) {
		fail(call, why);
	} else if (call->is_ok && call->has_body && !buf_ok(&call->body)) {
		fail(call, "the reply is too long");
	} else if (!call->is_ok && upstream_error_text(buf_bytes(&call->body), text, sizeof(text))) {
		fail(call, text);
	} else if (!call->is_ok) {
		(void)snprintf(text, sizeof(text), "HTTP status %d", call->status);
		fail(call, text);
	}
	call->done(call);
}

static void
start_http(struct client *client, struct client_call *call)
{
	call->http = (struct http_call){.head = call->head,
					.body = call->pieces,
					.body_count = call->piece_count,
					.repeatable = true,
					.on_head = on_http_head,
					.on_body = on_http_body,
					.done = on_http_done};
	http_client_start(client->http, &call->http);
}

/* --- gRPC --- */

static void
take_field(struct client_call *call, struct http2_field field)
{
	if (bytes_equal_text(field.name, "grpc-status")) {
		call->status = (int)strtol((const char *)field.value.at, NULL, 10);
	} else if (bytes_equal_text(field.name, "grpc-message")) {
		size_t length = field.value.length < sizeof(call->grpc_message) ? field.value.length
										: sizeof(call->grpc_message) - 1;

		length = http1_percent_decode(bytes_make(field.value.at, length), (uint8_t *)call->grpc_message);
		call->grpc_message[length] = '\0';
	} else if (bytes_equal_text(field.name, "cache-status")) {
		call->cache = cache_of(field.value);
	}
}

static void
on_grpc_head(struct http2_call *http2, const struct http2_field *fields, size_t count, bool ends)
{
	struct client_call *call = container_of(http2, struct client_call, http2);

	(void)ends;
	for (size_t i = 0; i < count; i++) {
		take_field(call, fields[i]);
	}
	if (call->keeps_body) {
		make_body(call, false);
	}
}

static void
on_grpc_body(struct http2_call *http2, struct bytes part)
{
	take_body(container_of(http2, struct client_call, http2), part);
	http2_call_consume(http2, part.length);
}

static void
on_grpc_done(struct http2_call *http2, enum http2_outcome outcome, const struct http2_field *trailers, size_t count,
	     const char *why)
{
	struct client_call *call = container_of(http2, struct client_call, http2);
	char text[sizeof(call->why)];

	for (size_t i = 0; i < count; i++) {
		take_field(call, trailers[i]);
	}
	call->is_ok = outcome == HTTP2_DONE && call->status == 0;
	if (outcome != HTTP2_DONE) {
		fail(call, why);
	} else if (!call->is_ok) {
		(void)snprintf(text, sizeof(text), "%s (gRPC status %d)", call->grpc_message, call->status);
		fail(call, call->status < 0 ? "the response has no status of gRPC" : text);
	}
	call->done(call);
}

static void
on_released(struct http2_piece *piece)
{
	(void)piece; /* its bytes are the call's owner's */
}

static void
start_grpc(struct client *client, struct client_call *call)
{
	static const struct http2_field constant[] = {
		{{(const uint8_t *)":method", 7}, {(const uint8_t *)"POST", 4}},
		{{(const uint8_t *)"te", 2}, {(const uint8_t *)"trailers", 8}},
		{{(const uint8_t *)"content-type", 12}, {(const uint8_t *)"application/grpc", 16}},
	};

	call->status = -1;
	call->fields[0] = constant[0];
	call->fields[1] = (struct http2_field){bytes_text(":path"), call->method};
	call->fields[2] = constant[1];
	call->fields[3] = constant[2];
	call->http2 = (struct http2_call){.fields = call->fields,
					  .field_count = 4,
					  .on_head = on_grpc_head,
					  .on_body = on_grpc_body,
					  .done = on_grpc_done};
	if (call->piece_count > call->sent_capacity) {
		call->sent = memory_grow(call->sent, call->piece_count, sizeof(*call->sent));
		call->sent_capacity = call->piece_count;
	}
	http2_client_start(client->http2, &call->http2);
	for (size_t i = 0; i < call->piece_count; i++) {
		call->sent[i] = (struct http2_piece){.bytes = call->pieces[i], .released = on_released};
		http2_call_send(&call->http2, &call->sent[i]);
	}
	http2_call_end(&call->http2);
}

/* --- Both --- */

void
client_start(struct client *client, struct client_call *call)
{
	call->client = client;
	call->is_ok = false;
	call->cache = CLIENT_CACHE_UNTOLD;
	call->received = 0;
	call->status = 0;
	call->why[0] = call->grpc_message[0] = '\0';
	if (client->protocol == MEASURE_GRPC) {
		start_grpc(client, call);
	} else {
		start_http(client, call);
	}
}

void
client_call_fini(struct client_call *call)
{
	if (call->has_body) {
		buf_fini(&call->body);
		call->has_body = false;
	}
}

void
client_cancel(struct client_call *call)
{
	if (call->client->protocol == MEASURE_GRPC) {
		http2_call_cancel(&call->http2);
	} else {
		http_call_cancel(&call->http);
	}
}

void
client_call_free(struct client_call *call)
{
	client_call_fini(call);
	free(call->sent);
	call->sent = NULL;
	call->sent_capacity = 0;
}

/* --- Waiting --- */

static void
on_asked(struct client_call *call)
{
	*(bool *)call->context = true;
}

static void
on_patience(void *argument)
{
	*(bool *)argument = true;
}

enum status
client_ask(struct loop *loop, struct client *client, struct client_call *call, struct error *error)
{
	const bool was_stopped = client->stopped != NULL && *client->stopped; /* it is the last question, then */
	struct loop_timer *timer;
	bool is_done = false;
	bool is_late = false;

	call->keeps_body = true;
	call->context = &is_done;
	call->done = on_asked;
	client_start(client, call);
	timer = loop_timer_new(loop, on_patience, &is_late);
	loop_timer_set(timer, CLIENT_PATIENCE_MS);
	while (!is_done && !is_late && (was_stopped || client->stopped == NULL || !*client->stopped)) {
		loop_turn(loop);
	}
	loop_timer_free(timer);
	if (!is_done) {
		client_cancel(call);
		return is_late ? error_set(error, STATUS_UNAVAILABLE, "no answer within %d s",
					   CLIENT_PATIENCE_MS / 1000)
			       : error_set(error, STATUS_CANCELLED, "interrupted");
	}
	if (!call->is_ok) {
		return error_set(error, STATUS_UNAVAILABLE, "%s", call->why);
	}
	return buf_ok(&call->body) ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "the reply is too long");
}
