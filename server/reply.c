#include "server/connection.h"

#include <stdarg.h>
#include <stdio.h>

#define ALLOW_MAX 64

int
reply_http_status(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return 200;
	case STATUS_INTERNAL:
		return 500;
	case STATUS_NOT_FOUND:
		return 404;
	case STATUS_UNAVAILABLE:
		return 503;
	case STATUS_UNSUPPORTED:
		return 501;
	case STATUS_NOT_CACHED:
		return 504;
	default:
		return 400;
	}
}

static void
fill_reply(struct exchange *exchange, int status, const char *content_type)
{
	exchange->status = status;
	exchange->content_type = content_type;
	exchange->extra_headers = bytes_make(NULL, 0);
	exchange->pieces = NULL;
	exchange->piece_count = 0;
}

static void
send_text(struct exchange *exchange)
{
	struct bytes *piece = arena_get(&exchange->arena, sizeof(*piece));

	if (piece == NULL || !buf_ok(&exchange->text)) { /* no memory for the body: send the status alone */
		exchange->status = 503;
	} else {
		*piece = buf_bytes(&exchange->text);
		exchange->pieces = piece;
		exchange->piece_count = 1;
	}
	exchange->send(exchange);
}

void
reply_http_error_with(struct exchange *exchange, int http_status, const char *text, struct bytes extra_headers)
{
	fill_reply(exchange, http_status, "application/json");
	exchange->extra_headers = extra_headers;
	buf_clear(&exchange->text);
	buf_text(&exchange->text, "{\"error\":");
	buf_json_string(&exchange->text, bytes_text(text));
	buf_byte(&exchange->text, '}');
	send_text(exchange);
}

void
reply_http_error(struct exchange *exchange, int http_status, const char *text)
{
	reply_http_error_with(exchange, http_status, text, bytes_make(NULL, 0));
}

void
reply_error(struct exchange *exchange, const struct error *error)
{
	reply_http_error(exchange, reply_http_status(error->status), error->text);
}

void
reply_error_text(struct exchange *exchange, enum status status, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reply_http_error(exchange, reply_http_status(status), text);
}

void
reply_text(struct exchange *exchange, const char *content_type)
{
	fill_reply(exchange, 200, content_type);
	send_text(exchange);
}

void
reply_bare(struct exchange *exchange, bool good, const char *content_type)
{
	fill_reply(exchange, good ? 200 : 400, content_type);
	exchange->send(exchange);
}

/* The Allow field (RFC 9110 section 10.2.1) of the path. */
static struct bytes
allow_field(struct exchange *exchange)
{
	static const struct {
		enum http1_method method;
		const char *name;
	} methods[] = {
		{HTTP1_GET, "GET, "},
		{HTTP1_HEAD, "HEAD, "},
		{HTTP1_POST, "POST, "},
	};
	struct buf field = {.at = arena_get(&exchange->arena, ALLOW_MAX), .capacity = ALLOW_MAX};

	if (field.at == NULL) {
		return bytes_make(NULL, 0);
	}
	buf_text(&field, "Allow: ");
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		if ((exchange->methods & methods[i].method) != 0) {
			buf_text(&field, methods[i].name);
		}
	}
	buf_text(&field, "OPTIONS\r\n");
	return buf_bytes(&field);
}

void
reply_options(struct exchange *exchange)
{
	fill_reply(exchange, 200, "text/plain");
	exchange->extra_headers = allow_field(exchange);
	exchange->send(exchange);
}

void
reply_wrong_method(struct exchange *exchange)
{
	reply_http_error_with(exchange, 405, "Method Not Allowed", allow_field(exchange));
}

void
reply_pieces(struct exchange *exchange, const char *content_type, struct bytes extra_headers,
	     const struct bytes *pieces, size_t count, struct blob *held)
{
	fill_reply(exchange, 200, content_type);
	exchange->extra_headers = extra_headers;
	exchange->pieces = pieces;
	exchange->piece_count = count;
	exchange->held = held;
	exchange->send(exchange);
}
