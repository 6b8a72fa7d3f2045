#include "wire/proto.h"

#include "base/memory.h"
#include "base/option.h"

#include <stdio.h>
#include <stdlib.h>

static void *
at_offset(const ProtobufCMessage *message, unsigned offset)
{
	return (char *)(uintptr_t)message + offset;
}

static bool
in_oneof(const ProtobufCFieldDescriptor *field)
{
	return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

static void
write_hint(const char *const *names, size_t count, const char *name, char *hint)
{
	const char *near = option_nearest(names, count, bytes_text(name));

	hint[0] = '\0';
	if (near != NULL) {
		(void)snprintf(hint, PROTO_HINT_SIZE, ", did you mean \"%s\"?", near);
	}
}

const char *
proto_field_hint(const ProtobufCMessageDescriptor *type, const char *name, char hint[PROTO_HINT_SIZE])
{
	const char **names = memory_array(type->n_fields, sizeof(*names));

	for (unsigned i = 0; i < type->n_fields; i++) {
		names[i] = type->fields[i].name;
	}
	write_hint(names, type->n_fields, name, hint);
	free(names);
	return hint;
}

const char *
proto_value_hint(const ProtobufCEnumDescriptor *type, const char *name, char hint[PROTO_HINT_SIZE])
{
	const char **names = memory_array(type->n_values, sizeof(*names));

	for (unsigned i = 0; i < type->n_values; i++) {
		names[i] = type->values[i].name;
	}
	write_hint(names, type->n_values, name, hint);
	free(names);
	return hint;
}

ProtobufCMessage *
proto_message_new(const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *message = malloc(type->sizeof_message);

	if (message != NULL) {
		protobuf_c_message_init(type, message);
	}
	return message;
}

size_t
proto_element_size(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_ENUM:
		return sizeof(uint32_t);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	default:
		return sizeof(uint64_t);
	}
}

static void *
grow(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	size_t size = proto_element_size(field);
	size_t *count = at_offset(message, field->quantifier_offset);
	void **array = at_offset(message, field->offset);
	char *grown;

	/* Doubles at each power of two, so that long lists stay linear. */
	if ((*count & (*count - 1)) == 0) {
		grown = reallocarray(*array, *count == 0 ? 1 : *count * 2, size);
		if (grown == NULL) {
			return NULL;
		}
		*array = grown;
	}
	grown = (char *)*array + *count * size;
	memset(grown, 0, size);
	++*count;
	return grown;
}

void *
proto_slot(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		return grow(message, field);
	}
	if (in_oneof(field)) {
		*(uint32_t *)at_offset(message, field->quantifier_offset) = field->id;
	}
	return at_offset(message, field->offset);
}

const ProtobufCFieldDescriptor *
proto_oneof_conflict(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	uint32_t chosen;

	if (!in_oneof(field)) {
		return NULL;
	}
	chosen = *(uint32_t *)at_offset(message, field->quantifier_offset);
	return chosen == 0 || chosen == field->id
		       ? NULL
		       : protobuf_c_message_descriptor_get_field(message->descriptor, chosen);
}

bool
proto_has(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	if (in_oneof(field)) {
		return *(uint32_t *)at_offset(message, field->quantifier_offset) == field->id;
	}
	return field->type != PROTOBUF_C_TYPE_MESSAGE || *(void **)at_offset(message, field->offset) != NULL;
}

size_t
proto_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return *(size_t *)at_offset(message, field->quantifier_offset);
}

const void *
proto_element(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t index)
{
	const char *array = *(char **)at_offset(message, field->offset);

	return array + index * proto_element_size(field);
}

bool
proto_is_map(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *type = field->descriptor;
	size_t length;

	if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE) {
		return false;
	}
	length = strlen(type->short_name);
	return type->n_fields == 2 && length > 5 && strcmp(type->short_name + length - 5, "Entry") == 0 &&
	       strcmp(type->fields[0].name, "key") == 0 && strcmp(type->fields[1].name, "value") == 0;
}

const char *
proto_type_name(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return "true or false";
	case PROTOBUF_C_TYPE_STRING:
		return "a string";
	case PROTOBUF_C_TYPE_MESSAGE:
		return "a message { … }";
	case PROTOBUF_C_TYPE_ENUM:
		return "an enum name";
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		return "a number";
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_UINT64:
		return "a non-negative integer";
	default:
		return "an integer";
	}
}

bool
proto_set_string(void *slot, struct bytes text)
{
	char *copy = malloc(text.length + 1);

	if (copy == NULL) {
		return false;
	}
	if (text.length > 0) {
		memcpy(copy, text.at, text.length);
	}
	copy[text.length] = '\0';
	*(char **)slot = copy;
	return true;
}

bool
proto_set_integer(const ProtobufCFieldDescriptor *field, void *slot, bool negative, uint64_t magnitude)
{
	uint64_t maximum = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	uint64_t value = negative ? 0 - magnitude : magnitude;

	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_ENUM:
		maximum = negative ? (uint64_t)INT32_MAX + 1 : INT32_MAX;
		break;
	case PROTOBUF_C_TYPE_UINT32:
		maximum = negative ? 0 : UINT32_MAX;
		break;
	case PROTOBUF_C_TYPE_UINT64:
		maximum = negative ? 0 : UINT64_MAX;
		break;
	default:
		break;
	}
	if (magnitude > maximum) {
		return false;
	}
	memcpy(slot, &value, proto_element_size(field)); /* on little-endian, the low bytes */
	return true;
}

void
proto_set_number(const ProtobufCFieldDescriptor *field, void *slot, double number)
{
	float single = (float)number;

	if (field->type == PROTOBUF_C_TYPE_FLOAT) {
		memcpy(slot, &single, sizeof(single));
	} else {
		memcpy(slot, &number, sizeof(number));
	}
}
