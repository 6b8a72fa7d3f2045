#include "server/grpc_infer.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/cache_status.h"
#include "server/describe.h"
#include "server/front.h"
#include "server/grpc_pass.h"
#include "server/infer_parts.h"

#include <inttypes.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 30)
#define ARENA_FREE ((size_t)16 * 1024) /* of an arena, not charged */
#define TEXT_MAX ((size_t)2 << 30)
#define TEXT_KEPT ((size_t)64 * 1024)
#define SPARE_MAX 1024

/* --- Life cycle --- */

struct grpc_inference *
grpc_inference_new(struct grpc_call *call)
{
	struct server_lane *lane = grpc_lane_of(call);
	struct grpc_inference *inference = lane->spare_inferences;
	struct arena arena;
	struct buf text;

	if (inference == NULL) {
		inference = memory_room(sizeof(*inference));
		arena_init(&arena, ARENA_MAX);
		buf_init(&text, TEXT_MAX);
	} else {
		lane->spare_inferences = inference->next_spare;
		lane->spare_inference_count--;
		arena = inference->arena;
		text = inference->text;
	}
	*inference = (struct grpc_inference){.lane = lane, .call = call, .arena = arena, .text = text};
	return inference;
}

static void
free_memory(struct grpc_inference *inference)
{
	arena_fini(&inference->arena);
	buf_fini(&inference->text);
	free(inference);
}

void
grpc_inference_free(struct grpc_inference *inference)
{
	struct server_lane *lane = inference->lane;

	blob_unref(inference->request.entry);
	blob_unref(inference->packed);
	blob_unref(inference->block);
	grpc_message_release(&inference->message);
	if (inference->charged > 0) {
		budget_give(lane->budget, inference->charged);
	}
	if (lane->spare_inference_count == SPARE_MAX) {
		free_memory(inference);
		return;
	}
	arena_clear(&inference->arena);
	if (inference->text.capacity > TEXT_KEPT) {
		buf_fini(&inference->text);
		buf_init(&inference->text, TEXT_MAX);
	}
	inference->next_spare = lane->spare_inferences;
	lane->spare_inferences = inference;
	lane->spare_inference_count++;
}

void
grpc_inference_slim(struct grpc_inference *inference)
{
	grpc_message_release(&inference->message);
	arena_clear(&inference->arena);
	if (inference->charged > 0) {
		budget_give(inference->lane->budget, inference->charged);
		inference->charged = 0;
	}
}

void
grpc_inferences_fini(struct server_lane *lane)
{
	while (lane->spare_inferences != NULL) {
		struct grpc_inference *inference = lane->spare_inferences;

		lane->spare_inferences = inference->next_spare;
		free_memory(inference);
	}
}

void
grpc_inference_cancel(struct grpc_inference *inference)
{
	inference->call = NULL;
	inference->stream = NULL;
	if (inference->is_running) {
		engine_cancel(&inference->request); /* it is freed when it is answered */
	}
}

static enum status
charge(struct grpc_inference *inference, size_t bytes, struct error *error)
{
	if (!budget_take(inference->lane->budget, bytes)) {
		return infer_over_budget(inference->lane->budget->limit, error);
	}
	inference->charged += bytes;
	return STATUS_OK;
}

/* --- The answer --- */

static void
log_request(const struct grpc_inference *inference)
{
	const struct inference_request *request = &inference->request;
	const struct run_times *times = &request->times;
	struct bytes id = request->id.length > 0 ? request->id : bytes_text("<id_unknown>");
	struct bytes cache = buf_bytes(&inference->cache_status);

	log_verbose("grpc infer id='%.*s' model='%.*s' status=%d cache='%.*s' total_us=%" PRIu64 " queue_us=%" PRIu64
		    " compute_us=%" PRIu64,
		    BYTES_ARGS(id), BYTES_ARGS(inference->decoded.model_name), (int)grpc_code_of(inference->status),
		    BYTES_ARGS(cache), (clock_now_ns() - inference->start_ns) / 1000, times->queue_ns / 1000,
		    (times->input_ns + times->infer_ns + times->output_ns) / 1000);
}

static void
log_pass(const struct grpc_inference *inference)
{
	struct bytes cache = pass_reason_status(inference->pass_reason);

	log_verbose("grpc infer model='%.*s' cache='%.*s'", BYTES_ARGS(inference->decoded.model_name),
		    BYTES_ARGS(cache));
}

static bool
fronts(const struct grpc_inference *inference)
{
	return inference->lane->options->grpc_upstream != NULL;
}

/*
 * What was refused here is for the server behind to tell, in its own words. So is a failure there, unless it is told by
 * an HTTP status that stands for one code, and no parameter may have become another one over HTTP.
 */
static bool
passes(const struct grpc_inference *inference, enum status status)
{
	const struct error *error = inference->error;

	if (!fronts(inference) || status == STATUS_OK || status == STATUS_NOT_CACHED || inference->is_circle) {
		return false;
	}
	return !error->is_remote || inference->has_parameters ||
	       (error->http != 500 && error->http != 404 && error->http != 501 && error->http != 503);
}

/* Tells the caller, or frees what nobody waits for. */
static void
answer(struct grpc_inference *inference, enum status status)
{
	inference->status = passes(inference, status) ? STATUS_PASS : status;
	if (inference->status == STATUS_PASS && inference->pass_reason == PASS_NO_INFERENCE) {
		inference->pass_reason = inference->was_accepted ? PASS_RESPONSE : PASS_REQUEST;
	}
	if (inference->status == STATUS_PASS) {
		log_pass(inference);
	} else if (inference->start_ns != 0) {
		log_request(inference);
	}
	if (inference->call == NULL) {
		grpc_inference_free(inference);
	} else {
		inference->answered(inference);
	}
}

static enum status
pack(struct grpc_inference *inference, size_t *count)
{
	if (infer_pack(inference->coding, inference->pieces, *count, &inference->packed, inference->error) !=
	    STATUS_OK) {
		return inference->error->status;
	}
	blob_unref(inference->request.entry);
	inference->request.entry = NULL;
	inference->pieces[0] = blob_bytes(inference->packed);
	*count = 1;
	return STATUS_OK;
}

static enum status
charge_pieces(struct grpc_inference *inference, size_t count)
{
	size_t total = 0;

	for (size_t i = 0; i < count; i++) {
		total += inference->pieces[i].length;
	}
	/* Those of streams may be many. */
	return total <= INFER_LONG && !inference->is_stream ? STATUS_OK : charge(inference, total, inference->error);
}

/* Makes the response message, on the loop or on an offload thread. */
static enum status
encode(struct grpc_inference *inference)
{
	const struct inference_request *request = &inference->request;
	uint8_t digits[INFER_DIGITS];
	struct infer_message_reply reply = {.id = request->id,
					    .model_name = request->model->config.name,
					    .model_version = infer_stated_version(request->model, digits),
					    .outputs = inference->outputs,
					    .is_stream = inference->is_stream};
	size_t count = 0;
	enum status status = infer_choose_outputs(request, &inference->decoded.body, inference->outputs,
						  &inference->output_count, inference->error);

	reply.output_count = inference->output_count;
	if (cache_status_wanted(request->parameters, request->parameter_count)) {
		reply.cache_status = buf_bytes(&inference->cache_status);
	}
	if (status == STATUS_OK) {
		status = infer_message_encode(&reply, &inference->text, inference->pieces, &count, inference->error);
	}
	if (status == STATUS_OK && inference->coding != CODING_IDENTITY) {
		status = pack(inference, &count);
	}
	if (status == STATUS_OK) {
		status = charge_pieces(inference, count);
	}
	inference->output.pieces = inference->pieces;
	inference->output.count = count;
	inference->output.is_compressed = inference->coding != CODING_IDENTITY;
	return status;
}

static void
on_encode(struct offload_work *work)
{
	struct grpc_inference *inference = container_of(work, struct grpc_inference, work);

	inference->status = encode(inference);
}

static void
on_encoded(struct offload_work *work)
{
	struct grpc_inference *inference = container_of(work, struct grpc_inference, work);
	struct server_lane *lane = inference->lane;
	struct model *model = inference->request.model;

	answer(inference, inference->status); /* it may be gone */
	model_unref(model);
	server_lane_release(lane);
}

static void
post(struct grpc_inference *inference, size_t size, void (*run)(struct offload_work *work),
     void (*done)(struct offload_work *work))
{
	inference->work = (struct offload_work){.loop = inference->lane->loop, .size = size, .run = run, .done = done};
	(void)model_ref(inference->request.model);
	server_lane_hold(inference->lane);
	offload_post(inference->lane->offload, &inference->work);
}

static bool
make_reply_room(struct grpc_inference *inference)
{
	size_t count = inference->request.model->config.output_count;

	inference->outputs = arena_array(&inference->arena, count, sizeof(*inference->outputs));
	inference->pieces = arena_array(&inference->arena, 2 * count + 1, sizeof(*inference->pieces));
	return inference->outputs != NULL && inference->pieces != NULL;
}

static void
on_answer(struct inference_request *request)
{
	struct grpc_inference *inference = (struct grpc_inference *)request;
	size_t size;

	inference->is_running = false;
	if (request->status != STATUS_OK) {
		request->entry = NULL;
	}
	if (request->status != STATUS_OK || inference->call == NULL) {
		answer(inference, request->status);
		return;
	}
	inference->cache_status = infer_describe_cache(request, inference->lane->options->cache, &inference->arena);
	if (!make_reply_room(inference)) {
		answer(inference, error_set(inference->error, STATUS_UNAVAILABLE, "no memory for the response"));
		return;
	}
	size = infer_encoding_size(request, &inference->decoded.body, inference->coding != CODING_IDENTITY);
	if (size > INFER_LONG) {
		post(inference, size, on_encode, on_encoded);
	} else {
		answer(inference, encode(inference));
	}
}

/* --- The request --- */

/* Moves inputs that were made from long typed contents into a block, which the engine then need not copy. */
static enum status
settle(struct grpc_inference *inference)
{
	size_t converted = inference->decoded.converted;
	enum status status;

	if (converted <= INFER_LONG) {
		return STATUS_OK;
	}
	status = charge(inference, 2 * converted, inference->error);
	if (status != STATUS_OK) {
		return status;
	}
	inference->block = infer_move_inputs(&inference->decoded.body);
	if (inference->block == NULL) {
		return error_set(inference->error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	inference->request.block = inference->block;
	return STATUS_OK;
}

/* Is the request wholly understood? Then it gets the fields that go along, which were read from its call. */
static enum status
check_front(struct grpc_inference *inference)
{
	struct infer_message *decoded = &inference->decoded;
	bool plain = !decoded->has_more && front_understands_parameters(inference->lane->options, &decoded->body);

	if (!plain) {
		return error_set(inference->error, STATUS_PASS, "the request is not understood");
	}
	inference->has_parameters = decoded->body.parameter_count > 0;
	if (!front_add_metadata(inference->lane->options, inference->fields, &inference->arena, &decoded->body)) {
		return error_set(inference->error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	return STATUS_OK;
}

static enum status
decode(struct grpc_inference *inference)
{
	struct inference_request *request = &inference->request;
	struct infer_body *body = &inference->decoded.body;
	struct error *error = inference->error;
	enum status status =
		infer_message_decode(inference->message.content, &inference->arena, &inference->decoded, error);

	if (status == STATUS_OK && inference->arena.total > ARENA_FREE) {
		status = charge(inference, inference->arena.total, error);
	}
	if (status == STATUS_OK) {
		status = infer_check(body, request->model, error);
	}
	if (status == STATUS_OK && fronts(inference)) {
		status = check_front(inference);
	}
	if (status == STATUS_OK &&
	    !front_add_metadata(inference->lane->options, inference->via, &inference->arena, body)) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	if (status == STATUS_OK) {
		status = settle(inference);
	}
	request->inputs = body->inputs;
	request->input_count = body->input_count;
	request->parameters = body->parameters;
	request->parameter_count = body->parameter_count;
	if (status == STATUS_OK && inference->lane->options->allow_cache_control) {
		status = cache_directives_read(inference->cache_control, request->parameters, request->parameter_count,
					       &request->directives, error);
	}
	request->directives.alone = front_via_is_of_a_model(inference->via);
	return status;
}

static void
infer(struct grpc_inference *inference)
{
	if (inference->status != STATUS_OK) {
		answer(inference, inference->status);
		return;
	}
	inference->is_running = true;
	if (engine_infer(inference->lane->engine, &inference->request)) {
		on_answer(&inference->request);
		return;
	}
	inference->was_accepted = true;
	if (inference->call == NULL) { /* cancelled while an offload thread decoded */
		engine_cancel(&inference->request);
	}
}

static void
on_decode(struct offload_work *work)
{
	struct grpc_inference *inference = container_of(work, struct grpc_inference, work);

	inference->status = decode(inference);
	engine_prepare(&inference->request, inference->status == STATUS_OK);
}

static void
on_decoded(struct offload_work *work)
{
	struct grpc_inference *inference = container_of(work, struct grpc_inference, work);
	struct server_lane *lane = inference->lane;
	struct model *model = inference->request.model;

	infer(inference); /* it may be gone */
	model_unref(model);
	server_lane_release(lane);
}

/* Why a request to this model cannot be answered from the cache, to judge by the call. */
static enum pass_reason
reason_to_pass(struct grpc_inference *inference, const struct model_table *table)
{
	const struct server_options *options = inference->lane->options;

	if (options->cache == NULL) {
		return PASS_NOT_CACHED;
	}
	if (!front_admits_metadata(options, inference->call, &inference->arena, &inference->fields)) {
		return PASS_AUTHORIZATION;
	}
	if (!front_knows_version(inference->request.model, table, inference->decoded.model_version)) {
		return PASS_VERSION;
	}
	return atomic_load(&inference->request.model->suspended) ? PASS_SUSPENDED : PASS_NO_INFERENCE;
}

/* What the call to a model that leads on has come through: see infer_model in infer.c. */
static enum status
look_at_via(struct grpc_inference *inference)
{
	if (!front_read_via(inference->call, &inference->arena, &inference->via)) {
		return error_set(inference->error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	inference->is_circle = front_via_is_own(inference->via);
	return inference->is_circle ? infer_refuse_circle(inference->request.model, inference->error) : STATUS_OK;
}

static enum status
find(struct grpc_inference *inference)
{
	struct infer_message *decoded = &inference->decoded;
	const struct model_table *table = server_lane_table(inference->lane);
	enum status status = infer_message_name(inference->message.content, decoded, inference->error);

	inference->request.id = decoded->body.id;
	if (status == STATUS_OK) {
		status = find_model(table, decoded->model_name, decoded->model_version, &inference->request.model,
				    inference->error);
		inference->pass_reason = status == STATUS_OK ? PASS_NO_INFERENCE : PASS_NOT_CACHED;
	}
	if (status == STATUS_OK && infer_leads_on(inference->request.model)) {
		status = look_at_via(inference);
	}
	if (status == STATUS_OK && fronts(inference)) {
		inference->pass_reason = reason_to_pass(inference, table);
	}
	return inference->pass_reason == PASS_NO_INFERENCE || status != STATUS_OK
		       ? status
		       : error_set(inference->error, STATUS_PASS, "the request passes");
}

/* Typed contents are converted element by element; raw ones are only checked and hashed. */
static bool
takes_long(const struct grpc_inference *inference)
{
	size_t length = inference->message.content.length;

	return length > engine_long_inputs(inference->lane->engine, inference->request.model) ||
	       (length > INFER_LONG && infer_message_alignment_point(inference->message.content) == 0);
}

/* Equal fields are one, with commas between (RFC 9110, section 5.3). */
static struct bytes
cache_control_of(struct grpc_inference *inference)
{
	struct bytes first = grpc_call_metadata(inference->call, "cache-control");
	const struct grpc_metadata *list;
	size_t count = grpc_call_metadata_list(inference->call, &list);
	struct buf joined = {.capacity = 0};
	size_t length = 0;

	for (size_t i = 0; i < count; i++) {
		length += bytes_equal_text(list[i].name, "cache-control") ? list[i].value.length + 1 : 0;
	}
	if (length == first.length + 1 || length == 0) {
		return first;
	}
	joined = (struct buf){.at = arena_room(&inference->arena, length), .capacity = length, .maximum = length};
	for (size_t i = 0; joined.at != NULL && i < count; i++) {
		if (bytes_equal_text(list[i].name, "cache-control")) {
			buf_append(&joined, list[i].value);
			buf_byte(&joined, ',');
		}
	}
	return joined.at == NULL ? first : buf_bytes(&joined);
}

void
grpc_inference_start(struct grpc_inference *inference, struct grpc_message message)
{
	static struct error no_memory = {.status = STATUS_UNAVAILABLE, .text = "no memory for the request"};
	struct inference_request *request = &inference->request;

	inference->message = message;
	inference->start_ns = log_enabled(LOG_VERBOSE) ? clock_now_ns() : 0;
	inference->cache_control = cache_control_of(inference);
	inference->error = arena_room(&inference->arena, sizeof(*inference->error));
	if (inference->error == NULL) {
		inference->error = &no_memory;
		answer(inference, STATUS_UNAVAILABLE);
		return;
	}
	request->arena = &inference->arena;
	request->error = inference->error;
	request->done = on_answer;
	request->block = message.block;
	inference->status = find(inference);
	if (inference->status == STATUS_OK && takes_long(inference)) {
		engine_prepare_begin(inference->lane->engine, request);
		inference->cache_control = arena_copy(&inference->arena, inference->cache_control);
		post(inference, message.content.length, on_decode, on_decoded);
		return;
	}
	if (inference->status == STATUS_OK) {
		inference->status = decode(inference);
	}
	infer(inference);
}

/* --- ModelInfer --- */

static void
on_released(struct grpc_output *output)
{
	grpc_inference_free(container_of(output, struct grpc_inference, output));
}

static void
add_headers(const struct grpc_inference *inference, struct grpc_call *call)
{
	const struct cache_report *report = &inference->request.report;
	uint8_t digits[24];
	struct buf age = {.at = digits, .capacity = sizeof(digits), .maximum = sizeof(digits)};

	if (inference->cache_status.length > 0) {
		grpc_call_add_header(call, "cache-status", buf_bytes(&inference->cache_status));
	}
	if (report->cached && report->forward == FORWARD_NONE) {
		buf_unsigned(&age, report->age_s);
		grpc_call_add_header(call, "age", buf_bytes(&age));
	}
}

static void
reply(struct grpc_inference *inference)
{
	struct grpc_call *call = inference->call;
	struct grpc_message message;

	inference->call = NULL;
	if (inference->status == STATUS_PASS) {
		enum pass_reason reason = inference->pass_reason;

		message = grpc_message_share(&inference->message);
		grpc_inference_free(inference);
		grpc_pass_unary(call, message, reason);
		return;
	}
	grpc_call_set_state(call, NULL);
	if (inference->status != STATUS_OK) {
		if (inference->status == STATUS_NOT_CACHED) { /* neither hit nor forwarded (RFC 9211 section 2) */
			grpc_call_add_header(call, "cache-status", bytes_text("hippocamp; detail=only-if-cached"));
		}
		grpc_reply_error(call, inference->error);
		grpc_inference_free(inference);
		return;
	}
	add_headers(inference, call);
	grpc_call_set_coding(call, inference->coding);
	inference->output.released = on_released;
	grpc_call_send(call, &inference->output);
	grpc_call_finish(call, GRPC_OK, bytes_make(NULL, 0));
}

enum coding
grpc_response_coding(const struct grpc_call *call)
{
	if (!grpc_lane_of(call)->options->grpc_compresses) {
		return CODING_IDENTITY;
	}
	return grpc_call_accepts(call, CODING_GZIP)	 ? CODING_GZIP
	       : grpc_call_accepts(call, CODING_DEFLATE) ? CODING_DEFLATE
							 : CODING_IDENTITY;
}

static void
on_infer(struct grpc_call *call, struct grpc_message message)
{
	struct grpc_inference *inference = grpc_inference_new(call);

	inference->answered = reply;
	inference->coding = grpc_response_coding(call);
	grpc_call_set_state(call, inference);
	grpc_inference_start(inference, message);
}

static void
on_cancelled(struct grpc_call *call)
{
	struct grpc_inference *inference = grpc_call_state(call);

	if (inference != NULL) {
		grpc_inference_cancel(inference);
	}
}

const struct service_method grpc_model_infer = {
	{.path = "/inference.GRPCInferenceService/ModelInfer",
	 .begin = grpc_check_access,
	 .message = on_infer,
	 .cancelled = on_cancelled,
	 .alignment_point = infer_message_alignment_point},
	PROTOCOL_INFERENCE,
};
