/*
 * Threads for work that would keep a loop from its other connections for too long. The smallest piece runs first, so
 * that clients with small requests do not wait for large ones; every eighth piece is the oldest, so that none waits for
 * ever. One thread runs only short pieces, since a running piece cannot be interrupted.
 *
 * A piece of work belongs to one loop, whose thread gets mail when it is done.
 */
#ifndef HIPPOCAMP_LOOP_OFFLOAD_H
#define HIPPOCAMP_LOOP_OFFLOAD_H

#include "loop/loop.h"

#include <stddef.h>

struct offload;

struct offload_work {
	struct loop_mail mail; /* first */
	struct offload_work *next;
	uint64_t number; /* order of posting; set by offload_post */
	struct loop *loop;
	size_t size;				 /* estimate of the work, in bytes to process */
	void (*run)(struct offload_work *work);	 /* on an offload thread */
	void (*done)(struct offload_work *work); /* then, on the loop's thread */
};

/* Starts `threads` threads, and one more for short pieces. */
struct offload *offload_new(size_t threads);

/* Runs all posted pieces, then ends the threads. Call when nobody posts any more, before the loops are freed. */
void offload_free(struct offload *offload);

/* Any thread. The caller must not touch the work until `done` is called, which always happens. */
void offload_post(struct offload *offload, struct offload_work *work);

#endif
