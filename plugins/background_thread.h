/*
 * The one lasting thread of a plug-in, for work that no request should wait for: it stores responses after they were
 * sent, polls for clients while no look-up does, and calls the plug-in every second, for its metrics and its
 * generation.
 */
#ifndef HIPPOCAMP_PLUGINS_BACKGROUND_THREAD_H
#define HIPPOCAMP_PLUGINS_BACKGROUND_THREAD_H

#include "plugins/shared_client.h"

struct background_thread;

struct background_thread_options {
	struct shared_client **clients; /* valid until background_thread_stop returns */
	size_t client_count;
	struct shared_client
		*writer; /* one more, for storing only, so that a large response delays no look-up; or NULL */
	const struct keyed_hash_key *entry_key; /* see plugin_entry_seal */
	uint64_t waiting_bytes;			/* at most so many bytes of responses wait to be stored */
	void (*every_second)(void *context);
	void *context;
};

/* NULL where there is no memory or no thread. */
struct background_thread *background_thread_start(const struct background_thread_options *options);

/* Stores waiting responses, for half a second at most, and waits for the thread to end. NULL is fine. */
void background_thread_stop(struct background_thread *background_thread);

/* Call it after the writer is freed: inserts that the writer gives up still change a count in here. NULL is fine. */
void background_thread_free(struct background_thread *background_thread);

/*
 * Any thread. Takes over `entry`, which is not sealed yet. False: too much is waiting, or there is no memory, and the
 * entry was dropped.
 */
bool background_thread_store(struct background_thread *background_thread, const struct generation_key *key,
			     struct blob *entry, uint64_t ttl_ms);

#endif
