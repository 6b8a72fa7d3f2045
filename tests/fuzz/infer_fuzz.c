/* Parses a stream of HTTP requests: heads, sized and chunked bodies, compression, and JSON and binary tensors. */
#include "wire/compress.h"
#include "wire/http1.h"
#include "wire/infer_body.h"

#include <stdlib.h>

#define BODY_MAX 100000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
decode(const struct http1_head *request, struct bytes body)
{
	struct bytes field = http1_header(request, "inference-header-content-length");
	size_t json = body.length;
	struct infer_body decoded;
	struct error error;
	struct arena arena;

	if (field.length == 1 || field.length == 2) {
		json = (size_t)(field.at[0] & 15) * (field.length == 2 ? 10 : 1) +
		       (field.length == 2 ? field.at[1] & 15U : 0);
		json = json > body.length ? body.length : json;
	}
	arena_init(&arena, BODY_MAX * 20);
	if (infer_body_decode(bytes_make(body.at, json), bytes_skip(body, json), bytes_text("m"), &arena, &decoded,
			      &error) == STATUS_OK) {
		for (size_t i = 0; i < decoded.input_count; i++) {
			int64_t elements;
			int64_t found;

			if (shape_elements(decoded.inputs[i].shape, decoded.inputs[i].rank, &elements)) {
				(void)tensor_strings_valid(decoded.inputs[i].data, elements, &found);
			}
		}
		infer_body_fini(&decoded);
	}
	arena_fini(&arena);
}

static void
unpack(const struct http1_head *request, struct bytes body)
{
	enum coding coding = coding_from_name(http1_header(request, "content-encoding"));
	struct error error;
	struct buf plain;

	(void)coding_negotiate(http1_header(request, "accept-encoding"));
	if (coding == CODING_IDENTITY || coding == CODING_UNKNOWN) {
		decode(request, body);
		return;
	}
	buf_init(&plain, BODY_MAX);
	if (decompress(coding, body, &plain, &error) == STATUS_OK) {
		decode(request, buf_bytes(&plain));
	}
	buf_fini(&plain);
}

/* Takes one request off the stream's front; returns false if there is none. */
static bool
take_request(struct http1_parser *parser, struct bytes *stream)
{
	struct http1_head request;
	struct buf body;
	size_t used = 0;

	if (stream->length == 0 || http1_feed_head(parser, *stream, 0, &request, &used) != HTTP1_DONE) {
		return false;
	}
	*stream = bytes_skip(*stream, used);
	if (!request.chunked) {
		size_t length = request.content_length > stream->length ? stream->length : request.content_length;

		unpack(&request, bytes_make(stream->at, length));
		*stream = bytes_skip(*stream, length);
		return true;
	}
	buf_init(&body, BODY_MAX);
	if (http1_feed_chunks(parser, *stream, &body, &used) == HTTP1_DONE) {
		unpack(&request, buf_bytes(&body));
	}
	buf_fini(&body);
	*stream = bytes_skip(*stream, used);
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http1_parser *parser = http1_new();
	struct bytes stream = bytes_make(data, size);

	while (take_request(parser, &stream)) {
	}
	http1_free(parser);
	return 0;
}
