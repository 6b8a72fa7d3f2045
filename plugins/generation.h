/*
 * The keys of the store. Triton's key says nothing of the models' files: it stays the same when a model changes. So a
 * key of the store is made of Triton's key, a namespace and a generation, which the operator changes when models
 * change, by a new configuration or by writing to a file.
 *
 * A request that is under way while the generation changes may carry an answer of the old model. Triton looks a key up
 * before it runs a model, and inserts afterwards, under the same key. So the generation of each miss is remembered, and
 * an answer is stored only if its generation is still the current one.
 *
 * All functions but open, close and refresh may be called on any thread.
 */
#ifndef HIPPOCAMP_PLUGINS_GENERATION_H
#define HIPPOCAMP_PLUGINS_GENERATION_H

#include "base/status.h"
#include "caches/cache.h"

#define GENERATION_SCOPE_MAX 192

struct generation;

/* `scope` of the key points into `scope_text`. */
struct generation_key {
	struct cache_key key;
	uint64_t hash;	 /* of Triton's key alone */
	uint64_t number; /* of the generation */
	char scope_text[GENERATION_SCOPE_MAX];
};

/*
 * Give `text` or `file` or neither; the file must be readable now. Plug-ins with another `secret` (of which the first
 * GENERATION_SECRET bytes are used; may be empty) have other keys, since they could not use each other's entries. NULL
 * on failure.
 */
#define GENERATION_SECRET 64
struct generation *generation_open(const char *name_space, struct bytes secret, const char *text, const char *file,
				   struct error *error);
void generation_close(struct generation *generation);

/* Makes the store's key for a key of Triton's, in the current generation. */
void generation_make_key(struct generation *generation, const char *triton_key, struct generation_key *key);

/* Remembers a miss: an insert may follow. */
void generation_missed(struct generation *generation, const struct generation_key *key);

/*
 * As generation_make_key, for an answer to one of those look-ups; call it whether or not the answer is stored. False if
 * the answer may be of an older generation, and must not be stored.
 */
bool generation_answered(struct generation *generation, const char *triton_key, struct generation_key *key);

/* Reads the file again. Call it from time to time, on one thread. Logs a change, and a failure once. */
void generation_refresh(struct generation *generation);

#endif
