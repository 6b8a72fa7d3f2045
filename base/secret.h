/*
 * The secret that the owner of a cache gives, under which keys and entries are made: see base/keyed_hash.h.
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
 * In the order of precedence: the text of an option, the content of a file (without the newline at its end), the
 * environment. NULLs were not given. Fails where what was given is empty or longer than SECRET_MAX, or cannot be read:
 * who gave one meant to have one.
 */
enum status secret_find(const char *text, const char *file, struct secret *secret, struct error *error);

/* Wipes it. */
void secret_forget(struct secret *secret);

#endif
