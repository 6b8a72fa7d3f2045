#include "wire/infer_reply.h"

#include "wire/tensor_json.h"

#define NUMBER_TEXT_MAX ((size_t)26) /* "-2.2250738585072014e-308," */
#define ESCAPE_MAX ((size_t)6)	     /* bytes of JSON for one byte of a string */

size_t
infer_reply_memory(const struct infer_reply_output *outputs, size_t count)
{
	size_t most = 0;

	for (size_t i = 0; i < count; i++) {
		const struct tensor *tensor = &outputs[i].tensor;
		size_t length = tensor->data.length;

		if (!outputs[i].binary) {
			most += tensor->datatype == DATATYPE_BYTES
					? length * ESCAPE_MAX
					: length / datatype_size(tensor->datatype) * NUMBER_TEXT_MAX;
		}
	}
	return most;
}

enum status
infer_reply_encode(struct bytes id, struct bytes model_name, struct bytes model_version, struct bytes cache_status,
		   const struct infer_reply_output *outputs, size_t count, struct buf *json, struct error *error)
{
	enum status status = STATUS_OK;

	buf_byte(json, '{');
	if (id.length > 0) {
		buf_text(json, "\"id\":");
		buf_json_string(json, id);
		buf_byte(json, ',');
	}
	buf_text(json, "\"model_name\":");
	buf_json_string(json, model_name);
	buf_text(json, ",\"model_version\":");
	if (model_version.length == 0) {
		buf_text(json, "null");
	} else {
		buf_json_string(json, model_version);
	}
	if (cache_status.length > 0) {
		buf_text(json, ",\"parameters\":{\"cache_status\":");
		buf_json_string(json, cache_status);
		buf_byte(json, '}');
	}
	buf_text(json, ",\"outputs\":[");
	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		if (i > 0) {
			buf_byte(json, ',');
		}
		status = tensor_encode(json, &outputs[i].tensor, outputs[i].binary, error);
	}
	buf_text(json, "]}");
	if (status == STATUS_OK && !buf_ok(json)) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	return status;
}
