/*
 * Looks names up with getaddrinfo, on a few threads of its own, since that may take any time. The threads start when
 * there is work and end when there is none. Nothing waits for a thread that hangs, so a plug-in is never unloaded (-z
 * nodelete).
 */
#ifndef HIPPOCAMP_PLUGINS_RESOLVER_H
#define HIPPOCAMP_PLUGINS_RESOLVER_H

#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* A name, its addresses, and the callback. References: the asker has one, the resolver another. */
struct resolution {
	atomic_uint references;
	char *name;
	uint16_t port;
	struct addrinfo *addresses; /* NULL: `failure` says why */
	char failure[128];
	/* Called on a thread of the resolver, exactly once; takes over the resolver's reference. */
	void (*resolved)(struct resolution *resolution);
	void *context; /* the asker's */
	STAILQ_ENTRY(resolution) queue;
};

/* NULL where there is no memory. */
struct resolution *resolution_new(const char *name, uint16_t port);
void resolution_unref(struct resolution *resolution);

/* Looks the name up without waiting, if it is a numeric address. Was it one? */
bool resolution_is_numeric(struct resolution *resolution);

/*
 * Takes a reference and queues the name. May be called on any thread; `resolved` is called on another, perhaps before
 * this returns. False, and `resolved` is never called, if too many names are waiting.
 */
bool resolver_ask(struct resolution *resolution);

#endif
