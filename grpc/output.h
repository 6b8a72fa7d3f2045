/*
 * References to an output: one of its call's queue, and one of each range in a chain. Room-private.
 */
#ifndef HIPPOCAMP_GRPC_OUTPUT_H
#define HIPPOCAMP_GRPC_OUTPUT_H

#include "grpc/grpc.h"

static inline void
output_ref(struct grpc_output *output)
{
	output->references++;
}

static inline void
output_unref(struct grpc_output *output)
{
	if (--output->references == 0 && output->released != NULL) {
		output->released(output);
	}
}

#endif
