/*
 * A request body that does not fit into its connection's buffer. It is read into a block of its own, placed so that the
 * tensors behind the JSON header are aligned. The bytes received are charged to the exchange. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_BODY_H
#define HIPPOCAMP_SERVER_BODY_H

#include "server/exchange.h"

struct body {
	struct blob *block; /* NULL: none */
	size_t start;	    /* offset of the body in the block */
	size_t length;	    /* bytes received */
};

enum body_outcome { BODY_GOOD, BODY_NO_MEMORY, BODY_OVER_BUDGET };

/* Makes room for `length` bytes, `json` of which precede the tensors (0: unknown). */
enum body_outcome body_start(struct body *body, size_t json, size_t length);
void body_fini(struct body *body);

/* Makes room for `more` bytes behind those received. */
enum body_outcome body_reserve(struct body *body, size_t more);

/* The free part of the block, where the next bytes go. */
static inline struct bytes
body_room(const struct body *body)
{
	return bytes_make(body->block->data + body->start + body->length,
			  body->block->length - body->start - body->length);
}

/* Adds `count` bytes written to body_room; charges the exchange. */
enum body_outcome body_add(struct body *body, size_t count, struct exchange *exchange);

/* Makes the body the exchange's, which takes over the block. */
void body_hand_over(struct body *body, struct exchange *exchange);

#endif
