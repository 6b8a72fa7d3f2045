/*
 * A client of a store that many threads share: a lane of the store, and a lock. A thread that looks something up sends
 * its command immediately and then waits for the answer. One of the waiting threads, the leader, polls for all of them
 * and hands out the answers; when it has its own, the next one leads (Leader/Followers: Schmidt, O'Ryan, Kircher,
 * Pyarali, Buschmann, PLoP 2000). So a single look-up costs no switch between threads, and many at a time share a
 * connection. Look-ups of one key share one question to the store as long as it is not answered, even if earlier
 * look-ups have given it up as late.
 *
 * While no thread waits, the background thread (background_thread.h) polls for the client, so that connections are made
 * and remade without delaying a look-up. All functions but shared_client_new and shared_client_free may be called on
 * any thread.
 */
#ifndef HIPPOCAMP_PLUGINS_SHARED_CLIENT_H
#define HIPPOCAMP_PLUGINS_SHARED_CLIENT_H

#include "plugins/generation.h"
#include "plugins/poll_loop.h"

struct shared_client;

/* NULL where there is no memory, or no descriptor. */
struct shared_client *shared_client_new(const struct cache_ops *ops, struct cache *store);
/* Call it when no thread waits any more. Unanswered look-ups and inserts are given up. NULL is fine. */
void shared_client_free(struct shared_client *client);

/* Looks up what the store answers immediately (cache_ops.peek), if anything. */
void shared_client_peek(struct shared_client *client, struct cache_lookup *lookup);

/* How many look-ups are under way. */
unsigned shared_client_load(const struct shared_client *client);

enum client_answer {
	CLIENT_FOUND,
	CLIENT_ABSENT,
	CLIENT_DAMAGED, /* the key holds something that is no value: to be removed */
	CLIENT_FAILED,	/* the store is in trouble, or there is no memory */
	CLIENT_LATE,
};

/* The value found, and the question that found it; shared_client_confirm passes that to the store again. */
struct client_finding {
	struct shared_client *client;
	struct client_question *question;
	const struct blob *value; /* NULL: nothing */
};

/*
 * Waits until `deadline_ns` (clock_now_ns) at most. `expected`: bytes of the value, if known, else 0. The caller calls
 * client_finding_end in any case.
 */
enum client_answer shared_client_look_up(struct shared_client *client, const struct generation_key *key,
					 size_t expected, uint64_t deadline_ns, struct client_finding *finding);

/*
 * What to do with the entry: confirm it, remove it, or reset the connections. Of all who found it by one question only
 * the first decides, and gets true.
 *
 * shared_client_confirm: the value is valid, and stays so for `ttl_ms` (0: no end).
 */
bool shared_client_confirm(struct client_finding *finding, uint64_t ttl_ms);
/* The value is not valid: removes the entry from the store. */
bool shared_client_remove(struct client_finding *finding);
/* The value belongs to another key: removes the entry and resets the connections. */
bool shared_client_reset_connections(struct client_finding *finding);
void client_finding_end(struct client_finding *finding);

/*
 * Stores a value unless its key has one; does not wait. Takes over `value`, and subtracts its length from `bytes` when
 * it is stored or given up.
 */
void shared_client_insert(struct shared_client *client, const struct generation_key *key, struct blob *value,
			  uint64_t ttl_ms, atomic_size_t *bytes);

/* --- For the background thread --- */

/* A client's part of a set: shared_client_attend adds it, and shared_client_attended hands out its events. */
struct client_part {
	size_t first;
	size_t count; /* 0: do not wait for the client */
};

struct client_part shared_client_attend(struct shared_client *client, struct poll_set *set);
void shared_client_attended(struct shared_client *client, const struct poll_set *set, struct client_part part);

#endif
