/*
 * Looks names up, by getaddrinfo, on a few threads of its own, since nothing tells how long that takes. They start when
 * there is work and end when there is none; nobody waits for one that hangs, so a plug-in is never unloaded (-z
 * nodelete).
 */
#ifndef HIPPOCAMP_PLUGINS_RESOLVER_H
#define HIPPOCAMP_PLUGINS_RESOLVER_H

#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* A name, what came of it, and whom to tell. Counted: the asker has one reference, the resolver another. */
struct resolution {
	atomic_uint references;
	char *name;
	uint16_t port;
	struct addrinfo *addresses; /* NULL: `failure` says why */
	char failure[128];
	/* On a thread of the resolver, exactly once, with the resolver's reference, which is given up by it. */
	void (*resolved)(struct resolution *resolution);
	void *context; /* the asker's */
	STAILQ_ENTRY(resolution) queue;
};

/* NULL where there is no memory. */
struct resolution *resolution_new(const char *name, uint16_t port);
void resolution_unref(struct resolution *resolution);

/* At once, if the name is an address. */
bool resolution_is_numeric(struct resolution *resolution);

/*
 * Takes a reference. May be called on any thread; `resolved` is never called before it returns. False, and not called
 * at all, where too many names are being looked up.
 */
bool resolver_ask(struct resolution *resolution);

#endif
