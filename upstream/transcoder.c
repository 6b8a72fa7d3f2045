#include "upstream/transcoder.h"

#include "base/memory.h"
#include "upstream/http2_client.h"
#include "wire/grpc_code.h"
#include "wire/transcode.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_MAX ((size_t)4 << 30)
#define FIELDS_MAX ((size_t)1 << 20)
#define PREFIX_SIZE 5
#define OWN_FIELDS 5	  /* of the protocol */
#define RESPONSE_FIELDS 3 /* of ours, beside the metadata */

struct transcoder {
	struct loop *loop;
	const struct dial_options *options;
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
	struct http1_head head; /* of the request */
	struct buf joined;	/* its body, if that came in pieces */
	struct http2_field *fields;
	struct http2_piece *pieces;

	struct buf received; /* messages with their prefixes */
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
	bool is_cancelled; /* by them */
};

static void
free_call(struct transcoded_call *this)
{
	transcoding_fini(&this->transcoding);
	loop_timer_free(this->silence);
	buf_fini(&this->joined);
	buf_fini(&this->received);
	buf_fini(&this->text);
	buf_fini(&this->metadata);
	free(this->fields);
	free(this->pieces);
	free(this);
}

/*
 * Can metadata have that name, and is it no field that concerns the form of a message of HTTP or gRPC, or one
 * connection? Names that end in "-bin" have values of another form over gRPC.
 */
static bool
is_metadata(struct bytes name)
{
	static const char *const others[] = {"host",
					     "connection",
					     "keep-alive",
					     "te",
					     "trailer",
					     "transfer-encoding",
					     "upgrade",
					     "expect",
					     "accept",
					     "accept-encoding",
					     "proxy-connection",
					     "proxy-authenticate",
					     "proxy-authorization",
					     "inference-header-content-length"};
	static const char *const prefixes[] = {"content-", "grpc-"};
	static const char suffix[] = "-bin";
	const size_t end = sizeof(suffix) - 1;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (bytes_equal_nocase(name, others[i])) {
			return false;
		}
	}
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		size_t length = strlen(prefixes[i]);

		if (name.length >= length && bytes_equal_nocase(bytes_make(name.at, length), prefixes[i])) {
			return false;
		}
	}
	for (size_t i = 0; i < name.length; i++) {
		if (isalnum(name.at[i]) == 0 && name.at[i] != '-' && name.at[i] != '_' && name.at[i] != '.') {
			return false;
		}
	}
	return name.length > 0 &&
	       !(name.length >= end && bytes_equal_nocase(bytes_skip(name, name.length - end), suffix));
}

/* --- The answer --- */

/* Gives the caller what there is of the answer, and frees the call after its end. */
static void
give(struct transcoded_call *this)
{
	struct http_call *http = this->http;

	this->is_giving = true;
	if (this->outcome == HTTP_CALL_DONE && !this->has_begun) {
		this->has_begun = true;
		http->on_head(http, &this->response_head);
	}
	while (this->outcome == HTTP_CALL_DONE && !this->is_cancelled && !this->is_paused && !http->bodiless &&
	       this->given < this->response.piece_count) {
		struct bytes piece = this->response.pieces[this->given++];

		this->is_paused = piece.length > 0 && !http->on_body(http, piece);
	}
	this->is_giving = false;
	if (this->is_cancelled) {
		free_call(this);
	} else if (!this->is_paused) {
		enum http_outcome outcome = this->outcome;
		char why[sizeof(this->why)];

		memcpy(why, this->why, sizeof(why));
		free_call(this);
		http->done(http, outcome, outcome == HTTP_CALL_DONE ? NULL : why);
	}
}

static void
on_answer(void *argument)
{
	struct transcoder *transcoder = argument;
	struct transcoded_call *this;

	while ((this = TAILQ_FIRST(&transcoder->answered)) != NULL) {
		TAILQ_REMOVE(&transcoder->answered, this, entry);
		this->is_answered = false;
		give(this);
	}
}

/* At the end of this turn. */
static void
answer(struct transcoded_call *this)
{
	loop_timer_free(this->silence);
	this->silence = NULL;
	this->is_answered = true;
	TAILQ_INSERT_TAIL(&this->transcoder->answered, this, entry);
	loop_task_set(this->transcoder->answer);
}

static void
fail(struct transcoded_call *this, enum http_outcome outcome, const char *why)
{
	this->outcome = outcome;
	(void)snprintf(this->why, sizeof(this->why), "%s", why);
	answer(this);
}

static void
add_field(struct transcoded_call *this, const char *name, struct bytes value)
{
	struct http1_head *head = &this->response_head;

	head->headers[head->header_count++] = (struct http1_header){.name = bytes_text(name), .value = value};
}

static struct bytes
write_number(char text[24], size_t number)
{
	(void)snprintf(text, 24, "%zu", number);
	return bytes_text(text);
}

/* The head of a response over HTTP. */
static void
write_head(struct transcoded_call *this)
{
	const struct transcoded *response = &this->response;
	const char *at = (const char *)this->metadata.at;

	this->response_head = (struct http1_head){
		.status = response->status, .keep_alive = true, .has_length = true, .content_length = response->length};
	add_field(this, "Content-Type", bytes_text(response->content_type));
	if (response->is_binary) {
		add_field(this, "Inference-Header-Content-Length",
			  write_number(this->lengths[0], response->json_length));
	}
	add_field(this, "Content-Length", write_number(this->lengths[1], response->length));
	for (size_t i = 0; i < this->metadata_count; i++) {
		const char *value = at + strlen(at) + 1;

		add_field(this, at, bytes_text(value));
		at = value + strlen(value) + 1;
	}
}

/* If the metadata are too many, or too large, the response is none: as over HTTP. */
static void
answer_with_response(struct transcoded_call *this)
{
	if (!buf_ok(&this->metadata) || this->metadata_count + RESPONSE_FIELDS > HTTP1_HEADERS_MAX) {
		fail(this, HTTP_CALL_BROKEN, "the response's header fields are too large");
		return;
	}
	write_head(this);
	answer(this);
}

static void
answer_with_failure(struct transcoded_call *this, int status, struct bytes text)
{
	transcode_failure(&this->transcoding, status, text, &this->response);
	answer_with_response(this);
}

/* --- The response over gRPC --- */

/* One that is there twice is none. */
static void
take_status(struct transcoded_call *this, const struct http2_field *fields, size_t count)
{
	struct bytes text = http2_field_find(fields, count, "grpc-message");
	uint8_t *room = buf_reserve(&this->text, text.length);

	for (size_t i = 0; i < count; i++) {
		if (bytes_equal_text(fields[i].name, "grpc-status")) {
			this->code = this->has_code ? GRPC_INTERNAL : grpc_status_read(fields[i].value);
			this->has_code = true;
		}
	}
	if (room != NULL && text.length > 0) {
		this->text.length = http1_percent_decode(text, room);
	}
}

static void
take_metadata(struct transcoded_call *this, const struct http2_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (is_metadata(fields[i].name)) { /* over HTTP a header field */
			buf_append(&this->metadata, fields[i].name);
			buf_byte(&this->metadata, '\0');
			buf_append(&this->metadata, fields[i].value);
			buf_byte(&this->metadata, '\0');
			this->metadata_count++;
		}
	}
}

static void
hear(const struct transcoded_call *this)
{
	if (this->silence != NULL) {
		loop_timer_set(this->silence, this->http->timeout_s * 1000U);
	}
	if (this->http->heard != NULL) {
		this->http->heard(this->http);
	}
}

static void
on_head(struct http2_call *http2, const struct http2_field *fields, size_t count, bool ends)
{
	struct transcoded_call *this = (struct transcoded_call *)http2;
	uint64_t status = 0;

	hear(this);
	(void)http1_number(http2_field_find(fields, count, ":status"), &status);
	this->http_status = (unsigned)status;
	take_metadata(this, fields, count);
	if (ends) {
		take_status(this, fields, count);
	}
}

static void
on_body(struct http2_call *http2, struct bytes part)
{
	struct transcoded_call *this = (struct transcoded_call *)http2;

	hear(this);
	if (this->http_status == 200) {
		buf_append(&this->received, part);
	}
	http2_call_consume(http2, part.length);
}

/* The response's only message. False: `why` says what there is in its place. */
static bool
only_message(const struct transcoded_call *this, struct bytes *message, const char **why)
{
	struct bytes all = buf_bytes(&this->received);
	size_t length = 0;

	for (size_t i = 1; i < PREFIX_SIZE && all.length >= PREFIX_SIZE; i++) {
		length = length << 8 | all.at[i];
	}
	*why = !buf_ok(&this->received)		    ? "no memory for the response"
	       : all.length < PREFIX_SIZE	    ? "the response has no message"
	       : all.at[0] != 0			    ? "the response is compressed, which nobody asked for"
	       : all.length - PREFIX_SIZE != length ? "the response is not one message"
						    : NULL;
	if (*why == NULL) {
		*message = bytes_skip(all, PREFIX_SIZE);
	}
	return *why == NULL;
}

/* The call succeeded. */
static void
answer_with_message(struct transcoded_call *this)
{
	struct bytes message;
	struct error error;
	char text[ERROR_TEXT_SIZE + 300];
	const char *why;

	if (!only_message(this, &message, &why)) {
		fail(this, HTTP_CALL_BROKEN, why);
		return;
	}
	switch (transcode_response(&this->transcoding, message, &this->response, &error)) {
	case STATUS_OK:
		answer_with_response(this);
		break;
	case STATUS_INVALID_ARGUMENT:
		answer_with_failure(this, 400, bytes_text(error.text));
		break;
	case STATUS_UNAVAILABLE:
		answer_with_failure(this, 503, bytes_text(error.text));
		break;
	default:
		(void)snprintf(text, sizeof(text), "upstream %s: the response cannot be used: %s",
			       this->transcoder->options->url->text, error.text);
		answer_with_failure(this, 502, bytes_text(text));
		break;
	}
}

/* What came is no response of gRPC, such as that of a gateway. */
static void
answer_without_status(struct transcoded_call *this)
{
	char text[300];

	(void)snprintf(text, sizeof(text), "upstream %s: HTTP status %u in place of a response of gRPC",
		       this->transcoder->options->url->text, this->http_status);
	answer_with_failure(this, grpc_http_status(grpc_code_of_http((int)this->http_status)), bytes_text(text));
}

static void
on_done(struct http2_call *http2, enum http2_outcome outcome, const struct http2_field *trailers, size_t count,
	const char *why)
{
	struct transcoded_call *this = (struct transcoded_call *)http2;

	this->is_sent = false;
	http2_call_let_go(http2);
	take_status(this, trailers, count);
	if (outcome != HTTP2_DONE) {
		fail(this,
		     outcome == HTTP2_UNREACHED	    ? HTTP_CALL_UNSENT
		     : outcome == HTTP2_UNPROCESSED ? HTTP_CALL_REFUSED
						    : HTTP_CALL_BROKEN,
		     why);
	} else if (this->http_status != 200) {
		answer_without_status(this);
	} else if (!this->has_code) {
		fail(this, HTTP_CALL_BROKEN, "the response has no grpc-status");
	} else if (this->code != GRPC_OK) {
		answer_with_failure(this, grpc_http_status(this->code), buf_bytes(&this->text));
	} else {
		answer_with_message(this);
	}
}

static void
on_silence(void *argument)
{
	struct transcoded_call *this = argument;

	this->is_sent = false;
	http2_call_cancel(&this->http2);
	fail(this, HTTP_CALL_TIMED_OUT, "the server is silent");
}

/* --- The request --- */

static struct bytes
lower(struct arena *arena, struct bytes name)
{
	struct bytes copy = arena_copy(arena, name);
	uint8_t *at = (uint8_t *)(uintptr_t)copy.at;

	for (size_t i = 0; at != NULL && i < copy.length; i++) {
		at[i] = at[i] >= 'A' && at[i] <= 'Z' ? at[i] | 0x20 : at[i];
	}
	return copy;
}

/* False: no memory. */
static bool
write_fields(struct transcoded_call *this)
{
	const struct http1_head *head = &this->head;
	const struct http2_field own[OWN_FIELDS] = {
		{bytes_text(":method"), bytes_text("POST")},
		{bytes_text(":path"), bytes_text(this->transcoding.method)},
		{bytes_text("te"), bytes_text("trailers")},
		{bytes_text("content-type"), bytes_text("application/grpc")},
		{bytes_text("grpc-accept-encoding"), bytes_text("identity")},
	};
	size_t count = OWN_FIELDS;
	bool good = true;

	this->fields = memory_array(OWN_FIELDS + head->header_count, sizeof(*this->fields));
	memcpy(this->fields, own, sizeof(own));
	for (size_t i = 0; i < head->header_count; i++) {
		struct bytes name = head->headers[i].name;

		if (is_metadata(name)) {
			this->fields[count].name = lower(&this->transcoding.arena, name);
			good = good && this->fields[count].name.at != NULL;
			this->fields[count++].value = head->headers[i].value;
		}
	}
	this->http2.fields = this->fields;
	this->http2.field_count = count;
	return good;
}

static void
on_released(struct http2_piece *piece)
{
	(void)piece; /* the call has it until its end */
}

static void
send_pieces(struct transcoded_call *this)
{
	const struct transcoding *transcoding = &this->transcoding;

	this->pieces = memory_array(transcoding->piece_count, sizeof(*this->pieces));
	for (size_t i = 0; i < transcoding->piece_count; i++) {
		this->pieces[i] = (struct http2_piece){.bytes = transcoding->pieces[i], .released = on_released};
		http2_call_send(&this->http2, &this->pieces[i]);
	}
	http2_call_end(&this->http2);
}

static struct bytes
join_body(struct transcoded_call *this)
{
	const struct http_call *http = this->http;
	size_t length = 0;

	if (http->body_count == 1) {
		return http->body[0];
	}
	for (size_t i = 0; i < http->body_count; i++) {
		length += http->body[i].length;
	}
	(void)buf_reserve(&this->joined, length);
	for (size_t i = 0; i < http->body_count; i++) {
		buf_append(&this->joined, http->body[i]);
	}
	return buf_bytes(&this->joined);
}

static int
status_of(enum status status)
{
	switch (status) {
	case STATUS_INVALID_ARGUMENT:
		return 400;
	case STATUS_UNSUPPORTED:
		return 501;
	case STATUS_UNAVAILABLE:
		return 503;
	default:
		return 500;
	}
}

/* The request is not sent. */
static void
refuse(struct transcoded_call *this, int status, const char *text)
{
	answer_with_failure(this, status, bytes_text(text));
}

/* Makes the call of the request. False: it is refused. */
static bool
transcode(struct transcoded_call *this)
{
	struct http1_parser *parser = this->transcoder->parser;
	struct bytes body = join_body(this);
	struct error error = {0};
	size_t used;

	switch (http1_feed_head(parser, this->http->head, 0, &this->head, &used)) {
	case HTTP1_DONE:
		break;
	case HTTP1_TOO_LARGE:
		refuse(this, 431, "the request has too many header fields");
		return false;
	default:
		refuse(this, 400, http1_reason(parser));
		return false;
	}
	if (!buf_ok(&this->joined)) {
		refuse(this, 503, "no memory for the request");
		return false;
	}
	if (transcode_request(&this->transcoding, &this->head, body, &error) != STATUS_OK) {
		refuse(this, error.http != 0 ? error.http : status_of(error.status), error.text);
		return false;
	}
	if (!write_fields(this)) {
		refuse(this, 503, "no memory for the request");
		return false;
	}
	return true;
}

/* The request is whole. */
static void
begin(struct transcoded_call *this)
{
	struct http_call *http = this->http;

	if (!transcode(this)) {
		return;
	}
	this->http2.keeps_pieces = true;
	this->http2.kept = UINT_MAX;
	this->http2.repeatable = http->repeatable;
	this->http2.on_head = on_head;
	this->http2.on_body = on_body;
	this->http2.done = on_done;
	this->is_sent = true;
	if (http->timeout_s > 0) {
		this->silence = loop_timer_new(this->transcoder->loop, on_silence, this);
		hear(this);
	}
	http2_client_start(this->transcoder->client, &this->http2);
	send_pieces(this);
}

void
transcoder_start(struct transcoder *transcoder, struct http_call *call)
{
	struct transcoded_call *this = memory_new(sizeof(*this));

	call->transcoded = this;
	this->http = call;
	this->transcoder = transcoder;
	transcoding_init(&this->transcoding);
	buf_init(&this->joined, BODY_MAX);
	buf_init(&this->received, BODY_MAX);
	buf_init(&this->text, FIELDS_MAX);
	buf_init(&this->metadata, FIELDS_MAX);
	if (call->missing == 0) {
		begin(this);
	}
}

void
transcoder_cancel(struct http_call *call)
{
	struct transcoded_call *this = call->transcoded;

	if (this->is_giving) {
		this->is_cancelled = true;
		return;
	}
	if (this->is_answered) {
		TAILQ_REMOVE(&this->transcoder->answered, this, entry);
	}
	if (this->is_sent) {
		http2_call_cancel(&this->http2);
	}
	free_call(this);
}

void
transcoder_more(struct http_call *call, size_t count)
{
	call->missing -= count;
	if (call->missing == 0) {
		begin(call->transcoded);
	}
}

void
transcoder_resume(struct http_call *call)
{
	struct transcoded_call *this = call->transcoded;

	if (this->is_paused) {
		this->is_paused = false;
		answer(this);
	}
}

/* --- Life --- */

struct transcoder *
transcoder_new(struct loop *loop, const struct dial_options *options)
{
	struct transcoder *transcoder = memory_new(sizeof(*transcoder));

	transcoder->loop = loop;
	transcoder->options = options;
	transcoder->client = http2_client_new(loop, options);
	transcoder->parser = http1_new();
	TAILQ_INIT(&transcoder->answered);
	transcoder->answer = loop_task_new(loop, on_answer, transcoder);
	return transcoder;
}

void
transcoder_free(struct transcoder *transcoder)
{
	http2_client_free(transcoder->client);
	http1_free(transcoder->parser);
	loop_task_free(transcoder->answer);
	free(transcoder);
}

size_t
transcoder_losses(const struct transcoder *transcoder)
{
	return http2_client_losses(transcoder->client);
}
