/* POST /v2/models/N[/versions/V]/infer */
#include "inference/entry.h"
#include "server/cache_status.h"
#include "server/handlers.h"
#include "wire/infer_body.h"
#include "wire/infer_reply.h"

#include <inttypes.h>

#define HEADERS_MAX 256
#define CACHE_STATUS_MAX 96

struct inference {
	struct inference_request request; /* first */
	struct exchange *exchange;
	struct infer_body body;
	struct buf cache_status; /* of the answer */
	struct buf unpacked;	 /* a body that came compressed */
	enum coding reply_coding;
};

static void
inference_fini(struct inference *inference)
{
	infer_body_fini(&inference->body);
	buf_fini(&inference->unpacked);
}

static void
fail(struct inference *inference, const struct error *error)
{
	inference_fini(inference);
	reply_error(inference->exchange, error);
}

/* There is an answer, but it cannot be sent. */
static void
fail_without_memory(struct inference *inference)
{
	blob_unref(inference->request.entry);
	inference_fini(inference);
	reply_error_text(inference->exchange, STATUS_UNAVAILABLE, "no memory for the response");
}

/* --- The reply --- */

static const struct infer_body_output *
requested_output(const struct inference *inference, struct bytes name)
{
	for (size_t i = 0; i < inference->body.output_count; i++) {
		if (bytes_equal(inference->body.outputs[i].name, name)) {
			return &inference->body.outputs[i];
		}
	}
	return NULL;
}

/* The outputs that were asked for, in the model's order. */
static enum status
choose_outputs(const struct inference *inference, struct infer_reply_output *outputs, size_t *count,
	       struct error *error)
{
	const struct inference_request *request = &inference->request;
	size_t total = entry_output_count(request->entry);
	enum status status = STATUS_OK;

	*count = 0;
	for (size_t i = 0; i < total && status == STATUS_OK; i++) {
		struct tensor tensor = entry_output(request->entry, i);
		const struct infer_body_output *wanted = requested_output(inference, tensor.name);
		struct infer_reply_output *output = &outputs[*count];

		if (wanted == NULL && inference->body.output_count > 0) {
			continue;
		}
		output->binary = wanted == NULL ? inference->body.binary_by_default : wanted->binary;
		output->tensor = tensor;
		if (wanted != NULL && wanted->classification > 0) {
			status = classify(&tensor, model_batches(request->model), wanted->classification,
					  request->model->labels[i], request->arena, &output->tensor, error);
		}
		++*count;
	}
	return status;
}

/* The JSON, then the binary outputs as they lie in the entry. Returns how many pieces there are. */
static size_t
list_pieces(struct exchange *exchange, const struct infer_reply_output *outputs, size_t count, struct bytes *pieces)
{
	size_t pieces_count = 1;

	pieces[0] = buf_bytes(&exchange->text);
	for (size_t i = 0; i < count; i++) {
		if (outputs[i].binary && outputs[i].tensor.data.length > 0) {
			pieces[pieces_count++] = outputs[i].tensor.data;
		}
	}
	return pieces_count;
}

static void
send_compressed(struct inference *inference, const char *content_type, struct bytes headers, const struct bytes *pieces,
		size_t count)
{
	struct exchange *exchange = inference->exchange;
	struct bytes *piece = arena_get(&exchange->arena, sizeof(*piece));
	struct buf packed;

	buf_init(&packed, SIZE_MAX / 2);
	if (piece != NULL && compress_pieces(inference->reply_coding, pieces, count, &packed) == STATUS_OK) {
		struct blob *block = blob_copy(buf_bytes(&packed));

		buf_fini(&packed);
		blob_unref(inference->request.entry);
		inference_fini(inference);
		if (block == NULL) {
			reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the response");
			return;
		}
		*piece = blob_bytes(block);
		reply_pieces(exchange, content_type, headers, piece, 1, block);
		return;
	}
	buf_fini(&packed);
	fail_without_memory(inference);
}

static void
send_outputs(struct inference *inference, const struct infer_reply_output *outputs, size_t count)
{
	struct exchange *exchange = inference->exchange;
	struct bytes *pieces = arena_array(&exchange->arena, count + 1, sizeof(*pieces));
	size_t piece_count = pieces == NULL ? 0 : list_pieces(exchange, outputs, count, pieces);
	bool binary = piece_count > 1;
	bool packed = inference->reply_coding != CODING_IDENTITY;
	const char *content_type = binary ? "application/octet-stream" : "application/json";
	struct buf headers = {.at = arena_get(&exchange->arena, HEADERS_MAX), .capacity = HEADERS_MAX};

	if (pieces == NULL || headers.at == NULL) {
		fail_without_memory(inference);
		return;
	}
	if (inference->cache_status.length > 0) {
		buf_text(&headers, "Cache-Status: ");
		buf_append(&headers, buf_bytes(&inference->cache_status));
		buf_text(&headers, "\r\n");
	}
	if (inference->request.report.cached && inference->request.report.forward == FORWARD_NONE) {
		buf_text(&headers, "Age: ");
		buf_unsigned(&headers, inference->request.report.age_s);
		buf_text(&headers, "\r\n");
	}
	if (binary) {
		buf_text(&headers, "Inference-Header-Content-Length: ");
		buf_unsigned(&headers, exchange->text.length);
		buf_text(&headers, "\r\n");
	}
	if (packed) {
		buf_text(&headers, "Content-Encoding: ");
		buf_text(&headers, coding_name(inference->reply_coding));
		buf_text(&headers, "\r\n");
		send_compressed(inference, content_type, buf_bytes(&headers), pieces, piece_count);
		return;
	}
	inference_fini(inference);
	reply_pieces(exchange, content_type, buf_bytes(&headers), pieces, piece_count, inference->request.entry);
}

static void
describe_cache(struct inference *inference)
{
	struct exchange *exchange = inference->exchange;

	if (inference->request.report.cached) {
		inference->cache_status =
			(struct buf){.at = arena_get(&exchange->arena, CACHE_STATUS_MAX), .capacity = CACHE_STATUS_MAX};
		cache_status_write(&inference->request.report, exchange->options->cache->ops->name,
				   &inference->cache_status);
	}
}

static void
on_answer(struct inference_request *request)
{
	struct inference *inference = (struct inference *)request;
	struct exchange *exchange = inference->exchange;
	struct infer_reply_output *outputs;
	struct error error;
	enum status status;
	struct bytes cache_status = {0};
	size_t count = 0;

	exchange->gone = NULL;
	if (request->status != STATUS_OK) {
		fail(inference, request->error);
		return;
	}
	describe_cache(inference);
	if (cache_status_wanted(request->parameters, request->parameter_count)) {
		cache_status = buf_bytes(&inference->cache_status);
	}
	outputs = arena_array(&exchange->arena, request->model->config.output_count, sizeof(*outputs));
	status = outputs == NULL ? error_set(&error, STATUS_UNAVAILABLE, "no memory for the response")
				 : choose_outputs(inference, outputs, &count, &error);
	if (status == STATUS_OK) {
		status = infer_reply_encode(request->id, request->model->config.name, request->model->version,
					    cache_status, outputs, count, &exchange->text, &error);
	}
	if (status == STATUS_OK) {
		send_outputs(inference, outputs, count);
	} else {
		blob_unref(request->entry);
		fail(inference, &error);
	}
}

/* --- The request --- */

static enum status
unpack_body(struct inference *inference, struct bytes *body, struct error *error)
{
	struct exchange *exchange = inference->exchange;
	struct bytes name = http1_header(&exchange->head, "content-encoding");
	enum coding coding = coding_from_name(name);
	enum status status;

	if (coding == CODING_UNKNOWN) {
		return error_set(error, STATUS_UNSUPPORTED, "Unsupported compression type");
	}
	if (coding == CODING_IDENTITY) {
		inference->request.body = exchange->body_block;
		*body = exchange->body;
		return STATUS_OK;
	}
	buf_init(&inference->unpacked, exchange->options->max_input_bytes);
	status = decompress(coding, exchange->body, &inference->unpacked, error);
	*body = buf_bytes(&inference->unpacked);
	return status;
}

/* Where the JSON ends; `raw` where there is none and the whole body is one tensor. */
static enum status
read_header_length(const struct exchange *exchange, size_t total, size_t *json, bool *raw, struct error *error)
{
	struct bytes text = http1_header(&exchange->head, "inference-header-content-length");
	uint64_t number = 0;

	*json = total;
	*raw = total == 0;
	if (text.at == NULL) {
		return STATUS_OK;
	}
	if (text.length > 0 && !http1_number(text, &number)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "Unable to parse Inference-Header-Content-Length, got: %.*s", BYTES_ARGS(text));
	}
	if (text.length == 0 || number > total) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "inference header size should be in range (0, %zu), got: %.*s", total,
				 BYTES_ARGS(text));
	}
	*raw = number == 0;
	*json = (size_t)number;
	return STATUS_OK;
}

static enum status
raw_shape(const struct model_config *config, size_t bytes, int64_t *shape, struct error *error)
{
	const struct model_tensor *input = &config->inputs[0];
	size_t lead = config->max_batch_size > 0;
	size_t element = datatype_size(input->datatype);
	int64_t known = 1;
	ptrdiff_t variable = -1;

	shape[0] = 1;
	for (size_t i = 0; i < input->dims.rank; i++) {
		shape[lead + i] = input->dims.dims[i];
		if (input->dims.dims[i] != -1) {
			known *= input->dims.dims[i];
		} else if (variable >= 0) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"[request id: <id_unknown>] The shape of the raw input '%.*s' can not be deduced "
				"because there are more than one variable-sized dimension",
				BYTES_ARGS(input->name));
		} else {
			variable = (ptrdiff_t)(lead + i);
		}
	}
	if (input->datatype == DATATYPE_BYTES && (known != 1 || variable >= 0)) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"[request id: <id_unknown>] For BYTE datatype raw input '%.*s', the model must have input "
			"shape [1]",
			BYTES_ARGS(input->name));
	}
	if (variable >= 0) {
		shape[variable] = (int64_t)bytes / ((int64_t)element * known);
	}
	return STATUS_OK;
}

/* A raw binary request: the body is the model's only input, its shape is deduced, and replies are binary. */
static enum status
decode_raw(struct inference *inference, struct bytes data, struct error *error)
{
	const struct model_config *config = &inference->request.model->config;
	struct arena *arena = &inference->exchange->arena;
	struct tensor *input = arena_get(arena, sizeof(*input));
	int64_t *shape = arena_array(arena, TENSOR_RANK_MAX + 1, sizeof(*shape));
	uint32_t length = (uint32_t)data.length;
	uint8_t *framed;
	enum status status;

	if (config->input_count != 1) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"[request id: <id_unknown>] Raw request must only have 1 input (found 1) to be deduced "
			"but got %zu inputs in '%.*s' model configuration",
			config->input_count, BYTES_ARGS(config->name));
	}
	if (input == NULL || shape == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	status = raw_shape(config, data.length, shape, error);
	if (status != STATUS_OK) {
		return status;
	}
	*input = (struct tensor){.name = config->inputs[0].name,
				 .datatype = config->inputs[0].datatype,
				 .rank = config->inputs[0].dims.rank + (config->max_batch_size > 0),
				 .shape = shape,
				 .data = data};
	if (input->datatype == DATATYPE_BYTES) {
		framed = arena_get(arena, sizeof(length) + data.length);
		if (framed == NULL) {
			return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
		}
		memcpy(framed, &length, sizeof(length));
		if (data.length > 0) {
			memcpy(framed + sizeof(length), data.at, data.length);
		}
		input->data = bytes_make(framed, sizeof(length) + data.length);
	}
	inference->body = (struct infer_body){.inputs = input, .input_count = 1, .binary_by_default = true};
	return STATUS_OK;
}

static enum status
check_outputs(const struct inference *inference, struct error *error)
{
	const struct model *model = inference->request.model;

	for (size_t i = 0; i < inference->body.output_count; i++) {
		struct bytes name = inference->body.outputs[i].name;

		if (model_tensor_index(model->config.outputs, model->config.output_count, name) < 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "unexpected inference output '%.*s' for model '%.*s'", BYTES_ARGS(name),
					 BYTES_ARGS(model->config.name));
		}
		if (requested_output(inference, name) != &inference->body.outputs[i]) {
			return error_set(error, STATUS_INVALID_ARGUMENT, "output '%.*s' already exists in request",
					 BYTES_ARGS(name));
		}
	}
	return STATUS_OK;
}

static enum status
decode(struct inference *inference, struct error *error)
{
	struct exchange *exchange = inference->exchange;
	struct inference_request *request = &inference->request;
	struct bytes body = {0};
	size_t json = 0;
	bool raw = false;
	enum status status = unpack_body(inference, &body, error);

	if (status == STATUS_OK) {
		status = read_header_length(exchange, body.length, &json, &raw, error);
	}
	if (status != STATUS_OK) {
		return status;
	}
	if (raw) {
		status = decode_raw(inference, body, error);
	} else {
		status = infer_body_decode(bytes_make(body.at, json), bytes_skip(body, json),
					   request->model->config.name, &exchange->arena, &inference->body, error);
	}
	if (status == STATUS_OK) {
		status = check_outputs(inference, error);
	}
	request->id = inference->body.id;
	request->inputs = inference->body.inputs;
	request->input_count = inference->body.input_count;
	request->parameters = inference->body.parameters;
	request->parameter_count = inference->body.parameter_count;
	if (status == STATUS_OK && exchange->options->allow_cache_control) {
		status = cache_directives_read(http1_header(&exchange->head, "cache-control"), request->parameters,
					       request->parameter_count, &request->directives, error);
	}
	return status;
}

/* The client closed the connection. */
static void
on_gone(struct exchange *exchange)
{
	struct inference *inference = exchange->gone_state;

	engine_cancel(&inference->request);
}

void
handle_infer(struct exchange *exchange)
{
	struct model *model = handler_model(exchange);
	struct inference *inference;
	struct error *failure;
	struct error error;

	if (model == NULL) {
		return;
	}
	inference = arena_get(&exchange->arena, sizeof(*inference));
	failure = arena_room(&exchange->arena, sizeof(*failure));
	if (inference == NULL || failure == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the request");
		return;
	}
	inference->exchange = exchange;
	inference->request.model = model;
	inference->request.arena = &exchange->arena;
	inference->request.error = failure;
	inference->request.done = on_answer;
	inference->reply_coding = coding_negotiate(http1_header(&exchange->head, "accept-encoding"));
	if (decode(inference, &error) != STATUS_OK) {
		fail(inference, &error);
	} else if (engine_infer(exchange->lane->engine, &inference->request)) {
		on_answer(&inference->request);
	} else {
		exchange->gone = on_gone;
		exchange->gone_state = inference;
	}
}
