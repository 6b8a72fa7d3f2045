/*
 * Under which keys entries are kept. Triton's key says nothing of the models' files: after a change of a model it is
 * the same as before. So the keys of the store are made of Triton's and of a namespace and a generation that the
 * operator changes when models change, by a new configuration or by writing to a file.
 *
 * A request that was under way while the generation changed may carry an answer of the old model. Triton asks before it
 * runs a model and stores afterwards, under the same key; so of each key that was asked for in vain it is remembered in
 * which generation, and an answer is only stored in the generation in which it was asked for.
 *
 * Any thread may call, except open and close.
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
 * `text` or `file` or neither; the file must be readable now. Plug-ins of another `secret` (its first GENERATION_SECRET
 * bytes are taken; may be empty) have other keys: they could not use each other's entries. NULL on failure.
 */
#define GENERATION_SECRET 64
struct generation *generation_open(const char *name_space, struct bytes secret, const char *text, const char *file,
				   struct error *error);
void generation_close(struct generation *generation);

/* The key in the store for a key of Triton's, as things stand. */
void generation_make_key(struct generation *generation, const char *triton_key, struct generation_key *key);

/* A look-up found nothing: there may follow an insert. */
void generation_missed(struct generation *generation, const struct generation_key *key);

/*
 * As generation_make_key, of an answer to one of those look-ups, whatever becomes of it. False if it may be of an older
 * generation, and so is not to be stored.
 */
bool generation_answered(struct generation *generation, const char *triton_key, struct generation_key *key);

/* Looks at the file; to be called from time to time, on one thread. Tells of a change, or once of a failure. */
void generation_refresh(struct generation *generation);

#endif
