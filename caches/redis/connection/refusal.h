/*
 * Why Redis refused a command. The first word of the error tells, since the words behind it differ between versions.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_REFUSAL_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_REFUSAL_H

#include "base/bytes.h"

enum redis_refusal {
	REDIS_REFUSAL_OOM,
	REDIS_REFUSAL_READONLY,
	REDIS_REFUSAL_LOADING,
	REDIS_REFUSAL_BUSY,
	REDIS_REFUSAL_MISCONF,
	REDIS_REFUSAL_CLUSTERDOWN,
	REDIS_REFUSAL_UNSERVED, /* CLUSTERDOWN, but for one slot only */
	REDIS_REFUSAL_MASTERDOWN,
	REDIS_REFUSAL_NOREPLICAS,
	REDIS_REFUSAL_MAXCLIENTS,
	REDIS_REFUSAL_NOAUTH,
	REDIS_REFUSAL_WRONGPASS,
	REDIS_REFUSAL_NOPERM,
	REDIS_REFUSAL_MOVED,
	REDIS_REFUSAL_ASK,
	REDIS_REFUSAL_TRYAGAIN,
	REDIS_REFUSAL_DENIED,
	REDIS_REFUSAL_OTHER,
	REDIS_REFUSAL_COUNT,
};

/* Classifies an error's text, given without the '-' that it has on the wire. */
enum redis_refusal redis_refusal_of(struct bytes text);

/* Whether the key holds a value of another type (WRONGTYPE): the command was refused for its key, not by the server. */
bool redis_refusal_is_of_key(struct bytes text);

/* A label for metrics: "oom", "max_clients", … */
const char *redis_refusal_name(enum redis_refusal refusal);

/*
 * Whether the whole node cannot serve now, look-ups included. The other refusals concern only writes (OOM, READONLY,
 * MISCONF, NOREPLICAS) or only this command.
 */
bool redis_refusal_of_node(enum redis_refusal refusal);

/* Advice for people: "raise maxmemory, or …". NULL if the refusal passes by itself or no remedy is known. */
const char *redis_refusal_remedy(enum redis_refusal refusal);

#endif
