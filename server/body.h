/*
 * A request's body that does not fit into its connection's buffer: it is read into a block of its own, laid out so that
 * the tensors behind the JSON header are aligned. What has come of it counts against the budget of its exchange.
 * Room-private.
 */
#ifndef HIPPOCAMP_SERVER_BODY_H
#define HIPPOCAMP_SERVER_BODY_H

#include "server/exchange.h"

struct body {
	struct blob *block; /* NULL: none */
	size_t start;	    /* of the body in it */
	size_t length;	    /* bytes that have come */
};

enum body_outcome { BODY_GOOD, BODY_NO_MEMORY, BODY_OVER_BUDGET };

/* Room for `length` bytes; `json` of them stand before the tensors (0: that is not known). */
enum body_outcome body_start(struct body *body, size_t json, size_t length);
void body_fini(struct body *body);

/* Room for `more` bytes behind those that have come. */
enum body_outcome body_reserve(struct body *body, size_t more);

/* Where the next bytes go, as far as there is room. */
static inline struct bytes
body_room(const struct body *body)
{
	return bytes_make(body->block->data + body->start + body->length,
			  body->block->length - body->start - body->length);
}

/* `count` bytes were put there. */
enum body_outcome body_add(struct body *body, size_t count, struct exchange *exchange);

/* The body as the exchange's handler sees it; the exchange takes over the block. */
void body_hand_over(struct body *body, struct exchange *exchange);

#endif
