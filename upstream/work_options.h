/*
 * Where work on long requests and responses is done, so that a loop's other connections do not wait for it.
 */
#ifndef HIPPOCAMP_UPSTREAM_WORK_OPTIONS_H
#define HIPPOCAMP_UPSTREAM_WORK_OPTIONS_H

#include "base/budget.h"
#include "loop/offload.h"

struct work_options {
	struct offload *offload;
	struct budget *budget; /* of the memory that transcoding takes */
	size_t max_unpacked;   /* bytes of a body that came compressed */
	/* While an offload thread works, also for a call that was cancelled, the loop must turn. */
	void (*hold)(void *context);
	void (*release)(void *context);
	void *context;
};

/* Work on no more bytes than that is done on the loop. */
#define WORK_LONG ((size_t)64 * 1024)

#endif
