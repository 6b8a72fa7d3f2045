#include "server/infer_parts.h"

#include "inference/cache/entry.h"
#include "inference/cache/response_cache.h"
#include "inference/models/classification.h"
#include "inference/models/model.h"
#include "inference/remote.h"
#include "inference/scheduler/job.h"
#include "server/cache_status.h"

#define TEXTS_MAX ((size_t)1 << 20)
#define CACHE_STATUS_MAX 96
#define SEQUENCE_ID_MAX ((size_t)128)

const struct infer_body_output *
infer_requested(const struct infer_body *body, struct bytes name)
{
	for (size_t i = 0; i < body->output_count; i++) {
		if (bytes_equal(body->outputs[i].name, name)) {
			return &body->outputs[i];
		}
	}
	return NULL;
}

static enum status
check_outputs(const struct infer_body *body, const struct model *model, struct error *error)
{
	for (size_t i = 0; i < body->output_count; i++) {
		struct bytes name = body->outputs[i].name;

		if (model_tensor_index(model->config.outputs, model->config.output_count, name) < 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "unexpected inference output '%.*s' for model '%.*s'", BYTES_ARGS(name),
					 BYTES_ARGS(model->config.name));
		}
		if (infer_requested(body, name) != &body->outputs[i]) {
			return error_set(error, STATUS_INVALID_ARGUMENT, "output '%.*s' already exists in request",
					 BYTES_ARGS(name));
		}
	}
	return STATUS_OK;
}

/* Limits the id and the parameters, which the loop reads, compares and hashes. */
static enum status
check_texts(const struct infer_body *body, struct error *error)
{
	size_t total = body->id.length;

	for (size_t i = 0; i < body->parameter_count; i++) {
		const struct parameter *parameter = &body->parameters[i];

		if (bytes_equal_text(parameter->name, "sequence_id") && parameter->kind == PARAMETER_TEXT &&
		    parameter->text.length > SEQUENCE_ID_MAX) {
			return error_set(error, STATUS_UNSUPPORTED,
					 "string correlation ID cannot be longer than %zu characters", SEQUENCE_ID_MAX);
		}
		total += parameter->name.length + (parameter->kind == PARAMETER_TEXT ? parameter->text.length : 0);
	}
	return total <= TEXTS_MAX
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT,
				   "the request's id and parameters have %zu bytes of text, the maximum is %zu", total,
				   TEXTS_MAX);
}

/* Parameters of these names are made here, and become header fields of a request to another server. */
static enum status
check_reserved(const struct infer_body *body, struct error *error)
{
	for (size_t i = 0; i < body->parameter_count; i++) {
		if (bytes_starts_with(body->parameters[i].name, REMOTE_PREFIX)) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "the parameter '%.*s' cannot be given: names that begin with '" REMOTE_PREFIX
					 "' are the server's own",
					 BYTES_ARGS(body->parameters[i].name));
		}
	}
	return STATUS_OK;
}

bool
infer_leads_on(const struct model *model)
{
	return model_is_remote(model) || model->ensemble != NULL;
}

enum status
infer_refuse_circle(const struct model *model, struct error *error)
{
	return error_set(
		error, STATUS_INTERNAL,
		"model '%.*s' was asked by a model of this server: the address of one of them leads in a circle",
		BYTES_ARGS(model->config.name));
}

enum status
infer_check(const struct infer_body *body, const struct model *model, struct error *error)
{
	enum status status = check_outputs(body, model, error);

	if (status == STATUS_OK) {
		status = check_texts(body, error);
	}
	return status == STATUS_OK && infer_leads_on(model) ? check_reserved(body, error) : status;
}

enum status
infer_choose_outputs(const struct inference_request *request, const struct infer_body *body,
		     struct infer_reply_output *outputs, size_t *count, struct error *error)
{
	size_t total = entry_output_count(request->entry);
	enum status status = STATUS_OK;

	*count = 0;
	for (size_t i = 0; i < total && status == STATUS_OK; i++) {
		struct tensor tensor = entry_output(request->entry, i);
		const struct infer_body_output *wanted = infer_requested(body, tensor.name);
		struct infer_reply_output *output = &outputs[*count];

		if (wanted == NULL && body->output_count > 0) {
			continue;
		}
		output->binary = wanted == NULL ? body->binary_by_default : wanted->binary;
		output->tensor = tensor;
		if (wanted != NULL && wanted->classification > 0) {
			status = classify(&tensor, model_batches(request->model), wanted->classification,
					  request->model->labels[i], request->arena, &output->tensor, error);
		}
		++*count;
	}
	return status;
}

size_t
infer_encoding_size(const struct inference_request *request, const struct infer_body *body, bool compresses)
{
	size_t count = request->entry->length <= INFER_LONG ? 0 : entry_output_count(request->entry);
	size_t size = request->id.length;

	for (size_t i = 0; i < count; i++) {
		struct tensor tensor = entry_output(request->entry, i);
		const struct infer_body_output *wanted = infer_requested(body, tensor.name);
		bool binary = wanted == NULL ? body->binary_by_default : wanted->binary;
		bool chosen = wanted != NULL || body->output_count == 0;

		if (chosen && (!binary || (wanted != NULL && wanted->classification > 0) || compresses)) {
			size += tensor.data.length;
		}
	}
	return size;
}

struct blob *
infer_move_inputs(struct infer_body *body)
{
	struct blob *block;
	size_t total = 0;

	for (size_t i = 0; i < body->input_count; i++) {
		total += job_aligned(body->inputs[i].data.length);
	}
	block = blob_new(total);
	total = 0;
	for (size_t i = 0; block != NULL && i < body->input_count; i++) {
		struct bytes *data = &body->inputs[i].data;

		if (data->length > 0) {
			memcpy(block->data + total, data->at, data->length);
		}
		*data = bytes_make(block->data + total, data->length);
		total += job_aligned(data->length);
	}
	return block;
}

struct buf
infer_describe_cache(const struct inference_request *request, const struct response_cache *cache, struct arena *arena)
{
	struct buf text = {.at = NULL};

	if (request->report.cached) {
		text.at = arena_room(arena, CACHE_STATUS_MAX);
		text.capacity = text.maximum = text.at == NULL ? 0 : CACHE_STATUS_MAX;
		cache_status_write(&request->report, cache->ops->name, &text);
	}
	return text;
}

enum status
infer_pack(enum coding coding, const struct bytes *pieces, size_t count, struct blob **packed, struct error *error)
{
	struct buf text;

	*packed = NULL;
	buf_init(&text, SIZE_MAX / 2);
	if (compress_pieces(coding, pieces, count, &text) == STATUS_OK) {
		*packed = blob_copy(buf_bytes(&text));
	}
	buf_fini(&text);
	return *packed == NULL ? error_set(error, STATUS_UNAVAILABLE, "no memory for the response") : STATUS_OK;
}

enum status
infer_over_budget(size_t limit, struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE,
			 "the bodies in flight have used up the %zu bytes that they may take together: try again "
			 "later. Use --http-max-inflight-bytes to increase the limit.",
			 limit);
}

struct bytes
infer_stated_version(const struct model *model, uint8_t *digits)
{
	struct buf number = {.at = digits, .capacity = INFER_DIGITS, .maximum = INFER_DIGITS};

	if (remote_is_unversioned(model)) {
		return model_config_parameter(&model->config, REMOTE_UNVERSIONED)->value;
	}
	buf_signed(&number, model->version);
	return buf_bytes(&number);
}
