/*
 * Access to protobuf messages by protobuf-c's descriptors, shared by the text format and the JSON mapping. Private to
 * wire/, since it exposes protobuf-c's types.
 *
 * Sources: the Protocol Buffers language guide (proto3), its text format specification and its JSON mapping.
 */
#ifndef HIPPOCAMP_WIRE_PROTO_H
#define HIPPOCAMP_WIRE_PROTO_H

#include "base/buf.h"
#include "base/status.h"

#include <protobuf-c/protobuf-c.h>

#define PROTO_NESTING_MAX 32

/* Returns NULL when memory runs out. Free with protobuf_c_message_free_unpacked(message, NULL). */
ProtobufCMessage *proto_message_new(const ProtobufCMessageDescriptor *type);

/*
 * Returns the address for the next value of `field`: the field itself, or a new element of a repeated field. Selects
 * `field` in its oneof, if any. Returns NULL when memory runs out.
 */
void *proto_slot(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* Returns the member of the field's oneof that is already set, if it is another field; else NULL. */
const ProtobufCFieldDescriptor *proto_oneof_conflict(const ProtobufCMessage *message,
						     const ProtobufCFieldDescriptor *field);

/* False for an absent message and for a member of a oneof that is not the selected one. */
bool proto_has(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* The number of elements of a repeated field; the address of one of them. */
size_t proto_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);
const void *proto_element(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t index);

size_t proto_element_size(const ProtobufCFieldDescriptor *field);

/* True for a map: a repeated message FooEntry with the fields `key` and `value`. */
bool proto_is_map(const ProtobufCFieldDescriptor *field);

/* Write ", did you mean "NAME"?" to `hint` if a field or value has a name near `name`, else "". Return `hint`. */
#define PROTO_HINT_SIZE 160
const char *proto_field_hint(const ProtobufCMessageDescriptor *type, const char *name, char hint[PROTO_HINT_SIZE]);
const char *proto_value_hint(const ProtobufCEnumDescriptor *type, const char *name, char hint[PROTO_HINT_SIZE]);

/* "an integer", "a string", …, for error texts. */
const char *proto_type_name(const ProtobufCFieldDescriptor *field);

/* Stores a copy of `text` in a string slot. Returns false when memory runs out. */
bool proto_set_string(void *slot, struct bytes text);

/* Stores an integer in a slot of any integer type or enum. Returns false if it is out of the type's range. */
bool proto_set_integer(const ProtobufCFieldDescriptor *field, void *slot, bool negative, uint64_t magnitude);

/* Stores a number in a slot of type float or double. */
void proto_set_number(const ProtobufCFieldDescriptor *field, void *slot, double number);

/* Parses the text format into `message`; error texts begin with file:line:column. */
enum status proto_text_parse(struct bytes text, const char *file, ProtobufCMessage *message, struct error *error);

/* Parses the JSON mapping into `message`; error texts name the field. */
enum status proto_json_parse(struct bytes text, ProtobufCMessage *message, struct error *error);

/* Prints JSON as Triton does: proto field names, also unset scalars and empty lists, 64-bit integers as numbers. */
void proto_json_print(const ProtobufCMessage *message, struct buf *out);

#endif
