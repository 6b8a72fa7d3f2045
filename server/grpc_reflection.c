/* grpc.reflection.v1 and v1alpha, which differ only in their names, over the files that service_descriptors holds. */
#include "server/grpc_service.h"
#include "base/protobuf.h"

/* Field numbers of descriptor.proto. */
enum { SET_FILE = 1 };
enum { FILE_NAME = 1, FILE_PACKAGE = 2, FILE_MESSAGE = 4, FILE_ENUM = 5, FILE_SERVICE = 6 };
enum {
	DESCRIPTOR_NAME = 1,
	MESSAGE_FIELD = 2,
	MESSAGE_NESTED = 3,
	MESSAGE_ENUM = 4,
	SERVICE_METHOD = 2,
	ENUM_VALUE = 2
};

/* Field numbers of reflection.proto. */
enum {
	REQUEST_HOST = 1,
	REQUEST_BY_FILENAME = 3,
	REQUEST_BY_SYMBOL = 4,
	REQUEST_BY_EXTENSION = 5,
	REQUEST_EXTENSION_NUMBERS = 6,
	REQUEST_SERVICES = 7
};
enum { RESPONSE_HOST = 1, RESPONSE_REQUEST = 2, RESPONSE_FILES = 4, RESPONSE_SERVICES = 6, RESPONSE_ERROR = 7 };

/* The descriptors were made by the build, so they are well-formed. */
static bool
next(struct bytes *rest, uint32_t number, struct bytes *value)
{
	struct protobuf_field field;

	while (protobuf_next(rest, &field) == PROTOBUF_FIELD) {
		if (field.number == number && field.type == PROTOBUF_BYTES) {
			*value = field.bytes;
			return true;
		}
	}
	return false;
}

static struct bytes
member(struct bytes message, uint32_t number)
{
	struct bytes value = bytes_make(NULL, 0);

	(void)next(&message, number, &value);
	return value;
}

/* --- Symbols --- */

/* Removes `name`, and a dot behind it, from the front of `symbol`. *whole: nothing is left. */
static bool
strip(struct bytes *symbol, struct bytes name, bool *whole)
{
	if (symbol->length < name.length || memcmp(symbol->at, name.at, name.length) != 0) {
		return false;
	}
	*whole = symbol->length == name.length;
	if (!*whole && symbol->at[name.length] != '.') {
		return false;
	}
	*symbol = bytes_skip(*symbol, name.length + !*whole);
	return true;
}

/* Is `symbol` one of the simple members of that kind: fields, methods, values? */
static bool
has_member(struct bytes descriptor, uint32_t kind, struct bytes symbol)
{
	struct bytes one;

	while (next(&descriptor, kind, &one)) {
		if (bytes_equal(member(one, DESCRIPTOR_NAME), symbol)) {
			return true;
		}
	}
	return false;
}

/* Does one of the services or enums, which are the fields `kind` of the file or message, define the symbol? */
static bool
defines(struct bytes parent, uint32_t kind, uint32_t members, struct bytes symbol)
{
	struct bytes one;

	while (next(&parent, kind, &one)) {
		struct bytes rest = symbol;
		bool whole;

		if (strip(&rest, member(one, DESCRIPTOR_NAME), &whole) && (whole || has_member(one, members, rest))) {
			return true;
		}
	}
	return false;
}

/* The same for messages, which hold further ones. */
static bool
message_defines(struct bytes parent, uint32_t kind, struct bytes symbol)
{
	struct bytes one;

	while (next(&parent, kind, &one)) {
		struct bytes rest = symbol;
		bool whole;

		if (strip(&rest, member(one, DESCRIPTOR_NAME), &whole) &&
		    (whole || has_member(one, MESSAGE_FIELD, rest) || defines(one, MESSAGE_ENUM, ENUM_VALUE, rest) ||
		     message_defines(one, MESSAGE_NESTED, rest))) {
			return true;
		}
	}
	return false;
}

static bool
file_defines(struct bytes file, struct bytes symbol)
{
	bool whole;

	return strip(&symbol, member(file, FILE_PACKAGE), &whole) && !whole &&
	       (defines(file, FILE_SERVICE, SERVICE_METHOD, symbol) || message_defines(file, FILE_MESSAGE, symbol) ||
		defines(file, FILE_ENUM, ENUM_VALUE, symbol));
}

/* --- Responses --- */

static void
put_error(struct buf *out, enum grpc_code code, const char *text)
{
	uint8_t room[128];
	struct buf error = {.at = room, .capacity = sizeof(room), .maximum = sizeof(room)};

	protobuf_put_number(&error, 1, (uint64_t)code);
	protobuf_put_text(&error, 2, bytes_text(text));
	protobuf_put_bytes(out, RESPONSE_ERROR, buf_bytes(&error));
}

/* Answers with the file that is named, or that defines the symbol. The client asks for its imports by name. */
static void
put_file(struct buf *out, struct bytes wanted, bool by_name)
{
	struct bytes set = service_descriptors();
	struct bytes file;

	while (next(&set, SET_FILE, &file)) {
		if (by_name ? bytes_equal(member(file, FILE_NAME), wanted) : file_defines(file, wanted)) {
			protobuf_put_tag(out, RESPONSE_FILES, PROTOBUF_BYTES);
			protobuf_put_varint(out, 1 + protobuf_varint_size(file.length) + file.length);
			protobuf_put_bytes(out, 1, file);
			return;
		}
	}
	put_error(out, GRPC_NOT_FOUND, by_name ? "there is no such file" : "no file defines this symbol");
}

static void
put_services(struct buf *out)
{
	struct bytes set = service_descriptors();
	struct bytes file;
	struct bytes service;
	struct buf list;

	buf_init(&list, 1 << 16);
	while (next(&set, SET_FILE, &file)) {
		struct bytes package = member(file, FILE_PACKAGE);

		for (struct bytes rest = file; next(&rest, FILE_SERVICE, &service);) {
			struct bytes name = member(service, DESCRIPTOR_NAME);
			size_t length = package.length + 1 + name.length;

			protobuf_put_tag(&list, 1, PROTOBUF_BYTES);
			protobuf_put_varint(&list, 1 + protobuf_varint_size(length) + length);
			protobuf_put_tag(&list, 1, PROTOBUF_BYTES);
			protobuf_put_varint(&list, length);
			buf_append(&list, package);
			buf_byte(&list, '.');
			buf_append(&list, name);
		}
	}
	protobuf_put_bytes(out, RESPONSE_SERVICES, buf_bytes(&list));
	buf_fini(&list);
}

/* False: the request is malformed. */
static bool
put_response(struct buf *out, struct bytes request)
{
	struct protobuf_field field = {0};
	struct protobuf_field wanted = {0};
	struct bytes rest = request;
	enum protobuf_step step;

	while ((step = protobuf_next(&rest, &field)) != PROTOBUF_END) {
		if (step == PROTOBUF_MALFORMED || field.type != PROTOBUF_BYTES) {
			return false;
		}
		if (field.number == REQUEST_HOST) {
			protobuf_put_text(out, RESPONSE_HOST, field.bytes);
		} else {
			wanted = field;
		}
	}
	protobuf_put_bytes(out, RESPONSE_REQUEST, request);
	switch (wanted.number) {
	case REQUEST_BY_FILENAME:
	case REQUEST_BY_SYMBOL:
		put_file(out, wanted.bytes, wanted.number == REQUEST_BY_FILENAME);
		break;
	case REQUEST_SERVICES:
		put_services(out);
		break;
	case REQUEST_BY_EXTENSION:
	case REQUEST_EXTENSION_NUMBERS:
		put_error(out, GRPC_NOT_FOUND, "there are no extensions");
		break;
	default:
		put_error(out, GRPC_INVALID_ARGUMENT, "the request asks for nothing that this server knows");
		break;
	}
	return true;
}

static void
on_message(struct grpc_call *call, struct grpc_message message)
{
	struct buf text;
	bool good;

	buf_init(&text, 1 << 20);
	good = put_response(&text, message.content);
	grpc_message_release(&message);
	if (good && buf_ok(&text)) {
		grpc_call_send_text(call, &text, false);
		return;
	}
	grpc_call_finish(call, good ? GRPC_RESOURCE_EXHAUSTED : GRPC_INTERNAL,
			 bytes_text(good ? "the request is too long" : "the request is no ServerReflectionRequest"));
	buf_fini(&text);
}

static void
on_half_close(struct grpc_call *call)
{
	grpc_call_finish(call, GRPC_OK, bytes_make(NULL, 0));
}

static void
on_stopping(struct grpc_call *call)
{
	grpc_call_finish(call, GRPC_UNAVAILABLE, bytes_text("the server stops"));
}

#define REFLECTION(package)                                                                                            \
	{                                                                                                              \
		{.path = "/" package ".ServerReflection/ServerReflectionInfo",                                         \
		 .is_client_streaming = true,                                                                          \
		 .begin = grpc_check_access,                                                                           \
		 .message = on_message,                                                                                \
		 .half_close = on_half_close,                                                                          \
		 .stopping = on_stopping},                                                                             \
			PROTOCOL_METADATA                                                                              \
	}

const struct service_method grpc_reflection = REFLECTION("grpc.reflection.v1");
const struct service_method grpc_reflection_alpha = REFLECTION("grpc.reflection.v1alpha");
