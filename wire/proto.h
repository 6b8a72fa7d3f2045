/*
 * protobuf messages by reflection, over protobuf-c's descriptors: what the text format and the JSON format share.
 * Room-private: it shows protobuf-c's types.
 *
 * Sources: the Protocol Buffers language guide (proto3), its text format specification and its JSON mapping.
 */
#ifndef HIPPOCAMP_WIRE_PROTO_H
#define HIPPOCAMP_WIRE_PROTO_H

#include "base/buf.h"
#include "base/status.h"

#include <protobuf-c/protobuf-c.h>

#define PROTO_NESTING_MAX 32

/* NULL where there is no memory. Free with protobuf_c_message_free_unpacked(message, NULL). */
ProtobufCMessage *proto_message_new(const ProtobufCMessageDescriptor *type);

/*
 * Where the next value of `field` goes: the field itself, or a new element of a repeated field. Marks a oneof's member
 * as the chosen one. NULL where there is no memory.
 */
void *proto_slot(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* The member of this field's oneof that is set already, if it is another one. */
const ProtobufCFieldDescriptor *proto_oneof_conflict(const ProtobufCMessage *message,
						     const ProtobufCFieldDescriptor *field);

/* Is a singular message, or a member of a oneof, there? */
bool proto_has(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* Elements of a repeated field, and the nth element's address. */
size_t proto_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);
const void *proto_element(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t index);

size_t proto_element_size(const ProtobufCFieldDescriptor *field);

/* A map field is a repeated message of `key` and `value` (named FooEntry). */
bool proto_is_map(const ProtobufCFieldDescriptor *field);

/* ", did you mean "name"?" where a field or value has a name that is near this one, else "". Returns hint. */
#define PROTO_HINT_SIZE 160
const char *proto_field_hint(const ProtobufCMessageDescriptor *type, const char *name, char hint[PROTO_HINT_SIZE]);
const char *proto_value_hint(const ProtobufCEnumDescriptor *type, const char *name, char hint[PROTO_HINT_SIZE]);

/* "integer", "string", … for messages. */
const char *proto_type_name(const ProtobufCFieldDescriptor *field);

/* Stores text in a string slot (a copy). False where there is no memory. */
bool proto_set_string(void *slot, struct bytes text);

/* Stores a whole number in a slot of any integer type; false if it is out of that type's range. */
bool proto_set_integer(const ProtobufCFieldDescriptor *field, void *slot, bool negative, uint64_t magnitude);

/* Stores a number in a slot of type float or double. */
void proto_set_number(const ProtobufCFieldDescriptor *field, void *slot, double number);

/* Text format: fills `message`; errors say file:line:column. */
enum status proto_text_parse(struct bytes text, const char *file, ProtobufCMessage *message, struct error *error);

/* JSON mapping: fills `message`; errors say the path of the member. */
enum status proto_json_parse(struct bytes text, ProtobufCMessage *message, struct error *error);

/* JSON with proto field names, all scalar and repeated fields present, 64-bit numbers as numbers: as Triton prints. */
void proto_json_print(const ProtobufCMessage *message, struct buf *out);

#endif
