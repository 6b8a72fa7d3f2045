#include "wire/tensor_message.h"

#include "wire/request_field.h"

/* Field numbers of grpc_service.proto: of tensors, and of entries of maps. */
enum { TENSOR_NAME = 1, TENSOR_DATATYPE = 2, TENSOR_SHAPE = 3, TENSOR_PARAMETERS = 4, TENSOR_CONTENTS = 5 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };

enum status
message_no_memory(const struct message_decoder *decoder)
{
	return error_set(decoder->error, STATUS_UNAVAILABLE, "no memory for the message's tensors");
}

/* --- Parameters --- */

/* A map entry: its key, and its value, which may be absent. */
static enum status
read_entry(struct message_decoder *decoder, struct bytes entry, struct bytes *key, struct bytes *value)
{
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = STATUS_OK;

	*key = *value = bytes_make(NULL, 0);
	while (status == STATUS_OK && (step = protobuf_next(&entry, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		if (field.number == ENTRY_KEY) {
			status = request_text(&field, key, decoder->error);
		} else if (field.number == ENTRY_VALUE && field.type == PROTOBUF_BYTES) {
			decoder->has_more |= value->at != NULL; /* protobuf would merge the two */
			*value = field.bytes;
		} else {
			decoder->has_more = true;
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
read_value(struct message_decoder *decoder, struct bytes message, struct parameter *parameter, uint32_t *choice)
{
	struct protobuf_field field;
	enum protobuf_step step;

	*choice = CHOICE_NONE;
	while ((step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		bool is_varint = step == PROTOBUF_FIELD && field.type == PROTOBUF_VARINT;

		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		if (field.number == CHOICE_BOOL && is_varint) {
			parameter->kind = PARAMETER_BOOLEAN;
			parameter->boolean = field.value != 0;
		} else if ((field.number == CHOICE_INT64 || field.number == CHOICE_UINT64) && is_varint) {
			set_integer(parameter, field.value, field.number == CHOICE_INT64);
		} else if (field.number == CHOICE_DOUBLE && field.type == PROTOBUF_FIXED64) {
			parameter->kind = PARAMETER_DOUBLE;
			memcpy(&parameter->number, &field.value, sizeof(parameter->number));
		} else if (field.number == CHOICE_STRING && field.type == PROTOBUF_BYTES) {
			parameter->kind = PARAMETER_TEXT;
			if (request_text(&field, &parameter->text, decoder->error) != STATUS_OK) {
				return decoder->error->status;
			}
		} else { /* unknown to this server */
			decoder->has_more = true;
			continue;
		}
		*choice = field.number;
	}
	return STATUS_OK;
}

enum status
message_parameter_read(struct message_decoder *decoder, struct bytes entry, struct parameter *parameter,
		       uint32_t *choice)
{
	struct bytes value;
	enum status status = read_entry(decoder, entry, &parameter->name, &value);

	*choice = CHOICE_NONE;
	return status == STATUS_OK ? read_value(decoder, value, parameter, choice) : status;
}

size_t
message_text_size(struct bytes text)
{
	return text.length == 0 ? 0 : 1 + protobuf_varint_size(text.length) + text.length;
}

/* Of an InferParameter. */
static size_t
value_size(const struct parameter *parameter)
{
	switch (parameter->kind) {
	case PARAMETER_BOOLEAN:
		return 2;
	case PARAMETER_SIGNED:
	case PARAMETER_UNSIGNED:
		return 1 + protobuf_varint_size(parameter->unsigned_number);
	case PARAMETER_DOUBLE:
		return 1 + sizeof(parameter->number);
	default:
		return 1 + protobuf_varint_size(parameter->text.length) + parameter->text.length;
	}
}

/* A member of a oneof is written also where it has proto3's default. */
static void
put_value(struct buf *out, const struct parameter *parameter)
{
	switch (parameter->kind) {
	case PARAMETER_BOOLEAN:
		protobuf_put_tag(out, CHOICE_BOOL, PROTOBUF_VARINT);
		protobuf_put_varint(out, parameter->boolean);
		break;
	case PARAMETER_SIGNED:
		protobuf_put_tag(out, CHOICE_INT64, PROTOBUF_VARINT);
		protobuf_put_varint(out, (uint64_t)parameter->signed_number);
		break;
	case PARAMETER_UNSIGNED:
		protobuf_put_tag(out, CHOICE_UINT64, PROTOBUF_VARINT);
		protobuf_put_varint(out, parameter->unsigned_number);
		break;
	case PARAMETER_DOUBLE:
		protobuf_put_tag(out, CHOICE_DOUBLE, PROTOBUF_FIXED64);
		buf_append(out, bytes_make(&parameter->number, sizeof(parameter->number)));
		break;
	case PARAMETER_TEXT:
		protobuf_put_bytes(out, CHOICE_STRING, parameter->text);
		break;
	}
}

static size_t
entry_size(const struct parameter *parameter)
{
	size_t value = value_size(parameter);

	return message_text_size(parameter->name) + 1 + protobuf_varint_size(value) + value;
}

size_t
message_parameter_size(const struct parameter *parameter)
{
	size_t entry = entry_size(parameter);

	return 1 + protobuf_varint_size(entry) + entry;
}

void
message_parameter_put(struct buf *out, uint32_t field, const struct parameter *parameter)
{
	protobuf_put_tag(out, field, PROTOBUF_BYTES);
	protobuf_put_varint(out, entry_size(parameter));
	protobuf_put_text(out, ENTRY_KEY, parameter->name);
	protobuf_put_tag(out, ENTRY_VALUE, PROTOBUF_BYTES);
	protobuf_put_varint(out, value_size(parameter));
	put_value(out, parameter);
}

/* --- Typed contents --- */

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
measure_contents(struct message_decoder *decoder, const struct tensor *input, struct bytes contents,
		 struct contents_sink *sink)
{
	struct protobuf_field field;
	enum protobuf_step step;
	uint32_t used = 0;

	while ((step = protobuf_next(&contents, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		decoder->has_more |= field.number >= CONTENTS_KINDS;
		if (!has_elements(&field)) {
			continue;
		}
		if (used != 0 && used != field.number) {
			return error_set(
				decoder->error, STATUS_INVALID_ARGUMENT,
				"unexpected explicit tensor data for input tensor '%.*s' for model '%.*s', binary "
				"data was already supplied.",
				BYTES_ARGS(input->name), BYTES_ARGS(decoder->model_name));
		}
		used = field.number;
		if (!fits(&contents_kinds[field.number], input->datatype)) {
			return error_set(
				decoder->error, STATUS_INVALID_ARGUMENT,
				"unexpected explicit tensor data for input tensor '%.*s' for model '%.*s' of type "
				"'%s', expected datatype '%s'",
				BYTES_ARGS(input->name), BYTES_ARGS(decoder->model_name),
				datatype_name(contents_kinds[field.number].named), datatype_name(input->datatype));
		}
		if (!put_field(sink, &field)) {
			return request_malformed(decoder->error);
		}
	}
	return STATUS_OK;
}

enum status
message_contents_read(struct message_decoder *decoder, struct tensor_message *message)
{
	struct tensor *input = &message->tensor;
	struct bytes contents = message->contents;
	struct contents_sink sink = {.size = datatype_size(input->datatype)};
	enum status status = measure_contents(decoder, input, contents, &sink);
	struct protobuf_field field;

	if (status != STATUS_OK || sink.length == 0) {
		return status;
	}
	sink.at = arena_room(decoder->arena, sink.length);
	if (sink.at == NULL) {
		return message_no_memory(decoder);
	}
	decoder->converted += sink.length;
	sink.length = 0;
	while (protobuf_next(&contents, &field) == PROTOBUF_FIELD) {
		if (has_elements(&field)) {
			(void)put_field(&sink, &field);
		}
	}
	input->data = bytes_make(sink.at, sink.length);
	return STATUS_OK;
}

/* --- Tensors --- */

/* Reads the dimensions, packed or single, of which there are `*rank` so far. */
static enum status
read_shape(const struct message_decoder *decoder, const struct protobuf_field *field, int64_t *shape, size_t *rank)
{
	struct bytes packed = field->bytes;
	uint64_t value = field->value;

	if (field->type != PROTOBUF_BYTES && field->type != PROTOBUF_VARINT) {
		return request_malformed(decoder->error);
	}
	while (field->type == PROTOBUF_VARINT || packed.length > 0) {
		if (field->type == PROTOBUF_BYTES && !protobuf_take_varint(&packed, &value)) {
			return request_malformed(decoder->error);
		}
		if (*rank == TENSOR_RANK_MAX) {
			return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
					 "a tensor has a shape of more than %d dimensions", TENSOR_RANK_MAX);
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
		if (field.number == TENSOR_SHAPE) {
			count += field.type == PROTOBUF_BYTES ? field.bytes.length : 1; /* at least a byte each */
		}
	}
	return count < TENSOR_RANK_MAX ? count : TENSOR_RANK_MAX;
}

/* Reads a parameter of a tensor: its content type, or one that only the server behind may know. */
static enum status
read_tensor_parameter(struct message_decoder *decoder, struct bytes entry, struct tensor_message *out)
{
	struct tensor *tensor = &out->tensor;
	struct parameter parameter = {0};
	uint32_t choice = CHOICE_NONE;
	struct bytes value;
	enum status status = read_entry(decoder, entry, &parameter.name, &value);

	if (status == STATUS_OK && bytes_equal_text(parameter.name, "content_type")) {
		status = read_value(decoder, value, &parameter, &choice);
	}
	if (choice == CHOICE_STRING && parameter.text.length > 0 && parameter.text.length <= TENSOR_CONTENT_TYPE_MAX &&
	    tensor->content_type.length == 0) {
		tensor->content_type = parameter.text;
	} else {
		decoder->has_more = true;
	}
	out->has_shared_memory |= status == STATUS_OK && bytes_equal_text(parameter.name, "shared_memory_region");
	return status;
}

/* Refuses `contents` given twice, which protobuf would merge, and no library writes. */
enum status
message_tensor_read(struct message_decoder *decoder, struct bytes message, struct tensor_message *out)
{
	int64_t *shape = arena_room(decoder->arena, count_dims(message) * sizeof(*shape));
	struct bytes datatype = {0};
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = shape == NULL ? message_no_memory(decoder) : STATUS_OK;

	while (status == STATUS_OK && (step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED) {
			return request_malformed(decoder->error);
		}
		switch (field.number) {
		case TENSOR_NAME:
			status = request_text(&field, &out->tensor.name, decoder->error);
			break;
		case TENSOR_DATATYPE:
			status = request_text(&field, &datatype, decoder->error);
			break;
		case TENSOR_SHAPE:
			status = read_shape(decoder, &field, shape, &out->tensor.rank);
			break;
		case TENSOR_PARAMETERS:
			status = field.type == PROTOBUF_BYTES ? read_tensor_parameter(decoder, field.bytes, out)
							      : request_malformed(decoder->error);
			break;
		case TENSOR_CONTENTS:
			if (field.type != PROTOBUF_BYTES || out->has_contents) {
				return request_malformed(decoder->error);
			}
			out->has_contents = true;
			out->contents = field.bytes;
			break;
		default:
			decoder->has_more = true;
			break;
		}
	}
	out->tensor.shape = shape;
	out->tensor.datatype = datatype_from_name(datatype);
	return status;
}

static size_t
packed_size(const struct tensor *tensor)
{
	size_t size = 0;

	for (size_t i = 0; i < tensor->rank; i++) {
		size += protobuf_varint_size((uint64_t)tensor->shape[i]);
	}
	return size;
}

void
message_tensor_put(struct buf *out, uint32_t field, const struct tensor *tensor)
{
	const struct parameter content_type = {
		.name = bytes_text("content_type"), .kind = PARAMETER_TEXT, .text = tensor->content_type};
	bool has_type = tensor->content_type.length > 0;
	struct bytes datatype = bytes_text(datatype_name(tensor->datatype));
	size_t shape = packed_size(tensor);
	size_t size = message_text_size(tensor->name) + message_text_size(datatype) +
		      (tensor->rank == 0 ? 0 : 1 + protobuf_varint_size(shape) + shape) +
		      (has_type ? message_parameter_size(&content_type) : 0);

	protobuf_put_tag(out, field, PROTOBUF_BYTES);
	protobuf_put_varint(out, size);
	protobuf_put_text(out, TENSOR_NAME, tensor->name);
	protobuf_put_text(out, TENSOR_DATATYPE, datatype);
	if (tensor->rank > 0) {
		protobuf_put_tag(out, TENSOR_SHAPE, PROTOBUF_BYTES);
		protobuf_put_varint(out, shape);
	}
	for (size_t i = 0; i < tensor->rank; i++) {
		protobuf_put_varint(out, (uint64_t)tensor->shape[i]);
	}
	if (has_type) {
		message_parameter_put(out, TENSOR_PARAMETERS, &content_type);
	}
}
