/*
 * A parser of HTTP/1.1 messages (RFC 9112), over llhttp: of the head, then of the body. It uses no sockets and
 * allocates only itself and the content of chunked bodies. No code outside wire/ uses llhttp.
 *
 * The caller keeps a message's head in one buffer and feeds each addition to it. It does not feed a body of known
 * length, but reads `content_length` bytes itself. It feeds chunked bodies to http1_feed_chunks.
 */
#ifndef HIPPOCAMP_WIRE_HTTP1_H
#define HIPPOCAMP_WIRE_HTTP1_H

#include "base/buf.h"

#define HTTP1_HEADERS_MAX 64

/* Bits of a mask, for sets of methods. */
enum http1_method { HTTP1_OTHER = 0, HTTP1_GET = 1, HTTP1_POST = 2, HTTP1_HEAD = 4, HTTP1_OPTIONS = 8 };

struct http1_header {
	struct bytes name;
	struct bytes value;
};

/* A head. Its views point into the buffer that was fed. */
struct http1_head {
	/* Of a request. */
	enum http1_method method;
	const char *method_name; /* also of HTTP1_OTHER */
	struct bytes target;	 /* the path with the query */
	struct bytes path;	 /* without query, scheme and authority; still percent-encoded */
	struct bytes host;	 /* the authority of an absolute target, else the Host field */

	/* Of a response. */
	int status;
	bool until_close; /* the body ends with the connection */

	bool keep_alive; /* the peer allows it, and it is safe */
	bool version_1_0;
	bool chunked;
	bool has_length;
	uint64_t content_length; /* 0 if it is not stated */
	size_t header_count;
	struct http1_header headers[HTTP1_HEADERS_MAX];
};

enum http1_progress { HTTP1_MORE, HTTP1_DONE, HTTP1_MALFORMED, HTTP1_TOO_LARGE, HTTP1_UNSUPPORTED };

struct http1_parser;

struct http1_parser *http1_new(void);
void http1_free(struct http1_parser *parser);

/*
 * Parses a head by the rules of RFC 9112: HTTP/1.1 requires exactly one Host field (section 3.2); Transfer-Encoding
 * overrides Content-Length, and a request with both is the connection's last (section 6.3).
 *
 * `buffer` holds the request from its first byte. The bytes before `from` were fed before; the buffer may have moved
 * since. `from` 0 starts a new request. On HTTP1_DONE *request is filled and *used is the length of the head in bytes.
 * HTTP1_TOO_LARGE: more than HTTP1_HEADERS_MAX fields.
 */
enum http1_progress http1_feed_head(struct http1_parser *parser, struct bytes buffer, size_t from,
				    struct http1_head *request, size_t *used);

/*
 * Parses the head of a response, as above. `bodiless`: it answers a HEAD request. On HTTP1_DONE the fields of *response
 * say which body follows, by RFC 9112 section 6.3: chunked, until_close, or of content_length bytes.
 */
enum http1_progress http1_feed_response(struct http1_parser *parser, struct bytes buffer, size_t from, bool bodiless,
					struct http1_head *response, size_t *used);

/* Parses a chunked body (RFC 9112 section 7.1) and appends its content to `body`. Sets *used to the bytes consumed.
 * HTTP1_TOO_LARGE: `body` is full. */
enum http1_progress http1_feed_chunks(struct http1_parser *parser, struct bytes input, struct buf *body, size_t *used);

/* Adjusts the views of a head after its buffer has moved from `from` to `to`. */
void http1_move(struct http1_head *request, struct bytes from, const uint8_t *to);

/* Says why the last call returned HTTP1_MALFORMED, or HTTP1_UNSUPPORTED (an unknown transfer coding). */
const char *http1_reason(const struct http1_parser *parser);

/* Returns the value of the first field of that name, ignoring case, or a view with `at` NULL. */
struct bytes http1_header(const struct http1_head *request, const char *name);

/* Is there more than one field of that name, of which http1_header returns the first? */
bool http1_repeats(const struct http1_head *head, const char *name);

/* Parses a field's value as a decimal number of at most 18 digits. Returns false if it is none. */
bool http1_number(struct bytes value, uint64_t *number);

/*
 * Decodes percent-encoding (RFC 3986 section 2.1) from `text` into `out`, which has room for text.length bytes. Copies
 * malformed sequences unchanged. Returns the length of the result.
 */
size_t http1_percent_decode(struct bytes text, uint8_t *out);

/* Appends one segment of a path: percent-encodes all but RFC 3986's unreserved characters (section 2.3). */
void http1_percent_encode(struct buf *out, struct bytes segment);

#endif
