#include "grpc/field.h"
#include "grpc/internal.h"

#define METADATA_FIRST 8

static void
add_metadata(struct grpc_call *call, struct bytes name, struct bytes value)
{
	if (call->metadata_count == call->metadata_capacity) {
		size_t capacity = call->metadata_capacity == 0 ? METADATA_FIRST : 2 * call->metadata_capacity;
		struct grpc_metadata *larger = arena_array(&call->arena, capacity, sizeof(*larger));

		if (larger == NULL) {
			return;
		}
		if (call->metadata_count > 0) {
			memcpy(larger, call->metadata, call->metadata_count * sizeof(*larger));
		}
		call->metadata = larger;
		call->metadata_capacity = capacity;
	}
	call->metadata[call->metadata_count++] = (struct grpc_metadata){.name = arena_copy(&call->arena, name),
									.value = arena_copy(&call->arena, value)};
}

static const struct grpc_method *
find_method(const struct grpc_options *options, struct bytes path)
{
	for (size_t i = 0; i < options->method_count; i++) {
		if (bytes_equal_text(path, options->methods[i]->path)) {
			return options->methods[i];
		}
	}
	return NULL;
}

/* grpc-accept-encoding: a list of names, in which no weights occur. */
static void
take_accepted(struct grpc_call *call, struct bytes value)
{
	while (value.length > 0) {
		struct bytes name = bytes_take_until(&value, ',');
		enum coding coding;

		while (name.length > 0 && *name.at == ' ') {
			name = bytes_skip(name, 1);
		}
		coding = name.length == 0 ? CODING_UNKNOWN : coding_from_name(name);
		if (coding != CODING_UNKNOWN) {
			call->accepted[coding] = true;
		}
	}
}

static void
take_pseudo(struct grpc_call *call, struct bytes name, struct bytes value)
{
	const struct grpc_options *options = call->connection->lane->options;

	if (bytes_equal_text(name, ":path")) {
		call->has_path = true;
		call->method = find_method(options, value);
		if (options->other != NULL) {
			call->method = call->method == NULL ? options->other : call->method;
			call->path = arena_copy(&call->arena, value);
		}
	} else if (bytes_equal_text(name, ":method")) {
		call->is_post = bytes_equal_text(value, "POST");
	}
}

/* Returns false for a field that is not the protocol's own. */
static bool
take_grpc(struct grpc_call *call, struct bytes name, struct bytes value)
{
	if (bytes_equal_text(name, "grpc-timeout")) {
		call->has_timeout = grpc_timeout_read(value, &call->timeout_ns);
		call->is_timeout_bad = !call->has_timeout;
	} else if (bytes_equal_text(name, "grpc-encoding")) {
		call->coding = coding_from_name(value);
	} else if (bytes_equal_text(name, "grpc-accept-encoding")) {
		take_accepted(call, value);
	} else {
		return false;
	}
	return true;
}

bool
head_count(struct grpc_call *call, struct bytes name, struct bytes value)
{
	call->header_bytes += name.length + value.length + 32;
	return call->header_bytes <= HEADER_LIST_RESET;
}

void
head_take(struct grpc_call *call, struct bytes name, struct bytes value)
{
	if (call->header_bytes > HEADER_LIST_MAX || name.length == 0) {
		return;
	}
	switch (*name.at) {
	case ':':
		take_pseudo(call, name, value);
		return;
	case 't':
		if (bytes_equal_text(name, "te")) {
			call->has_trailers_field = bytes_equal_text(value, "trailers");
			return;
		}
		break;
	case 'c':
		if (bytes_equal_text(name, "content-type")) {
			call->has_content_type = true;
			call->is_content_type_good = grpc_content_type_valid(value);
			return;
		}
		break;
	case 'g':
		if (take_grpc(call, name, value)) {
			return;
		}
		break;
	default:
		break;
	}
	add_metadata(call, name, value);
}

static void
refuse(struct grpc_call *call, int http_status, enum grpc_code code, const char *text)
{
	call->refusal = (struct refusal){.http_status = http_status, .code = code, .text = text};
}

void
head_judge(struct grpc_call *call)
{
	if (call->header_bytes > HEADER_LIST_MAX) { /* first: fields that came later were not looked at */
		refuse(call, 200, GRPC_RESOURCE_EXHAUSTED, "the request's metadata is larger than 16384 bytes");
	} else if (!call->is_post) {
		refuse(call, 405, GRPC_OK, "gRPC calls are made by POST\n");
	} else if (!call->is_content_type_good) {
		refuse(call, 415, GRPC_OK,
		       call->has_content_type
			       ? "this port takes content-type application/grpc or application/grpc+proto\n"
			       : "the request has no content-type: application/grpc is expected\n");
	} else if (call->lacks_room) {
		refuse(call, 200, GRPC_RESOURCE_EXHAUSTED, "the server has too many calls in flight: try again later");
	} else if (!call->has_trailers_field) {
		refuse(call, 200, GRPC_INTERNAL, "the request lacks the header field 'te: trailers'");
	} else if (call->method == NULL) {
		refuse(call, 200, GRPC_UNIMPLEMENTED, "this server has no such method");
	} else if (call->coding == CODING_UNKNOWN) {
		refuse(call, 200, GRPC_UNIMPLEMENTED,
		       "the request's grpc-encoding is not supported: use identity, deflate or gzip");
	} else if (call->is_timeout_bad) {
		refuse(call, 200, GRPC_INTERNAL, "the request's grpc-timeout is malformed");
	}
}
