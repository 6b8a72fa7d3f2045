#include "base/container_of.h"
#include "upstream/transcoder_internal.h"

#include <ctype.h>
#include <stdio.h>

#define PREFIX_SIZE 5
#define RESERVED_MAX ((size_t)16 << 20)

/* --- Fields --- */

/*
 * Can metadata have that name, and is it no field that concerns the form of a message of HTTP or gRPC, or one
 * connection? Names that end in "-bin" have values of another form over gRPC.
 */
bool
transcoded_is_metadata(struct bytes name)
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

static void
take_status(struct transcoded_call *this, const struct http2_field *fields, size_t count)
{
	struct bytes text = http2_field_find(fields, count, "grpc-message");
	uint8_t *room = buf_reserve(&this->text, text.length);

	this->has_code = http2_field_status(fields, count, &this->code) || this->has_code;
	if (room != NULL && text.length > 0) {
		this->text.length = http1_percent_decode(text, room);
	}
}

static void
take_metadata(struct transcoded_call *this, const struct http2_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (transcoded_is_metadata(fields[i].name)) { /* over HTTP a header field */
			buf_append(&this->metadata, fields[i].name);
			buf_byte(&this->metadata, '\0');
			buf_append(&this->metadata, fields[i].value);
			buf_byte(&this->metadata, '\0');
			this->metadata_count++;
		}
	}
}

/* --- The response --- */

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

void
transcoded_on_head(struct http2_call *http2, const struct http2_field *fields, size_t count, bool ends)
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

/* What has come is no response: no more of it is taken. */
static void
break_off(struct transcoded_call *this, const char *why)
{
	this->is_sent = false;
	http2_call_cancel(&this->http2);
	transcoded_fail(this, HTTP_CALL_BROKEN, why);
}

static size_t
message_length(struct bytes received)
{
	size_t length = 0;

	for (size_t i = 1; i < PREFIX_SIZE; i++) {
		length = length << 8 | received.at[i];
	}
	return length;
}

/* The prefix of the response's message is there. False: it is broken off. */
static bool
take_prefix(struct transcoded_call *this)
{
	struct bytes received = buf_bytes(&this->received);
	size_t length = message_length(received);

	if (received.at[0] != 0) {
		break_off(this, "the response is compressed, which nobody asked for");
		return false;
	}
	if (length > TRANSCODER_MESSAGE_MAX) {
		break_off(this, "the response is too large");
		return false;
	}
	if (length > WORK_LONG && !transcoded_charge(this, length)) {
		this->is_sent = false;
		http2_call_cancel(&this->http2);
		transcoded_answer_failure(this, 503, bytes_text(TRANSCODER_OVER_BUDGET));
		return false;
	}
	this->has_prefix = true;
	if (length <= RESERVED_MAX || this->transcoder->options != NULL) { /* more, when it has come */
		(void)buf_reserve(&this->received, length);
	}
	return true;
}

void
transcoded_on_body(struct http2_call *http2, struct bytes part)
{
	struct transcoded_call *this = (struct transcoded_call *)http2;

	hear(this);
	if (this->http_status != 200) {
		http2_call_consume(http2, part.length);
		return;
	}
	buf_append(&this->received, part);
	if (!buf_ok(&this->received)) {
		break_off(this, "no memory for the response");
		return;
	}
	if (this->received.length >= PREFIX_SIZE && !this->has_prefix && !take_prefix(this)) {
		return;
	}
	if (this->has_prefix && this->received.length - PREFIX_SIZE > message_length(buf_bytes(&this->received))) {
		break_off(this, "the response is not one message");
		return;
	}
	http2_call_consume(http2, part.length);
}

static void
run_response(struct offload_work *work)
{
	struct transcoded_call *this = container_of(work, struct transcoded_call, work);
	size_t before = transcoding_memory(&this->transcoding);

	this->status = transcode_response(&this->transcoding, bytes_skip(buf_bytes(&this->received), PREFIX_SIZE),
					  &this->response, &this->error);
	transcoded_charge_work(this, before);
}

static void
on_response(struct offload_work *work)
{
	struct transcoded_call *this = container_of(work, struct transcoded_call, work);
	char text[ERROR_TEXT_SIZE + 300];

	if (!transcoded_end_work(this)) {
		return;
	}
	switch (this->status) {
	case STATUS_OK:
		transcoded_answer_response(this);
		break;
	case STATUS_INVALID_ARGUMENT:
		transcoded_answer_failure(this, 400, bytes_text(this->error.text));
		break;
	case STATUS_UNAVAILABLE:
		transcoded_answer_failure(this, 503, bytes_text(this->error.text));
		break;
	default:
		(void)snprintf(text, sizeof(text), "upstream %s: the response cannot be used: %s",
			       this->transcoder->dial->url->text, this->error.text);
		transcoded_answer_failure(this, 502, bytes_text(text));
		break;
	}
}

/* The call succeeded. */
static void
answer_with_message(struct transcoded_call *this)
{
	struct bytes received = buf_bytes(&this->received);

	if (!this->has_prefix) {
		transcoded_fail(this, HTTP_CALL_BROKEN, "the response has no message");
	} else if (received.length - PREFIX_SIZE != message_length(received)) {
		transcoded_fail(this, HTTP_CALL_BROKEN, "the response is not one message");
	} else {
		transcoded_work(this, received.length, run_response, on_response);
	}
}

/* What came is no response of gRPC, such as that of a gateway. */
static void
answer_without_status(struct transcoded_call *this)
{
	char text[300];

	(void)snprintf(text, sizeof(text), "upstream %s: HTTP status %u in place of a response of gRPC",
		       this->transcoder->dial->url->text, this->http_status);
	transcoded_answer_failure(this, grpc_http_status(grpc_code_of_http((int)this->http_status)), bytes_text(text));
}

void
transcoded_on_done(struct http2_call *http2, enum http2_outcome outcome, const struct http2_field *trailers,
		   size_t count, const char *why)
{
	struct transcoded_call *this = (struct transcoded_call *)http2;

	this->is_sent = false;
	loop_timer_free(this->silence); /* what follows may take its time */
	this->silence = NULL;
	http2_call_let_go(http2);
	take_status(this, trailers, count);
	if (outcome != HTTP2_DONE) {
		transcoded_fail(this,
				outcome == HTTP2_UNREACHED     ? HTTP_CALL_UNSENT
				: outcome == HTTP2_UNPROCESSED ? HTTP_CALL_REFUSED
							       : HTTP_CALL_BROKEN,
				why);
	} else if (this->http_status != 200) {
		answer_without_status(this);
	} else if (!this->has_code) {
		transcoded_fail(this, HTTP_CALL_BROKEN, "the response has no grpc-status");
	} else if (this->code != GRPC_OK) {
		transcoded_answer_failure(this, grpc_http_status(this->code), buf_bytes(&this->text));
	} else {
		answer_with_message(this);
	}
}

void
transcoded_on_silence(void *argument)
{
	struct transcoded_call *this = argument;

	this->is_sent = false;
	http2_call_cancel(&this->http2);
	transcoded_fail(this, HTTP_CALL_TIMED_OUT, "the server is silent");
}
