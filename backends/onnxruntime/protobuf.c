#include "backends/onnxruntime/protobuf.h"

bool
protobuf_varint(struct bytes *rest, uint64_t *number)
{
	*number = 0;
	for (unsigned shift = 0; shift < 64 && rest->length > 0; shift += 7) {
		uint8_t byte = *rest->at;

		*rest = bytes_skip(*rest, 1);
		*number |= (uint64_t)(byte & 127) << shift;
		if (byte < 128) {
			return true;
		}
	}
	return false;
}

void
protobuf_put_varint(struct buf *out, uint64_t number)
{
	for (; number > 127; number >>= 7) {
		buf_byte(out, (uint8_t)(number | 128));
	}
	buf_byte(out, (uint8_t)number);
}

static bool
take(struct bytes *rest, uint64_t length, struct bytes *taken)
{
	if (length > rest->length) {
		return false;
	}
	*taken = bytes_make(rest->at, (size_t)length);
	*rest = bytes_skip(*rest, (size_t)length);
	return true;
}

bool
protobuf_next(struct bytes *rest, struct protobuf_field *field)
{
	const uint8_t *start = rest->at;
	uint64_t tag;
	bool good = protobuf_varint(rest, &tag) && tag >> 3 > 0 && tag >> 3 <= 536870911;

	*field = (struct protobuf_field){.number = (uint32_t)(tag >> 3), .wire = (enum protobuf_wire)(tag & 7)};
	switch (field->wire) {
	case PROTOBUF_VARINT:
		good = good && protobuf_varint(rest, &field->varint);
		break;
	case PROTOBUF_64:
		good = good && take(rest, 8, &field->bytes);
		break;
	case PROTOBUF_32:
		good = good && take(rest, 4, &field->bytes);
		break;
	case PROTOBUF_BYTES:
		good = good && protobuf_varint(rest, &field->varint) && take(rest, field->varint, &field->bytes);
		break;
	default: /* groups, which ONNX does not use */
		good = false;
	}
	field->record = bytes_make(start, (size_t)(rest->at - start));
	return good;
}
