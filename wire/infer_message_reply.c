#include "wire/infer_message.h"

#include "base/protobuf.h"
#include "wire/tensor_message.h"

enum { STREAM_ERROR = 1, STREAM_RESPONSE = 2 };

static const struct parameter final_response = {
	.name = {(const uint8_t *)"triton_final_response", sizeof("triton_final_response") - 1},
	.kind = PARAMETER_BOOLEAN,
	.boolean = true,
};

static void
put_parameters(struct buf *out, const struct infer_message_reply *reply)
{
	const struct parameter cache_status = {
		.name = bytes_text("cache_status"), .kind = PARAMETER_TEXT, .text = reply->cache_status};

	if (reply->is_stream) {
		message_parameter_put(out, RESPONSE_PARAMETERS, &final_response);
	}
	if (reply->cache_status.length > 0) {
		message_parameter_put(out, RESPONSE_PARAMETERS, &cache_status);
	}
}

/* Writes all but the raw contents. */
static void
put_head(struct buf *out, const struct infer_message_reply *reply)
{
	protobuf_put_text(out, RESPONSE_MODEL_NAME, reply->model_name);
	protobuf_put_text(out, RESPONSE_MODEL_VERSION, reply->model_version);
	protobuf_put_text(out, RESPONSE_ID, reply->id);
	put_parameters(out, reply);
	for (size_t i = 0; i < reply->output_count; i++) {
		message_tensor_put(out, RESPONSE_OUTPUTS, &reply->outputs[i].tensor);
	}
}

/* The most that a tag and a length take. */
#define PREFIX_MAX 11

/* Puts what stands before the data of raw output `i`; returns it. */
static struct bytes
put_raw_head(struct buf *text, struct bytes data)
{
	size_t start = text->length;

	protobuf_put_tag(text, RESPONSE_RAW, PROTOBUF_BYTES);
	protobuf_put_varint(text, data.length);
	return bytes_make(text->at + start, text->length - start);
}

static size_t
body_size(const struct infer_message_reply *reply, size_t head)
{
	for (size_t i = 0; i < reply->output_count; i++) {
		size_t length = reply->outputs[i].tensor.data.length;

		head += 1 + protobuf_varint_size(length) + length;
	}
	return head;
}

/* In front of the head, and of each raw output, there is room for a prefix. */
enum status
infer_message_encode(const struct infer_message_reply *reply, struct buf *text, struct bytes *pieces,
		     size_t *piece_count, struct error *error)
{
	size_t head;
	size_t wrap = 0;
	size_t size;

	buf_clear(text);
	(void)buf_reserve(text, PREFIX_MAX);
	text->length = buf_ok(text) ? PREFIX_MAX : 0;
	put_head(text, reply);
	(void)buf_reserve(text, PREFIX_MAX * (reply->output_count + 1)); /* so that the buffer stays where it is */
	if (!buf_ok(text)) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	head = text->length;
	size = body_size(reply, head - PREFIX_MAX);
	if (size + PREFIX_MAX > INT32_MAX) {
		return error_set(
			error, STATUS_INTERNAL,
			"the response has %zu bytes, more than a message of gRPC may have: ask for fewer outputs, "
			"or over HTTP",
			size);
	}
	if (reply->is_stream) {
		wrap = 1 + protobuf_varint_size(size);
		text->length = PREFIX_MAX - wrap;
		protobuf_put_tag(text, STREAM_RESPONSE, PROTOBUF_BYTES);
		protobuf_put_varint(text, size);
		text->length = head;
	}
	*piece_count = 0;
	pieces[(*piece_count)++] = bytes_make(text->at + PREFIX_MAX - wrap, head - PREFIX_MAX + wrap);
	for (size_t i = 0; i < reply->output_count; i++) {
		struct bytes data = reply->outputs[i].tensor.data;

		pieces[(*piece_count)++] = put_raw_head(text, data);
		if (data.length > 0) {
			pieces[(*piece_count)++] = data;
		}
	}
	return STATUS_OK;
}

void
infer_message_encode_error(struct bytes id, struct bytes failed_model, const char *error_text, struct buf *out)
{
	bool is_final = failed_model.length > 0;

	protobuf_put_text(out, STREAM_ERROR, bytes_text(error_text));
	protobuf_put_tag(out, STREAM_RESPONSE, PROTOBUF_BYTES);
	protobuf_put_varint(out, message_text_size(failed_model) + message_text_size(id) +
					 (is_final ? message_parameter_size(&final_response) : 0));
	protobuf_put_text(out, RESPONSE_MODEL_NAME, failed_model);
	protobuf_put_text(out, RESPONSE_ID, id);
	if (is_final) {
		message_parameter_put(out, RESPONSE_PARAMETERS, &final_response);
	}
}
