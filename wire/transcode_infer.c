/* Inference over HTTP for a server of gRPC. */
#include "wire/infer_request.h"
#include "wire/infer_response.h"
#include "wire/parameter_json.h"
#include "wire/tensor_json.h"
#include "wire/transcode_internal.h"

#include <math.h>

/* --- The request --- */

/* The binary part follows a JSON of the length that a field states; without it all is JSON. */
static enum status
split(const struct http1_head *head, struct bytes body, struct bytes *json, struct bytes *binary, struct error *error)
{
	struct bytes field = http1_header(head, "inference-header-content-length");
	uint64_t length = body.length;

	if (field.at != NULL && (!http1_number(field, &length) || length > body.length)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "Inference-Header-Content-Length is '%.*s', the body has %zu bytes", BYTES_ARGS(field),
				 body.length);
	}
	if (length == 0 && body.length > 0) {
		return error_set(error, STATUS_UNSUPPORTED,
				 "a raw binary request needs the HTTP of the server behind, which is known by its gRPC "
				 "alone: name its address with another --upstream");
	}
	*json = bytes_make(body.at, (size_t)length);
	*binary = bytes_skip(body, (size_t)length);
	return STATUS_OK;
}

static bool
has_rounded(const struct infer_body *body)
{
	bool found = false;

	for (size_t i = 0; i < body->parameter_count; i++) {
		found = found || parameter_may_be_rounded(&body->parameters[i]);
	}
	return found;
}

static enum status
decode(struct transcoding *this, const struct transcode_path *path, const struct http1_head *head, struct bytes body,
       struct error *error)
{
	struct bytes json;
	struct bytes binary;
	enum status status = split(head, body, &json, &binary, error);

	if (status == STATUS_OK) {
		status = infer_body_decode(json, binary, path->model, &this->arena, &this->body, error);
	}
	if (status == STATUS_OK && (this->body.wraps || has_rounded(&this->body))) {
		status =
			error_set(error, STATUS_INVALID_ARGUMENT, "a number of the request does not fit into its type");
	}
	if (status == STATUS_OK && !infer_body_is_understood(&this->body)) {
		status = error_set(error, STATUS_UNSUPPORTED,
				   "the request has members that cannot be told over gRPC, by which alone the server "
				   "behind is known: name the address of its HTTP with another --upstream");
	}
	return status;
}

/* In `pieces`: the message's head, and for each input what stands before its data, and these. */
static enum status
make_pieces(struct transcoding *this, struct error *error)
{
	const struct infer_body *body = &this->body;
	size_t *lengths = arena_array(&this->arena, body->input_count, sizeof(*lengths));
	size_t offset = 0;

	this->pieces = arena_array(&this->arena, 2 * body->input_count + 1, sizeof(*this->pieces));
	if (lengths == NULL || this->pieces == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	for (size_t i = 0; i < body->input_count; i++) {
		size_t before = this->framing.length;

		infer_request_data(body->inputs[i].data.length, &this->framing);
		lengths[i] = this->framing.length - before;
	}
	this->pieces[this->piece_count++] = buf_bytes(&this->message);
	for (size_t i = 0; i < body->input_count && buf_ok(&this->framing); i++) {
		this->pieces[this->piece_count++] = bytes_make(this->framing.at + offset, lengths[i]);
		this->pieces[this->piece_count++] = body->inputs[i].data;
		offset += lengths[i];
	}
	return buf_ok(&this->framing) ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
}

enum status
transcode_infer_request(struct transcoding *this, const struct transcode_path *path, const struct http1_head *head,
			struct bytes body, struct error *error)
{
	const struct infer_body *decoded = &this->body;
	struct infer_request request = {.model_name = path->model, .model_version = path->version};

	if (decode(this, path, head, body, error) != STATUS_OK) {
		return error->status;
	}
	request.id = decoded->id;
	request.parameters = decoded->parameters;
	request.parameter_count = decoded->parameter_count;
	request.inputs = decoded->inputs;
	request.input_count = decoded->input_count;
	request.outputs = decoded->outputs;
	request.output_count = decoded->output_count;
	infer_request_head(&request, &this->message);
	return make_pieces(this, error);
}

/* --- The response --- */

/* Does the client want the output in binary? */
static bool
is_binary(const struct infer_body *body, struct bytes name)
{
	for (size_t i = 0; i < body->output_count; i++) {
		if (bytes_equal(body->outputs[i].name, name)) {
			return body->outputs[i].binary;
		}
	}
	return body->binary_by_default;
}

static void
write_member(struct buf *json, const char *name, struct bytes text)
{
	buf_format(json, "\"%s\":", name);
	buf_json_string(json, text);
	buf_byte(json, ',');
}

static void
write_parameters(struct buf *json, const struct infer_response *response)
{
	if (response->parameter_count == 0) {
		return;
	}
	buf_text(json, "\"parameters\":{");
	for (size_t i = 0; i < response->parameter_count; i++) {
		if (i > 0) {
			buf_byte(json, ',');
		}
		parameter_json_put(json, &response->parameters[i]);
	}
	buf_text(json, "},");
}

static enum status
write_output(struct transcoding *this, const struct tensor *output, struct transcoded *out, struct error *error)
{
	bool binary = is_binary(&this->body, output->name);

	if (output->datatype == DATATYPE_INVALID) {
		return error_set(error, STATUS_INTERNAL, "output '%.*s' has a datatype that is not known",
				 BYTES_ARGS(output->name));
	}
	if (!tensor_is_whole(output)) {
		return error_set(error, STATUS_INTERNAL, "output '%.*s' does not have the bytes of its shape",
				 BYTES_ARGS(output->name));
	}
	if (binary) {
		out->is_binary = true;
		out->content_type = "application/octet-stream";
		out->pieces[out->piece_count++] = output->data;
		out->length += output->data.length;
	}
	return tensor_encode(&this->json, output, binary, error);
}

static enum status
write_response(struct transcoding *this, const struct infer_response *response, struct transcoded *out,
	       struct error *error)
{
	enum status status = STATUS_OK;

	buf_byte(&this->json, '{');
	if (response->id.length > 0) {
		write_member(&this->json, "id", response->id);
	}
	write_member(&this->json, "model_name", response->model_name);
	write_member(&this->json, "model_version", response->model_version);
	write_parameters(&this->json, response);
	buf_text(&this->json, "\"outputs\":[");
	for (size_t i = 0; i < response->output_count && status == STATUS_OK; i++) {
		if (i > 0) {
			buf_byte(&this->json, ',');
		}
		status = write_output(this, &response->outputs[i], out, error);
	}
	buf_text(&this->json, "]}");
	return status;
}

/* JSON has no such numbers. */
static bool
has_odd_number(const struct infer_response *response)
{
	bool found = false;

	for (size_t i = 0; i < response->parameter_count; i++) {
		const struct parameter *parameter = &response->parameters[i];

		found = found || (parameter->kind == PARAMETER_DOUBLE && !isfinite(parameter->number));
	}
	return found;
}

enum status
transcode_infer_response(struct transcoding *this, struct bytes message, struct transcoded *out, struct error *error)
{
	struct infer_response response;
	enum status status = infer_response_decode(message, &this->arena, &response, error);

	if (status == STATUS_OK && (response.has_more || has_odd_number(&response))) {
		status = error_set(error, STATUS_UNSUPPORTED, "it has members that cannot be told over HTTP");
	}
	if (status == STATUS_OK) {
		out->pieces = arena_array(&this->arena, response.output_count + 1, sizeof(*out->pieces));
		out->piece_count = 1; /* the JSON */
		status = out->pieces == NULL ? error_set(error, STATUS_UNAVAILABLE, "no memory for the response")
					     : write_response(this, &response, out, error);
	}
	if (status == STATUS_OK && !buf_ok(&this->json)) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	if (status == STATUS_OK) {
		out->pieces[0] = buf_bytes(&this->json);
		out->json_length = this->json.length;
		out->length += this->json.length;
	}
	return status;
}
