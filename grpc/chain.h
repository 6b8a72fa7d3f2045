/*
 * What a connection is about to write: a list of byte ranges. Short ranges are copied into a buffer; long ones are
 * referred to, and keep their output alive until they are written. Room-private.
 *
 * The buffer is the lane's for the time of one turn; what the socket does not take is moved to a buffer of the chain's
 * own (chain_keep).
 */
#ifndef HIPPOCAMP_GRPC_CHAIN_H
#define HIPPOCAMP_GRPC_CHAIN_H

#include "base/bytes.h"

#include <sys/uio.h>

#define CHAIN_SEGMENTS 64
#define CHAIN_BUFFER ((size_t)96 * 1024)

struct grpc_output;

struct chain_segment {
	struct bytes bytes;
	struct grpc_output *output; /* a reference; NULL: in the buffer */
};

struct chain {
	struct chain_segment segments[CHAIN_SEGMENTS];
	size_t first;
	size_t count;	 /* of segments, the written ones before `first` included */
	uint8_t *buffer; /* NULL: the chain is empty */
	size_t used;
	bool is_own; /* the buffer is the chain's */
};

void chain_fini(struct chain *chain);

static inline bool
chain_is_empty(const struct chain *chain)
{
	return chain->first == chain->count;
}

/* Lends a buffer of CHAIN_BUFFER bytes to an empty chain. */
void chain_start(struct chain *chain, uint8_t *buffer);

/* Is there room for `bytes` bytes to copy and `segments` more segments? */
bool chain_has_room(const struct chain *chain, size_t bytes, size_t segments);

/* Append; the caller has asked chain_has_room. */
void chain_copy(struct chain *chain, struct bytes bytes);
void chain_refer(struct chain *chain, struct bytes bytes, struct grpc_output *output);

/* Describes what is to be written; returns the number of elements. */
int chain_gather(const struct chain *chain, struct iovec iov[CHAIN_SEGMENTS]);

/* Removes `length` bytes that have been written. */
void chain_advance(struct chain *chain, size_t length);

/* Moves what is left out of the lent buffer. False when memory runs out. */
bool chain_keep(struct chain *chain);

#endif
