/*
 * The one thread of a plug-in, which does what no request is to wait for: it stores responses behind the answers that
 * carried them, gives lanes their turns while nobody looks anything up, and every second lets the plug-in tell its
 * figures.
 */
#ifndef HIPPOCAMP_PLUGINS_BACKGROUND_THREAD_H
#define HIPPOCAMP_PLUGINS_BACKGROUND_THREAD_H

#include "plugins/lane.h"

struct background_thread;

struct background_thread_options {
	struct lane **lanes; /* outlive the background_thread */
	size_t lane_count;
	struct lane *writer; /* one more, for storing only, so that a large response delays no look-up; or NULL */
	const struct keyed_hash_key *entry_key; /* see plugin_entry_seal */
	uint64_t waiting_bytes;			/* of responses that are not stored yet, at most */
	void (*every_second)(void *context);
	void *context;
};

/* NULL where there is no memory or no thread. */
struct background_thread *background_thread_start(const struct background_thread_options *options);

/* Stores what it has, if that takes but a moment, and waits for its thread to end. NULL is fine. */
void background_thread_stop(struct background_thread *background_thread);

/* After the writer: what was on its way there counts in the background_thread until it is given up. */
void background_thread_free(struct background_thread *background_thread);

/* Any thread. Takes over `entry`, unsealed. False: too much is waiting, and the entry was dropped. */
bool background_thread_store(struct background_thread *background_thread, const struct generation_key *key,
			     struct blob *entry, uint64_t ttl_ms);

#endif
