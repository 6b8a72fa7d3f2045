/*
 * Threads for what would keep a loop from its other connections for too long. What is smallest goes first, so that a
 * client who sends much does not make those wait who send little; each eighth time the oldest does, so that nobody
 * waits for ever. One thread takes nothing that is long, as a thread cannot be called back from that.
 *
 * A piece of work belongs to one loop: it is posted there, and its end is mail to that loop.
 */
#ifndef HIPPOCAMP_LOOP_OFFLOAD_H
#define HIPPOCAMP_LOOP_OFFLOAD_H

#include "loop/loop.h"

#include <stddef.h>

struct offload;

struct offload_work {
	struct loop_mail mail; /* first */
	struct offload_work *next;
	uint64_t number; /* in the order of posting */
	struct loop *loop;
	size_t size;				 /* about how long it takes, in whatever unit all have in common */
	void (*run)(struct offload_work *work);	 /* on a worker's thread */
	void (*done)(struct offload_work *work); /* on the loop's, after that */
};

/* So many threads, and one for short pieces. */
struct offload *offload_new(size_t threads);

/* Finishes what has been posted. Before the loops are freed, and after nobody posts any more. */
void offload_free(struct offload *offload);

/* Any thread. The work is the threads' until `done` is called, which always comes. */
void offload_post(struct offload *offload, struct offload_work *work);

#endif
