#include "wire/admin_body.h"

#include "wire/json.h"

/* Here Triton does not say which member it is. */
static enum status
wrong_type(const char *type, struct error *error)
{
	return error_set(error, STATUS_INTERNAL, "attempt to access JSON non-%s as %s", type, type);
}

static enum status
decode_switch(yyjson_val *root, const char *name, bool *on, struct error *error)
{
	yyjson_val *value = yyjson_obj_get(root, name);

	if (value == NULL) {
		return STATUS_OK;
	}
	if (!yyjson_is_bool(value)) {
		return wrong_type("boolean", error);
	}
	*on = yyjson_get_bool(value);
	return STATUS_OK;
}

enum status
index_body_decode(struct bytes text, bool *ready_only, struct error *error)
{
	yyjson_doc *document = text.length == 0 ? NULL : json_read(text, error);
	enum status status;

	*ready_only = false;
	if (document == NULL) {
		return text.length == 0 ? STATUS_OK : error->status;
	}
	status = decode_switch(yyjson_doc_get_root(document), "ready", ready_only, error);
	if (status != STATUS_OK) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "Invalid value for 'ready': expected a boolean");
	}
	yyjson_doc_free(document);
	return status;
}

static enum status
decode_file(struct bytes path, struct bytes encoded, struct arena *arena, struct load_body *body, struct error *error)
{
	struct load_body_file *file = &body->files[body->file_count++];

	file->path = arena_copy(arena, path);
	if (!json_base64(encoded, arena, &file->content)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "the content of 'file:%.*s' is not valid base64",
				 BYTES_ARGS(path));
	}
	return STATUS_OK;
}

static enum status
decode_load_parameters(yyjson_val *parameters, struct arena *arena, struct load_body *body, struct error *error)
{
	yyjson_obj_iter items = yyjson_obj_iter_with(parameters);
	enum status status = STATUS_OK;
	yyjson_val *key;

	body->files = arena_array(arena, yyjson_obj_size(parameters), sizeof(*body->files));
	if (body->files == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the load request");
	}
	while (status == STATUS_OK && (key = yyjson_obj_iter_next(&items)) != NULL) {
		struct bytes name = json_bytes(key);
		struct bytes value = {0};

		if (!yyjson_is_str(yyjson_obj_iter_get_val(key))) {
			return wrong_type("string", error);
		}
		if (!bytes_equal_text(name, "config") && !bytes_starts_with(name, "file:")) {
			return error_set(error, STATUS_INTERNAL, "unexpected error on creating Triton parameter");
		}
		value = json_bytes(yyjson_obj_iter_get_val(key));
		if (bytes_equal_text(name, "config")) {
			body->has_config = true;
			body->config = arena_copy(arena, value);
		} else {
			status = decode_file(bytes_skip(name, strlen("file:")), value, arena, body, error);
		}
	}
	return status;
}

/* Parses a body and finds its object `parameters`; sets NULL for what is absent. The caller frees *document. */
static enum status
read_parameters(struct bytes text, yyjson_doc **document, yyjson_val **parameters, struct error *error)
{
	*parameters = NULL;
	*document = text.length == 0 ? NULL : json_read(text, error);
	if (*document == NULL) {
		return text.length == 0 ? STATUS_OK : error->status;
	}
	*parameters = yyjson_obj_get(yyjson_doc_get_root(*document), "parameters");
	return *parameters == NULL || yyjson_is_obj(*parameters)
		       ? STATUS_OK
		       : error_set(error, STATUS_INTERNAL, "attempt to get members for non-object");
}

enum status
load_body_decode(struct bytes text, struct arena *arena, struct load_body *body, struct error *error)
{
	yyjson_doc *document;
	yyjson_val *parameters;
	enum status status = read_parameters(text, &document, &parameters, error);

	*body = (struct load_body){0};
	if (status == STATUS_OK && parameters != NULL) {
		status = decode_load_parameters(parameters, arena, body, error);
	}
	yyjson_doc_free(document);
	return status;
}

enum status
unload_body_decode(struct bytes text, bool *unload_dependents, struct error *error)
{
	yyjson_doc *document;
	yyjson_val *parameters;
	enum status status = read_parameters(text, &document, &parameters, error);

	*unload_dependents = false;
	if (status == STATUS_OK && parameters != NULL) {
		status = decode_switch(parameters, "unload_dependents", unload_dependents, error);
	}
	yyjson_doc_free(document);
	return status;
}

static enum status
decode_log_format(yyjson_val *root, struct log_settings *settings, struct error *error)
{
	yyjson_val *value = yyjson_obj_get(root, "log_format");
	struct bytes text;

	if (value == NULL) {
		return STATUS_OK;
	}
	if (!yyjson_is_str(value)) {
		return wrong_type("string", error);
	}
	text = json_bytes(value);
	if (bytes_equal_text(text, "default")) {
		settings->format = LOG_FORMAT_DEFAULT;
	} else if (bytes_equal_text(text, "ISO8601")) {
		settings->format = LOG_FORMAT_ISO8601;
	} else if (bytes_equal_text(text, "json")) {
		settings->format = LOG_FORMAT_JSON;
	} else {
		return error_set(error, STATUS_UNAVAILABLE, "invalid argument for --log_format, got: %.*s",
				 BYTES_ARGS(text));
	}
	return STATUS_OK;
}

static enum status
decode_log_settings(yyjson_val *root, struct log_settings *settings, struct error *error)
{
	yyjson_val *verbose = yyjson_obj_get(root, "log_verbose_level");
	uint64_t level = (uint64_t)settings->verbose;
	enum status status;

	if (yyjson_obj_get(root, "log_file") != NULL) {
		return error_set(error, STATUS_UNSUPPORTED,
				 "log file location can not be updated through network protocol");
	}
	status = decode_switch(root, "log_info", &settings->info, error);
	if (status == STATUS_OK) {
		status = decode_switch(root, "log_warning", &settings->warning, error);
	}
	if (status == STATUS_OK) {
		status = decode_switch(root, "log_error", &settings->error, error);
	}
	if (status == STATUS_OK && verbose != NULL) {
		if (!yyjson_is_uint(verbose)) {
			return wrong_type("unsigned-integer", error);
		}
		level = yyjson_get_uint(verbose);
		settings->verbose = level > 100 ? 100 : (int)level;
	}
	return status == STATUS_OK ? decode_log_format(root, settings, error) : status;
}

enum status
log_body_decode(struct bytes text, struct log_settings *settings, struct error *error)
{
	yyjson_doc *document = json_read(text, error);
	enum status status;

	if (document == NULL) {
		return error->status;
	}
	status = decode_log_settings(yyjson_doc_get_root(document), settings, error);
	yyjson_doc_free(document);
	return status;
}

static enum status
read_purge(yyjson_val *root, struct arena *arena, struct purge_body *body, struct error *error)
{
	yyjson_obj_iter members;
	yyjson_val *name;

	if (!yyjson_is_obj(root)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "a purge is {}, {\"model\":\"NAME\"} or {\"model\":\"NAME\",\"version\":\"1\"}");
	}
	members = yyjson_obj_iter_with(root);
	while ((name = yyjson_obj_iter_next(&members)) != NULL) {
		yyjson_val *value = yyjson_obj_iter_get_val(name);
		bool model = yyjson_equals_str(name, "model");

		if (!model && !yyjson_equals_str(name, "version")) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "a purge has no member '%s', only 'model' and 'version'",
					 yyjson_get_str(name));
		}
		if (!yyjson_is_str(value) || yyjson_get_len(value) == 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "'%s' of a purge must be a string that is not empty", yyjson_get_str(name));
		}
		*(model ? &body->model : &body->version) = arena_copy(arena, json_bytes(value));
	}
	if (body->version.length > 0 && body->model.length == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "a purge of a 'version' needs the 'model', too");
	}
	return STATUS_OK;
}

enum status
purge_body_decode(struct bytes text, struct arena *arena, struct purge_body *body, struct error *error)
{
	yyjson_doc *document;
	enum status status;

	*body = (struct purge_body){0};
	if (text.length == 0) {
		return STATUS_OK;
	}
	document = json_read(text, error);
	if (document == NULL) {
		error->status = STATUS_INVALID_ARGUMENT;
		return error->status;
	}
	status = read_purge(yyjson_doc_get_root(document), arena, body, error);
	yyjson_doc_free(document);
	return status;
}
