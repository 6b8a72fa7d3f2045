/*
 * The generation of a front (follower.h): its own, or that of a group of fronts which agree on it (agreement.h) by a
 * record in the store that they share. Waits for the store by turning the loop. On one thread at a time.
 */
#ifndef HIPPOCAMP_FRONT_GROUP_H
#define HIPPOCAMP_FRONT_GROUP_H

#include "front/agreement.h"
#include "inference/cache/response_cache.h"
#include "loop/loop.h"

#include <stdatomic.h>

struct group_options {
	const char *name; /* NULL: this front is alone, and the rest is not used */
	struct response_cache *store;
	struct loop *loop;
	const atomic_bool *stopping; /* where it is true, nothing is waited for */
	int64_t poll_secs;	     /* between two looks */
};

struct group;

struct group *group_new(const struct group_options *options); /* what `options` points to outlives it */
void group_free(struct group *group);			      /* NULL: none */

#define GROUP_GENERATION (2 * AGREEMENT_RANDOM + 1)

/* Writes the generation, which counts as entered from now on. */
void group_enter(struct group *group, char generation[GROUP_GENERATION]);

/* Is the generation another one than was entered last? And has another front begun it? */
bool group_has_moved(const struct group *group);
bool group_is_anothers(const struct group *group);

/* Are answers shared with other fronts now? */
bool group_is_joined(const struct group *group);

/* The models may have changed: a new generation begins. */
void group_move(struct group *group);

/* At the beginning of a look at the models, once any server has been reached: takes what others say. */
void group_listen(struct group *group);

/* After the look, since others take over what this says. */
void group_tell(struct group *group);

/* At the stop: tells the news that no record is known to tell. */
void group_tell_last(struct group *group);

#endif
