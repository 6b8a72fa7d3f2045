/*
 * HTTP/1.1 requests (RFC 9112): bytes in, one request's head out, then its body. No sockets, no allocation but the
 * parser itself. llhttp does the parsing; nothing outside this room knows it.
 *
 * The caller keeps a message's head in one buffer and feeds what is new of it. Bodies of known length are not fed at
 * all: the caller reads `content_length` bytes itself, wherever it wants them. Chunked bodies go through
 * http1_feed_chunks.
 */
#ifndef HIPPOCAMP_WIRE_HTTP1_H
#define HIPPOCAMP_WIRE_HTTP1_H

#include "base/buf.h"

#define HTTP1_HEADERS_MAX 64

/* Bits, so that a set of methods is a mask. */
enum http1_method { HTTP1_OTHER = 0, HTTP1_GET = 1, HTTP1_POST = 2, HTTP1_HEAD = 4, HTTP1_OPTIONS = 8 };

struct http1_header {
	struct bytes name;
	struct bytes value;
};

/* Views into the buffer that was fed. */
struct http1_request {
	enum http1_method method;
	struct bytes path; /* without query, scheme and authority; still percent-encoded */
	struct bytes host; /* of an absolute target, else the Host field */
	bool keep_alive;   /* as the peer wants it, and as it is safe */
	bool version_1_0;
	bool chunked;
	uint64_t content_length;
	size_t header_count;
	struct http1_header headers[HTTP1_HEADERS_MAX];
};

enum http1_progress { HTTP1_MORE, HTTP1_DONE, HTTP1_MALFORMED, HTTP1_TOO_LARGE, HTTP1_UNSUPPORTED };

struct http1_parser;

struct http1_parser *http1_new(void);
void http1_free(struct http1_parser *parser);

/*
 * Reads a head, by the rules of RFC 9112: exactly one Host field with HTTP/1.1 (section 3.2), and a message with both
 * Transfer-Encoding and Content-Length is read by the former and is the connection's last (section 6.3).
 *
 * `buffer` holds the message from its first byte; bytes before `from` were fed before (the buffer may
 * have moved since). On HTTP1_DONE *request is filled and *used says how many bytes the head has. `from` 0 starts a new
 * message. HTTP1_TOO_LARGE: more than HTTP1_HEADERS_MAX fields.
 */
enum http1_progress http1_feed_head(struct http1_parser *parser, struct bytes buffer, size_t from,
				    struct http1_request *request, size_t *used);

/* Reads a chunked body (RFC 9112 section 7.1), appending content to `body`; HTTP1_TOO_LARGE when `body` is full. */
enum http1_progress http1_feed_chunks(struct http1_parser *parser, struct bytes input, struct buf *body, size_t *used);

/* The views of a head, when its buffer has moved from `from` to `to`. */
void http1_move(struct http1_request *request, struct bytes from, const uint8_t *to);

/* Why the last call returned HTTP1_MALFORMED or HTTP1_UNSUPPORTED (a transfer coding that is not known). */
const char *http1_reason(const struct http1_parser *parser);

/* The value of a field, or a view with `at` NULL. Names compare in either case. */
struct bytes http1_header(const struct http1_request *request, const char *name);

/* A field's value as a decimal number of at most 18 digits; false if it is none. */
bool http1_number(struct bytes value, uint64_t *number);

/*
 * Undoes percent-encoding (RFC 3986 section 2.1) from `text` into `out` (room for text.length bytes); malformed
 * sequences stay as they are. Returns the length.
 */
size_t http1_percent_decode(struct bytes text, uint8_t *out);

#endif
