/*
 * The one thread of a plug-in, which does what no request is to wait for: it stores responses behind the answers that
 * carried them, gives lanes their turns while nobody looks anything up, and every second lets the plug-in tell its
 * figures.
 */
#ifndef HIPPOCAMP_PLUGINS_KEEPER_H
#define HIPPOCAMP_PLUGINS_KEEPER_H

#include "plugins/lane.h"

struct keeper;

struct keeper_options {
	struct lane **lanes; /* outlive the keeper */
	size_t lane_count;
	struct lane *writer; /* one more, for storing only, so that a large response delays no look-up; or NULL */
	const struct keyed_hash_key *entry_key; /* see plugin_entry_seal */
	uint64_t waiting_bytes;			/* of responses that are not stored yet, at most */
	void (*every_second)(void *context);
	void *context;
};

/* NULL where there is no memory or no thread. */
struct keeper *keeper_start(const struct keeper_options *options);

/* Stores what it has, if that takes but a moment, and waits for its thread to end. NULL is fine. */
void keeper_stop(struct keeper *keeper);

/* After the writer: what was on its way there counts in the keeper until it is given up. */
void keeper_free(struct keeper *keeper);

/* Any thread. Takes over `entry`, unsealed. False: too much is waiting, and the entry was dropped. */
bool keeper_store(struct keeper *keeper, const struct generation_key *key, struct blob *entry, uint64_t ttl_ms);

#endif
