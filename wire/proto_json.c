/* Parses and prints protobuf's JSON mapping. */
#include "wire/json.h"
#include "wire/proto.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static enum status parse_object(yyjson_val *object, ProtobufCMessage *message, int depth, struct error *error);

static enum status
no_memory(struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE, "no memory to read the model configuration");
}

static enum status
wrong_type(const ProtobufCFieldDescriptor *field, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "field '%s' expects %s", field->name, proto_type_name(field));
}

/* Accepts numbers in strings, too: the JSON mapping prints 64-bit integers so. */
static bool
read_integer(yyjson_val *value, bool *negative, uint64_t *magnitude)
{
	const char *text = yyjson_get_str(value);
	char *stop;

	if (yyjson_is_int(value)) {
		*negative = yyjson_is_sint(value) && yyjson_get_sint(value) < 0;
		*magnitude = *negative ? 0 - (uint64_t)yyjson_get_sint(value) : yyjson_get_uint(value);
		return true;
	}
	if (text == NULL || *text == '\0') {
		return false;
	}
	*negative = *text == '-';
	errno = 0;
	*magnitude = strtoull(text + (*negative ? 1 : 0), &stop, 10);
	return errno == 0 && *stop == '\0' && stop != text && stop[-1] >= '0' && stop[-1] <= '9';
}

static enum status
set_number(const ProtobufCFieldDescriptor *field, yyjson_val *value, void *slot, struct error *error)
{
	const char *text = yyjson_get_str(value);
	char *stop = NULL;
	double number = text == NULL ? yyjson_get_num(value) : strtod(text, &stop);

	if (text == NULL ? !yyjson_is_num(value) : *text == '\0' || *stop != '\0') {
		return wrong_type(field, error);
	}
	proto_set_number(field, slot, number);
	return STATUS_OK;
}

static enum status
set_enum(const ProtobufCFieldDescriptor *field, yyjson_val *value, void *slot, struct error *error)
{
	const ProtobufCEnumValue *found = NULL;
	char hint[PROTO_HINT_SIZE];

	if (yyjson_is_str(value)) {
		found = protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, yyjson_get_str(value));
	} else if (yyjson_is_int(value)) {
		found = protobuf_c_enum_descriptor_get_value(field->descriptor, yyjson_get_int(value));
	}
	if (found == NULL && yyjson_is_str(value)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "unknown enumeration value of \"%s\" for field \"%s\"%s", yyjson_get_str(value),
				 field->name, proto_value_hint(field->descriptor, yyjson_get_str(value), hint));
	}
	if (found == NULL) {
		return wrong_type(field, error);
	}
	*(int *)slot = found->value;
	return STATUS_OK;
}

static enum status
set_value(const ProtobufCFieldDescriptor *field, yyjson_val *value, void *slot, int depth, struct error *error)
{
	bool negative;
	uint64_t magnitude;

	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		if (!yyjson_is_obj(value)) {
			return wrong_type(field, error);
		}
		*(ProtobufCMessage **)slot = proto_message_new(field->descriptor);
		return *(ProtobufCMessage **)slot == NULL
			       ? no_memory(error)
			       : parse_object(value, *(ProtobufCMessage **)slot, depth + 1, error);
	case PROTOBUF_C_TYPE_STRING:
		if (!yyjson_is_str(value)) {
			return wrong_type(field, error);
		}
		return proto_set_string(slot, json_bytes(value)) ? STATUS_OK : no_memory(error);
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)slot = yyjson_is_true(value) || yyjson_equals_str(value, "true");
		return yyjson_is_bool(value) || yyjson_equals_str(value, "true") || yyjson_equals_str(value, "false")
			       ? STATUS_OK
			       : wrong_type(field, error);
	case PROTOBUF_C_TYPE_ENUM:
		return set_enum(field, value, slot, error);
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		return set_number(field, value, slot, error);
	default:
		return read_integer(value, &negative, &magnitude) && proto_set_integer(field, slot, negative, magnitude)
			       ? STATUS_OK
			       : wrong_type(field, error);
	}
}

/* Parses the JSON object of a map: each member becomes an entry message. */
static enum status
parse_map(const ProtobufCFieldDescriptor *field, yyjson_val *object, ProtobufCMessage *message, int depth,
	  struct error *error)
{
	const ProtobufCMessageDescriptor *type = field->descriptor;
	yyjson_obj_iter items = yyjson_obj_iter_with(object);
	enum status status = STATUS_OK;
	yyjson_val *key;

	if (!yyjson_is_obj(object)) {
		return wrong_type(field, error);
	}
	while (status == STATUS_OK && (key = yyjson_obj_iter_next(&items)) != NULL) {
		void *slot = proto_slot(message, field);
		ProtobufCMessage *entry = slot == NULL ? NULL : proto_message_new(type);

		if (entry == NULL) {
			return no_memory(error);
		}
		*(ProtobufCMessage **)slot = entry;
		status = set_value(&type->fields[0], key, proto_slot(entry, &type->fields[0]), depth, error);
		if (status == STATUS_OK) {
			status = set_value(&type->fields[1], yyjson_obj_iter_get_val(key),
					   proto_slot(entry, &type->fields[1]), depth, error);
		}
	}
	return status;
}

static enum status
parse_repeated(const ProtobufCFieldDescriptor *field, yyjson_val *array, ProtobufCMessage *message, int depth,
	       struct error *error)
{
	yyjson_arr_iter items = yyjson_arr_iter_with(array);
	enum status status = STATUS_OK;
	yyjson_val *item;

	if (!yyjson_is_arr(array)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "field '%s' expects an array", field->name);
	}
	while (status == STATUS_OK && (item = yyjson_arr_iter_next(&items)) != NULL) {
		void *slot = proto_slot(message, field);

		status = slot == NULL ? no_memory(error) : set_value(field, item, slot, depth, error);
	}
	return status;
}

/* "maxBatchSize" and "max_batch_size" are the same field. */
static const ProtobufCFieldDescriptor *
find_field(const ProtobufCMessageDescriptor *type, const char *name)
{
	char snake[128];
	size_t length = 0;

	for (; *name != '\0' && length < sizeof(snake) - 2; name++) {
		if (*name >= 'A' && *name <= 'Z') {
			snake[length++] = '_';
			snake[length++] = (char)(*name | 0x20);
		} else {
			snake[length++] = *name;
		}
	}
	snake[length] = '\0';
	return protobuf_c_message_descriptor_get_field_by_name(type, snake);
}

static enum status
parse_member(yyjson_val *key, yyjson_val *value, ProtobufCMessage *message, uint64_t *seen, int depth,
	     struct error *error)
{
	const ProtobufCFieldDescriptor *field = find_field(message->descriptor, yyjson_get_str(key));
	char hint[PROTO_HINT_SIZE];
	uint64_t bit;

	if (field == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "message \"inference.%s\" has no field named \"%s\"%s",
				 message->descriptor->short_name, yyjson_get_str(key),
				 proto_field_hint(message->descriptor, yyjson_get_str(key), hint));
	}
	if (yyjson_is_null(value)) {
		return STATUS_OK;
	}
	bit = 1ULL << (unsigned)(field - message->descriptor->fields);
	if (proto_oneof_conflict(message, field) != NULL || (*seen & bit) != 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "field '%s' is specified twice, or along with another member of the same oneof",
				 field->name);
	}
	*seen |= bit;
	if (proto_is_map(field)) {
		return parse_map(field, value, message, depth, error);
	}
	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		return parse_repeated(field, value, message, depth, error);
	}
	return set_value(field, value, proto_slot(message, field), depth, error);
}

static enum status
parse_object(yyjson_val *object, ProtobufCMessage *message, int depth, struct error *error)
{
	yyjson_obj_iter items = yyjson_obj_iter_with(object);
	enum status status = STATUS_OK;
	uint64_t seen = 0;
	yyjson_val *key;

	if (depth > PROTO_NESTING_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "messages are nested deeper than %d levels",
				 PROTO_NESTING_MAX);
	}
	while (status == STATUS_OK && (key = yyjson_obj_iter_next(&items)) != NULL) {
		status = parse_member(key, yyjson_obj_iter_get_val(key), message, &seen, depth, error);
	}
	return status;
}

enum status
proto_json_parse(struct bytes text, ProtobufCMessage *message, struct error *error)
{
	yyjson_doc *document = json_read(text, error);
	yyjson_val *root = yyjson_doc_get_root(document);
	enum status status;

	if (document == NULL) {
		error->status = STATUS_INVALID_ARGUMENT;
		return error->status;
	}
	if (!yyjson_is_obj(root)) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "a model configuration must be a JSON object");
	} else {
		status = parse_object(root, message, 0, error);
	}
	yyjson_doc_free(document);
	return status;
}

/* --- Printing --- */

static void
print_value(const ProtobufCFieldDescriptor *field, const void *at, struct buf *out)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		proto_json_print(*(ProtobufCMessage *const *)at, out);
		break;
	case PROTOBUF_C_TYPE_STRING:
		buf_json_string(out, bytes_text(*(char *const *)at));
		break;
	case PROTOBUF_C_TYPE_BOOL:
		buf_text(out, *(const protobuf_c_boolean *)at ? "true" : "false");
		break;
	case PROTOBUF_C_TYPE_ENUM: {
		const ProtobufCEnumValue *value =
			protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)at);

		buf_json_string(out, bytes_text(value == NULL ? "" : value->name));
		break;
	}
	case PROTOBUF_C_TYPE_FLOAT:
		buf_format(out, "%.9g", (double)*(const float *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		buf_format(out, "%.17g", *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_INT32:
		buf_signed(out, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
		buf_unsigned(out, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
		buf_unsigned(out, *(const uint64_t *)at);
		break;
	default:
		buf_signed(out, *(const int64_t *)at);
		break;
	}
}

static void
print_map_entry(const ProtobufCMessage *entry, struct buf *out)
{
	const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
	const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
	bool quoted = key->type == PROTOBUF_C_TYPE_STRING;

	if (!quoted) {
		buf_byte(out, '"');
	}
	print_value(key, (const char *)entry + key->offset, out);
	if (!quoted) {
		buf_byte(out, '"');
	}
	buf_byte(out, ':');
	if (proto_has(entry, value)) {
		print_value(value, (const char *)entry + value->offset, out);
	} else {
		buf_text(out, "{}");
	}
}

static void
print_repeated(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct buf *out)
{
	bool map = proto_is_map(field);

	buf_byte(out, map ? '{' : '[');
	for (size_t i = 0; i < proto_count(message, field); i++) {
		const void *element = proto_element(message, field, i);

		if (i > 0) {
			buf_byte(out, ',');
		}
		if (map) {
			print_map_entry(*(ProtobufCMessage *const *)element, out);
		} else {
			print_value(field, element, out);
		}
	}
	buf_byte(out, map ? '}' : ']');
}

void
proto_json_print(const ProtobufCMessage *message, struct buf *out)
{
	bool first = true;

	buf_byte(out, '{');
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;

		if (!repeated && !proto_has(message, field)) {
			continue;
		}
		if (!first) {
			buf_byte(out, ',');
		}
		first = false;
		buf_json_string(out, bytes_text(field->name));
		buf_byte(out, ':');
		if (repeated) {
			print_repeated(message, field, out);
		} else {
			print_value(field, (const char *)message + field->offset, out);
		}
	}
	buf_byte(out, '}');
}
