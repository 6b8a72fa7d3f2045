#include "wire/infer_message.h"

#include "wire/request_field.h"

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
enum { INPUT_NAME = 1, INPUT_DATATYPE = 2, INPUT_SHAPE = 3, INPUT_PARAMETERS = 4, INPUT_CONTENTS = 5 };
enum { OUTPUT_NAME = 1, OUTPUT_PARAMETERS = 2 };
enum {
	PARAMETER_BOOL = 1,
	PARAMETER_INT64 = 2,
	PARAMETER_STRING = 3,
	PARAMETER_DOUBLE_FIELD = 4,
	PARAMETER_UINT64 = 5
};
enum {
	RESPONSE_MODEL_NAME = 1,
	RESPONSE_MODEL_VERSION = 2,
	RESPONSE_ID = 3,
	RESPONSE_PARAMETERS = 4,
	RESPONSE_OUTPUTS = 5,
	RESPONSE_RAW = 6
};
enum { RESPONSE_OUTPUT_PARAMETERS = 4 };
enum { STREAM_ERROR = 1, STREAM_RESPONSE = 2 };

struct decoder {
	struct arena *arena;
	struct infer_message *out;
	struct bytes *raw;
	size_t raw_count;
	struct error *error;
};

static enum status
no_memory(struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE, "no memory for the request's tensors");
}

/* --- Parameters --- */

/* A map entry: its key, and its value, which may be absent. */
static enum status
read_entry(struct decoder *decoder, struct bytes entry, struct bytes *key, struct bytes *value)
{
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = STATUS_OK;

	*key = *value = bytes_make(NULL, 0);
	while (status == STATUS_OK && (step = protobuf_next(&entry, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		if (field.number == 1) {
			status = request_text(&field, key, decoder->error);
		} else if (field.number == 2 && field.type == PROTOBUF_BYTES) {
			decoder->out->has_more |= value->at != NULL; /* protobuf would merge the two */
			*value = field.bytes;
		} else {
			decoder->out->has_more = true;
		}
	}
	return status;
}

/* A number is signed if it fits, as in JSON, so that a value has one form, also in the cache's key. */
static void
set_integer(struct parameter *parameter, uint64_t value, bool is_signed)
{
	if (is_signed || value <= INT64_MAX) {
		parameter->kind = PARAMETER_SIGNED;
		parameter->signed_number = (int64_t)value;
	} else {
		parameter->kind = PARAMETER_UNSIGNED;
		parameter->unsigned_number = value;
	}
}

/* Reads an InferParameter, in which the last member of the oneof counts. Sets *choice to its number, 0: none. */
static enum status
read_parameter(struct decoder *decoder, struct bytes message, struct parameter *parameter, uint32_t *choice)
{
	struct protobuf_field field;
	enum protobuf_step step;

	*choice = 0;
	while ((step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		bool is_varint = step == PROTOBUF_FIELD && field.type == PROTOBUF_VARINT;

		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		if (field.number == PARAMETER_BOOL && is_varint) {
			parameter->kind = PARAMETER_BOOLEAN;
			parameter->boolean = field.value != 0;
		} else if ((field.number == PARAMETER_INT64 || field.number == PARAMETER_UINT64) && is_varint) {
			decoder->out->has_more |=
				field.number == PARAMETER_UINT64; /* Triton takes it for priority only */
			set_integer(parameter, field.value, field.number == PARAMETER_INT64);
		} else if (field.number == PARAMETER_DOUBLE_FIELD && field.type == PROTOBUF_FIXED64) {
			parameter->kind = PARAMETER_DOUBLE;
			memcpy(&parameter->number, &field.value, sizeof(parameter->number));
		} else if (field.number == PARAMETER_STRING && field.type == PROTOBUF_BYTES) {
			parameter->kind = PARAMETER_TEXT;
			if (request_text(&field, &parameter->text, decoder->error) != STATUS_OK) {
				return decoder->error->status;
			}
		} else { /* unknown to this server */
			decoder->out->has_more = true;
			continue;
		}
		*choice = field.number;
	}
	return STATUS_OK;
}

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
		{"priority", CHOICE(PARAMETER_INT64) | CHOICE(PARAMETER_UINT64), "int64_param or uint64_param"},
		{"timeout", CHOICE(PARAMETER_INT64), "int64_param"},
		{"sequence_id", CHOICE(PARAMETER_INT64) | CHOICE(PARAMETER_STRING), "int64_param or string_param"},
		{"sequence_start", CHOICE(PARAMETER_BOOL), "bool_param"},
		{"sequence_end", CHOICE(PARAMETER_BOOL), "bool_param"},
		{"triton_enable_empty_final_response", CHOICE(PARAMETER_BOOL), "bool_param"},
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
	struct bytes value;
	uint32_t choice;
	bool asks_final;
	enum status status = read_entry(decoder, entry, &parameter.name, &value);

	if (status == STATUS_OK) {
		status = read_parameter(decoder, value, &parameter, &choice);
	}
	if (status != STATUS_OK) {
		return status;
	}
	asks_final = bytes_equal_text(parameter.name, "triton_enable_empty_final_response");
	if (!asks_final && bytes_starts_with(parameter.name, "triton_")) {
		return error_set(
			decoder->error, STATUS_INVALID_ARGUMENT,
			"parameter keys starting with 'triton_' are reserved for Triton usage. Only the following "
			"keys starting with 'triton_' are allowed: triton_enable_empty_final_response");
	}
	status = check_choice(&parameter, choice, decoder->error);
	if (status == STATUS_OK && !asks_final) { /* each response here is final, and has content */
		*parameter_slot(decoder->out, parameter.name) = parameter;
	}
	return status;
}

/* --- Inputs --- */

/* What the elements of a field of InferTensorContents look like, and which datatypes they are for. */
struct contents_kind {
	enum protobuf_type type;
	enum datatype datatypes[3];
	enum datatype named; /* in the error text */
};

static const struct contents_kind contents_kinds[] = {
	[1] = {PROTOBUF_VARINT, {DATATYPE_BOOL}, DATATYPE_BOOL},
	[2] = {PROTOBUF_VARINT, {DATATYPE_INT8, DATATYPE_INT16, DATATYPE_INT32}, DATATYPE_INT32},
	[3] = {PROTOBUF_VARINT, {DATATYPE_INT64}, DATATYPE_INT64},
	[4] = {PROTOBUF_VARINT, {DATATYPE_UINT8, DATATYPE_UINT16, DATATYPE_UINT32}, DATATYPE_UINT32},
	[5] = {PROTOBUF_VARINT, {DATATYPE_UINT64}, DATATYPE_UINT64},
	[6] = {PROTOBUF_FIXED32, {DATATYPE_FP32}, DATATYPE_FP32},
	[7] = {PROTOBUF_FIXED64, {DATATYPE_FP64}, DATATYPE_FP64},
	[8] = {PROTOBUF_BYTES, {DATATYPE_BYTES}, DATATYPE_BYTES},
};
#define CONTENTS_KINDS (sizeof(contents_kinds) / sizeof(*contents_kinds))

/* Where elements go: `at` NULL only counts. */
struct contents_sink {
	uint8_t *at;
	size_t length;
	size_t size; /* of an element */
};

static void
put_element(struct contents_sink *sink, uint64_t value, bool is_boolean)
{
	if (is_boolean) {
		value = value != 0;
	}
	if (sink->at != NULL) {
		memcpy(sink->at + sink->length, &value,
		       sink->size); /* little-endian; larger values are cut, as in C++ */
	}
	sink->length += sink->size;
}

static void
put_string(struct contents_sink *sink, struct bytes string)
{
	uint32_t length = (uint32_t)string.length;

	if (sink->at != NULL) {
		memcpy(sink->at + sink->length, &length, sizeof(length));
		if (length > 0) {
			memcpy(sink->at + sink->length + sizeof(length), string.at, length);
		}
	}
	sink->length += sizeof(length) + length;
}

/* Puts the elements of one field, packed or single. False: malformed. */
static bool
put_field(struct contents_sink *sink, const struct protobuf_field *field)
{
	const struct contents_kind *kind = &contents_kinds[field->number];
	bool is_boolean = kind->named == DATATYPE_BOOL;
	struct bytes packed = field->bytes;

	if (kind->type == PROTOBUF_BYTES) {
		if (field->type == PROTOBUF_BYTES) {
			put_string(sink, field->bytes);
		}
		return field->type == PROTOBUF_BYTES;
	}
	if (field->type == kind->type) {
		put_element(sink, field->value, is_boolean);
		return true;
	}
	if (field->type != PROTOBUF_BYTES) {
		return false;
	}
	if (kind->type != PROTOBUF_VARINT) { /* the packed form is the tensor's own */
		if (sink->at != NULL && packed.length > 0) {
			memcpy(sink->at + sink->length, packed.at, packed.length);
		}
		sink->length += packed.length;
		return packed.length % sink->size == 0;
	}
	while (packed.length > 0) {
		uint64_t value;

		if (!protobuf_take_varint(&packed, &value)) {
			return false;
		}
		put_element(sink, value, is_boolean);
	}
	return true;
}

static bool
fits(const struct contents_kind *kind, enum datatype datatype)
{
	for (size_t i = 0; i < 3; i++) {
		if (kind->datatypes[i] != DATATYPE_INVALID && kind->datatypes[i] == datatype) {
			return true;
		}
	}
	return false;
}

/* A field of InferTensorContents that has elements. An empty string is one; an empty packed field has none. */
static bool
has_elements(const struct protobuf_field *field)
{
	return field->number < CONTENTS_KINDS && (field->type != PROTOBUF_BYTES || field->bytes.length > 0 ||
						  contents_kinds[field->number].type == PROTOBUF_BYTES);
}

/* Checks that all elements are in the field for the datatype; sets sink->length to the tensor's bytes. */
static enum status
measure_contents(struct decoder *decoder, const struct tensor *input, struct bytes contents, struct contents_sink *sink)
{
	struct protobuf_field field;
	enum protobuf_step step;
	uint32_t used = 0;

	while ((step = protobuf_next(&contents, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		decoder->out->has_more |= field.number >= CONTENTS_KINDS;
		if (!has_elements(&field)) {
			continue;
		}
		if (used != 0 && used != field.number) {
			return error_set(
				decoder->error, STATUS_INVALID_ARGUMENT,
				"unexpected explicit tensor data for input tensor '%.*s' for model '%.*s', binary "
				"data was already supplied.",
				BYTES_ARGS(input->name), BYTES_ARGS(decoder->out->model_name));
		}
		used = field.number;
		if (!fits(&contents_kinds[field.number], input->datatype)) {
			return error_set(
				decoder->error, STATUS_INVALID_ARGUMENT,
				"unexpected explicit tensor data for input tensor '%.*s' for model '%.*s' of type "
				"'%s', expected datatype '%s'",
				BYTES_ARGS(input->name), BYTES_ARGS(decoder->out->model_name),
				datatype_name(contents_kinds[field.number].named), datatype_name(input->datatype));
		}
		if (!put_field(sink, &field)) {
			return request_malformed(decoder->error);
		}
	}
	return STATUS_OK;
}

/* Makes the tensor's data from typed contents. */
static enum status
read_contents(struct decoder *decoder, struct tensor *input, struct bytes contents)
{
	struct contents_sink sink = {.size = datatype_size(input->datatype)};
	enum status status = measure_contents(decoder, input, contents, &sink);
	struct protobuf_field field;

	if (status != STATUS_OK || sink.length == 0) {
		return status;
	}
	sink.at = arena_room(decoder->arena, sink.length);
	if (sink.at == NULL) {
		return no_memory(decoder->error);
	}
	decoder->out->converted += sink.length;
	sink.length = 0;
	while (protobuf_next(&contents, &field) == PROTOBUF_FIELD) {
		if (has_elements(&field)) {
			(void)put_field(&sink, &field);
		}
	}
	input->data = bytes_make(sink.at, sink.length);
	return STATUS_OK;
}

/* Reads the dimensions, packed or single, of which there are `*rank` so far. */
static enum status
read_shape(const struct protobuf_field *field, int64_t *shape, size_t *rank, struct error *error)
{
	struct bytes packed = field->bytes;
	uint64_t value = field->value;

	if (field->type != PROTOBUF_BYTES && field->type != PROTOBUF_VARINT) {
		return request_malformed(error);
	}
	while (field->type == PROTOBUF_VARINT || packed.length > 0) {
		if (field->type == PROTOBUF_BYTES && !protobuf_take_varint(&packed, &value)) {
			return request_malformed(error);
		}
		if (*rank == TENSOR_RANK_MAX) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "an input has a shape of more than %d dimensions", TENSOR_RANK_MAX);
		}
		shape[(*rank)++] = (int64_t)value;
		if (field->type == PROTOBUF_VARINT) {
			break;
		}
	}
	return STATUS_OK;
}

/* How many dimensions the message states, up to the maximum. */
static size_t
count_dims(struct bytes message)
{
	struct protobuf_field field;
	size_t count = 0;

	while (count < TENSOR_RANK_MAX && protobuf_next(&message, &field) == PROTOBUF_FIELD) {
		if (field.number == INPUT_SHAPE) {
			count += field.type == PROTOBUF_BYTES ? field.bytes.length : 1; /* at least a byte each */
		}
	}
	return count < TENSOR_RANK_MAX ? count : TENSOR_RANK_MAX;
}

/* What a tensor of a request says beside its name and shape. */
struct tensor_extras {
	struct bytes contents;
	bool has_contents;
	bool has_shared_memory;
};

/* Reads a parameter of an input: its content type, or one that only the server behind may know. */
static enum status
read_input_parameter(struct decoder *decoder, struct bytes entry, struct tensor *input, struct tensor_extras *extras)
{
	struct parameter parameter = {0};
	uint32_t choice = 0;
	struct bytes value;
	enum status status = read_entry(decoder, entry, &parameter.name, &value);

	if (status == STATUS_OK && bytes_equal_text(parameter.name, "content_type")) {
		status = read_parameter(decoder, value, &parameter, &choice);
	}
	if (choice == PARAMETER_STRING && parameter.text.length > 0 &&
	    parameter.text.length <= TENSOR_CONTENT_TYPE_MAX && input->content_type.length == 0) {
		input->content_type = parameter.text;
	} else {
		decoder->out->has_more = true;
	}
	extras->has_shared_memory |= status == STATUS_OK && bytes_equal_text(parameter.name, "shared_memory_region");
	return status;
}

/* Reads an InferInputTensor. Refuses `contents` given twice, which protobuf would merge, and no library writes. */
static enum status
read_input(struct decoder *decoder, struct bytes message, struct tensor *input, struct tensor_extras *extras)
{
	int64_t *shape = arena_room(decoder->arena, count_dims(message) * sizeof(*shape));
	struct bytes datatype = {0};
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = shape == NULL ? no_memory(decoder->error) : STATUS_OK;

	while (status == STATUS_OK && (step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		switch (field.number) {
		case INPUT_NAME:
			status = request_text(&field, &input->name, decoder->error);
			break;
		case INPUT_DATATYPE:
			status = request_text(&field, &datatype, decoder->error);
			break;
		case INPUT_SHAPE:
			status = read_shape(&field, shape, &input->rank, decoder->error);
			break;
		case INPUT_PARAMETERS:
			status = field.type == PROTOBUF_BYTES
					 ? read_input_parameter(decoder, field.bytes, input, extras)
					 : request_malformed(decoder->error);
			break;
		case INPUT_CONTENTS:
			if (field.type != PROTOBUF_BYTES || extras->has_contents) {
				return request_malformed(decoder->error);
			}
			extras->has_contents = true;
			extras->contents = field.bytes;
			break;
		default:
			decoder->out->has_more = true;
			break;
		}
	}
	input->shape = shape;
	input->datatype = datatype_from_name(datatype);
	return status;
}

/* Sets the input's data. `*raw` is the index of the next raw tensor. */
static enum status
fill_input(struct decoder *decoder, struct tensor *input, const struct tensor_extras *extras, size_t *raw)
{
	const struct bytes *model = &decoder->out->model_name;

	if (extras->has_shared_memory) {
		return error_set(decoder->error, STATUS_UNSUPPORTED,
				 "shared memory is not supported: send the data of input '%.*s' in the request",
				 BYTES_ARGS(input->name));
	}
	if (extras->has_contents && decoder->raw_count > 0) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "contents field must not be specified when using raw_input_contents for '%.*s' for "
				 "model '%.*s'",
				 BYTES_ARGS(input->name), BYTES_ARGS(*model));
	}
	if (extras->has_contents) {
		return read_contents(decoder, input, extras->contents);
	}
	if (*raw >= decoder->raw_count) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
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
	struct tensor_extras *extras = arena_array(decoder->arena, body->input_count, sizeof(*extras));
	struct protobuf_field field;
	enum status status = extras == NULL ? no_memory(decoder->error) : STATUS_OK;
	size_t raw = 0;
	size_t at = 0;

	while (status == STATUS_OK && protobuf_next(&message, &field) == PROTOBUF_FIELD) {
		if (field.number == REQUEST_INPUTS) {
			status = read_input(decoder, field.bytes, &body->inputs[at], &extras[at]);
			at++;
		}
	}
	if (status == STATUS_OK) {
		status = check_names(body, decoder->error);
	}
	for (size_t i = 0; i < body->input_count && status == STATUS_OK; i++) {
		status = fill_input(decoder, &body->inputs[i], &extras[i], &raw);
	}
	decoder->out->has_more |= raw < decoder->raw_count;
	return status;
}

/* --- Outputs --- */

static enum status
read_output_parameter(struct decoder *decoder, struct bytes entry, struct infer_body_output *output)
{
	struct parameter parameter = {0};
	struct bytes value;
	uint32_t choice = 0;
	enum status status = read_entry(decoder, entry, &parameter.name, &value);

	if (status == STATUS_OK) {
		status = read_parameter(decoder, value, &parameter, &choice);
	}
	if (status != STATUS_OK) {
		return status;
	}
	if (bytes_equal_text(parameter.name, "shared_memory_region")) {
		return error_set(decoder->error, STATUS_UNSUPPORTED,
				 "shared memory is not supported: take output '%.*s' from the response",
				 BYTES_ARGS(output->name));
	}
	if (!bytes_equal_text(parameter.name, "classification")) {
		return STATUS_OK;
	}
	if (choice != PARAMETER_INT64) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "invalid value type for 'classification' parameter, expected int64_param");
	}
	if (parameter.signed_number <= 0) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
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
			return request_malformed(decoder->error);
		}
		decoder->out->has_more |= field.number != OUTPUT_NAME;
		if (field.number == OUTPUT_NAME) {
			status = request_text(&field, &output->name, decoder->error);
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
			decoder->error, STATUS_INVALID_ARGUMENT,
			"request has too many parts: the maximum is %d parameters, and %d each of inputs, outputs "
			"and raw contents",
			PARAMETERS_MAX, TENSORS_MAX);
	}
	decoder->raw_count = out->raw_fields;
	body->parameters = arena_array(decoder->arena, out->parameter_fields, sizeof(*body->parameters));
	body->inputs = arena_array(decoder->arena, body->input_count, sizeof(*body->inputs));
	body->outputs = arena_array(decoder->arena, body->output_count, sizeof(*body->outputs));
	decoder->raw = arena_array(decoder->arena, decoder->raw_count, sizeof(*decoder->raw));
	return body->parameters == NULL || body->inputs == NULL || body->outputs == NULL || decoder->raw == NULL
		       ? no_memory(decoder->error)
		       : STATUS_OK;
}

enum status
infer_message_decode(struct bytes message, struct arena *arena, struct infer_message *out, struct error *error)
{
	struct decoder decoder = {.arena = arena, .out = out, .error = error};
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

/* --- The response --- */

static size_t
packed_size(const struct tensor *tensor)
{
	size_t size = 0;

	for (size_t i = 0; i < tensor->rank; i++) {
		size += protobuf_varint_size((uint64_t)tensor->shape[i]);
	}
	return size;
}

static size_t
text_size(struct bytes text)
{
	return text.length == 0 ? 0 : 1 + protobuf_varint_size(text.length) + text.length;
}

static size_t
parameter_size(struct bytes name, struct bytes value)
{
	return text_size(name) + 1 + protobuf_varint_size(value.length) + value.length;
}

/* A map entry: `name`, and an InferParameter of the given content. */
static void
put_parameter(struct buf *out, uint32_t field, struct bytes name, struct bytes value)
{
	protobuf_put_tag(out, field, PROTOBUF_BYTES);
	protobuf_put_varint(out, parameter_size(name, value));
	protobuf_put_text(out, 1, name);
	protobuf_put_bytes(out, 2, value);
}

#define CONTENT_TYPE_NAME bytes_text("content_type")

static size_t
content_type_size(const struct tensor *tensor)
{
	size_t size = parameter_size(CONTENT_TYPE_NAME, bytes_make(NULL, text_size(tensor->content_type)));

	return tensor->content_type.length == 0 ? 0 : 1 + protobuf_varint_size(size) + size;
}

static void
put_content_type(struct buf *out, const struct tensor *tensor)
{
	uint8_t value[TENSOR_CONTENT_TYPE_MAX + 4];
	struct buf parameter = {.at = value, .capacity = sizeof(value), .maximum = sizeof(value)};

	if (tensor->content_type.length > 0) {
		protobuf_put_text(&parameter, PARAMETER_STRING, tensor->content_type);
		put_parameter(out, RESPONSE_OUTPUT_PARAMETERS, CONTENT_TYPE_NAME, buf_bytes(&parameter));
	}
}

static void
put_output(struct buf *out, const struct tensor *tensor)
{
	struct bytes datatype = bytes_text(datatype_name(tensor->datatype));
	size_t shape = packed_size(tensor);
	size_t size = text_size(tensor->name) + text_size(datatype) +
		      (tensor->rank == 0 ? 0 : 1 + protobuf_varint_size(shape) + shape) + content_type_size(tensor);

	protobuf_put_tag(out, RESPONSE_OUTPUTS, PROTOBUF_BYTES);
	protobuf_put_varint(out, size);
	protobuf_put_text(out, 1, tensor->name);
	protobuf_put_text(out, 2, datatype);
	if (tensor->rank > 0) {
		protobuf_put_tag(out, 3, PROTOBUF_BYTES);
		protobuf_put_varint(out, shape);
	}
	for (size_t i = 0; i < tensor->rank; i++) {
		protobuf_put_varint(out, (uint64_t)tensor->shape[i]);
	}
	put_content_type(out, tensor);
}

#define FINAL_NAME bytes_text("triton_final_response")
#define FINAL_VALUE bytes_make("\x08\x01", 2) /* true */

static void
put_final_response(struct buf *out)
{
	put_parameter(out, RESPONSE_PARAMETERS, FINAL_NAME, FINAL_VALUE);
}

static size_t
final_response_size(void)
{
	size_t size = parameter_size(FINAL_NAME, FINAL_VALUE);

	return 1 + protobuf_varint_size(size) + size;
}

#define CACHE_STATUS_MAX 160

static void
put_parameters(struct buf *out, const struct infer_message_reply *reply)
{
	uint8_t value[CACHE_STATUS_MAX];
	struct buf parameter = {.at = value, .capacity = sizeof(value), .maximum = sizeof(value)};

	if (reply->is_stream) {
		put_final_response(out);
	}
	if (reply->cache_status.length > 0) {
		protobuf_put_text(&parameter, PARAMETER_STRING, reply->cache_status);
		if (buf_ok(&parameter)) {
			put_parameter(out, RESPONSE_PARAMETERS, bytes_text("cache_status"), buf_bytes(&parameter));
		}
	}
}

/* Writes all but the raw contents. */
static void
put_head(struct buf *out, const struct infer_message_reply *reply)
{
	protobuf_put_text(out, RESPONSE_MODEL_NAME, reply->model_name);
	protobuf_put_text(out, RESPONSE_MODEL_VERSION, reply->model_version);
	protobuf_put_text(out, RESPONSE_ID, reply->id);
	put_parameters(out, reply);
	for (size_t i = 0; i < reply->output_count; i++) {
		put_output(out, &reply->outputs[i].tensor);
	}
}

/* The most that a tag and a length take. */
#define PREFIX_MAX 11

/* Puts what stands before the data of raw output `i`; returns it. */
static struct bytes
put_raw_head(struct buf *text, struct bytes data)
{
	size_t start = text->length;

	protobuf_put_tag(text, RESPONSE_RAW, PROTOBUF_BYTES);
	protobuf_put_varint(text, data.length);
	return bytes_make(text->at + start, text->length - start);
}

static size_t
body_size(const struct infer_message_reply *reply, size_t head)
{
	for (size_t i = 0; i < reply->output_count; i++) {
		size_t length = reply->outputs[i].tensor.data.length;

		head += 1 + protobuf_varint_size(length) + length;
	}
	return head;
}

/* In front of the head, and of each raw output, there is room for a prefix. */
enum status
infer_message_encode(const struct infer_message_reply *reply, struct buf *text, struct bytes *pieces,
		     size_t *piece_count, struct error *error)
{
	size_t head;
	size_t wrap = 0;
	size_t size;

	buf_clear(text);
	(void)buf_reserve(text, PREFIX_MAX);
	text->length = buf_ok(text) ? PREFIX_MAX : 0;
	put_head(text, reply);
	(void)buf_reserve(text, PREFIX_MAX * (reply->output_count + 1)); /* so that the buffer stays where it is */
	if (!buf_ok(text)) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	head = text->length;
	size = body_size(reply, head - PREFIX_MAX);
	if (size + PREFIX_MAX > INT32_MAX) {
		return error_set(
			error, STATUS_INTERNAL,
			"the response has %zu bytes, more than a message of gRPC may have: ask for fewer outputs, "
			"or over HTTP",
			size);
	}
	if (reply->is_stream) {
		wrap = 1 + protobuf_varint_size(size);
		text->length = PREFIX_MAX - wrap;
		protobuf_put_tag(text, STREAM_RESPONSE, PROTOBUF_BYTES);
		protobuf_put_varint(text, size);
		text->length = head;
	}
	*piece_count = 0;
	pieces[(*piece_count)++] = bytes_make(text->at + PREFIX_MAX - wrap, head - PREFIX_MAX + wrap);
	for (size_t i = 0; i < reply->output_count; i++) {
		struct bytes data = reply->outputs[i].tensor.data;

		pieces[(*piece_count)++] = put_raw_head(text, data);
		if (data.length > 0) {
			pieces[(*piece_count)++] = data;
		}
	}
	return STATUS_OK;
}

void
infer_message_encode_error(struct bytes id, struct bytes failed_model, const char *error_text, struct buf *out)
{
	bool is_final = failed_model.length > 0;

	protobuf_put_text(out, STREAM_ERROR, bytes_text(error_text));
	protobuf_put_tag(out, STREAM_RESPONSE, PROTOBUF_BYTES);
	protobuf_put_varint(out, text_size(failed_model) + text_size(id) + (is_final ? final_response_size() : 0));
	protobuf_put_text(out, RESPONSE_MODEL_NAME, failed_model);
	protobuf_put_text(out, RESPONSE_ID, id);
	if (is_final) {
		put_final_response(out);
	}
}
