#include "grpc/chain.h"

#include "grpc/output.h"

#include <stdlib.h>

void
chain_fini(struct chain *chain)
{
	for (size_t i = chain->first; i < chain->count; i++) {
		if (chain->segments[i].output != NULL) {
			output_unref(chain->segments[i].output);
		}
	}
	if (chain->is_own) {
		free(chain->buffer);
	}
	chain->first = chain->count = chain->used = 0;
	chain->buffer = NULL;
	chain->is_own = false;
}

void
chain_start(struct chain *chain, uint8_t *buffer)
{
	chain->buffer = buffer;
	chain->used = 0;
	chain->first = chain->count = 0;
}

bool
chain_has_room(const struct chain *chain, size_t bytes, size_t segments)
{
	return bytes <= CHAIN_BUFFER - chain->used && chain->count + segments <= CHAIN_SEGMENTS;
}

void
chain_copy(struct chain *chain, struct bytes bytes)
{
	uint8_t *at = chain->buffer + chain->used;
	struct chain_segment *last = chain->count == chain->first ? NULL : &chain->segments[chain->count - 1];

	if (bytes.length == 0) {
		return;
	}
	memcpy(at, bytes.at, bytes.length);
	chain->used += bytes.length;
	if (last != NULL && last->output == NULL && last->bytes.at + last->bytes.length == at) {
		last->bytes.length += bytes.length;
	} else {
		chain->segments[chain->count++] = (struct chain_segment){.bytes = bytes_make(at, bytes.length)};
	}
}

void
chain_refer(struct chain *chain, struct bytes bytes, struct grpc_output *output)
{
	output_ref(output);
	chain->segments[chain->count++] = (struct chain_segment){.bytes = bytes, .output = output};
}

int
chain_gather(const struct chain *chain, struct iovec iov[CHAIN_SEGMENTS])
{
	int count = 0;

	for (size_t i = chain->first; i < chain->count; i++) {
		iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)chain->segments[i].bytes.at,
					      .iov_len = chain->segments[i].bytes.length};
	}
	return count;
}

void
chain_advance(struct chain *chain, size_t length)
{
	while (length > 0) {
		struct chain_segment *segment = &chain->segments[chain->first];

		if (length < segment->bytes.length) {
			segment->bytes = bytes_skip(segment->bytes, length);
			return;
		}
		length -= segment->bytes.length;
		chain->first++;
		if (segment->output != NULL) {
			output_unref(segment->output);
		}
	}
	if (chain_is_empty(chain)) {
		chain_fini(chain);
	}
}

bool
chain_keep(struct chain *chain)
{
	uint8_t *own;

	if (chain->is_own || chain_is_empty(chain)) {
		return true;
	}
	own = malloc(CHAIN_BUFFER);
	if (own == NULL) {
		return false;
	}
	memcpy(own, chain->buffer, chain->used);
	for (size_t i = chain->first; i < chain->count; i++) {
		if (chain->segments[i].output == NULL) {
			chain->segments[i].bytes.at = own + (chain->segments[i].bytes.at - chain->buffer);
		}
	}
	chain->buffer = own;
	chain->is_own = true;
	return true;
}
