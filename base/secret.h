/*
 * The secret that the owner of a cache configures; keys and MACs are derived from it (base/keyed_hash.h).
 */
#ifndef HIPPOCAMP_BASE_SECRET_H
#define HIPPOCAMP_BASE_SECRET_H

#include "base/bytes.h"
#include "base/status.h"

#define SECRET_ENVIRONMENT "HIPPOCAMP_KEY_SECRET"
#define SECRET_MAX 4096

struct secret {
	char text[SECRET_MAX];
	size_t length; /* 0: none was given */
};

/*
 * Takes the first secret that is given: `text`, the content of `file` without trailing newlines, or the environment
 * variable SECRET_ENVIRONMENT. `text` and `file` may be NULL. Fails if that secret is empty, longer than SECRET_MAX
 * bytes, or unreadable, rather than go on without one.
 */
enum status secret_find(const char *text, const char *file, struct secret *secret, struct error *error);

/* Overwrites it with zeros. */
void secret_forget(struct secret *secret);

#endif
