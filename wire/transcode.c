#include "wire/transcode.h"

#include "base/protobuf.h"
#include "grpc_service.pb-c.h"
#include "wire/admin_body.h"
#include "wire/compress.h"
#include "wire/infer_request.h"
#include "wire/service_message.h"
#include "wire/transcode_internal.h"

#define ARENA_MAX ((size_t)4 << 30)
#define MESSAGE_MAX ((size_t)INT32_MAX) /* as libraries of gRPC have it */

#define GET (HTTP1_GET | HTTP1_HEAD)

/* Field numbers of grpc_service.proto. */
enum { NAME_NAME = 1, NAME_VERSION = 2 };
enum { INDEX_REPOSITORY = 1, INDEX_READY = 2 };
enum { CONTROL_REPOSITORY = 1, CONTROL_MODEL = 2, CONTROL_PARAMETERS = 3 };
enum { CONTROL_BOOL = 1, CONTROL_STRING = 3, CONTROL_BYTES = 4 }; /* of ModelRepositoryParameter */

struct transcode_endpoint {
	const char *pattern; /* segments: "*" is a model's name, "#" a version, "?" a repository */
	unsigned methods;
	const char *method;
	/* Appends the call's message, or makes the pieces. NULL: it has no fields. */
	enum status (*request)(struct transcoding *this, const struct transcode_path *path,
			       const struct http1_head *head, struct bytes body, struct error *error);
	enum status (*response)(struct transcoding *this, struct bytes message, struct transcoded *response,
				struct error *error);
};

/* --- Requests --- */

static enum status
write_name(struct transcoding *this, const struct transcode_path *path, const struct http1_head *head,
	   struct bytes body, struct error *error)
{
	(void)head;
	(void)body;
	(void)error;
	protobuf_put_text(&this->message, NAME_NAME, path->model);
	protobuf_put_text(&this->message, NAME_VERSION, path->version);
	return STATUS_OK;
}

static enum status
write_index(struct transcoding *this, const struct transcode_path *path, const struct http1_head *head,
	    struct bytes body, struct error *error)
{
	bool ready;

	(void)head;
	if (index_body_decode(body, &ready, error) != STATUS_OK) {
		return error->status;
	}
	protobuf_put_text(&this->message, INDEX_REPOSITORY, path->repository);
	protobuf_put_number(&this->message, INDEX_READY, ready);
	return STATUS_OK;
}

static size_t
field_size(size_t length)
{
	return 1 + protobuf_varint_size(length) + length;
}

/* An entry of the parameters of a load or unload, whose value's message is `head` and then `content`. */
static void
put_control(struct buf *out, const char *prefix, struct bytes name, struct bytes head, struct bytes content)
{
	size_t key = strlen(prefix) + name.length;
	size_t value = head.length + content.length;

	protobuf_put_tag(out, CONTROL_PARAMETERS, PROTOBUF_BYTES);
	protobuf_put_varint(out, field_size(key) + field_size(value));
	protobuf_put_tag(out, 1, PROTOBUF_BYTES);
	protobuf_put_varint(out, key);
	buf_text(out, prefix);
	buf_append(out, name);
	protobuf_put_tag(out, 2, PROTOBUF_BYTES);
	protobuf_put_varint(out, value);
	buf_append(out, head);
	buf_append(out, content);
}

/* The same with a text or bytes; `choice` is their field in ModelRepositoryParameter. */
static void
put_control_bytes(struct buf *out, const char *prefix, struct bytes name, uint32_t choice, struct bytes content)
{
	uint8_t bytes[16];
	struct buf head = {.at = bytes, .capacity = sizeof(bytes), .maximum = sizeof(bytes)};

	protobuf_put_tag(&head, choice, PROTOBUF_BYTES);
	protobuf_put_varint(&head, content.length);
	put_control(out, prefix, name, buf_bytes(&head), content);
}

static void
put_control_names(struct buf *out, const struct transcode_path *path)
{
	protobuf_put_text(out, CONTROL_REPOSITORY, path->repository);
	protobuf_put_text(out, CONTROL_MODEL, path->model);
}

static enum status
write_load(struct transcoding *this, const struct transcode_path *path, const struct http1_head *head,
	   struct bytes body, struct error *error)
{
	struct load_body load = {0};

	(void)head;
	if (load_body_decode(body, &this->arena, &load, error) != STATUS_OK) {
		return error->status;
	}
	put_control_names(&this->message, path);
	if (load.has_config) {
		put_control_bytes(&this->message, "", bytes_text("config"), CONTROL_STRING, load.config);
	}
	for (size_t i = 0; i < load.file_count; i++) {
		put_control_bytes(&this->message, "file:", load.files[i].path, CONTROL_BYTES, load.files[i].content);
	}
	return STATUS_OK;
}

static enum status
write_unload(struct transcoding *this, const struct transcode_path *path, const struct http1_head *head,
	     struct bytes body, struct error *error)
{
	bool unload_dependents;

	(void)head;
	if (unload_body_decode(body, &unload_dependents, error) != STATUS_OK) {
		return error->status;
	}
	put_control_names(&this->message, path);
	if (unload_dependents) {
		put_control(&this->message, "", bytes_text("unload_dependents"),
			    bytes_make((const uint8_t[]){CONTROL_BOOL << 3 | PROTOBUF_VARINT, true}, 2),
			    bytes_text(""));
	}
	return STATUS_OK;
}

/* --- Responses --- */

enum status
transcode_json(struct transcoding *this, struct transcoded *response, struct error *error)
{
	response->pieces = arena_get(&this->arena, sizeof(*response->pieces));
	if (response->pieces == NULL || !buf_ok(&this->json)) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	response->pieces[0] = buf_bytes(&this->json);
	response->piece_count = 1;
	response->length = response->json_length = this->json.length;
	return STATUS_OK;
}

static enum status
read_message(struct transcoding *this, enum service_message type, struct bytes message, struct transcoded *response,
	     struct error *error)
{
	return service_message_decode(type, message, &this->json, error) == STATUS_OK
		       ? transcode_json(this, response, error)
		       : error->status;
}

static enum status
read_server_metadata(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	return read_message(this, MESSAGE_SERVER_METADATA, message, response, error);
}

static enum status
read_model_metadata(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	return read_message(this, MESSAGE_MODEL_METADATA, message, response, error);
}

static enum status
read_statistics(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	return read_message(this, MESSAGE_MODEL_STATISTICS, message, response, error);
}

/* HTTP has the value of the message's only member, {"config":…}. */
static enum status
read_config(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	static const char member[] = "{\"config\":";
	const size_t before = sizeof(member) - 1;
	struct bytes *json;

	if (service_message_decode(MESSAGE_MODEL_CONFIG, message, &this->json, error) != STATUS_OK ||
	    transcode_json(this, response, error) != STATUS_OK) {
		return error->status;
	}
	json = &response->pieces[0];
	if (!bytes_starts_with(*json, member)) {
		return error_set(error, STATUS_INTERNAL, "it has no configuration");
	}
	*json = bytes_make(json->at + before, json->length - before - 1);
	response->length = response->json_length = json->length;
	return STATUS_OK;
}

/* A member of an index's entry, which Triton's HTTP leaves out if it is empty. */
static void
write_member(struct buf *json, const char *name, const char *text)
{
	if (*text != '\0') {
		buf_format(json, ",\"%s\":", name);
		buf_json_string(json, bytes_text(text));
	}
}

static enum status
read_index(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	Inference__RepositoryIndexResponse *index =
		inference__repository_index_response__unpack(NULL, message.length, message.at);

	if (index == NULL) {
		return error_set(error, STATUS_INTERNAL, "it is no RepositoryIndexResponse");
	}
	buf_byte(&this->json, '[');
	for (size_t i = 0; i < index->n_models; i++) {
		const Inference__RepositoryIndexResponse__ModelIndex *model = index->models[i];

		buf_text(&this->json, i == 0 ? "{\"name\":" : ",{\"name\":");
		buf_json_string(&this->json, bytes_text(model->name));
		write_member(&this->json, "version", model->version);
		write_member(&this->json, "state", model->state);
		write_member(&this->json, "reason", model->reason);
		buf_byte(&this->json, '}');
	}
	buf_byte(&this->json, ']');
	inference__repository_index_response__free_unpacked(index, NULL);
	return transcode_json(this, response, error);
}

/* Live, ready: over HTTP the status tells. */
static enum status
read_flag(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	struct protobuf_field field;
	enum protobuf_step step;
	bool flag = false;

	(void)this;
	while ((step = protobuf_next(&message, &field)) == PROTOBUF_FIELD) {
		if (field.number == 1 && field.type == PROTOBUF_VARINT) {
			flag = field.value != 0;
		}
	}
	response->status = flag ? 200 : 400;
	response->content_type = "text/plain";
	return step == PROTOBUF_END ? STATUS_OK : error_set(error, STATUS_INTERNAL, "it is malformed");
}

static enum status
read_nothing(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	(void)this;
	(void)message;
	(void)response;
	(void)error;
	return STATUS_OK;
}

/* --- Endpoints --- */

#define SERVICE "/inference.GRPCInferenceService/"

/* The first match counts, so that "v2/models/stats" never names a model. */
static const struct transcode_endpoint endpoints[] = {
	{"v2/models/*/infer", HTTP1_POST, SERVICE "ModelInfer", transcode_infer_request, transcode_infer_response},
	{"v2/models/*/versions/#/infer", HTTP1_POST, SERVICE "ModelInfer", transcode_infer_request,
	 transcode_infer_response},
	{"v2/health/live", GET, SERVICE "ServerLive", NULL, read_flag},
	{"v2/health/ready", GET, SERVICE "ServerReady", NULL, read_flag},
	{"v2", GET, SERVICE "ServerMetadata", NULL, read_server_metadata},
	{"v2/models/stats", GET, SERVICE "ModelStatistics", NULL, read_statistics},
	{"v2/models/*", GET, SERVICE "ModelMetadata", write_name, read_model_metadata},
	{"v2/models/*/versions/#", GET, SERVICE "ModelMetadata", write_name, read_model_metadata},
	{"v2/models/*/ready", GET, SERVICE "ModelReady", write_name, read_flag},
	{"v2/models/*/versions/#/ready", GET, SERVICE "ModelReady", write_name, read_flag},
	{"v2/models/*/config", GET, SERVICE "ModelConfig", write_name, read_config},
	{"v2/models/*/versions/#/config", GET, SERVICE "ModelConfig", write_name, read_config},
	{"v2/models/*/stats", GET, SERVICE "ModelStatistics", write_name, read_statistics},
	{"v2/models/*/versions/#/stats", GET, SERVICE "ModelStatistics", write_name, read_statistics},
	{"v2/repository/index", HTTP1_POST, SERVICE "RepositoryIndex", write_index, read_index},
	{"v2/repository/models/*/load", HTTP1_POST, SERVICE "RepositoryModelLoad", write_load, read_nothing},
	{"v2/repository/models/*/unload", HTTP1_POST, SERVICE "RepositoryModelUnload", write_unload, read_nothing},
	{"v2/repository/?/index", HTTP1_POST, SERVICE "RepositoryIndex", write_index, read_index},
	{"v2/repository/?/models/*/load", HTTP1_POST, SERVICE "RepositoryModelLoad", write_load, read_nothing},
	{"v2/repository/?/models/*/unload", HTTP1_POST, SERVICE "RepositoryModelUnload", write_unload, read_nothing},
};

/* The part of `path` that the mark of a pattern stands for; NULL: the segment is a word. */
static struct bytes *
slot_of(struct transcode_path *path, struct bytes mark)
{
	return bytes_equal_text(mark, "*")   ? &path->model
	       : bytes_equal_text(mark, "#") ? &path->version
	       : bytes_equal_text(mark, "?") ? &path->repository
					     : NULL;
}

static bool
matches(const char *pattern, struct bytes target, struct transcode_path *path)
{
	struct bytes wanted = bytes_text(pattern);

	*path = (struct transcode_path){0};
	if (target.length > 0 && target.at[target.length - 1] == '/') {
		return false;
	}
	while (wanted.length > 0 && target.length > 0) {
		struct bytes mark = bytes_take_until(&wanted, '/');
		struct bytes segment = bytes_take_until(&target, '/');
		struct bytes *slot = slot_of(path, mark);

		if (slot == NULL ? !bytes_equal(mark, segment) : segment.length == 0) {
			return false;
		}
		if (slot != NULL) {
			*slot = segment;
		}
	}
	return wanted.length == 0 && target.length == 0;
}

/* Undoes percent-encoding: names may hold any character. False: no memory. */
static bool
decode_segment(struct transcoding *this, struct bytes *segment)
{
	uint8_t *decoded = segment->length == 0 ? NULL : arena_room(&this->arena, segment->length);

	if (decoded != NULL) {
		*segment = bytes_make(decoded, http1_percent_decode(*segment, decoded));
	}
	return decoded != NULL || segment->length == 0;
}

static enum status
find_endpoint(struct transcoding *this, const struct http1_head *head, struct transcode_path *path, struct error *error)
{
	struct bytes target = bytes_starts_with(head->path, "/") ? bytes_skip(head->path, 1) : head->path;
	bool is_known = false;

	for (size_t i = 0; i < sizeof(endpoints) / sizeof(*endpoints); i++) {
		if (!matches(endpoints[i].pattern, target, path)) {
			continue;
		}
		if ((endpoints[i].methods & head->method) != 0) {
			this->endpoint = &endpoints[i];
			this->method = endpoints[i].method;
			return decode_segment(this, &path->model) && decode_segment(this, &path->version) &&
					       decode_segment(this, &path->repository)
				       ? STATUS_OK
				       : error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
		}
		is_known = true;
	}
	if (is_known) {
		(void)error_set(error, STATUS_UNSUPPORTED, "Method Not Allowed");
		error->http = 405;
		return error->status;
	}
	return error_set(
		error, STATUS_UNSUPPORTED,
		"'%s %.*s' is not translated to gRPC, by which alone the server behind is known: ask over gRPC, "
		"if that has it, or name the address of the server's HTTP with another --upstream",
		head->method_name, BYTES_ARGS(head->path));
}

/* --- The request --- */

static enum status
unpack(struct transcoding *this, const struct http1_head *head, struct bytes *body, struct error *error)
{
	struct bytes field = http1_header(head, "content-encoding");
	enum coding coding = coding_from_name(field);

	if (coding == CODING_IDENTITY) {
		return STATUS_OK;
	}
	if (coding == CODING_UNKNOWN) {
		return error_set(error, STATUS_UNSUPPORTED, "Unsupported compression type");
	}
	if (decompress(coding, *body, &this->unpacked, error) != STATUS_OK) {
		return error->status;
	}
	*body = buf_bytes(&this->unpacked);
	return STATUS_OK;
}

/* Puts the length of the message before it. */
static enum status
finish(struct transcoding *this, struct error *error)
{
	size_t length = 0;

	if (!buf_ok(&this->message)) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	if (this->pieces == NULL) {
		this->pieces = arena_get(&this->arena, sizeof(*this->pieces));
		if (this->pieces == NULL) {
			return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
		}
		this->pieces[this->piece_count++] = buf_bytes(&this->message);
	}
	for (size_t i = 0; i < this->piece_count; i++) {
		length += this->pieces[i].length;
	}
	length -= INFER_REQUEST_PREFIX;
	if (length > MESSAGE_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "the request has %zu bytes, a message of gRPC %zu at most", length, MESSAGE_MAX);
	}
	infer_request_prefix((uint32_t)length, this->message.at);
	return STATUS_OK;
}

void
transcoding_init(struct transcoding *this, size_t max_unpacked)
{
	*this = (struct transcoding){0};
	arena_init_small(&this->arena, ARENA_MAX);
	buf_init(&this->message, MESSAGE_MAX + INFER_REQUEST_PREFIX);
	buf_init(&this->framing, MESSAGE_MAX);
	buf_init(&this->unpacked, max_unpacked);
	buf_init(&this->json, 2 * MESSAGE_MAX);
}

enum status
transcode_request(struct transcoding *this, const struct http1_head *head, struct bytes body, struct error *error)
{
	struct transcode_path path;
	enum status status;

	error->http = 0;
	if (head->target.length != head->path.length) {
		return error_set(
			error, STATUS_UNSUPPORTED,
			"the request has a query, which gRPC cannot tell, by which alone the server behind is "
			"known: leave it out, or name the address of the server's HTTP with another --upstream");
	}
	if (http1_repeats(head, "content-encoding") || http1_repeats(head, "inference-header-content-length")) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "a header field of the body is there twice");
	}
	buf_append(&this->message, bytes_make((const uint8_t[INFER_REQUEST_PREFIX]){0}, INFER_REQUEST_PREFIX));
	status = find_endpoint(this, head, &path, error);
	if (status == STATUS_OK) {
		status = unpack(this, head, &body, error);
	}
	if (status == STATUS_OK && this->endpoint->request != NULL) {
		status = this->endpoint->request(this, &path, head, body, error);
	}
	if (status == STATUS_OK) {
		status = finish(this, error);
	}
	if (status == STATUS_OK && !infer_body_detach(&this->body, &this->arena)) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	return status;
}

void
transcoding_fini(struct transcoding *this)
{
	infer_body_fini(&this->body);
	buf_fini(&this->message);
	buf_fini(&this->framing);
	buf_fini(&this->unpacked);
	buf_fini(&this->json);
	arena_fini(&this->arena);
}

size_t
transcoding_memory(const struct transcoding *this)
{
	return this->arena.total + this->message.length + this->framing.length + this->unpacked.length +
	       this->json.length;
}

/* --- The response --- */

enum status
transcode_response(struct transcoding *this, struct bytes message, struct transcoded *response, struct error *error)
{
	*response = (struct transcoded){.status = 200, .content_type = "application/json"};
	buf_clear(&this->json);
	return this->endpoint->response(this, message, response, error);
}

/* Appends the text as UTF-8. */
static void
write_text(struct transcoding *this, struct bytes text)
{
	struct bytes copy = arena_copy(&this->arena, text);
	uint8_t *at = (uint8_t *)(uintptr_t)copy.at;
	bool is_good = protobuf_is_utf8(text);

	for (size_t i = 0; at != NULL && !is_good && i < copy.length; i++) {
		at[i] = at[i] < 0x80 ? at[i] : '?';
	}
	buf_json_string(&this->json, copy);
}

void
transcode_failure(struct transcoding *this, int status, struct bytes text, struct transcoded *response)
{
	struct error unused;

	*response = (struct transcoded){.status = status, .content_type = "application/json"};
	buf_clear(&this->json);
	buf_text(&this->json, "{\"error\":");
	write_text(this, text);
	buf_byte(&this->json, '}');
	(void)transcode_json(this, response, &unused); /* else the status alone tells */
}
