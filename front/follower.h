/*
 * Follows the server behind: which models it has, with which configurations, and when their answers may have changed.
 * It is the source of the repository in front (inference/models/model_source.h): those models whose answers are to be
 * cached are models of ours, which run there. All others are not known here; their requests pass through.
 *
 * A model's keys contain what the server tells of it (its metadata and configuration, the server's name and version),
 * what the owner states, who may see whose answers, and a *generation*. The generation is drawn anew when a replica
 * shows that the model was loaded again (replica_view.h), when a replica was restarted or unreachable, or when a
 * request to load or unload the model passed through. Fronts of one group agree on it (agreement.h).
 */
#ifndef HIPPOCAMP_FRONT_FOLLOWER_H
#define HIPPOCAMP_FRONT_FOLLOWER_H

#include "inference/cache/response_cache.h"
#include "inference/models/model_source.h"
#include "upstream/upstream.h"

#include <stdbool.h>

struct follower_options {
	struct upstream *upstream;
	/* Patterns (fnmatch) of models that are cached although their configuration does not say so. */
	const char *const *cached;
	size_t cached_count;
	bool cache_all;
	/*
	 * Follows only the models that follower_want names, also where the server has no statistics. Their
	 * configurations do not contain the generation.
	 */
	bool by_name;
	/*
	 * Removes from the store what was cached of a model before the generation that begins, for those that would
	 * find it by another one: other processes, or this one after a restart. On the thread that polls. NULL: not
	 * needed.
	 */
	bool (*purge)(void *context, const char *model); /* false: it cannot be done now */
	void *purge_context;
	const char *generation; /* the owner's word for what the models' files are; NULL: none is given */
	/*
	 * Fronts of the same servers have the same name here, and agree on a generation by the store, which is shared;
	 * NULL: this one is alone.
	 */
	const char *group;
	struct response_cache *store;
	const char *policy; /* who may have whose answers: part of the keys */
	int64_t poll_secs;  /* between two calls of `list` */
};

struct follower;

/* `options` and what they point to outlive the follower. NULL on failure. */
struct follower *follower_new(const struct follower_options *options, struct error *error);

/* Ends a poll that is under way, and makes later ones do nothing. Any thread. */
void follower_stop(struct follower *follower);

/* After the repository; NULL: none. */
void follower_free(struct follower *follower);

/* With options->by_name: follows these models and no others from the next `list` on. */
void follower_want(struct follower *follower, const char *const *names, size_t count);

/* Each `list` asks the server behind. It never fails: while no replica answers, the models stay as they were. */
struct model_source follower_source(struct follower *follower);

/* What the generation is called at the last `list`. */
const char *follower_generation(const struct follower *follower);

/*
 * Do all servers that were reached count the requests to a model, which shows when it is loaded again? If none was,
 * those that were reached before.
 */
bool follower_shows_loads(const struct follower *follower, const char *name);

/* Is the model's version a number on its server? Else it is shown as 1. */
bool follower_has_number(const struct follower *follower, const char *name);

/* Why no replica could be read at the last `list`; NULL: one could. */
const char *follower_trouble(const struct follower *follower);

/* The number of models behind, and of those that are cached. False: no server was reached so far. Any thread. */
bool follower_count(const struct follower *follower, size_t *models, size_t *cached);

/* A model may have been loaded: a new generation begins with the next poll. Any thread. */
void follower_note_change(struct follower *follower);

#endif
