#include "wire/infer_response.h"

#include "base/log.h"
#include "wire/request_field.h"
#include "wire/tensor_message.h"

#define PARTS_MAX 65536 /* outputs, raw contents, parameters */

struct decoder {
	struct message_decoder common;
	struct infer_response *out;
	struct bytes *raw;
	size_t raw_count;
};

/* --- Counting --- */

static struct bytes *
text_slot(struct infer_response *out, uint32_t number)
{
	switch (number) {
	case RESPONSE_MODEL_NAME:
		return &out->model_name;
	case RESPONSE_MODEL_VERSION:
		return &out->model_version;
	case RESPONSE_ID:
		return &out->id;
	default:
		return NULL;
	}
}

/* Reads the texts, and counts the rest. */
static enum status
read_texts(struct decoder *decoder, struct bytes message)
{
	struct infer_response *out = decoder->out;
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && (step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		struct bytes *text = text_slot(out, field.number);

		if (step == PROTOBUF_MALFORMED || (field.number <= RESPONSE_RAW && field.type != PROTOBUF_BYTES)) {
			return request_malformed(decoder->common.error);
		}
		out->has_more |= field.number > RESPONSE_RAW;
		out->parameter_count += field.number == RESPONSE_PARAMETERS;
		out->output_count += field.number == RESPONSE_OUTPUTS;
		decoder->raw_count += field.number == RESPONSE_RAW;
		if (text != NULL) {
			status = request_text(&field, text, decoder->common.error);
		}
	}
	return status;
}

static enum status
make_room(struct decoder *decoder)
{
	struct infer_response *out = decoder->out;
	struct arena *arena = decoder->common.arena;

	if (out->parameter_count > PARTS_MAX || out->output_count > PARTS_MAX || decoder->raw_count > PARTS_MAX) {
		return error_set(decoder->common.error, STATUS_INTERNAL,
				 "it has too many parts: %zu outputs, %zu raw contents, %zu parameters",
				 out->output_count, decoder->raw_count, out->parameter_count);
	}
	out->parameters = arena_array(arena, out->parameter_count, sizeof(*out->parameters));
	out->outputs = arena_array(arena, out->output_count, sizeof(*out->outputs));
	decoder->raw = arena_array(arena, decoder->raw_count, sizeof(*decoder->raw));
	return out->parameters == NULL || out->outputs == NULL || decoder->raw == NULL
		       ? message_no_memory(&decoder->common)
		       : STATUS_OK;
}

/* --- Parts --- */

static enum status
read_parameter(struct decoder *decoder, struct bytes entry, struct parameter *parameter)
{
	uint32_t choice;
	enum status status = message_parameter_read(&decoder->common, entry, parameter, &choice);

	if (status == STATUS_OK && choice == CHOICE_NONE) {
		return error_set(decoder->common.error, STATUS_INTERNAL, "its parameter '%.*s' has no value",
				 BYTES_ARGS(parameter->name));
	}
	return status;
}

/* Raw contents stand for all outputs, in their order, or for none. */
static enum status
read_output(struct decoder *decoder, struct bytes message, size_t index)
{
	struct tensor_message read = {0};
	enum status status = message_tensor_read(&decoder->common, message, &read);

	if (status == STATUS_OK && read.has_contents) {
		status = message_contents_read(&decoder->common, &read);
	}
	if (status == STATUS_OK && decoder->raw_count > 0) {
		if (read.tensor.data.length > 0 || index >= decoder->raw_count) {
			return error_set(decoder->common.error, STATUS_INTERNAL,
					 "its raw contents are not one for each output");
		}
		read.tensor.data = decoder->raw[index];
	}
	decoder->out->outputs[index] = read.tensor;
	return status;
}

static enum status
read_parts(struct decoder *decoder, struct bytes message)
{
	struct infer_response *out = decoder->out;
	struct protobuf_field field;
	enum status status = STATUS_OK;
	size_t parameters = 0;
	size_t outputs = 0;

	while (status == STATUS_OK && protobuf_next(&message, &field) == PROTOBUF_FIELD) {
		if (field.number == RESPONSE_PARAMETERS) {
			status = read_parameter(decoder, field.bytes, &out->parameters[parameters++]);
		} else if (field.number == RESPONSE_OUTPUTS) {
			status = read_output(decoder, field.bytes, outputs++);
		}
	}
	return status;
}

/* The decoders of tensors and parameters read requests, too: the text is that of a client's fault. */
static enum status
blame_server(struct error *error)
{
	log_verbose("an inference response of gRPC: %s", error->text);
	return error_set(error, STATUS_INTERNAL, "it is no inference response of the protocol");
}

enum status
infer_response_decode(struct bytes message, struct arena *arena, struct infer_response *response, struct error *error)
{
	struct decoder decoder = {.common = {.arena = arena, .error = error}, .out = response};
	struct bytes rest = message;
	struct protobuf_field field;
	enum status status;
	size_t raw = 0;

	*response = (struct infer_response){0};
	status = read_texts(&decoder, message);
	if (status == STATUS_OK) {
		status = make_room(&decoder);
	}
	while (status == STATUS_OK && protobuf_next(&rest, &field) == PROTOBUF_FIELD) {
		if (field.number == RESPONSE_RAW) {
			decoder.raw[raw++] = field.bytes;
		}
	}
	if (status == STATUS_OK) {
		status = read_parts(&decoder, message);
	}
	if (status == STATUS_OK && decoder.raw_count > response->output_count) {
		status = error_set(error, STATUS_INTERNAL, "its raw contents are not one for each output");
	}
	response->has_more |= decoder.common.has_more;
	return status == STATUS_OK || status == STATUS_UNAVAILABLE ? status : blame_server(error);
}
