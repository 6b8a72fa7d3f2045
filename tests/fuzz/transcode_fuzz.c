/*
 * A response of gRPC for a request of HTTP: what is taken is what protobuf-c reads, too, and comes as the JSON and the
 * tensors that a client of HTTP reads. The input is a message; its first byte chooses binary or JSON.
 */
#include "grpc_service.pb-c.h"
#include "wire/infer_response.h"
#include "wire/transcode.h"
#include "wire/upstream_body.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good) {
		abort();
	}
}

static void
check_decoded(struct bytes message, struct arena *arena)
{
	struct infer_response ours;
	struct error error;
	Inference__ModelInferResponse *theirs;

	if (infer_response_decode(message, arena, &ours, &error) != STATUS_OK) {
		return;
	}
	theirs = inference__model_infer_response__unpack(NULL, message.length, message.at);
	if (theirs == NULL) {
		return; /* it refuses fields of a wrong wire type, which other libraries ignore */
	}
	check(ours.output_count == theirs->n_outputs && ours.parameter_count == theirs->n_parameters);
	for (size_t i = 0; i < ours.output_count; i++) {
		check(ours.outputs[i].rank == theirs->outputs[i]->n_shape);
		if (theirs->n_raw_output_contents > 0) {
			const ProtobufCBinaryData *raw = &theirs->raw_output_contents[i];

			check(bytes_equal(ours.outputs[i].data, bytes_make(raw->data, raw->len)));
		}
	}
	inference__model_infer_response__free_unpacked(theirs, NULL);
}

/* What comes is a response of the protocol, with as many outputs. */
static void
check_response(const struct transcoded *response, struct arena *arena)
{
	struct bytes all;
	struct upstream_response read;
	struct error error;
	struct buf body;
	enum status status;

	buf_init(&body, 8 * ARENA_MAX);
	for (size_t i = 0; i < response->piece_count; i++) {
		buf_append(&body, response->pieces[i]);
	}
	all = buf_bytes(&body);
	check(all.length == response->length && response->json_length <= all.length);
	status = upstream_response_decode(bytes_make(all.at, response->json_length),
					  bytes_skip(all, response->json_length), arena, &read, &error);
	if (status == STATUS_OK) {
		check(response->is_binary == (read.output_count > 0 && response->piece_count > 1));
		upstream_response_fini(&read);
	}
	buf_fini(&body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char line[] = "POST /v2/models/m/infer HTTP/1.1\r\nHost: h\r\n\r\n";
	bool binary = size > 0 && data[0] % 2 == 1;
	struct bytes body = bytes_text(binary ? "{\"inputs\":[],\"parameters\":{\"binary_data_output\":true}}"
					      : "{\"inputs\":[]}");
	struct bytes message = bytes_make(data + (size > 0), size - (size > 0));
	struct http1_parser *parser = http1_new();
	struct transcoding transcoding;
	struct transcoded response;
	struct http1_head head;
	struct error error;
	struct arena arena;
	size_t used;

	arena_init(&arena, ARENA_MAX);
	check_decoded(message, &arena);
	transcoding_init(&transcoding, ARENA_MAX);
	check(http1_feed_head(parser, bytes_text(line), 0, &head, &used) == HTTP1_DONE);
	check(transcode_request(&transcoding, &head, body, &error) == STATUS_OK);
	if (transcode_response(&transcoding, message, &response, &error) == STATUS_OK) {
		check_response(&response, &arena);
	}
	transcoding_fini(&transcoding);
	http1_free(parser);
	arena_fini(&arena);
	return 0;
}
