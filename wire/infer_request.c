#include "wire/infer_request.h"

#include "base/protobuf.h"

/* The numbers of the fields. */
enum { REQUEST_MODEL_NAME = 1, REQUEST_MODEL_VERSION = 2, REQUEST_INPUTS = 5, REQUEST_RAW_INPUTS = 7 };
enum { INPUT_NAME = 1, INPUT_DATATYPE = 2, INPUT_SHAPE = 3 };

static size_t
text_size(struct bytes text)
{
	return text.length == 0 ? 0 : 1 + protobuf_varint_size(text.length) + text.length;
}

static void
put_input(const struct tensor *input, struct buf *out)
{
	struct bytes datatype = bytes_text(datatype_name(input->datatype));
	size_t shape = 0;
	size_t length;

	for (size_t i = 0; i < input->rank; i++) {
		shape += protobuf_varint_size((uint64_t)input->shape[i]);
	}
	length = text_size(input->name) + text_size(datatype) + 1 + protobuf_varint_size(shape) + shape;
	protobuf_put_tag(out, REQUEST_INPUTS, PROTOBUF_BYTES);
	protobuf_put_varint(out, length);
	protobuf_put_text(out, INPUT_NAME, input->name);
	protobuf_put_text(out, INPUT_DATATYPE, datatype);
	protobuf_put_tag(out, INPUT_SHAPE, PROTOBUF_BYTES);
	protobuf_put_varint(out, shape);
	for (size_t i = 0; i < input->rank; i++) {
		protobuf_put_varint(out, (uint64_t)input->shape[i]);
	}
}

void
infer_request_head(struct bytes model_name, struct bytes model_version, const struct tensor *inputs, size_t count,
		   struct buf *out)
{
	protobuf_put_text(out, REQUEST_MODEL_NAME, model_name);
	protobuf_put_text(out, REQUEST_MODEL_VERSION, model_version);
	for (size_t i = 0; i < count; i++) {
		put_input(&inputs[i], out);
	}
}

void
infer_request_data(size_t length, struct buf *out)
{
	protobuf_put_tag(out, REQUEST_RAW_INPUTS, PROTOBUF_BYTES);
	protobuf_put_varint(out, length);
}

void
infer_request_prefix(uint32_t length, uint8_t prefix[INFER_REQUEST_PREFIX])
{
	prefix[0] = 0; /* not compressed */
	for (size_t i = 0; i < 4; i++) {
		prefix[1 + i] = (uint8_t)(length >> (24 - 8 * i));
	}
}
