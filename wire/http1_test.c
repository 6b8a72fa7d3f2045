#include "wire/http1.h"

#include "base/unit_test.h"

static const char request_text[] = "POST /v2/models/a%20b/infer?x=1 HTTP/1.1\r\n"
				   "Host: localhost\r\n"
				   "inference-HEADER-content-length:  12 \r\n"
				   "Content-Length: 3\r\n"
				   "\r\n"
				   "abcGET";

static void
check_request(const struct http1_head *request, size_t used)
{
	assert_int_equal(request->method, HTTP1_POST);
	assert_bytes(request->path, "/v2/models/a%20b/infer");
	assert_true(request->keep_alive);
	assert_false(request->chunked);
	assert_int_equal(request->content_length, 3);
	assert_bytes(http1_header(request, "Inference-Header-Content-Length"), "12");
	assert_null(http1_header(request, "accept").at);
	assert_string_equal(request_text + used, "abcGET");
}

/* The result does not depend on how the bytes are split, nor on where the buffer lies between two calls. */
static void
test_head_in_pieces(void **state)
{
	size_t total = sizeof(request_text) - 1;

	(void)state;
	for (size_t step = 1; step <= total; step++) {
		struct http1_parser *parser = http1_new();
		struct http1_head request;
		char buffers[2][sizeof(request_text)];
		enum http1_progress progress = HTTP1_MORE;
		size_t used = 0;

		for (size_t at = 0, turn = 0; at < total && progress == HTTP1_MORE; at += step, turn++) {
			size_t end = at + step < total ? at + step : total;

			memcpy(buffers[turn % 2], request_text, end);
			progress = http1_feed_head(parser, bytes_make(buffers[turn % 2], end), at, &request, &used);
		}
		assert_int_equal(progress, HTTP1_DONE);
		check_request(&request, used);
		http1_free(parser);
	}
}

static void
test_chunks_in_pieces(void **state)
{
	static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const char chunks[] = "3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: t\r\n\r\nNEXT";
	size_t total = sizeof(chunks) - 1;

	(void)state;
	for (size_t step = 1; step <= total; step++) {
		struct http1_parser *parser = http1_new();
		enum http1_progress progress = HTTP1_MORE;
		struct http1_head request;
		size_t consumed = 0;
		struct buf body;
		size_t used;

		buf_init(&body, 100);
		assert_int_equal(http1_feed_head(parser, bytes_text(head), 0, &request, &used), HTTP1_DONE);
		assert_true(request.chunked);
		while (progress == HTTP1_MORE && consumed < total) {
			size_t end = consumed + step < total ? consumed + step : total;

			progress =
				http1_feed_chunks(parser, bytes_make(chunks + consumed, end - consumed), &body, &used);
			consumed += used;
		}
		assert_int_equal(progress, HTTP1_DONE);
		assert_bytes(buf_bytes(&body), "abcdefg");
		assert_string_equal(chunks + consumed, "NEXT");
		buf_fini(&body);
		http1_free(parser);
	}
}

static void
test_chunks_are_bounded(void **state)
{
	struct http1_parser *parser = http1_new();
	struct http1_head request;
	struct buf body;
	size_t used;

	(void)state;
	buf_init(&body, 4);
	assert_int_equal(http1_feed_head(parser,
					 bytes_text("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
					 0, &request, &used),
			 HTTP1_DONE);
	assert_int_equal(http1_feed_chunks(parser, bytes_text("5\r\nabcde\r\n0\r\n\r\n"), &body, &used),
			 HTTP1_TOO_LARGE);
	buf_fini(&body);
	http1_free(parser);
}

static void
test_malformed(void **state)
{
	static const char *const heads[] = {
		"GARBAGE\r\n\r\n",
		"GET /\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nBad Name: x\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n",
		"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nHOST: h\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: h\r\nHost: g\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: user@h\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		struct http1_parser *parser = http1_new();
		struct http1_head request;
		size_t used;

		assert_int_equal(http1_feed_head(parser, bytes_text(heads[i]), 0, &request, &used), HTTP1_MALFORMED);
		assert_non_null(http1_reason(parser));
		http1_free(parser);
	}
}

static void
test_targets_and_closing(void **state)
{
	struct http1_parser *parser = http1_new();
	struct http1_head request;
	uint8_t decoded[16];
	size_t used;

	(void)state;
	assert_int_equal(
		http1_feed_head(parser,
				bytes_text("GET http://h/v2?q HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), 0,
				&request, &used),
		HTTP1_DONE);
	assert_bytes(request.path, "/v2");
	assert_false(request.keep_alive);
	assert_int_equal(http1_feed_head(parser, bytes_text("GET HttpS://[::1]:8/v2/a HTTP/1.1\r\nHost: h\r\n\r\n"), 0,
					 &request, &used),
			 HTTP1_DONE);
	assert_bytes(request.path, "/v2/a");
	assert_int_equal(http1_feed_head(parser, bytes_text("HEAD / HTTP/1.0\r\n\r\n"), 0, &request, &used),
			 HTTP1_DONE);
	assert_int_equal(request.method, HTTP1_HEAD);
	assert_true(request.version_1_0);
	assert_false(request.keep_alive);
	assert_bytes(bytes_make(decoded, http1_percent_decode(bytes_text("%41b%2"), decoded)), "Ab%2");
	assert_bytes(bytes_make(decoded, http1_percent_decode(bytes_text("%zz%2F"), decoded)), "%zz/");
	http1_free(parser);
}

/* An unknown transfer coding is refused; the authority of the target overrides the Host field. */
static void
test_codings_and_authorities(void **state)
{
	static const char coded[] = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
	static const char absolute[] = "GET http://evil.example:8/x HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static const char bare[] = "GET http://h HTTP/1.1\r\nHost: localhost\r\n\r\n";
	struct http1_parser *parser = http1_new();
	struct http1_head request;
	char moved[sizeof(absolute)];
	size_t used;

	(void)state;
	assert_int_equal(http1_feed_head(parser, bytes_text(coded), 0, &request, &used), HTTP1_UNSUPPORTED);
	assert_int_equal(http1_feed_head(parser, bytes_text(absolute), 0, &request, &used), HTTP1_DONE);
	assert_bytes(request.host, "evil.example:8");
	memcpy(moved, absolute, sizeof(moved));
	http1_move(&request, bytes_text(absolute), (const uint8_t *)moved);
	assert_ptr_equal(request.host.at, moved + 11);
	assert_bytes(request.path, "/x");
	assert_bytes(http1_header(&request, "host"), "localhost");
	assert_int_equal(http1_feed_head(parser, bytes_text(bare), 0, &request, &used), HTTP1_DONE);
	http1_move(&request, bytes_text(bare), (const uint8_t *)moved); /* the path "/" is not in the buffer */
	assert_bytes(request.path, "/");
	http1_free(parser);
}

/* RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length, and the connection is not reused. */
static void
test_both_lengths(void **state)
{
	static const char *const heads[] = {
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n",
		"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		struct http1_parser *parser = http1_new();
		struct http1_head request;
		struct buf body;
		size_t used;

		buf_init(&body, 100);
		assert_int_equal(http1_feed_head(parser, bytes_text(heads[i]), 0, &request, &used), HTTP1_DONE);
		assert_true(request.chunked);
		assert_false(request.keep_alive);
		assert_int_equal(request.content_length, 0);
		assert_int_equal(http1_feed_chunks(parser, bytes_text("2\r\nab\r\n0\r\n\r\n"), &body, &used),
				 HTTP1_DONE);
		assert_bytes(buf_bytes(&body), "ab");
		buf_fini(&body);
		http1_free(parser);
	}
}

/* Which body follows a response's head, by RFC 9112 section 6.3. */
static void
test_responses(void **state)
{
	static const struct {
		const char *text;
		bool bodiless;
		enum http1_progress progress;
		int status;
		bool chunked;
		bool until_close;
		uint64_t length;
		bool keep_alive;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", false, HTTP1_DONE, 200, false, false, 7, true},
		{"HTTP/1.1 404\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, HTTP1_DONE, 404, false, false,
		 0, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, HTTP1_DONE, 200, true, false, 0, true},
		{"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", false, HTTP1_DONE, 200, false, true, 0, false},
		{"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, HTTP1_DONE, 200, false, false, 3, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true, HTTP1_DONE, 200, false, false, 0, true},
		{"HTTP/1.1 204 No Content\r\n\r\n", false, HTTP1_DONE, 204, false, false, 0, true},
		{"HTTP/1.1 100 Continue\r\n\r\n", false, HTTP1_DONE, 100, false, false, 0, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, HTTP1_MALFORMED, 0, false, false, 0,
		 false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", false, HTTP1_MALFORMED, 0, false, false,
		 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", false, HTTP1_MALFORMED, 0, false,
		 false, 0, false},
		{"HTTP/2.0 200 OK\r\n\r\n", false, HTTP1_MALFORMED, 0, false, false, 0, false},
		{"SSH-2.0-OpenSSH\r\n\r\n", false, HTTP1_MALFORMED, 0, false, false, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct http1_parser *parser = http1_new();
		struct bytes text = bytes_text(cases[i].text);
		struct http1_head head;
		size_t used = 0;

		assert_int_equal(http1_feed_response(parser, text, 0, cases[i].bodiless, &head, &used),
				 cases[i].progress);
		if (cases[i].progress == HTTP1_DONE) {
			assert_int_equal(used, text.length);
			assert_int_equal(head.status, cases[i].status);
			assert_int_equal(head.chunked, cases[i].chunked);
			assert_int_equal(head.until_close, cases[i].until_close);
			assert_int_equal(head.content_length, cases[i].length);
			assert_int_equal(head.keep_alive, cases[i].keep_alive);
		}
		http1_free(parser);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_head_in_pieces),		cmocka_unit_test(test_chunks_in_pieces),
		cmocka_unit_test(test_chunks_are_bounded),	cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_targets_and_closing),	cmocka_unit_test(test_both_lengths),
		cmocka_unit_test(test_codings_and_authorities), cmocka_unit_test(test_responses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
