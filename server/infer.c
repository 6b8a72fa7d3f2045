/* POST /v2/models/N[/versions/V]/infer */
#include "base/clock.h"
#include "base/log.h"
#include "inference/cache/entry.h"
#include "inference/scheduler/job.h"
#include "server/cache_status.h"
#include "server/front.h"
#include "server/handlers.h"
#include "server/infer_parts.h"
#include "wire/infer_body.h"
#include "wire/infer_memo.h"
#include "wire/infer_reply.h"

#include <inttypes.h>
#include <stdio.h>

#define HEADERS_MAX 256

struct inference {
	struct inference_request request; /* first */
	struct exchange *exchange;
	struct infer_body body;
	struct buf cache_status; /* the Cache-Status of the answer */
	struct buf unpacked;	 /* a compressed body, decompressed */
	uint64_t start_ns;	 /* for the log; 0: not logged */
	enum coding reply_coding;
	enum coding coding; /* of the request's body */
	bool apart;    /* tensors lie outside of the body, which was compressed, long JSON, or raw BYTES (copied) */
	bool fronts;   /* another server: what we cannot answer passes through, with the body as it came */
	bool is_plain; /* the request is wholly understood: see front.h */
	bool passes;
	struct blob *moved;	 /* of a request that may pass: inputs outside of the body */
	struct infer_memo *memo; /* the loop's; NULL: an offload thread decodes */
	enum status decoded;	 /* on failure request.error says why; so with `encoded` */

	/* The reply, made on the loop or on an offload thread. */
	bool long_reply; /* made on an offload thread */
	enum status encoded;
	struct infer_reply_output *outputs;
	size_t output_count;
	struct bytes *pieces;
	size_t piece_count;
	size_t json_length;
	bool binary;
	struct blob *packed;
};

static void
inference_fini(struct inference *inference)
{
	infer_body_fini(&inference->body);
	buf_fini(&inference->unpacked);
	blob_unref(inference->moved);
}

/* Sends the request as it came to the server behind. */
static void
pass(struct inference *inference, enum pass_reason reason)
{
	struct exchange *exchange = inference->exchange;

	exchange->pass_reason = reason;
	inference_fini(inference);
	buf_clear(&exchange->text);
	if (exchange->is_left) { /* while it was decoded or run */
		reply_http_error(exchange, 502, "the client left before the reply");
	} else {
		handle_pass(exchange);
	}
}

/* Logs one line for each request at level verbose. */
static void
log_request(const struct inference *inference, int status)
{
	const struct inference_request *request = &inference->request;
	const struct run_times *times = &request->times;
	struct bytes id = request->id.length > 0 ? request->id : bytes_text("<id_unknown>");
	struct bytes cache = buf_bytes(&inference->cache_status);
	uint64_t total = inference->start_ns == 0 ? 0 : clock_now_ns() - inference->start_ns;

	if (inference->start_ns == 0) {
		return;
	}
	log_verbose("infer id='%.*s' model='%.*s' version=%" PRId64 " status=%d cache='%.*s' total_us=%" PRIu64
		    " queue_us=%" PRIu64 " compute_us=%" PRIu64,
		    BYTES_ARGS(id), BYTES_ARGS(request->model->config.name), request->model->version, status,
		    BYTES_ARGS(cache), total / 1000, times->queue_ns / 1000,
		    (times->input_ns + times->infer_ns + times->output_ns) / 1000);
}

static void
fail(struct inference *inference, const struct error *error)
{
	struct bytes headers = bytes_make(NULL, 0);

	log_request(inference, reply_http_status(error->status));
	inference_fini(inference);
	if (inference->coding == CODING_UNKNOWN) {
		headers = bytes_text("Accept-Encoding: gzip, deflate\r\n");
	} else if (error->status == STATUS_NOT_CACHED) { /* neither hit nor forwarded (RFC 9211 section 2) */
		headers = bytes_text("Cache-Status: hippocamp; detail=only-if-cached\r\n");
	}
	reply_http_error_with(inference->exchange, error->http != 0 ? error->http : reply_http_status(error->status),
			      error->text, headers);
}

static enum status
charge(const struct inference *inference, size_t bytes, struct error *error)
{
	if (exchange_charge(inference->exchange, bytes)) {
		return STATUS_OK;
	}
	return infer_over_budget(inference->exchange->options->max_inflight_bytes, error);
}

/* --- The reply --- */

/* Lists the pieces of the body: the JSON, then the binary outputs, uncopied. */
static enum status
list_pieces(struct inference *inference, struct error *error)
{
	struct exchange *exchange = inference->exchange;

	inference->pieces = arena_array(&exchange->arena, inference->output_count + 1, sizeof(struct bytes));
	if (inference->pieces == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	inference->pieces[inference->piece_count++] = buf_bytes(&exchange->text);
	for (size_t i = 0; i < inference->output_count; i++) {
		const struct infer_reply_output *output = &inference->outputs[i];

		if (output->binary && output->tensor.data.length > 0) {
			inference->pieces[inference->piece_count++] = output->tensor.data;
		}
	}
	inference->binary = inference->piece_count > 1;
	inference->json_length = exchange->text.length;
	return STATUS_OK;
}

static enum status
pack(struct inference *inference, struct error *error)
{
	if (infer_pack(inference->reply_coding, inference->pieces, inference->piece_count, &inference->packed, error) !=
	    STATUS_OK) {
		return error->status;
	}
	inference->pieces[0] = blob_bytes(inference->packed);
	inference->piece_count = 1;
	buf_fini(&inference->exchange->text); /* else kept until the reply is written */
	buf_init(&inference->exchange->text, inference->exchange->text_max);
	return STATUS_OK;
}

/* Makes the body of the reply, on the loop or on an offload thread. */
static void
encode(struct exchange *exchange)
{
	struct inference *inference = exchange->work_state;
	const struct inference_request *request = &inference->request;
	struct error *error = inference->request.error;
	struct bytes cache_status = {0};
	enum status status =
		infer_choose_outputs(request, &inference->body, inference->outputs, &inference->output_count, error);
	uint8_t digits[INFER_DIGITS];
	size_t most = inference->long_reply ? infer_reply_memory(inference->outputs, inference->output_count) : 0;

	if (status == STATUS_OK && most > 0) {
		status = charge(inference, most, error);
		most = status == STATUS_OK ? most : 0;
	}
	if (cache_status_wanted(request->parameters, request->parameter_count)) {
		cache_status = buf_bytes(&inference->cache_status);
	}
	if (status == STATUS_OK) {
		status = infer_reply_encode(request->id, request->model->config.name,
					    infer_stated_version(request->model, digits), cache_status,
					    inference->outputs, inference->output_count, &exchange->text, error);
	}
	if (status == STATUS_OK) {
		status = list_pieces(inference, error);
	}
	if (status == STATUS_OK && inference->reply_coding != CODING_IDENTITY) {
		status = pack(inference, error);
	}
	exchange_discharge(exchange, most); /* send_reply charges the result */
	inference->encoded = status;
}

static struct bytes
reply_headers(struct inference *inference)
{
	struct exchange *exchange = inference->exchange;
	struct buf headers = {.at = arena_get(&exchange->arena, HEADERS_MAX), .capacity = HEADERS_MAX};

	if (headers.at == NULL) {
		return bytes_make(NULL, 0);
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
	if (inference->binary) {
		buf_text(&headers, "Inference-Header-Content-Length: ");
		buf_unsigned(&headers, inference->json_length);
		buf_text(&headers, "\r\n");
	}
	if (inference->packed != NULL) {
		buf_text(&headers, "Content-Encoding: ");
		buf_text(&headers, coding_name(inference->reply_coding));
		buf_text(&headers, "\r\n");
	}
	return buf_bytes(&headers);
}

/* Charges a long reply to the budget until it is written. */
static enum status
charge_reply(struct inference *inference)
{
	size_t total = 0;

	for (size_t i = 0; i < inference->piece_count; i++) {
		total += inference->pieces[i].length;
	}
	return total <= INFER_LONG ? STATUS_OK : charge(inference, total, inference->request.error);
}

/* Sends the encoded body, with the blob that holds its pieces, or the error. */
static void
send_reply(struct exchange *exchange)
{
	struct inference *inference = exchange->work_state;
	struct blob *held = inference->request.entry;
	struct bytes headers = reply_headers(inference);

	if (inference->encoded == STATUS_OK) {
		inference->encoded = charge_reply(inference);
	}
	if (inference->encoded == STATUS_OK && headers.at == NULL) {
		inference->encoded =
			error_set(inference->request.error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	if (inference->encoded != STATUS_OK) {
		blob_unref(inference->packed);
		blob_unref(held);
		if (inference->fronts) {
			pass(inference, PASS_RESPONSE);
		} else {
			fail(inference, inference->request.error);
		}
		return;
	}
	if (inference->packed != NULL) {
		blob_unref(held);
		held = inference->packed;
	}
	log_request(inference, 200);
	inference_fini(inference);
	reply_pieces(exchange, inference->binary ? "application/octet-stream" : "application/json", headers,
		     inference->pieces, inference->piece_count, held);
}

static void
send_worked_reply(struct exchange *exchange)
{
	struct inference *inference = exchange->work_state;
	struct model *model = inference->request.model;

	send_reply(exchange); /* the inference may be gone */
	model_unref(model);
}

static void
on_answer(struct inference_request *request)
{
	struct inference *inference = (struct inference *)request;
	struct exchange *exchange = inference->exchange;
	size_t size;

	exchange->gone = NULL;
	if (request->status == STATUS_PASS) {
		pass(inference, PASS_RESPONSE);
		return;
	}
	if (request->status != STATUS_OK) {
		fail(inference, request->error);
		return;
	}
	inference->cache_status = infer_describe_cache(request, exchange->options->cache, &exchange->arena);
	inference->outputs =
		arena_array(&exchange->arena, request->model->config.output_count, sizeof(*inference->outputs));
	if (inference->outputs == NULL) {
		(void)error_set(request->error, STATUS_UNAVAILABLE, "no memory for the response");
		blob_unref(request->entry);
		fail(inference, request->error);
		return;
	}
	size = infer_encoding_size(request, &inference->body, inference->reply_coding != CODING_IDENTITY);
	if (size > INFER_LONG) {
		inference->long_reply = true;
		(void)model_ref(request->model);
		exchange_work(exchange, size, encode, send_worked_reply);
	} else {
		encode(exchange);
		send_reply(exchange);
	}
}

/* --- The request --- */

static enum status
unpack_body(struct inference *inference, struct bytes *body, struct error *error)
{
	struct exchange *exchange = inference->exchange;
	enum status status;

	if (inference->coding == CODING_UNKNOWN) {
		return error_set(error, STATUS_UNSUPPORTED, "Unsupported compression type");
	}
	if (inference->coding == CODING_IDENTITY) {
		inference->request.block = exchange->body_block;
		*body = exchange->body;
		return STATUS_OK;
	}
	buf_init(&inference->unpacked, exchange->options->max_input_bytes);
	status = decompress(inference->coding, exchange->body, &inference->unpacked, error);
	*body = buf_bytes(&inference->unpacked);
	return status == STATUS_OK ? charge(inference, body->length, error) : status;
}

/* Sets *json to the length of the JSON, and *raw if there is none and the whole body is one tensor. */
static enum status
read_header_length(const struct exchange *exchange, size_t total, size_t *json, bool *raw, struct error *error)
{
	struct bytes text = http1_header(&exchange->head, "inference-header-content-length");
	bool is_negative = bytes_starts_with(text, "-");
	uint64_t number = 0;

	*json = total;
	*raw = total == 0;
	if (text.at == NULL) {
		return STATUS_OK;
	}
	if (!http1_number(bytes_skip(text, is_negative), &number)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "Unable to parse Inference-Header-Content-Length, got: %.*s", BYTES_ARGS(text));
	}
	if (is_negative || number > total) {
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

/* Decodes a raw binary request: the body is the model's only input, its shape is deduced, the reply is binary. */
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
		framed = arena_room(arena, sizeof(length) + data.length);
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
decode_json(struct inference *inference, struct bytes json, struct bytes binary, struct error *error)
{
	struct exchange *exchange = inference->exchange;

	return infer_body_decode(json, binary, inference->request.model->config.name, &exchange->arena,
				 &inference->body, error);
}

static enum status
decode_short_json(struct inference *inference, struct bytes json, struct bytes binary, struct error *error)
{
	struct exchange *exchange = inference->exchange;

	if (inference->memo == NULL) {
		return decode_json(inference, json, binary, error);
	}
	return infer_memo_decode(inference->memo, json, binary, inference->request.model->config.name, &exchange->arena,
				 &inference->body, error);
}

/* While the document is there: see front_understands. */
static void
look_at_body(struct inference *inference, enum status decoded)
{
	inference->is_plain = inference->fronts && decoded == STATUS_OK &&
			      front_understands(inference->exchange->options, &inference->body);
}

/* Decodes long JSON. The document takes many times the JSON's size, and is charged while it exists. */
static enum status
decode_long_json(struct inference *inference, struct bytes json, struct bytes binary, struct error *error)
{
	struct exchange *exchange = inference->exchange;
	size_t memory = infer_body_memory(json);
	enum status status = charge(inference, memory, error);

	if (status == STATUS_OK) {
		status = decode_json(inference, json, binary, error);
		look_at_body(inference, status);
		if (status == STATUS_OK && !infer_body_detach(&inference->body, &exchange->arena)) {
			status = error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
		}
		exchange_discharge(exchange, memory > exchange->arena.total ? memory - exchange->arena.total : 0);
	}
	return status;
}

/*
 * Moves long inputs that lie outside of the body's block (from JSON or a compressed body) into a new block, and frees
 * their source. Otherwise the loop would have to copy them for the run.
 */
static enum status
move_inputs(struct inference *inference, struct error *error)
{
	struct exchange *exchange = inference->exchange;
	struct infer_body *body = &inference->body;
	struct blob *block;
	size_t total = 0;

	for (size_t i = 0; i < body->input_count; i++) {
		total += job_aligned(body->inputs[i].data.length);
	}
	if (total <= INFER_LONG) {
		return STATUS_OK;
	}
	block = infer_move_inputs(body);
	if (block == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	exchange_discharge(exchange, inference->unpacked.length);
	buf_fini(&inference->unpacked);
	inference->request.block = block;
	if (inference->fronts) {
		inference->moved = block;
		return charge(inference, total, error);
	}
	if (exchange->body_block != NULL) {
		exchange_discharge(exchange, exchange->body.length);
		blob_unref(exchange->body_block);
	}
	exchange->body_block = block;
	exchange->body = bytes_make(block->data, 0); /* the old body is freed or not needed */
	return charge(inference, total, error);
}

static enum status
decode_body(struct inference *inference, struct error *error)
{
	struct exchange *exchange = inference->exchange;
	struct bytes body = {0};
	size_t length = 0;
	bool raw = false;
	enum status status = unpack_body(inference, &body, error);

	if (status == STATUS_OK) {
		status = read_header_length(exchange, body.length, &length, &raw, error);
	}
	if (status != STATUS_OK) {
		return status;
	}
	inference->apart = inference->unpacked.length > 0 || (!raw && length > INFER_LONG) ||
			   (raw && inference->request.model->config.inputs[0].datatype == DATATYPE_BYTES);
	if (raw) {
		return decode_raw(inference, body, error);
	}
	if (length > INFER_LONG) {
		return decode_long_json(inference, bytes_make(body.at, length), bytes_skip(body, length), error);
	}
	status = decode_short_json(inference, bytes_make(body.at, length), bytes_skip(body, length), error);
	look_at_body(inference, status);
	return status;
}

/* Moves the inputs unless all lie in the body's block. */
static enum status
settle(struct inference *inference, struct error *error)
{
	const struct exchange *exchange = inference->exchange;
	bool in_block = true;

	for (size_t i = 0; i < inference->body.input_count; i++) {
		in_block = in_block && blob_holds(exchange->body_block, inference->body.inputs[i].data);
	}
	return in_block ? STATUS_OK : move_inputs(inference, error);
}

/* Decodes the request, on the loop or on an offload thread. */
static void
decode(struct exchange *exchange)
{
	struct inference *inference = exchange->work_state;
	struct inference_request *request = &inference->request;
	struct error *error = inference->request.error;
	bool is_of_a_model = false;
	enum status status = decode_body(inference, error);

	if (status == STATUS_OK) {
		status = infer_check(&inference->body, request->model, error);
	}
	if (inference->fronts &&
	    (status != STATUS_OK || !inference->is_plain || !front_add_fields(exchange, &inference->body))) {
		inference->passes = true;
		return;
	}
	if (status == STATUS_OK && infer_leads_on(request->model) &&
	    !front_add_via(exchange, &inference->body, &is_of_a_model)) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
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
	request->directives.alone = is_of_a_model;
	inference->passes = inference->fronts && status != STATUS_OK;
	inference->decoded = status;
}

/* The client closed the connection. */
static void
on_gone(struct exchange *exchange)
{
	struct inference *inference = exchange->gone_state;

	engine_cancel(&inference->request);
}

/* What fails before the server behind was asked is for it to answer: its texts are its own. */
static bool
is_for_behind(const struct inference *inference)
{
	enum status status = inference->request.status;

	return inference->fronts && status != STATUS_OK && status != STATUS_NOT_CACHED;
}

static void
infer(struct exchange *exchange)
{
	struct inference *inference = exchange->work_state;

	if (inference->passes) {
		pass(inference, PASS_REQUEST);
	} else if (inference->decoded != STATUS_OK) {
		fail(inference, inference->request.error);
	} else if (engine_infer(exchange->lane->engine, &inference->request)) {
		if (is_for_behind(inference)) {
			pass(inference, PASS_REQUEST);
		} else {
			on_answer(&inference->request);
		}
	} else {
		exchange->gone = on_gone;
		exchange->gone_state = inference;
		if (exchange->is_left) { /* the peer left while an offload thread decoded */
			on_gone(exchange);
		}
	}
}

static void
decode_long(struct exchange *exchange)
{
	struct inference *inference = exchange->work_state;

	decode(exchange);
	if (inference->decoded == STATUS_OK && inference->apart && !inference->passes) {
		inference->decoded = settle(inference, inference->request.error);
		inference->passes = inference->fronts && inference->decoded != STATUS_OK;
	}
	engine_prepare(&inference->request, inference->decoded == STATUS_OK && !inference->passes);
}

static void
infer_worked(struct exchange *exchange)
{
	struct model *model = ((struct inference *)exchange->work_state)->request.model;

	infer(exchange); /* the inference may be gone */
	model_unref(model);
}

/* The size of the decoding if it takes too long for the loop, else 0. */
static size_t
decoding_size(const struct exchange *exchange, enum coding coding, const struct model *model)
{
	uint64_t json = exchange->body.length;
	uint64_t stated;

	if (coding != CODING_IDENTITY || json > engine_long_inputs(exchange->lane->engine, model)) {
		return exchange->body.length;
	}
	if (json > INFER_LONG &&
	    http1_number(http1_header(&exchange->head, "inference-header-content-length"), &stated) && stated < json) {
		/* A raw body is used in place, unless it is BYTES, which is copied. */
		bool copied = stated == 0 && model->config.inputs[0].datatype == DATATYPE_BYTES;

		json = copied ? json : stated;
	}
	return json > INFER_LONG ? (size_t)json : 0;
}

bool
admit_infer(struct exchange *exchange)
{
	return handler_model(exchange) != NULL;
}

static void
reply_circle(struct exchange *exchange, const struct model *model)
{
	struct error error;

	(void)infer_refuse_circle(model, &error);
	log_verbose("%s", error.text);
	reply_http_error(exchange, 508, error.text);
}

static void
infer_model(struct exchange *exchange, struct model *model, bool fronts)
{
	struct inference *inference;
	struct error *failure;
	size_t size;

	if ((fronts || infer_leads_on(model)) && front_comes_back(exchange)) {
		reply_circle(exchange, model);
		return;
	}
	inference = arena_get(&exchange->arena, sizeof(*inference));
	failure = arena_room(&exchange->arena, sizeof(*failure));
	if (inference == NULL || failure == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the request");
		return;
	}
	exchange->work_state = inference;
	inference->exchange = exchange;
	inference->fronts = fronts;
	inference->request.model = model;
	inference->request.arena = &exchange->arena;
	inference->request.error = failure;
	inference->request.done = on_answer;
	inference->start_ns = log_enabled(LOG_VERBOSE) ? clock_now_ns() : 0;
	inference->coding = coding_from_name(http1_header(&exchange->head, "content-encoding"));
	inference->reply_coding = coding_negotiate(http1_header(&exchange->head, "accept-encoding"));
	size = decoding_size(exchange, inference->coding, model);
	if (size > 0) {
		(void)model_ref(model);
		engine_prepare_begin(exchange->lane->engine, &inference->request);
		exchange_work(exchange, size, decode_long, infer_worked);
	} else {
		inference->memo = exchange->lane->infer_memo;
		decode(exchange);
		infer(exchange);
	}
}

void
handle_infer(struct exchange *exchange)
{
	struct model *model = handler_model(exchange);

	if (model != NULL) {
		infer_model(exchange, model, false);
	}
}

/* Why a request to this model cannot be answered from the cache, to judge by its head. */
static enum pass_reason
reason_to_pass(const struct exchange *exchange, const struct model *model)
{
	if (exchange->options->cache == NULL || model == NULL) {
		return PASS_NOT_CACHED;
	}
	if (!front_is_admitted(exchange)) {
		return PASS_AUTHORIZATION;
	}
	if (!front_understands_head(exchange)) {
		return PASS_REQUEST;
	}
	if (!front_knows_version(model, exchange->lane->view.table, path_of(exchange)->version)) {
		return PASS_VERSION;
	}
	return atomic_load(&model->suspended) ? PASS_SUSPENDED : PASS_NO_INFERENCE;
}

bool
front_infer_takes_parts(struct exchange *exchange)
{
	exchange->pass_reason = reason_to_pass(exchange, handler_find_model(exchange));
	return exchange->pass_reason != PASS_NO_INFERENCE;
}

void
handle_front_infer(struct exchange *exchange)
{
	struct model *model;

	if (exchange->missing > 0) { /* whatever the model is by now, of such a body nothing may be read here */
		handle_pass(exchange);
		return;
	}
	model = handler_find_model(exchange);
	exchange->pass_reason = reason_to_pass(exchange, model);
	if (exchange->pass_reason != PASS_NO_INFERENCE) {
		handle_pass(exchange);
	} else {
		infer_model(exchange, model, true);
	}
}
