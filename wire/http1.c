#include "wire/http1.h"

#include "base/memory.h"

#include <llhttp.h>
#include <stdlib.h>

struct span {
	size_t start;
	size_t length;
};

struct http1_parser {
	llhttp_t llhttp;
	const uint8_t *base; /* of the buffer being fed */
	struct span url;
	struct {
		struct span name;
		struct span value;
	} headers[HTTP1_HEADERS_MAX];
	size_t header_count;
	bool in_value;
	bool too_many;
	bool head_done;
	bool body_done;
	struct buf *body;
};

static struct http1_parser *
parser_of(llhttp_t *llhttp)
{
	return llhttp->data;
}

/* llhttp reports a span in pieces if a read ended within it. The pieces are adjacent in the buffer. */
static void
extend(struct http1_parser *parser, struct span *span, const char *at, size_t length)
{
	if (span->length == 0) {
		span->start = (size_t)((const uint8_t *)at - parser->base);
	}
	span->length += length;
}

static int
on_url(llhttp_t *llhttp, const char *at, size_t length)
{
	extend(parser_of(llhttp), &parser_of(llhttp)->url, at, length);
	return HPE_OK;
}

static int
on_field(llhttp_t *llhttp, const char *at, size_t length)
{
	struct http1_parser *parser = parser_of(llhttp);

	if (parser->head_done) {
		return HPE_OK; /* a trailer of a chunked body */
	}
	if (parser->in_value || parser->header_count == 0) {
		if (parser->header_count == HTTP1_HEADERS_MAX) {
			parser->too_many = true;
			return HPE_USER;
		}
		memset(&parser->headers[parser->header_count++], 0, sizeof(parser->headers[0]));
		parser->in_value = false;
	}
	extend(parser, &parser->headers[parser->header_count - 1].name, at, length);
	return HPE_OK;
}

static int
on_value(llhttp_t *llhttp, const char *at, size_t length)
{
	struct http1_parser *parser = parser_of(llhttp);

	if (!parser->head_done) {
		parser->in_value = true;
		extend(parser, &parser->headers[parser->header_count - 1].value, at, length);
	}
	return HPE_OK;
}

static int
on_headers_complete(llhttp_t *llhttp)
{
	parser_of(llhttp)->head_done = true;
	return HPE_PAUSED;
}

static int
on_body(llhttp_t *llhttp, const char *at, size_t length)
{
	struct http1_parser *parser = parser_of(llhttp);

	buf_append(parser->body, bytes_make(at, length));
	return buf_ok(parser->body) ? HPE_OK : HPE_USER;
}

static int
on_message_complete(llhttp_t *llhttp)
{
	parser_of(llhttp)->body_done = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

struct http1_parser *
http1_new(void)
{
	return memory_new(sizeof(struct http1_parser));
}

void
http1_free(struct http1_parser *parser)
{
	free(parser);
}

static void
start_message(struct http1_parser *parser, llhttp_type_t type)
{
	llhttp_init(&parser->llhttp, type, &settings);
	llhttp_set_lenient_chunked_length(&parser->llhttp, 1);
	parser->llhttp.data = parser;
	parser->url = (struct span){0};
	parser->header_count = 0;
	parser->in_value = false;
	parser->too_many = false;
	parser->head_done = false;
	parser->body_done = false;
}

static struct bytes
view(const struct http1_parser *parser, struct span span)
{
	return bytes_make(parser->base + span.start, span.length);
}

/* Trims white space after a field's value (RFC 9112 section 5.1), which llhttp leaves. */
static struct bytes
field_value(const struct http1_parser *parser, struct span span)
{
	struct bytes value = view(parser, span);

	while (value.length > 0 && (value.at[value.length - 1] == ' ' || value.at[value.length - 1] == '\t')) {
		value.length--;
	}
	return value;
}

/* The length of "http://" or, behind a TLS proxy, "https://", ignoring case (RFC 9110 section 4.2.3); 0: neither. */
static size_t
scheme_length(struct bytes target)
{
	static const char *const schemes[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		size_t length = strlen(schemes[i]);

		if (target.length >= length && bytes_equal_nocase(bytes_make(target.at, length), schemes[i])) {
			return length;
		}
	}
	return 0;
}

/* Removes the query, as Triton does. */
static struct bytes
without_query(struct bytes target)
{
	const uint8_t *query = memchr(target.at, '?', target.length);

	return query == NULL ? target : bytes_make(target.at, (size_t)(query - target.at));
}

/* Removes an absolute-form target's scheme and authority (RFC 9112 section 3.2.2). */
static struct bytes
origin_form(struct bytes target)
{
	size_t scheme = bytes_starts_with(target, "/") ? 0 : scheme_length(target);
	struct bytes rest = bytes_skip(target, scheme);
	size_t authority = 0;

	if (scheme == 0) {
		return target;
	}
	while (authority < rest.length && rest.at[authority] != '/' && rest.at[authority] != '?') {
		authority++;
	}
	return authority == rest.length ? bytes_text("/") : bytes_skip(rest, authority);
}

/* The authority, which overrides the Host field (RFC 9112 section 3.2.2). `at` NULL: the target has none. */
static struct bytes
target_authority(struct bytes target)
{
	size_t scheme = bytes_starts_with(target, "/") ? 0 : scheme_length(target);
	struct bytes rest = bytes_skip(target, scheme);
	size_t length = 0;

	if (scheme == 0) {
		return bytes_make(NULL, 0);
	}
	while (length < rest.length && rest.at[length] != '/' && rest.at[length] != '?') {
		length++;
	}
	return bytes_make(rest.at, length);
}

static enum http1_method
method_of(const llhttp_t *llhttp)
{
	switch (llhttp->method) {
	case HTTP_GET:
		return HTTP1_GET;
	case HTTP_POST:
		return HTTP1_POST;
	case HTTP_HEAD:
		return HTTP1_HEAD;
	case HTTP_OPTIONS:
		return HTTP1_OPTIONS;
	default:
		return HTTP1_OTHER;
	}
}

static void
fill_head(struct http1_parser *parser, struct http1_head *head)
{
	llhttp_t *llhttp = &parser->llhttp;
	bool both = (llhttp->flags & F_CHUNKED) != 0 && (llhttp->flags & F_CONTENT_LENGTH) != 0;
	bool old = llhttp->http_major == 1 && llhttp->http_minor == 0;

	head->keep_alive = llhttp_should_keep_alive(llhttp) != 0 && !both && !(old && (llhttp->flags & F_CHUNKED) != 0);
	head->version_1_0 = old;
	head->chunked = (llhttp->flags & F_CHUNKED) != 0;
	head->has_length = (llhttp->flags & F_CONTENT_LENGTH) != 0 && !head->chunked;
	head->content_length = head->has_length ? llhttp->content_length : 0;
	head->header_count = parser->header_count;
	for (size_t i = 0; i < parser->header_count; i++) {
		head->headers[i].name = view(parser, parser->headers[i].name);
		head->headers[i].value = field_value(parser, parser->headers[i].value);
	}
}

static void
fill_request(struct http1_parser *parser, struct http1_head *request)
{
	struct bytes url = view(parser, parser->url);

	fill_head(parser, request);
	request->method = method_of(&parser->llhttp);
	request->method_name = llhttp_method_name(parser->llhttp.method);
	request->target = origin_form(url);
	request->path = without_query(request->target);
	request->host = target_authority(url);
	if (request->host.at == NULL) {
		request->host = http1_header(request, "host");
	}
}

/* uri-host [ ":" port ], or empty (RFC 9110 section 7.2). Rejects only bytes that could be misread as another host. */
static bool
is_host(struct bytes host)
{
	for (size_t i = 0; i < host.length; i++) {
		if (host.at[i] <= ' ' || host.at[i] >= 0x7f || strchr("/@,\\?#\"<>", host.at[i]) != NULL) {
			return false;
		}
	}
	return true;
}

/* Finds faults that llhttp accepts, or detects only when fed the body, which a body of known length is not. */
static const char *
fault_of_head(const struct http1_parser *parser, const struct http1_head *request)
{
	const llhttp_t *llhttp = &parser->llhttp;
	size_t hosts = 0;

	if ((llhttp->flags & F_TRANSFER_ENCODING) != 0 && (llhttp->flags & F_CHUNKED) == 0) {
		return "request has invalid Transfer-Encoding";
	}
	if (llhttp->method == HTTP_CONNECT) {
		return "CONNECT is not supported";
	}
	if (llhttp->http_major != 1) {
		return "unsupported HTTP version";
	}
	for (size_t i = 0; i < request->header_count; i++) {
		hosts += request->headers[i].name.length == 4 && bytes_equal_nocase(request->headers[i].name, "host");
	}
	if (hosts > 1) {
		return "request has more than one Host field";
	}
	if (hosts == 0) {
		return request->version_1_0 ? NULL : "request has no Host field";
	}
	return is_host(request->host) ? NULL : "request has an invalid Host field";
}

/* True if another coding precedes "chunked": we can decode none (RFC 9112 section 6.1). */
static bool
has_unknown_coding(const struct http1_head *request)
{
	for (size_t i = 0; i < request->header_count && request->chunked; i++) {
		if (bytes_equal_nocase(request->headers[i].name, "transfer-encoding") &&
		    !bytes_equal_nocase(request->headers[i].value, "chunked")) {
			return true;
		}
	}
	return false;
}

static void
move_view(struct bytes *view, struct bytes from, const uint8_t *to)
{
	if (view->at >= from.at && view->at < from.at + from.length) {
		view->at = to + (view->at - from.at);
	}
}

void
http1_move(struct http1_head *request, struct bytes from, const uint8_t *to)
{
	move_view(&request->target, from, to);
	move_view(&request->path, from, to);
	move_view(&request->host, from, to);
	for (size_t i = 0; i < request->header_count; i++) {
		move_view(&request->headers[i].name, from, to);
		move_view(&request->headers[i].value, from, to);
	}
}

/* HTTP1_DONE: llhttp stands at the first byte behind the head. */
static enum http1_progress
feed_head(struct http1_parser *parser, llhttp_type_t type, struct bytes buffer, size_t from)
{
	llhttp_errno_t outcome;

	if (from == 0) {
		start_message(parser, type);
	}
	parser->base = buffer.at;
	outcome = llhttp_execute(&parser->llhttp, (const char *)buffer.at + from, buffer.length - from);
	if (outcome == HPE_OK) {
		return HTTP1_MORE;
	}
	if (!parser->head_done || outcome != HPE_PAUSED) {
		return parser->too_many ? HTTP1_TOO_LARGE : HTTP1_MALFORMED;
	}
	return HTTP1_DONE;
}

enum http1_progress
http1_feed_head(struct http1_parser *parser, struct bytes buffer, size_t from, struct http1_head *request, size_t *used)
{
	enum http1_progress progress = feed_head(parser, HTTP_REQUEST, buffer, from);
	const char *fault;

	if (progress != HTTP1_DONE) {
		return progress;
	}
	fill_request(parser, request);
	fault = fault_of_head(parser, request);
	if (fault != NULL) {
		llhttp_set_error_reason(&parser->llhttp, fault);
		return HTTP1_MALFORMED;
	}
	if (has_unknown_coding(request)) {
		llhttp_set_error_reason(&parser->llhttp, "the only transfer coding that is supported is chunked");
		return HTTP1_UNSUPPORTED;
	}
	*used = (size_t)((const uint8_t *)llhttp_get_error_pos(&parser->llhttp) - buffer.at);
	return HTTP1_DONE;
}

/* Finds which body follows a response's head (RFC 9112 section 6.3). Returns what is wrong with it, or NULL. */
static const char *
find_body(const struct http1_parser *parser, bool bodiless, struct http1_head *response)
{
	const llhttp_t *llhttp = &parser->llhttp;

	response->until_close = false;
	if (llhttp->http_major != 1) {
		return "unsupported HTTP version";
	}
	if (response->status < 100 || response->status > 999) {
		return "invalid status";
	}
	if (bodiless || response->status / 100 == 1 || response->status == 204 || response->status == 304) {
		response->chunked = false;
		response->content_length = 0;
		return NULL;
	}
	if (((llhttp->flags & F_TRANSFER_ENCODING) != 0 && !response->chunked) || has_unknown_coding(response)) {
		return "unsupported Transfer-Encoding";
	}
	response->until_close = !response->chunked && !response->has_length;
	response->keep_alive = response->keep_alive && !response->until_close;
	return NULL;
}

enum http1_progress
http1_feed_response(struct http1_parser *parser, struct bytes buffer, size_t from, bool bodiless,
		    struct http1_head *response, size_t *used)
{
	enum http1_progress progress = feed_head(parser, HTTP_RESPONSE, buffer, from);
	const char *fault;

	if (progress != HTTP1_DONE) {
		return progress;
	}
	fill_head(parser, response);
	response->status = parser->llhttp.status_code;
	fault = find_body(parser, bodiless, response);
	if (fault != NULL) {
		llhttp_set_error_reason(&parser->llhttp, fault);
		return HTTP1_MALFORMED;
	}
	*used = (size_t)((const uint8_t *)llhttp_get_error_pos(&parser->llhttp) - buffer.at);
	return HTTP1_DONE;
}

enum http1_progress
http1_feed_chunks(struct http1_parser *parser, struct bytes input, struct buf *body, size_t *used)
{
	llhttp_errno_t outcome;

	if (llhttp_get_errno(&parser->llhttp) == HPE_PAUSED) {
		llhttp_resume(&parser->llhttp);
	}
	parser->body = body;
	outcome = llhttp_execute(&parser->llhttp, (const char *)input.at, input.length);
	*used = input.length;
	if (outcome == HPE_OK) {
		return HTTP1_MORE;
	}
	if (outcome == HPE_PAUSED && parser->body_done) {
		*used = (size_t)((const uint8_t *)llhttp_get_error_pos(&parser->llhttp) - input.at);
		return HTTP1_DONE;
	}
	return buf_ok(body) ? HTTP1_MALFORMED : HTTP1_TOO_LARGE;
}

const char *
http1_reason(const struct http1_parser *parser)
{
	const char *reason = llhttp_get_error_reason(&parser->llhttp);

	if (llhttp_get_errno(&parser->llhttp) == HPE_PAUSED_H2_UPGRADE) {
		return "HTTP/2 is not supported";
	}
	return reason == NULL || *reason == '\0' ? "malformed HTTP message" : reason;
}

struct bytes
http1_header(const struct http1_head *request, const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < request->header_count; i++) {
		const struct http1_header *header = &request->headers[i];

		if (header->name.length == length && strncasecmp((const char *)header->name.at, name, length) == 0) {
			return header->value;
		}
	}
	return bytes_make(NULL, 0);
}

bool
http1_repeats(const struct http1_head *head, const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < head->header_count; i++) {
		count += bytes_equal_nocase(head->headers[i].name, name);
	}
	return count > 1;
}

bool
http1_number(struct bytes value, uint64_t *number)
{
	*number = 0;
	for (size_t i = 0; i < value.length; i++) {
		if (value.at[i] < '0' || value.at[i] > '9') {
			return false;
		}
		*number = *number * 10 + (uint64_t)(value.at[i] - '0');
	}
	return value.length > 0 && value.length <= 18;
}

static int
hex_digit(uint8_t byte)
{
	if (byte >= '0' && byte <= '9') {
		return byte - '0';
	}
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

size_t
http1_percent_decode(struct bytes text, uint8_t *out)
{
	size_t length = 0;

	for (size_t i = 0; i < text.length; i++) {
		int high = text.at[i] == '%' && i + 2 < text.length ? hex_digit(text.at[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(text.at[i + 2]) : -1;

		if (low >= 0) {
			out[length++] = (uint8_t)(high << 4 | low);
			i += 2;
		} else {
			out[length++] = text.at[i];
		}
	}
	return length;
}

void
http1_percent_encode(struct buf *out, struct bytes segment)
{
	for (size_t i = 0; i < segment.length; i++) {
		uint8_t byte = segment.at[i];
		bool plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
			     (byte >= 'a' && byte <= 'z') || byte == '-' || byte == '.' || byte == '_' || byte == '~';

		if (plain) {
			buf_byte(out, byte);
		} else {
			buf_format(out, "%%%02X", byte);
		}
	}
}
