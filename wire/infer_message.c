#include "wire/infer_message.h"

#include "wire/request_field.h"
#include "wire/tensor_message.h"

#define PARAMETERS_MAX 256 /* bounds the search for duplicates, which is quadratic */
#define TENSORS_MAX 65536

/* Field numbers of grpc_service.proto. */
enum {
	REQUEST_MODEL_NAME = 1,
	REQUEST_MODEL_VERSION = 2,
	REQUEST_ID = 3,
	REQUEST_PARAMETERS = 4,
	REQUEST_INPUTS = 5,
	REQUEST_OUTPUTS = 6,
	REQUEST_RAW = 7
};
enum { OUTPUT_NAME = 1, OUTPUT_PARAMETERS = 2 };

struct decoder {
	struct message_decoder common;
	struct infer_message *out;
	struct bytes *raw;
	size_t raw_count;
};

/* --- Parameters --- */

static struct parameter *
parameter_slot(struct infer_message *out, struct bytes name)
{
	struct infer_body *body = &out->body;

	for (size_t i = 0; i < body->parameter_count; i++) {
		if (bytes_equal(body->parameters[i].name, name)) {
			out->has_more = true;
			return &body->parameters[i]; /* of equal keys of a map, the last counts */
		}
	}
	return &body->parameters[body->parameter_count++];
}

#define CHOICE(number) (1U << (number))

/* Checks the type of a parameter; those that the protocol defines have fixed ones. */
static enum status
check_choice(const struct parameter *parameter, uint32_t choice, struct error *error)
{
	static const struct {
		const char *name;
		unsigned choices;
		const char *expected;
	} standards[] = {
		{"priority", CHOICE(CHOICE_INT64) | CHOICE(CHOICE_UINT64), "int64_param or uint64_param"},
		{"timeout", CHOICE(CHOICE_INT64), "int64_param"},
		{"sequence_id", CHOICE(CHOICE_INT64) | CHOICE(CHOICE_STRING), "int64_param or string_param"},
		{"sequence_start", CHOICE(CHOICE_BOOL), "bool_param"},
		{"sequence_end", CHOICE(CHOICE_BOOL), "bool_param"},
		{"triton_enable_empty_final_response", CHOICE(CHOICE_BOOL), "bool_param"},
		{NULL, ~CHOICE(0), "int64_param, bool_param, or string_param"}, /* any other */
	};
	size_t i = 0;

	while (standards[i].name != NULL && !bytes_equal_text(parameter->name, standards[i].name)) {
		i++;
	}
	if ((standards[i].choices & CHOICE(choice)) == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "invalid value type for '%.*s' parameter, expected %s.", BYTES_ARGS(parameter->name),
				 standards[i].expected);
	}
	if (i == 0 && parameter->kind == PARAMETER_SIGNED && parameter->signed_number < 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "invalid value for 'priority', expected value >= 0.");
	}
	return STATUS_OK;
}

static enum status
add_parameter(struct decoder *decoder, struct bytes entry)
{
	struct parameter parameter = {0};
	uint32_t choice;
	bool asks_final;
	enum status status = message_parameter_read(&decoder->common, entry, &parameter, &choice);

	if (status != STATUS_OK) {
		return status;
	}
	decoder->common.has_more |= choice == CHOICE_UINT64; /* Triton takes it for priority only */
	asks_final = bytes_equal_text(parameter.name, "triton_enable_empty_final_response");
	if (!asks_final && bytes_starts_with(parameter.name, "triton_")) {
		return error_set(
			decoder->common.error, STATUS_INVALID_ARGUMENT,
			"parameter keys starting with 'triton_' are reserved for Triton usage. Only the following "
			"keys starting with 'triton_' are allowed: triton_enable_empty_final_response");
	}
	status = check_choice(&parameter, choice, decoder->common.error);
	if (status == STATUS_OK && !asks_final) { /* each response here is final, and has content */
		*parameter_slot(decoder->out, parameter.name) = parameter;
	}
	return status;
}

/* --- Inputs --- */

/* Sets the input's data. `*raw` is the index of the next raw tensor. */
static enum status
fill_input(struct decoder *decoder, struct tensor_message *read, struct tensor *input, size_t *raw)
{
	const struct bytes *model = &decoder->out->model_name;

	if (read->has_shared_memory) {
		return error_set(decoder->common.error, STATUS_UNSUPPORTED,
				 "shared memory is not supported: send the data of input '%.*s' in the request",
				 BYTES_ARGS(input->name));
	}
	if (read->has_contents && decoder->raw_count > 0) {
		return error_set(decoder->common.error, STATUS_INVALID_ARGUMENT,
				 "contents field must not be specified when using raw_input_contents for '%.*s' for "
				 "model '%.*s'",
				 BYTES_ARGS(input->name), BYTES_ARGS(*model));
	}
	if (read->has_contents) {
		enum status status = message_contents_read(&decoder->common, read);

		input->data = read->tensor.data;
		return status;
	}
	if (*raw >= decoder->raw_count) {
		return error_set(decoder->common.error, STATUS_INVALID_ARGUMENT,
				 "unable to find data for input tensor '%.*s' for model '%.*s' in request.",
				 BYTES_ARGS(input->name), BYTES_ARGS(*model));
	}
	input->data = decoder->raw[(*raw)++];
	return STATUS_OK;
}

#define COMPARED_MAX 64 /* bounds the search for inputs given twice, which is quadratic */

/* Names an input given twice before its data are looked at, as Triton does; validate_inputs finds those further on. */
static enum status
check_names(const struct infer_body *body, struct error *error)
{
	for (size_t i = 1; i < body->input_count && i < COMPARED_MAX; i++) {
		struct bytes name = body->inputs[i].name;
		size_t same = 0;

		while (!bytes_equal(body->inputs[same].name, name)) {
			same++;
		}
		if (same < i) {
			struct bytes id = body->id.length == 0 ? bytes_text("<id_unknown>") : body->id;

			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "[request id: %.*s] input '%.*s' already exists in request", BYTES_ARGS(id),
					 BYTES_ARGS(name));
		}
	}
	return STATUS_OK;
}

static enum status
read_inputs(struct decoder *decoder, struct bytes message)
{
	struct infer_body *body = &decoder->out->body;
	struct tensor_message *read = arena_array(decoder->common.arena, body->input_count, sizeof(*read));
	struct protobuf_field field;
	enum status status = read == NULL ? message_no_memory(&decoder->common) : STATUS_OK;
	size_t raw = 0;
	size_t at = 0;

	while (status == STATUS_OK && protobuf_next(&message, &field) == PROTOBUF_FIELD) {
		if (field.number == REQUEST_INPUTS) {
			status = message_tensor_read(&decoder->common, field.bytes, &read[at]);
			body->inputs[at] = read[at].tensor;
			at++;
		}
	}
	if (status == STATUS_OK) {
		status = check_names(body, decoder->common.error);
	}
	for (size_t i = 0; i < body->input_count && status == STATUS_OK; i++) {
		status = fill_input(decoder, &read[i], &body->inputs[i], &raw);
	}
	decoder->common.has_more |= raw < decoder->raw_count;
	return status;
}

/* --- Outputs --- */

static enum status
read_output_parameter(struct decoder *decoder, struct bytes entry, struct infer_body_output *output)
{
	struct parameter parameter = {0};
	uint32_t choice;
	enum status status = message_parameter_read(&decoder->common, entry, &parameter, &choice);

	if (status != STATUS_OK) {
		return status;
	}
	if (bytes_equal_text(parameter.name, "shared_memory_region")) {
		return error_set(decoder->common.error, STATUS_UNSUPPORTED,
				 "shared memory is not supported: take output '%.*s' from the response",
				 BYTES_ARGS(output->name));
	}
	if (!bytes_equal_text(parameter.name, "classification")) {
		return STATUS_OK;
	}
	if (choice != CHOICE_INT64) {
		return error_set(decoder->common.error, STATUS_INVALID_ARGUMENT,
				 "invalid value type for 'classification' parameter, expected int64_param");
	}
	if (parameter.signed_number <= 0) {
		return error_set(decoder->common.error, STATUS_INVALID_ARGUMENT,
				 "invalid value for 'classification' parameter, expected >= 0");
	}
	output->classification =
		(uint32_t)(parameter.signed_number > UINT32_MAX ? UINT32_MAX : parameter.signed_number);
	return STATUS_OK;
}

static enum status
read_output(struct decoder *decoder, struct bytes message, struct infer_body_output *output)
{
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = STATUS_OK;

	output->binary = true;
	while (status == STATUS_OK && (step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->common.error);
		}
		decoder->common.has_more |= field.number != OUTPUT_NAME;
		if (field.number == OUTPUT_NAME) {
			status = request_text(&field, &output->name, decoder->common.error);
		} else if (field.number == OUTPUT_PARAMETERS && field.type == PROTOBUF_BYTES) {
			status = read_output_parameter(decoder, field.bytes, output);
		}
	}
	return status;
}

static enum status
read_outputs(struct decoder *decoder, struct bytes message)
{
	struct protobuf_field field;
	enum status status = STATUS_OK;
	size_t at = 0;

	while (status == STATUS_OK && protobuf_next(&message, &field) == PROTOBUF_FIELD) {
		if (field.number == REQUEST_OUTPUTS) {
			status = read_output(decoder, field.bytes, &decoder->out->body.outputs[at++]);
		}
	}
	return status;
}

/* --- The request --- */

/* Where a text of the request goes; NULL: the field is none. */
static struct bytes *
text_slot(struct infer_message *out, uint32_t number)
{
	switch (number) {
	case REQUEST_MODEL_NAME:
		return &out->model_name;
	case REQUEST_MODEL_VERSION:
		return &out->model_version;
	case REQUEST_ID:
		return &out->body.id;
	default:
		return NULL;
	}
}

static void
count_field(struct infer_message *out, uint32_t number)
{
	switch (number) {
	case REQUEST_PARAMETERS:
		out->parameter_fields++;
		break;
	case REQUEST_INPUTS:
		out->body.input_count++;
		break;
	case REQUEST_OUTPUTS:
		out->body.output_count++;
		break;
	case REQUEST_RAW:
		out->raw_fields++;
		break;
	default:
		break;
	}
}

enum status
infer_message_name(struct bytes message, struct infer_message *out, struct error *error)
{
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = STATUS_OK;

	*out = (struct infer_message){.body = {.binary_by_default = true}};
	while (status == STATUS_OK && (step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		struct bytes *text = text_slot(out, field.number);

		if (step == PROTOBUF_MALFORMED ||
		    (field.number <= REQUEST_RAW && field.type != PROTOBUF_BYTES)) { /* all of them are of that type */
			return request_malformed(error);
		}
		count_field(out, field.number);
		out->has_more |= field.number > REQUEST_RAW;
		if (text != NULL) {
			status = request_text(&field, text, error);
		}
	}
	return status;
}

/* Makes room for the repeated fields. */
static enum status
make_room(struct decoder *decoder)
{
	struct infer_message *out = decoder->out;
	struct infer_body *body = &out->body;

	if (out->parameter_fields > PARAMETERS_MAX || body->input_count > TENSORS_MAX ||
	    body->output_count > TENSORS_MAX || out->raw_fields > TENSORS_MAX) {
		return error_set(
			decoder->common.error, STATUS_INVALID_ARGUMENT,
			"request has too many parts: the maximum is %d parameters, and %d each of inputs, outputs "
			"and raw contents",
			PARAMETERS_MAX, TENSORS_MAX);
	}
	decoder->raw_count = out->raw_fields;
	body->parameters = arena_array(decoder->common.arena, out->parameter_fields, sizeof(*body->parameters));
	body->inputs = arena_array(decoder->common.arena, body->input_count, sizeof(*body->inputs));
	body->outputs = arena_array(decoder->common.arena, body->output_count, sizeof(*body->outputs));
	decoder->raw = arena_array(decoder->common.arena, decoder->raw_count, sizeof(*decoder->raw));
	return body->parameters == NULL || body->inputs == NULL || body->outputs == NULL || decoder->raw == NULL
		       ? message_no_memory(&decoder->common)
		       : STATUS_OK;
}

enum status
infer_message_decode(struct bytes message, struct arena *arena, struct infer_message *out, struct error *error)
{
	struct decoder decoder = {.common = {.arena = arena, .error = error, .model_name = out->model_name},
				  .out = out};
	struct bytes rest = message;
	struct protobuf_field field;
	enum status status = make_room(&decoder);
	size_t raw = 0;

	while (status == STATUS_OK && protobuf_next(&rest, &field) == PROTOBUF_FIELD) {
		if (field.number == REQUEST_PARAMETERS) {
			status = add_parameter(&decoder, field.bytes);
		} else if (field.number == REQUEST_RAW) {
			decoder.raw[raw++] = field.bytes;
		}
	}
	if (status == STATUS_OK) {
		status = read_inputs(&decoder, message);
	}
	if (status == STATUS_OK && out->body.output_count > 0) {
		status = read_outputs(&decoder, message);
	}
	out->has_more |= decoder.common.has_more;
	out->converted = decoder.common.converted;
	return status;
}

size_t
infer_message_alignment_point(struct bytes beginning)
{
	struct bytes rest = beginning;

	while (rest.length > 0) {
		uint64_t tag;
		uint64_t length;

		if (!protobuf_take_varint(&rest, &tag) || (tag & 7) != PROTOBUF_BYTES ||
		    !protobuf_take_varint(&rest, &length)) {
			return 0;
		}
		if (tag >> 3 == REQUEST_RAW) {
			return (size_t)(rest.at - beginning.at);
		}
		if (length > rest.length) {
			return 0;
		}
		rest = bytes_skip(rest, (size_t)length);
	}
	return 0;
}
