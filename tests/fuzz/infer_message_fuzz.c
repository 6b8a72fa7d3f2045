/*
 * Reads a ModelInferRequest by hand and by protobuf-c: what both accept has the same content. (protobuf-c refuses
 * fields of a wrong wire type, which other libraries ignore.) Then encodes a response from the inputs, which protobuf-c
 * must read.
 */
#include "grpc_service.pb-c.h"
#include "wire/infer_message.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)16 << 20)
#define OUTPUTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool good)
{
	if (!good) {
		abort();
	}
}

/* protobuf-c ends texts at their first NUL. */
static void
check_text(struct bytes ours, const char *theirs)
{
	check(bytes_equal_text(bytes_make(ours.at, strnlen((const char *)ours.at, ours.length)), theirs));
}

static void
check_input(const struct tensor *ours, const Inference__ModelInferRequest__InferInputTensor *theirs)
{
	check_text(ours->name, theirs->name);
	check(ours->rank == theirs->n_shape);
	for (size_t i = 0; i < ours->rank; i++) {
		check(ours->shape[i] == theirs->shape[i]);
	}
	if (theirs->contents != NULL && ours->datatype == DATATYPE_INT64) {
		check(ours->data.length == theirs->contents->n_int64_contents * sizeof(int64_t));
		check(ours->data.length == 0 ||
		      memcmp(ours->data.at, theirs->contents->int64_contents, ours->data.length) == 0);
	}
	if (theirs->contents != NULL && ours->datatype == DATATYPE_FP32) {
		check(ours->data.length == theirs->contents->n_fp32_contents * sizeof(float));
	}
}

static void
check_request(const struct infer_message *ours, const Inference__ModelInferRequest *theirs)
{
	size_t raw = 0;

	check_text(ours->model_name, theirs->model_name);
	check_text(ours->model_version, theirs->model_version);
	check_text(ours->body.id, theirs->id);
	check(ours->body.input_count == theirs->n_inputs && ours->body.output_count == theirs->n_outputs);
	check(ours->body.parameter_count <= theirs->n_parameters);
	for (size_t i = 0; i < theirs->n_inputs; i++) {
		check_input(&ours->body.inputs[i], theirs->inputs[i]);
		if (theirs->inputs[i]->contents == NULL) {
			const ProtobufCBinaryData *data = &theirs->raw_input_contents[raw++];

			check(bytes_equal(ours->body.inputs[i].data, bytes_make(data->data, data->len)));
		}
	}
}

/* Answers the inputs as outputs. */
static void
check_response(const struct infer_message *request, bool is_stream)
{
	struct infer_reply_output outputs[OUTPUTS_MAX] = {0};
	struct bytes pieces[2 * OUTPUTS_MAX + 1];
	struct infer_message_reply reply = {.id = request->body.id,
					    .model_name = request->model_name,
					    .model_version = bytes_text("7"),
					    .outputs = outputs,
					    .is_stream = is_stream};
	struct error error;
	struct buf text;
	struct buf whole;
	size_t count;

	while (reply.output_count < request->body.input_count && reply.output_count < OUTPUTS_MAX) {
		outputs[reply.output_count].tensor = request->body.inputs[reply.output_count];
		reply.output_count++;
	}
	buf_init(&text, ARENA_MAX);
	buf_init(&whole, 4 * ARENA_MAX);
	check(infer_message_encode(&reply, &text, pieces, &count, &error) == STATUS_OK);
	for (size_t i = 0; i < count; i++) {
		buf_append(&whole, pieces[i]);
	}
	if (is_stream) {
		Inference__ModelStreamInferResponse *read =
			inference__model_stream_infer_response__unpack(NULL, whole.length, whole.at);

		check(read != NULL && read->infer_response->n_raw_output_contents == reply.output_count);
		inference__model_stream_infer_response__free_unpacked(read, NULL);
	} else {
		Inference__ModelInferResponse *read =
			inference__model_infer_response__unpack(NULL, whole.length, whole.at);

		check(read != NULL && read->n_outputs == reply.output_count);
		check_text(reply.id, read->id);
		inference__model_infer_response__free_unpacked(read, NULL);
	}
	buf_fini(&text);
	buf_fini(&whole);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes message = bytes_make(data, size);
	struct infer_message ours;
	struct error error;
	struct arena arena;

	check(infer_message_alignment_point(message) <= size);
	arena_init(&arena, ARENA_MAX);
	if (infer_message_name(message, &ours, &error) == STATUS_OK &&
	    infer_message_decode(message, &arena, &ours, &error) == STATUS_OK) {
		Inference__ModelInferRequest *theirs = inference__model_infer_request__unpack(NULL, size, data);

		if (theirs != NULL) {
			check_request(&ours, theirs);
			inference__model_infer_request__free_unpacked(theirs, NULL);
		}
		check_response(&ours, false);
		check_response(&ours, true);
	}
	arena_fini(&arena);
	return 0;
}
