/* Parses the protobuf text format, except extensions and Any, which config files do not use. */
#include "wire/proto.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct text_parser {
	const char *file;
	const uint8_t *start;
	const uint8_t *at;
	const uint8_t *end;
	struct error *error;
	struct buf scratch; /* the last string literal's bytes */
};

static enum status parse_fields(struct text_parser *parser, ProtobufCMessage *message, char closing, int depth);

static enum status __attribute__((format(printf, 2, 3))) fail(struct text_parser *parser, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE / 2];
	size_t line = 1;
	size_t column = 1;
	va_list args;

	for (const uint8_t *at = parser->start; at < parser->at; at++) {
		column = *at == '\n' ? 1 : column + 1;
		line += *at == '\n';
	}
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(parser->error, STATUS_INVALID_ARGUMENT, "%s:%zu:%zu: %s", parser->file, line, column, text);
}

static enum status
no_memory(struct text_parser *parser)
{
	return error_set(parser->error, STATUS_UNAVAILABLE, "%s: no memory to read the model configuration",
			 parser->file);
}

static void
skip_space(struct text_parser *parser)
{
	while (parser->at < parser->end) {
		if (*parser->at == '#') {
			const uint8_t *newline = memchr(parser->at, '\n', (size_t)(parser->end - parser->at));

			parser->at = newline == NULL ? parser->end : newline;
		} else if (memchr(" \t\r\n\v\f", *parser->at, 6) != NULL) {
			parser->at++;
		} else {
			return;
		}
	}
}

/* Skips white space and comments. Returns the next character, or 0 at the end. */
static char
peek(struct text_parser *parser)
{
	skip_space(parser);
	return parser->at == parser->end ? '\0' : (char)*parser->at;
}

static bool
take(struct text_parser *parser, char wanted)
{
	if (parser->at == parser->end || peek(parser) != wanted) {
		return false;
	}
	parser->at++;
	return true;
}

static bool
is_word(uint8_t byte)
{
	return byte == '_' || (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
}

static struct bytes
take_word(struct text_parser *parser)
{
	const uint8_t *start;

	skip_space(parser);
	start = parser->at;
	while (parser->at < parser->end && is_word(*parser->at)) {
		parser->at++;
	}
	return bytes_make(start, (size_t)(parser->at - start));
}

/* --- Scalars --- */

static bool
take_octal_or_hex(struct text_parser *parser, uint8_t first, uint8_t *byte)
{
	int base = first == 'x' || first == 'X' ? 16 : 8;
	char digits[4] = {0};
	size_t count = 0;
	size_t limit = base == 16 ? 2 : 3;
	char *stop;

	if (base == 8) {
		digits[count++] = (char)first;
	}
	while (count < limit && parser->at < parser->end) {
		uint8_t next = *parser->at;
		bool digit = base == 8 ? next >= '0' && next <= '7'
				       : (next >= '0' && next <= '9') || ((next | 0x20) >= 'a' && (next | 0x20) <= 'f');

		if (!digit) {
			break;
		}
		digits[count++] = (char)next;
		parser->at++;
	}
	*byte = (uint8_t)strtoul(digits, &stop, base);
	return count > 0;
}

/* Takes exactly `digits` hexadecimal digits. */
static bool
take_code(struct text_parser *parser, size_t digits, uint32_t *code)
{
	char text[9] = {0};
	char *stop;

	for (size_t i = 0; i < digits && parser->at < parser->end; i++) {
		text[i] = (char)*parser->at++;
	}
	*code = (uint32_t)strtoul(text, &stop, 16);
	return strlen(text) == digits && *stop == '\0' && strspn(text, "0123456789abcdefABCDEF") == digits;
}

static void
put_utf8(struct text_parser *parser, uint32_t code)
{
	static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
	size_t more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;

	buf_byte(&parser->scratch, (uint8_t)(leads[more] | code >> 6 * more));
	while (more-- > 0) {
		buf_byte(&parser->scratch, (uint8_t)(0x80 | (code >> 6 * more & 0x3f)));
	}
}

/* \uXXXX, two of them for a surrogate pair, or \UXXXXXXXX. */
static bool
take_unicode(struct text_parser *parser, uint8_t kind)
{
	uint32_t code;
	uint32_t low;

	if (!take_code(parser, kind == 'u' ? 4 : 8, &code)) {
		return false;
	}
	if (code >= 0xd800 && code < 0xdc00 && parser->end - parser->at >= 2 && parser->at[0] == '\\' &&
	    parser->at[1] == 'u') {
		parser->at += 2;
		if (!take_code(parser, 4, &low) || low < 0xdc00 || low > 0xdfff) {
			return false;
		}
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	}
	if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
		return false;
	}
	put_utf8(parser, code);
	return true;
}

static bool
take_escape(struct text_parser *parser)
{
	static const char names[] = "abfnrtv\\'\"?";
	static const char values[] = "\a\b\f\n\r\t\v\\'\"?";
	const char *found;
	uint8_t byte;

	if (parser->at == parser->end) {
		return false;
	}
	byte = *parser->at++;
	if (byte == 'u' || byte == 'U') {
		return take_unicode(parser, byte);
	}
	found = strchr(names, byte);
	if (byte != 0 && found != NULL) {
		byte = (uint8_t)values[found - names];
	} else if (byte == 'x' || byte == 'X' || (byte >= '0' && byte <= '7')) {
		if (!take_octal_or_hex(parser, byte, &byte) || byte == 0) { /* strings are NUL-terminated */
			return false;
		}
	} else {
		return false;
	}
	buf_byte(&parser->scratch, byte);
	return true;
}

/* Joins one or more adjacent literals in `scratch`. */
static enum status
take_string(struct text_parser *parser, const ProtobufCFieldDescriptor *field)
{
	char quote = peek(parser);

	if (quote != '"' && quote != '\'') {
		return fail(parser, "expected a string in quotes for field '%s'", field->name);
	}
	buf_clear(&parser->scratch);
	do {
		parser->at++;
		for (;;) {
			if (parser->at == parser->end || *parser->at == '\n') {
				return fail(parser, "string of field '%s' does not end on its line", field->name);
			}
			if (*parser->at == (uint8_t)quote) {
				break;
			}
			if (*parser->at == '\\') {
				parser->at++;
				if (!take_escape(parser)) {
					return fail(parser, "invalid escape in the string of field '%s'", field->name);
				}
			} else {
				buf_byte(&parser->scratch, *parser->at++);
			}
		}
		parser->at++;
		quote = peek(parser);
	} while (quote == '"' || quote == '\'');
	return buf_ok(&parser->scratch) ? STATUS_OK : no_memory(parser);
}

static enum status
wrong_value(struct text_parser *parser, const uint8_t *start, const ProtobufCFieldDescriptor *field)
{
	size_t length = (size_t)(parser->end - start);
	size_t shown = 0;

	while (shown < length && shown < 40 && memchr(" \t\r\n,;}]>", start[shown], 9) == NULL) {
		shown++;
	}
	parser->at = start;
	return fail(parser, "field '%s' expects %s, got '%.*s'", field->name, proto_type_name(field), (int)shown,
		    (const char *)start);
}

static enum status
take_integer(struct text_parser *parser, const ProtobufCFieldDescriptor *field, void *slot)
{
	const uint8_t *start = (peek(parser), parser->at);
	bool negative = take(parser, '-');
	struct bytes word = take_word(parser);
	char digits[32];
	char *stop;
	uint64_t magnitude;

	if (word.length == 0 || word.length >= sizeof(digits) || *word.at < '0' || *word.at > '9' ||
	    (parser->at < parser->end && *parser->at == '.')) {
		return wrong_value(parser, start, field);
	}
	memcpy(digits, word.at, word.length);
	digits[word.length] = '\0';
	errno = 0;
	magnitude = strtoull(digits, &stop, 0); /* decimal, 0x hexadecimal or 0 octal, as in the text format */
	if (*stop != '\0' || errno != 0 || !proto_set_integer(field, slot, negative, magnitude)) {
		return wrong_value(parser, start, field);
	}
	return STATUS_OK;
}

static enum status
take_real(struct text_parser *parser, const ProtobufCFieldDescriptor *field, void *slot)
{
	const uint8_t *start = (peek(parser), parser->at);
	char text[64];
	size_t length = 0;
	double number;
	char *stop;

	while (parser->at < parser->end && length < sizeof(text) - 1 &&
	       (is_word(*parser->at) || *parser->at == '.' || *parser->at == '-' || *parser->at == '+')) {
		text[length++] = (char)*parser->at++;
	}
	text[length] = '\0';
	number = strtod(text, &stop);
	if (length > 0 && (*stop == 'f' || *stop == 'F')) {
		stop++;
	}
	if (length == 0 || *stop != '\0') {
		return wrong_value(parser, start, field);
	}
	proto_set_number(field, slot, number);
	return STATUS_OK;
}

static enum status
take_boolean(struct text_parser *parser, const ProtobufCFieldDescriptor *field, void *slot)
{
	static const char *const yes[] = {"true", "True", "t", "1"};
	static const char *const no[] = {"false", "False", "f", "0"};
	const uint8_t *start = (peek(parser), parser->at);
	struct bytes word = take_word(parser);

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
		if (bytes_equal_text(word, yes[i]) || bytes_equal_text(word, no[i])) {
			*(protobuf_c_boolean *)slot = bytes_equal_text(word, yes[i]);
			return STATUS_OK;
		}
	}
	return wrong_value(parser, start, field);
}

static enum status
take_enum(struct text_parser *parser, const ProtobufCFieldDescriptor *field, void *slot)
{
	const uint8_t *start = (peek(parser), parser->at);
	const ProtobufCEnumValue *value;
	struct bytes word;
	char name[128];
	char hint[PROTO_HINT_SIZE];

	if (peek(parser) == '-' || (peek(parser) >= '0' && peek(parser) <= '9')) {
		enum status status = take_integer(parser, field, slot);

		if (status == STATUS_OK &&
		    protobuf_c_enum_descriptor_get_value(field->descriptor, *(int *)slot) == NULL) {
			return wrong_value(parser, start, field);
		}
		return status;
	}
	word = take_word(parser);
	(void)snprintf(name, sizeof(name), "%.*s", BYTES_ARGS(word));
	value = protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, name);
	if (value == NULL) {
		parser->at = start;
		return fail(parser, "unknown enumeration value of \"%s\" for field \"%s\"%s", name, field->name,
			    proto_value_hint(field->descriptor, name, hint));
	}
	*(int *)slot = value->value;
	return STATUS_OK;
}

/* --- Fields --- */

static enum status
take_message(struct text_parser *parser, const ProtobufCFieldDescriptor *field, void *slot, int depth)
{
	char closing = peek(parser) == '<' ? '>' : '}';
	ProtobufCMessage **child = slot;

	if (!take(parser, closing == '>' ? '<' : '{')) {
		return fail(parser, "expected '{' after message field '%s'", field->name);
	}
	*child = proto_message_new(field->descriptor);
	if (*child == NULL) {
		return no_memory(parser);
	}
	return parse_fields(parser, *child, closing, depth + 1);
}

static enum status
take_value(struct text_parser *parser, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, int depth)
{
	void *slot = proto_slot(message, field);
	enum status status;

	if (slot == NULL) {
		return no_memory(parser);
	}
	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return take_message(parser, field, slot, depth);
	case PROTOBUF_C_TYPE_STRING:
		status = take_string(parser, field);
		if (status == STATUS_OK && !proto_set_string(slot, buf_bytes(&parser->scratch))) {
			return no_memory(parser);
		}
		return status;
	case PROTOBUF_C_TYPE_BOOL:
		return take_boolean(parser, field, slot);
	case PROTOBUF_C_TYPE_ENUM:
		return take_enum(parser, field, slot);
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		return take_real(parser, field, slot);
	default:
		return take_integer(parser, field, slot);
	}
}

static enum status
take_list(struct text_parser *parser, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, int depth)
{
	enum status status = STATUS_OK;

	if (field->label != PROTOBUF_C_LABEL_REPEATED) {
		return fail(parser, "field '%s' takes one value, not a list", field->name);
	}
	if (take(parser, ']')) {
		return STATUS_OK;
	}
	while (status == STATUS_OK) {
		status = take_value(parser, message, field, depth);
		if (status == STATUS_OK && take(parser, ']')) {
			return STATUS_OK;
		}
		if (status == STATUS_OK && !take(parser, ',')) {
			return fail(parser, "expected ',' or ']' in the list of field '%s'", field->name);
		}
	}
	return status;
}

static enum status
check_once(struct text_parser *parser, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, uint64_t *seen)
{
	const ProtobufCFieldDescriptor *other = proto_oneof_conflict(message, field);
	uint64_t bit = 1ULL << (unsigned)(field - message->descriptor->fields);

	if (other != NULL) {
		return fail(parser, "field '%s' is specified along with field '%s', another member of the same oneof",
			    field->name, other->name);
	}
	if (field->label != PROTOBUF_C_LABEL_REPEATED && (*seen & bit) != 0) {
		return fail(parser, "non-repeated field '%s' is specified multiple times", field->name);
	}
	*seen |= bit;
	return STATUS_OK;
}

static enum status
parse_field(struct text_parser *parser, ProtobufCMessage *message, uint64_t *seen, int depth)
{
	const uint8_t *start = (peek(parser), parser->at);
	struct bytes word = take_word(parser);
	const ProtobufCFieldDescriptor *field;
	enum status status;
	char name[128];
	char hint[PROTO_HINT_SIZE];

	if (word.length == 0) {
		return fail(parser, "expected a field name, got '%c'", peek(parser));
	}
	(void)snprintf(name, sizeof(name), "%.*s", BYTES_ARGS(word));
	field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
	if (field == NULL) {
		parser->at = start;
		return fail(parser, "message type \"inference.%s\" has no field named \"%s\"%s",
			    message->descriptor->short_name, name, proto_field_hint(message->descriptor, name, hint));
	}
	status = check_once(parser, message, field, seen);
	if (status != STATUS_OK) {
		return status;
	}
	if (!take(parser, ':') && field->type != PROTOBUF_C_TYPE_MESSAGE) {
		return fail(parser, "expected ':' after field '%s'", name);
	}
	if (take(parser, '[')) {
		return take_list(parser, message, field, depth);
	}
	return take_value(parser, message, field, depth);
}

/* `closing` is the bracket that ends the message, or 0 for the end of the file. */
static enum status
parse_fields(struct text_parser *parser, ProtobufCMessage *message, char closing, int depth)
{
	uint64_t seen = 0;
	enum status status = STATUS_OK;

	if (depth > PROTO_NESTING_MAX) {
		return fail(parser, "messages are nested deeper than %d levels", PROTO_NESTING_MAX);
	}
	while (status == STATUS_OK) {
		if (peek(parser) == '\0' && parser->at == parser->end) {
			return closing == '\0' ? STATUS_OK
					       : fail(parser, "expected '%c' before the end of the file", closing);
		}
		if (closing != '\0' && take(parser, closing)) {
			return STATUS_OK;
		}
		status = parse_field(parser, message, &seen, depth);
		if (status == STATUS_OK && !take(parser, ',')) {
			(void)take(parser, ';');
		}
	}
	return status;
}

enum status
proto_text_parse(struct bytes text, const char *file, ProtobufCMessage *message, struct error *error)
{
	struct text_parser parser = {
		.file = file, .start = text.at, .at = text.at, .end = text.at + text.length, .error = error};
	enum status status;

	if (text.length == 0) {
		return STATUS_OK;
	}
	buf_init(&parser.scratch, text.length + 1);
	status = parse_fields(&parser, message, '\0', 0);
	buf_fini(&parser.scratch);
	return status;
}
