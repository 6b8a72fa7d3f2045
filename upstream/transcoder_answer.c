#include "upstream/transcoder_internal.h"

#include <stdio.h>

#define OWN_FIELDS 3 /* beside the metadata */

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
		transcoded_free(this);
	} else if (!this->is_paused) {
		enum http_outcome outcome = this->outcome;
		char why[sizeof(this->why)];

		memcpy(why, this->why, sizeof(why));
		transcoded_free(this);
		http->done(http, outcome, outcome == HTTP_CALL_DONE ? NULL : why);
	}
}

void
transcoder_on_answer(void *argument)
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
void
transcoded_answer(struct transcoded_call *this)
{
	loop_timer_free(this->silence);
	this->silence = NULL;
	this->is_answered = true;
	TAILQ_INSERT_TAIL(&this->transcoder->answered, this, entry);
	loop_task_set(this->transcoder->answer);
}

void
transcoded_fail(struct transcoded_call *this, enum http_outcome outcome, const char *why)
{
	this->outcome = outcome;
	(void)snprintf(this->why, sizeof(this->why), "%s", why);
	transcoded_answer(this);
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
void
transcoded_answer_response(struct transcoded_call *this)
{
	if (!buf_ok(&this->metadata) || this->metadata_count + OWN_FIELDS > HTTP1_HEADERS_MAX) {
		transcoded_fail(this, HTTP_CALL_BROKEN, "the response's header fields are too large");
		return;
	}
	write_head(this);
	transcoded_answer(this);
}

void
transcoded_answer_failure(struct transcoded_call *this, int status, struct bytes text)
{
	transcode_failure(&this->transcoding, status, text, &this->response);
	transcoded_answer_response(this);
}
