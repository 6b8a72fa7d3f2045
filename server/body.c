#include "server/body.h"

#define TENSOR_ALIGNMENT 64
#define FIRST_RESERVE ((size_t)64 * 1024)

enum body_outcome
body_start(struct body *body, size_t json, size_t length)
{
	size_t start = (TENSOR_ALIGNMENT - json % TENSOR_ALIGNMENT) % TENSOR_ALIGNMENT;

	*body = (struct body){.start = start};
	body->block = length > PTRDIFF_MAX - start ? NULL : blob_new(start + length);
	return body->block == NULL ? BODY_NO_MEMORY : BODY_GOOD;
}

void
body_fini(struct body *body)
{
	blob_unref(body->block);
	*body = (struct body){0};
}

enum body_outcome
body_reserve(struct body *body, size_t more)
{
	size_t needed = body->start + body->length + more;
	struct blob *larger;

	if (more <= body->block->length - body->start - body->length) {
		return BODY_GOOD;
	}
	if (needed < body->block->length * 2) {
		needed = body->block->length * 2;
	}
	larger = blob_new(needed < FIRST_RESERVE ? FIRST_RESERVE : needed);
	if (larger == NULL) {
		return BODY_NO_MEMORY;
	}
	memcpy(larger->data + body->start, body->block->data + body->start, body->length);
	blob_unref(body->block);
	body->block = larger;
	return BODY_GOOD;
}

enum body_outcome
body_add(struct body *body, size_t count, struct exchange *exchange)
{
	body->length += count;
	return exchange_charge(exchange, count) ? BODY_GOOD : BODY_OVER_BUDGET;
}

void
body_hand_over(struct body *body, struct exchange *exchange)
{
	exchange->body = bytes_make(body->block->data + body->start, body->length);
	exchange->body_block = body->block;
	*body = (struct body){0};
}
