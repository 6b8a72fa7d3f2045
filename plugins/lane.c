#include "plugins/lane.h"

#include "base/clock.h"
#include "plugins/threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

/* A lane that was waited for so lately will be again, by the next who looks something up. */
#define BUSY_NS UINT64_C(200000000)

struct lane_lookup {
	struct cache_lookup base; /* first */
	struct generation_key key;
	struct blob *value;
	pthread_cond_t wake;
	bool answered;
	bool abandoned; /* by who made it */
	TAILQ_ENTRY(lane_lookup) list;
};

struct lane_storing {
	struct cache_insert base; /* first */
	struct generation_key key;
	atomic_size_t *bytes;
};

struct lane {
	const struct cache_ops *ops;
	struct cache_lane *store;
	struct poll_loop *loop;
	bool guards; /* SIGPIPE would end the process */
	atomic_uint load;

	pthread_mutex_t mutex; /* of all below, and of the store's lane and the loop */
	bool led;	       /* one who looks something up polls */
	bool attended;	       /* the keeper does */
	uint64_t led_ns;
	struct poll_set set; /* of who leads */
	TAILQ_HEAD(, lane_lookup) waiting;
};

/* --- Answers --- */

static void
free_lookup(struct lane_lookup *lookup)
{
	blob_unref(lookup->value);
	(void)pthread_cond_destroy(&lookup->wake);
	free(lookup);
}

static void
on_answer(struct cache_lookup *base)
{
	struct lane_lookup *lookup = (struct lane_lookup *)base;

	lookup->answered = true;
	if (lookup->abandoned) {
		free_lookup(lookup);
	} else {
		(void)pthread_cond_signal(&lookup->wake);
	}
}

static struct lane_lookup *
new_lookup(const struct generation_key *key)
{
	struct lane_lookup *lookup = calloc(1, sizeof(*lookup));
	pthread_condattr_t monotonic;

	if (lookup == NULL) {
		return NULL;
	}
	lookup->key = *key;
	lookup->key.key.scope.at = (const uint8_t *)lookup->key.scope_text;
	lookup->base = (struct cache_lookup){
		.keys = &lookup->key.key,
		.count = 1,
		.values = &lookup->value,
		.now_ns = clock_now_ns(),
		.done = on_answer,
	};
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&lookup->wake, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	return lookup;
}

/* --- Waiting --- */

static void
lead(struct lane *lane, uint64_t deadline_ns)
{
	struct poll_set *set = &lane->set;
	struct pipe_guard guard;

	lane->led = true;
	lane->attended = false; /* from now on the keeper's turn would come too late anyway */
	poll_set_clear(set, deadline_ns);
	(void)poll_loop_collect(lane->loop, set);
	(void)pthread_mutex_unlock(&lane->mutex);
	poll_set_wait(set);
	(void)pthread_mutex_lock(&lane->mutex);
	guard = pipe_guard_begin(lane->guards);
	poll_loop_turn(lane->loop, set, 0, set->count);
	pipe_guard_end(&guard);
	lane->led = false;
	lane->led_ns = clock_now_ns();
}

static void
follow(struct lane *lane, struct lane_lookup *lookup, uint64_t deadline_ns)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000U),
				 .tv_nsec = (long)(deadline_ns % 1000000000U)};

	(void)pthread_cond_timedwait(&lookup->wake, &lane->mutex, &until);
}

/* The last look is for what has come while this thread did not run. */
static void
catch_up(struct lane *lane)
{
	if (!lane->led && lane->ops->catch_up != NULL) {
		lane->ops->catch_up(lane->store);
	}
}

static void
await(struct lane *lane, struct lane_lookup *lookup, uint64_t deadline_ns)
{
	struct lane_lookup *next;

	TAILQ_INSERT_TAIL(&lane->waiting, lookup, list);
	while (!lookup->answered && clock_now_ns() < deadline_ns) {
		if (lane->led) {
			follow(lane, lookup, deadline_ns);
		} else {
			lead(lane, deadline_ns);
		}
	}
	if (!lookup->answered) {
		catch_up(lane);
	}
	TAILQ_REMOVE(&lane->waiting, lookup, list);
	next = TAILQ_FIRST(&lane->waiting);
	if (!lane->led && next != NULL) {
		(void)pthread_cond_signal(&next->wake); /* its turn to lead */
	}
}

/* Who waits already, for other things, is to wait for what came of this, too. */
static void
used(struct lane *lane)
{
	if (lane->led || lane->attended) {
		poll_loop_used(lane->loop);
	}
}

static enum lane_answer
judge(struct lane *lane, struct lane_lookup *lookup, struct lane_finding *finding)
{
	if (!lookup->answered) {
		lookup->abandoned = true;
		return LANE_LATE;
	}
	*finding = (struct lane_finding){.lane = lane, .lookup = lookup, .value = lookup->value};
	if (lookup->value == NULL) {
		return lookup->base.failed ? LANE_FAILED : LANE_ABSENT;
	}
	return LANE_FOUND;
}

enum lane_answer
lane_look_up(struct lane *lane, const struct generation_key *key, uint64_t deadline_ns, struct lane_finding *finding)
{
	struct lane_lookup *lookup = new_lookup(key);
	struct pipe_guard guard;
	enum lane_answer answer;

	*finding = (struct lane_finding){0};
	if (lookup == NULL) {
		return LANE_FAILED;
	}
	(void)atomic_fetch_add(&lane->load, 1);
	(void)pthread_mutex_lock(&lane->mutex);
	guard = pipe_guard_begin(lane->guards);
	lookup->answered = lane->ops->lookup(lane->store, &lookup->base);
	if (lookup->answered || lane->led) { /* else who made it waits for it, below */
		used(lane);
	}
	pipe_guard_end(&guard);
	if (!lookup->answered) {
		await(lane, lookup, deadline_ns);
	}
	answer = judge(lane, lookup, finding);
	(void)pthread_mutex_unlock(&lane->mutex);
	(void)atomic_fetch_sub(&lane->load, 1);
	return answer;
}

void
lane_peek(struct lane *lane, struct cache_lookup *lookup)
{
	if (lane->ops->peek != NULL) {
		lane->ops->peek(lane->store, lookup);
	}
}

/* --- Afterwards --- */

/* Where nobody waits, what is to be written is written here. */
static void
unlock_used(struct lane *lane, const struct pipe_guard *guard)
{
	used(lane);
	if (!lane->led && !lane->attended) {
		poll_loop_glance(lane->loop);
	}
	pipe_guard_end(guard);
	(void)pthread_mutex_unlock(&lane->mutex);
}

void
lane_confirm(struct lane_finding *finding, uint64_t ttl_ms)
{
	struct lane *lane = finding->lane;

	if (lane->ops->confirm != NULL) {
		(void)pthread_mutex_lock(&lane->mutex);
		lane->ops->confirm(lane->store, &finding->lookup->base, 0, ttl_ms);
		(void)pthread_mutex_unlock(&lane->mutex);
	}
}

void
lane_remove(struct lane_finding *finding)
{
	struct lane *lane = finding->lane;
	struct pipe_guard guard;

	if (lane->ops->remove != NULL) {
		(void)pthread_mutex_lock(&lane->mutex);
		guard = pipe_guard_begin(lane->guards);
		lane->ops->remove(lane->store, &finding->lookup->key.key);
		unlock_used(lane, &guard);
	}
}

void
lane_distrust(struct lane_finding *finding)
{
	struct lane *lane = finding->lane;
	struct pipe_guard guard;

	if (lane->ops->distrust != NULL) {
		(void)pthread_mutex_lock(&lane->mutex);
		guard = pipe_guard_begin(lane->guards);
		lane->ops->distrust(lane->store);
		unlock_used(lane, &guard);
	}
}

void
lane_finding_end(struct lane_finding *finding)
{
	if (finding->lookup != NULL) {
		free_lookup(finding->lookup);
	}
}

/* --- Inserts --- */

static void
on_stored(struct cache_insert *base)
{
	(void)atomic_fetch_sub(((struct lane_storing *)base)->bytes, base->value->length);
	blob_unref(base->value);
	free(base);
}

void
lane_insert(struct lane *lane, const struct generation_key *key, struct blob *value, uint64_t ttl_ms,
	    atomic_size_t *bytes)
{
	struct lane_storing *storing = malloc(sizeof(*storing));
	struct pipe_guard guard;

	if (storing == NULL) {
		(void)atomic_fetch_sub(bytes, value->length);
		blob_unref(value);
		return;
	}
	storing->key = *key;
	storing->key.key.scope.at = (const uint8_t *)storing->key.scope_text;
	storing->bytes = bytes;
	storing->base = (struct cache_insert){
		.key = &storing->key.key, .value = value, .ttl_ms = ttl_ms, .mode = CACHE_KEEP, .done = on_stored};
	(void)pthread_mutex_lock(&lane->mutex);
	guard = pipe_guard_begin(lane->guards);
	if (lane->ops->insert(lane->store, &storing->base)) {
		on_stored(&storing->base);
	}
	unlock_used(lane, &guard);
}

/* --- The keeper's part --- */

struct lane_part
lane_attend(struct lane *lane, struct poll_set *set)
{
	struct lane_part part = {.first = set->count};
	struct pipe_guard guard;

	(void)pthread_mutex_lock(&lane->mutex);
	if (!lane->led && clock_now_ns() - lane->led_ns >= BUSY_NS) {
		lane->attended = true;
		(void)poll_loop_collect(lane->loop, set);
		part.count = set->count - part.first;
	} else if (!lane->led) {
		guard = pipe_guard_begin(lane->guards);
		poll_loop_glance(lane->loop);
		pipe_guard_end(&guard);
	}
	(void)pthread_mutex_unlock(&lane->mutex);
	return part;
}

void
lane_attended(struct lane *lane, const struct poll_set *set, struct lane_part part)
{
	struct pipe_guard guard;

	(void)pthread_mutex_lock(&lane->mutex);
	if (part.count > 0 && lane->attended) {
		guard = pipe_guard_begin(lane->guards);
		poll_loop_turn(lane->loop, set, part.first, part.count);
		pipe_guard_end(&guard);
		lane->attended = false;
	}
	(void)pthread_mutex_unlock(&lane->mutex);
}

unsigned
lane_load(const struct lane *lane)
{
	return atomic_load_explicit(&lane->load, memory_order_relaxed);
}

/* --- From first to last --- */

struct lane *
lane_new(const struct cache_ops *ops, struct cache *store)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (lane == NULL) {
		return NULL;
	}
	lane->ops = ops;
	lane->guards = pipe_guard_is_needed();
	(void)pthread_mutex_init(&lane->mutex, NULL);
	TAILQ_INIT(&lane->waiting);
	lane->loop = poll_loop_new();
	lane->store = lane->loop == NULL ? NULL : ops->attach(store, poll_loop_host(lane->loop));
	if (lane->store == NULL) {
		lane_free(lane);
		return NULL;
	}
	return lane;
}

void
lane_free(struct lane *lane)
{
	if (lane == NULL) {
		return;
	}
	if (lane->store != NULL) {
		lane->ops->detach(lane->store);
	}
	poll_loop_free(lane->loop);
	poll_set_fini(&lane->set);
	(void)pthread_mutex_destroy(&lane->mutex);
	free(lane);
}
