#include "server/grpc_request_head.h"

#include "grpc/status.h"
#include "upstream/via.h"
#include "wire/compress.h"

#define OWN_FIELDS 7 /* of the protocol, and via */

struct writer {
	struct arena *arena;
	struct http2_field *fields;
	size_t count;
};

bool
grpc_is_metadata(struct bytes name)
{
	static const char *const own[] = {"content-type", "content-length", "grpc-encoding", "grpc-accept-encoding",
					  "grpc-status",  "grpc-message",   "host"};

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
		if (bytes_equal_text(name, own[i])) {
			return false;
		}
	}
	return name.length > 0 && *name.at != ':';
}

static void
add(struct writer *writer, struct bytes name, struct bytes value)
{
	struct http2_field field = {.name = arena_copy(writer->arena, name), .value = arena_copy(writer->arena, value)};

	if (field.name.at != NULL && field.value.at != NULL) {
		writer->fields[writer->count++] = field;
	}
}

static void
add_codings(struct writer *writer, const struct grpc_call *call)
{
	static const enum coding codings[] = {CODING_GZIP, CODING_DEFLATE};
	char accepted[64] = "identity";
	enum coding sent;
	bool has_sent = grpc_call_has_sent_headers(call, &sent);

	for (size_t i = 0; i < sizeof(codings) / sizeof(*codings); i++) {
		if (has_sent ? codings[i] == sent : grpc_call_accepts(call, codings[i])) {
			(void)strcat(strcat(accepted, ","), coding_name(codings[i]));
		}
	}
	add(writer, bytes_text("grpc-accept-encoding"), bytes_text(accepted));
}

static void
add_protocol(struct writer *writer, const struct grpc_call *call, bool with_timeout)
{
	char timeout[GRPC_TIMEOUT_SIZE];
	uint64_t ns;

	add(writer, bytes_text(":method"), bytes_text("POST"));
	add(writer, bytes_text(":path"), grpc_call_path(call));
	add(writer, bytes_text("te"), bytes_text("trailers"));
	add(writer, bytes_text("content-type"), bytes_text("application/grpc"));
	add_codings(writer, call);
	if (with_timeout && grpc_call_time_left(call, &ns)) {
		grpc_timeout_write(ns, timeout);
		add(writer, bytes_text("grpc-timeout"), bytes_text(timeout));
	}
}

const struct http2_field *
grpc_request_head(const struct grpc_call *call, bool with_timeout, struct arena *arena, size_t *count)
{
	const struct grpc_metadata *list;
	size_t length = grpc_call_metadata_list(call, &list);
	struct writer writer = {.arena = arena,
				.fields = arena_array(arena, length + OWN_FIELDS, sizeof(*writer.fields))};
	size_t seen = 0;

	if (writer.fields == NULL) {
		return NULL;
	}
	add_protocol(&writer, call, with_timeout);
	for (size_t i = 0; i < length; i++) {
		if (grpc_is_metadata(list[i].name)) {
			add(&writer, list[i].name, list[i].value);
		}
		seen += bytes_equal_text(list[i].name, "via") && bytes_equal_text(list[i].value, VIA_GRPC);
	}
	add(&writer, bytes_text("via"), bytes_text(VIA_GRPC));
	*count = writer.count;
	return seen >= VIA_MAX ? NULL : writer.fields;
}
