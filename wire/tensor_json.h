/*
 * One tensor of the JSON of an inference request or response: an item of `inputs` or `outputs`. Private to wire/.
 */
#ifndef HIPPOCAMP_WIRE_TENSOR_JSON_H
#define HIPPOCAMP_WIRE_TENSOR_JSON_H

#include "base/buf.h"
#include "base/tensor.h"
#include "wire/json.h"

struct tensor_decoder {
	struct bytes binary; /* the part behind the JSON that no tensor has taken yet */
	struct bytes model_name;
	struct arena *arena;
	struct error *error;
	bool wraps; /* out: an integer did not fit into its datatype; its low bytes were taken, as Triton does */
};

/* The tensor has views into the document, the binary part and the arena. Errors have Triton's texts. */
enum status tensor_decode(struct tensor_decoder *decoder, yyjson_val *value, struct tensor *tensor);

/* Only the data, an array, of a tensor whose name, datatype and shape are known. */
enum status tensor_decode_data(struct tensor_decoder *decoder, yyjson_val *data, struct tensor *tensor);

/* Is the content type of an item, if it states one, one that a tensor can have? */
bool tensor_has_content_type(yyjson_val *value);

/* `binary`: only announces the data (`binary_data_size`), which the caller sends behind the JSON. */
enum status tensor_encode(struct buf *json, const struct tensor *tensor, bool binary, struct error *error);

#endif
