#include "upstream/transcoder.h"

#include "base/container_of.h"
#include "base/memory.h"
#include "upstream/transcoder_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define BODY_MAX ((size_t)4 << 30)
#define FIELDS_MAX ((size_t)1 << 20)
#define OWN_FIELDS 5 /* of the protocol */

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

		if (transcoded_is_metadata(name)) {
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

static size_t
body_length(const struct http_call *http)
{
	size_t length = 0;

	for (size_t i = 0; i < http->body_count; i++) {
		length += http->body[i].length;
	}
	return length;
}

/* Puts the body into one piece; `copies`: in memory of our own, also of its head. Returns what it lacks, or NULL. */
static const char *
take_request(struct transcoded_call *this, bool copies)
{
	const struct http_call *http = this->http;
	size_t length = body_length(http);

	if (copies) {
		buf_append(&this->own_head, http->head);
		if (!buf_ok(&this->own_head)) {
			return "no memory for the request";
		}
		http1_move(&this->head, http->head, this->own_head.at);
	}
	if (http->body_count == 1 && !copies) {
		this->body = http->body[0];
		return NULL;
	}
	if (copies && !transcoded_charge(this, length)) {
		return TRANSCODER_OVER_BUDGET;
	}
	(void)buf_reserve(&this->joined, length);
	for (size_t i = 0; i < http->body_count; i++) {
		buf_append(&this->joined, http->body[i]);
	}
	this->body = buf_bytes(&this->joined);
	return buf_ok(&this->joined) ? NULL : "no memory for the request";
}

/* The bytes that take time: JSON, and what is compressed, which may become much more. */
static size_t
long_part(const struct transcoded_call *this)
{
	struct bytes coding = http1_header(&this->head, "content-encoding");
	size_t length = body_length(this->http);
	uint64_t stated;

	if (coding.length > 0 && !bytes_equal_nocase(coding, "identity")) {
		return length + WORK_LONG;
	}
	return http1_number(http1_header(&this->head, "inference-header-content-length"), &stated) && stated < length
		       ? (size_t)stated
		       : length;
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
	this->http->is_own = true;
	transcoded_answer_failure(this, status, bytes_text(text));
}

static void
send_call(struct transcoded_call *this)
{
	const struct http_call *http = this->http;

	this->http2.keeps_pieces = true;
	this->http2.kept = UINT_MAX;
	this->http2.repeatable = http->repeatable;
	this->http2.on_head = transcoded_on_head;
	this->http2.on_body = transcoded_on_body;
	this->http2.done = transcoded_on_done;
	this->is_sent = true;
	if (http->timeout_s > 0) {
		this->silence = loop_timer_new(this->transcoder->loop, transcoded_on_silence, this);
		loop_timer_set(this->silence, http->timeout_s * 1000U);
	}
	http2_client_start(this->transcoder->client, &this->http2);
	send_pieces(this);
}

static void
run_request(struct offload_work *work)
{
	struct transcoded_call *this = container_of(work, struct transcoded_call, work);

	this->status = transcode_request(&this->transcoding, &this->head, this->body, &this->error);
	transcoded_charge_work(this, 0);
}

static void
on_request(struct offload_work *work)
{
	struct transcoded_call *this = container_of(work, struct transcoded_call, work);

	if (!transcoded_end_work(this)) {
		return;
	}
	if (this->status != STATUS_OK) {
		refuse(this, this->error.http != 0 ? this->error.http : status_of(this->status), this->error.text);
	} else if (!write_fields(this)) {
		refuse(this, 503, "no memory for the request");
	} else {
		send_call(this);
	}
}

/* The request is whole. */
static void
begin(struct transcoded_call *this)
{
	struct http1_parser *parser = this->transcoder->parser;
	const char *lacks;
	size_t used;
	size_t size;

	switch (http1_feed_head(parser, this->http->head, 0, &this->head, &used)) {
	case HTTP1_DONE:
		break;
	case HTTP1_TOO_LARGE:
		refuse(this, 431, "the request has too many header fields");
		return;
	default:
		refuse(this, 400, http1_reason(parser));
		return;
	}
	size = long_part(this);
	lacks = take_request(this, size > WORK_LONG && this->transcoder->options != NULL);
	if (lacks != NULL) {
		refuse(this, 503, lacks);
		return;
	}
	transcoded_work(this, size, run_request, on_request);
}

void
transcoder_start(struct transcoder *transcoder, struct http_call *call)
{
	struct transcoded_call *this = memory_new(sizeof(*this));

	call->transcoded = this;
	this->http = call;
	this->transcoder = transcoder;
	transcoding_init(&this->transcoding,
			 transcoder->options == NULL ? TRANSCODER_MESSAGE_MAX : transcoder->options->max_unpacked);
	buf_init(&this->own_head, FIELDS_MAX);
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

	if (this->is_giving || this->is_working) {
		this->is_cancelled = true;
		return;
	}
	if (this->is_answered) {
		TAILQ_REMOVE(&this->transcoder->answered, this, entry);
	}
	if (this->is_sent) {
		http2_call_cancel(&this->http2);
	}
	transcoded_free(this);
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
		transcoded_answer(this);
	}
}

/* --- Life --- */

struct transcoder *
transcoder_new(struct loop *loop, const struct dial_options *dial, const struct work_options *options)
{
	struct transcoder *transcoder = memory_new(sizeof(*transcoder));

	transcoder->loop = loop;
	transcoder->dial = dial;
	transcoder->options = options;
	transcoder->client = http2_client_new(loop, dial);
	transcoder->parser = http1_new();
	TAILQ_INIT(&transcoder->answered);
	transcoder->answer = loop_task_new(loop, transcoder_on_answer, transcoder);
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
