/*
 * The part of protobuf's encoding that is needed to walk through a message without copying it (Protocol Buffers,
 * "Encoding"). Room-private.
 */
#ifndef HIPPOCAMP_BACKENDS_ONNXRUNTIME_PROTOBUF_H
#define HIPPOCAMP_BACKENDS_ONNXRUNTIME_PROTOBUF_H

#include "base/buf.h"

enum protobuf_wire { PROTOBUF_VARINT = 0, PROTOBUF_64 = 1, PROTOBUF_BYTES = 2, PROTOBUF_32 = 5 };

struct protobuf_field {
	uint32_t number;
	enum protobuf_wire wire;
	uint64_t varint;     /* of PROTOBUF_VARINT */
	struct bytes bytes;  /* of PROTOBUF_BYTES, PROTOBUF_64 and PROTOBUF_32 */
	struct bytes record; /* the whole field, its tag included */
};

/* Takes the next field off the front of `rest`, which is not empty. False: it is malformed. */
bool protobuf_next(struct bytes *rest, struct protobuf_field *field);

/* Takes a varint off the front of `rest`. False: it is malformed. */
bool protobuf_varint(struct bytes *rest, uint64_t *number);

void protobuf_put_varint(struct buf *out, uint64_t number);

#endif
