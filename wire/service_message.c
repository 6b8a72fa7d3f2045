#include "wire/service_message.h"

#include "grpc_service.pb-c.h"
#include "wire/proto.h"
#include "wire/request_field.h"

/* Calls `take` for each field of the message. */
static enum status
each_field(struct bytes message, enum status (*take)(void *context, const struct protobuf_field *field, struct error *),
	   void *context, struct error *error)
{
	struct protobuf_field field;
	enum protobuf_step step;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && (step = protobuf_next(&message, &field)) != PROTOBUF_END) {
		status = step == PROTOBUF_MALFORMED ? request_malformed(error) : take(context, &field, error);
	}
	return status;
}

static enum status
skip_field(void *context, const struct protobuf_field *field, struct error *error)
{
	(void)context;
	(void)field;
	(void)error;
	return STATUS_OK;
}

enum status
empty_request_decode(struct bytes message, struct error *error)
{
	return each_field(message, skip_field, NULL, error);
}

/* --- Requests by name --- */

static enum status
take_name(void *context, const struct protobuf_field *field, struct error *error)
{
	struct name_request *request = context;

	switch (field->number) {
	case 1:
		return request_text(field, &request->name, error);
	case 2: /* of a region: its key, or its handle, which is no text */
		if (field->type == PROTOBUF_BYTES) {
			request->version = field->bytes;
		}
		return STATUS_OK;
	default:
		return STATUS_OK;
	}
}

enum status
name_request_decode(struct bytes message, struct name_request *request, struct error *error)
{
	*request = (struct name_request){0};
	return each_field(message, take_name, request, error);
}

static enum status
take_index(void *context, const struct protobuf_field *field, struct error *error)
{
	struct index_request *request = context;

	if (field->number == 1) {
		return request_text(field, &request->repository_name, error);
	}
	if (field->number == 2 && field->type == PROTOBUF_VARINT) {
		request->ready = field->value != 0;
	}
	return STATUS_OK;
}

enum status
index_request_decode(struct bytes message, struct index_request *request, struct error *error)
{
	*request = (struct index_request){0};
	return each_field(message, take_index, request, error);
}

/* --- Maps of parameters --- */

/* An entry of a map whose values are messages with one field of a oneof: the last one counts. Number 0: none. */
struct entry {
	struct bytes key;
	struct protobuf_field value;
};

static enum status
take_value(void *context, const struct protobuf_field *field, struct error *error)
{
	(void)error;
	((struct entry *)context)->value = *field;
	return STATUS_OK;
}

static enum status
take_entry(void *context, const struct protobuf_field *field, struct error *error)
{
	struct entry *entry = context;

	if (field->number == 1) {
		return request_text(field, &entry->key, error);
	}
	if (field->number == 2 && field->type == PROTOBUF_BYTES) {
		return each_field(field->bytes, take_value, entry, error);
	}
	return STATUS_OK;
}

static enum status
read_entry(const struct protobuf_field *field, struct entry *entry, struct error *error)
{
	*entry = (struct entry){0};
	return field->type == PROTOBUF_BYTES ? each_field(field->bytes, take_entry, entry, error)
					     : request_malformed(error);
}

/* --- Load and unload --- */

#define FILES_MAX 4096

enum { VALUE_BOOL = 1, VALUE_STRING = 3, VALUE_BYTES = 4 }; /* of ModelRepositoryParameter */

static enum status
wrong_value(const struct entry *entry, const char *expected, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "invalid value type for load parameter '%.*s', expected %s.",
			 BYTES_ARGS(entry->key), expected);
}

static enum status
take_load_parameter(const struct entry *entry, struct load_body *body, struct error *error)
{
	if (bytes_equal_text(entry->key, "config")) {
		if (entry->value.number != VALUE_STRING || entry->value.type != PROTOBUF_BYTES) {
			return wrong_value(entry, "string_param", error);
		}
		body->has_config = true;
		body->config = entry->value.bytes;
		return STATUS_OK;
	}
	if (!bytes_starts_with(entry->key, "file:")) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "unrecognized load parameter '%.*s'.",
				 BYTES_ARGS(entry->key));
	}
	if (entry->value.number != VALUE_BYTES || entry->value.type != PROTOBUF_BYTES) {
		return wrong_value(entry, "bytes_param", error);
	}
	if (body->file_count == FILES_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "a load request may have %d files at most", FILES_MAX);
	}
	body->files[body->file_count++] =
		(struct load_body_file){.path = bytes_skip(entry->key, strlen("file:")), .content = entry->value.bytes};
	return STATUS_OK;
}

static enum status
take_load(void *context, const struct protobuf_field *field, struct error *error)
{
	struct model_control_request *request = context;
	struct entry entry;

	switch (field->number) {
	case 1:
		return request_text(field, &request->repository_name, error);
	case 2:
		return request_text(field, &request->model_name, error);
	case 3:
		return read_entry(field, &entry, error) == STATUS_OK
			       ? take_load_parameter(&entry, &request->body, error)
			       : error->status;
	default:
		return STATUS_OK;
	}
}

enum status
load_request_decode(struct bytes message, struct arena *arena, struct model_control_request *request,
		    struct error *error)
{
	*request = (struct model_control_request){0};
	request->body.files = arena_array(arena, FILES_MAX, sizeof(*request->body.files));
	if (request->body.files == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	return each_field(message, take_load, request, error);
}

static enum status
take_unload(void *context, const struct protobuf_field *field, struct error *error)
{
	struct model_control_request *request = context;
	struct entry entry;

	if (field->number != 3) {
		return take_load(context, field, error);
	}
	if (read_entry(field, &entry, error) != STATUS_OK) {
		return error->status;
	}
	if (!bytes_equal_text(entry.key, "unload_dependents")) {
		return STATUS_OK;
	}
	if (entry.value.number != VALUE_BOOL || entry.value.type != PROTOBUF_VARINT) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "invalid value type for 'unload_dependents' parameter, expected bool_param.");
	}
	request->unload_dependents = entry.value.value != 0;
	return STATUS_OK;
}

enum status
unload_request_decode(struct bytes message, struct model_control_request *request, struct error *error)
{
	*request = (struct model_control_request){0};
	return each_field(message, take_unload, request, error);
}

/* --- Settings --- */

struct trace_request {
	struct bytes model_name;
	bool changes;
};

static enum status
take_trace(void *context, const struct protobuf_field *field, struct error *error)
{
	struct trace_request *request = context;

	request->changes |= field->number == 1;
	return field->number == 2 ? request_text(field, &request->model_name, error) : STATUS_OK;
}

enum status
trace_request_decode(struct bytes message, struct bytes *model_name, bool *changes, struct error *error)
{
	struct trace_request request = {0};
	enum status status = each_field(message, take_trace, &request, error);

	*model_name = request.model_name;
	*changes = request.changes;
	return status;
}

enum { LOG_BOOL = 1, LOG_UINT32 = 2, LOG_STRING = 3 }; /* of LogSettingsRequest.SettingValue */

static enum status
wrong_setting(const struct entry *entry, const char *expected, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "expect %s for '%.*s'", expected, BYTES_ARGS(entry->key));
}

static enum status
take_log_format(const struct entry *entry, struct log_settings *settings, struct error *error)
{
	if (entry->value.number != LOG_STRING || entry->value.type != PROTOBUF_BYTES) {
		return wrong_setting(entry, "string", error);
	}
	if (bytes_equal_text(entry->value.bytes, "default")) {
		settings->format = LOG_FORMAT_DEFAULT;
	} else if (bytes_equal_text(entry->value.bytes, "ISO8601")) {
		settings->format = LOG_FORMAT_ISO8601;
	} else {
		return error_set(error, STATUS_INVALID_ARGUMENT, "invalid argument for log_format, got: %.*s",
				 BYTES_ARGS(entry->value.bytes));
	}
	return STATUS_OK;
}

static enum status
take_log_setting(const struct entry *entry, struct log_settings *settings, struct error *error)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{"log_info", &settings->info}, {"log_warning", &settings->warning}, {"log_error", &settings->error}};

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		if (bytes_equal_text(entry->key, flags[i].name)) {
			if (entry->value.number != LOG_BOOL || entry->value.type != PROTOBUF_VARINT) {
				return wrong_setting(entry, "boolean", error);
			}
			*flags[i].flag = entry->value.value != 0;
			return STATUS_OK;
		}
	}
	if (bytes_equal_text(entry->key, "log_verbose_level")) {
		if (entry->value.number != LOG_UINT32 || entry->value.type != PROTOBUF_VARINT) {
			return wrong_setting(entry, "int32", error);
		}
		settings->verbose = (int)(entry->value.value > 100 ? 100 : entry->value.value);
	} else if (bytes_equal_text(entry->key, "log_format")) {
		return take_log_format(entry, settings, error);
	} else if (bytes_equal_text(entry->key, "log_file")) {
		return error_set(error, STATUS_UNSUPPORTED,
				 "log file location can not be updated through network protocol");
	}
	return STATUS_OK;
}

static enum status
take_log(void *context, const struct protobuf_field *field, struct error *error)
{
	struct entry entry;

	if (field->number != 1) {
		return STATUS_OK;
	}
	return read_entry(field, &entry, error) == STATUS_OK ? take_log_setting(&entry, context, error) : error->status;
}

enum status
log_request_decode(struct bytes message, struct log_settings *settings, struct error *error)
{
	struct log_settings changed = *settings;
	enum status status = each_field(message, take_log, &changed, error);

	if (status == STATUS_OK) {
		*settings = changed;
	}
	return status;
}

/* --- Responses --- */

static const ProtobufCMessageDescriptor *const types[] = {
	[MESSAGE_SERVER_METADATA] = &inference__server_metadata_response__descriptor,
	[MESSAGE_MODEL_METADATA] = &inference__model_metadata_response__descriptor,
	[MESSAGE_MODEL_CONFIG] = &inference__model_config_response__descriptor,
	[MESSAGE_MODEL_STATISTICS] = &inference__model_statistics_response__descriptor,
	[MESSAGE_REPOSITORY_INDEX] = &inference__repository_index_response__descriptor,
	[MESSAGE_TRACE_SETTINGS] = &inference__trace_setting_response__descriptor,
	[MESSAGE_LOG_SETTINGS] = &inference__log_settings_response__descriptor,
};

static enum status
pack(const ProtobufCMessage *message, struct buf *out, struct error *error)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *room = buf_reserve(out, size);

	if (room == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	out->length += protobuf_c_message_pack(message, room);
	return STATUS_OK;
}

enum status
service_message_encode(enum service_message type, struct bytes json, struct buf *out, struct error *error)
{
	ProtobufCMessage *message = proto_message_new(types[type]);
	enum status status;

	if (message == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	status = proto_json_parse(json, message, error);
	if (status == STATUS_OK) {
		status = pack(message, out, error);
	}
	protobuf_c_message_free_unpacked(message, NULL);
	return status;
}

enum status
service_message_decode(enum service_message type, struct bytes message, struct buf *json, struct error *error)
{
	ProtobufCMessage *read = protobuf_c_message_unpack(types[type], NULL, message.length, message.at);

	if (read == NULL) {
		return error_set(error, STATUS_INTERNAL, "the response is no %s", types[type]->short_name);
	}
	proto_json_print(read, json);
	protobuf_c_message_free_unpacked(read, NULL);
	return buf_ok(json) ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
}

/* DESCRIPTORS names the file that the build made (meson.build). */
__asm__(".pushsection .rodata\n"
	".local descriptors_begin\n"
	"descriptors_begin: .incbin \"" DESCRIPTORS "\"\n"
	".local descriptors_end\n"
	"descriptors_end:\n"
	".popsection\n");
extern const uint8_t descriptors_begin[];
extern const uint8_t descriptors_end[];

struct bytes
service_descriptors(void)
{
	return bytes_make(descriptors_begin, (size_t)(descriptors_end - descriptors_begin));
}
