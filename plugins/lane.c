#include "plugins/lane.h"

#include "base/clock.h"
#include "plugins/threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

/* For so long after a look-up has polled, the background thread leaves polling to the next look-up. */
#define BUSY_NS UINT64_C(200000000)
#define BUCKETS 64 /* of questions, by their keys; a power of two */

/*
 * A question to the store, of one look-up or several. References: one for each finding, and the store's until it
 * answers.
 */
struct lane_question {
	struct cache_lookup base; /* first */
	atomic_uint references;
	struct lane *lane;
	struct generation_key key;
	struct blob *value;
	bool answered;
	bool settled; /* it is decided what to do with the entry */
	LIST_ENTRY(lane_question) list;
};

LIST_HEAD(question_list, lane_question);

/* A waiting thread, on its own stack. */
struct waiter {
	struct lane_question *question;
	pthread_cond_t wake;
	TAILQ_ENTRY(waiter) list;
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

	pthread_mutex_t mutex;	     /* guards all below, the store's lane and the loop */
	const struct waiter *leader; /* the waiter that polls for all; NULL: none */
	bool polling;		     /* the leader is in poll, without the lock */
	bool attended;		     /* the background thread polls */
	uint64_t led_ns;
	struct poll_set set; /* the leader's */
	TAILQ_HEAD(, waiter) waiting;
	struct question_list questions[BUCKETS]; /* not answered yet */
	unsigned question_count;
};

/* --- Questions --- */

static struct question_list *
bucket_of(struct lane *lane, const struct generation_key *key)
{
	return &lane->questions[key->key.digest.bytes[0] % BUCKETS];
}

static void
question_unref(struct lane_question *question)
{
	if (atomic_fetch_sub(&question->references, 1) == 1) {
		blob_unref(question->value);
		free(question);
	}
}

/*
 * Wakes the waiters of the question. A leader that polls is woken through the loop; one that hands out events looks for
 * itself.
 */
static void
on_answer(struct cache_lookup *base)
{
	struct lane_question *question = (struct lane_question *)base;
	struct lane *lane = question->lane;
	struct waiter *waiter;

	question->answered = true;
	LIST_REMOVE(question, list);
	lane->question_count--;
	TAILQ_FOREACH (waiter, &lane->waiting, list) {
		if (waiter->question != question) {
			continue;
		}
		if (waiter != lane->leader) {
			(void)pthread_cond_signal(&waiter->wake);
		} else if (lane->polling) {
			poll_loop_wake(lane->loop);
		}
	}
	question_unref(question);
}

/* Asks the store. NULL where there is no memory. */
static struct lane_question *
ask(struct lane *lane, const struct generation_key *key, size_t expected)
{
	struct lane_question *question = calloc(1, sizeof(*question));

	if (question == NULL) {
		return NULL;
	}
	atomic_init(&question->references, 2);
	question->lane = lane;
	question->key = *key;
	question->key.key.scope.at = (const uint8_t *)question->key.scope_text;
	question->base = (struct cache_lookup){
		.keys = &question->key.key,
		.count = 1,
		.values = &question->value,
		.now_ns = clock_now_ns(),
		.expected = expected,
		.done = on_answer,
	};
	LIST_INSERT_HEAD(bucket_of(lane, key), question, list);
	lane->question_count++;
	if (lane->ops->lookup(lane->store, &question->base)) {
		on_answer(&question->base);
	}
	return question;
}

/*
 * Joins an unanswered question for the same key, so that the store is not asked again, however long its answer takes.
 */
static struct lane_question *
join_or_ask(struct lane *lane, const struct generation_key *key, size_t expected)
{
	struct lane_question *question;

	LIST_FOREACH (question, bucket_of(lane, key), list) {
		if (memcmp(&question->key.key.digest, &key->key.digest, sizeof(key->key.digest)) == 0) {
			(void)atomic_fetch_add(&question->references, 1);
			return question;
		}
	}
	return ask(lane, key, expected);
}

/* --- Waiting --- */

static void
lead(struct lane *lane, const struct waiter *waiter, uint64_t deadline_ns)
{
	struct poll_set *set = &lane->set;

	lane->leader = waiter;
	lane->attended = false; /* from now on the background thread would be too late anyway */
	poll_set_clear(set, deadline_ns);
	poll_loop_collect(lane->loop, set);
	lane->polling = true;
	(void)pthread_mutex_unlock(&lane->mutex);
	poll_set_wait(set);
	(void)pthread_mutex_lock(&lane->mutex);
	lane->polling = false;
	poll_loop_turn(lane->loop, set, 0, set->count);
	lane->leader = NULL;
	lane->led_ns = clock_now_ns();
}

static struct timespec
time_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static void
catch_up(struct lane *lane)
{
	if (lane->ops->catch_up != NULL) {
		lane->ops->catch_up(lane->store);
	}
}

static void
await(struct lane *lane, struct waiter *waiter, uint64_t deadline_ns)
{
	struct timespec deadline = time_of(deadline_ns);

	while (!waiter->question->answered && clock_now_ns() < deadline_ns) {
		if (lane->leader != NULL) {
			(void)pthread_cond_clockwait(&waiter->wake, &lane->mutex, CLOCK_MONOTONIC, &deadline);
		} else {
			lead(lane, waiter, deadline_ns);
		}
	}
	/* A last look, for answers that came while this thread did not run. */
	if (!waiter->question->answered && lane->leader == NULL) {
		catch_up(lane);
	}
}

static void
wait_for(struct lane *lane, struct lane_question *question, uint64_t deadline_ns)
{
	struct waiter waiter = {.question = question, .wake = PTHREAD_COND_INITIALIZER};
	struct waiter *next;

	TAILQ_INSERT_TAIL(&lane->waiting, &waiter, list);
	await(lane, &waiter, deadline_ns);
	TAILQ_REMOVE(&lane->waiting, &waiter, list);
	next = TAILQ_FIRST(&lane->waiting);
	if (lane->leader == NULL && next != NULL) {
		(void)pthread_cond_signal(&next->wake); /* its turn to lead */
	}
	(void)pthread_cond_destroy(&waiter.wake);
}

/* --- Looking up --- */

/* Tells the polling thread to watch our new events. */
static void
used(struct lane *lane)
{
	if (lane->leader != NULL || lane->attended) {
		poll_loop_used(lane->loop);
	}
}

static enum lane_answer
judge(const struct lane_question *question, struct lane_finding *finding)
{
	finding->value = question->value;
	if (question->value != NULL) {
		return LANE_FOUND;
	}
	if (question->base.corrupt) {
		return LANE_DAMAGED;
	}
	return question->base.failed ? LANE_FAILED : LANE_ABSENT;
}

static enum lane_answer
look_up(struct lane *lane, const struct generation_key *key, size_t expected, uint64_t deadline_ns,
	struct lane_finding *finding)
{
	struct lane_question *question;

	if (lane->leader == NULL && lane->question_count > 0) {
		catch_up(lane); /* else unread replies are taken for overdue */
	}
	question = join_or_ask(lane, key, expected);
	if (question == NULL) {
		return LANE_FAILED;
	}
	*finding = (struct lane_finding){.lane = lane, .question = question};
	if (question->answered || lane->leader != NULL) { /* else this thread polls for it, below */
		used(lane);
	}
	if (!question->answered) {
		wait_for(lane, question, deadline_ns);
	}
	return question->answered ? judge(question, finding) : LANE_LATE;
}

/* ThreadSanitizer does not know pthread_mutex_clocklock, and would not see the lock. */
static bool
lock_until(pthread_mutex_t *mutex, uint64_t deadline_ns)
{
#ifdef __SANITIZE_THREAD__
	(void)deadline_ns;
	return pthread_mutex_lock(mutex) == 0;
#else
	struct timespec deadline = time_of(deadline_ns);

	return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &deadline) == 0;
#endif
}

enum lane_answer
lane_look_up(struct lane *lane, const struct generation_key *key, size_t expected, uint64_t deadline_ns,
	     struct lane_finding *finding)
{
	enum lane_answer answer = LANE_LATE;
	struct pipe_guard guard;

	*finding = (struct lane_finding){0};
	(void)atomic_fetch_add(&lane->load, 1);
	guard = pipe_guard_begin(lane->guards);
	if (lock_until(&lane->mutex, deadline_ns)) {
		answer = look_up(lane, key, expected, deadline_ns, finding);
		(void)pthread_mutex_unlock(&lane->mutex);
	}
	pipe_guard_end(&guard);
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

/* --- What to do with an entry that was found --- */

static struct pipe_guard
enter(struct lane *lane)
{
	struct pipe_guard guard = pipe_guard_begin(lane->guards);

	(void)pthread_mutex_lock(&lane->mutex);
	return guard;
}

/* Writes pending output itself if no thread polls. */
static void
leave(struct lane *lane, const struct pipe_guard *guard)
{
	used(lane);
	if (lane->leader == NULL && !lane->attended) {
		poll_loop_glance(lane->loop);
	}
	(void)pthread_mutex_unlock(&lane->mutex);
	pipe_guard_end(guard);
}

/* Is this the first decision about the entry? */
static bool
settle(struct lane_question *question)
{
	bool first = !question->settled;

	question->settled = true;
	return first;
}

bool
lane_confirm(struct lane_finding *finding, uint64_t ttl_ms)
{
	struct lane *lane = finding->lane;
	bool first;

	if (lane->ops->confirm == NULL) {
		return true;
	}
	(void)pthread_mutex_lock(&lane->mutex);
	first = settle(finding->question);
	if (first) {
		lane->ops->confirm(lane->store, &finding->question->base, 0, ttl_ms, 0);
	}
	(void)pthread_mutex_unlock(&lane->mutex);
	return first;
}

static bool
throw_away(struct lane_finding *finding, bool distrusted)
{
	struct lane *lane = finding->lane;
	struct pipe_guard guard = enter(lane);
	bool first = settle(finding->question);

	if (first && lane->ops->remove != NULL) {
		lane->ops->remove(lane->store, &finding->question->key.key);
	}
	if (first && distrusted && lane->ops->reset_connections != NULL) {
		poll_loop_glance(lane->loop); /* so that the removal is sent before */
		lane->ops->reset_connections(lane->store);
	}
	leave(lane, &guard);
	return first;
}

bool
lane_remove(struct lane_finding *finding)
{
	return throw_away(finding, false);
}

bool
lane_distrust(struct lane_finding *finding)
{
	return throw_away(finding, true);
}

void
lane_finding_end(struct lane_finding *finding)
{
	if (finding->question != NULL) {
		question_unref(finding->question);
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
	guard = enter(lane);
	if (lane->ops->insert(lane->store, &storing->base)) {
		on_stored(&storing->base);
	}
	leave(lane, &guard);
}

/* --- For the background thread --- */

struct lane_part
lane_attend(struct lane *lane, struct poll_set *set)
{
	struct lane_part part = {.first = set->count};
	struct pipe_guard guard = enter(lane);

	if (lane->leader == NULL && clock_now_ns() - lane->led_ns >= BUSY_NS) {
		poll_loop_collect(lane->loop, set);
		part.count = set->count - part.first;
		lane->attended = part.count > 0;
	} else if (lane->leader == NULL) {
		poll_loop_glance(lane->loop);
	}
	(void)pthread_mutex_unlock(&lane->mutex);
	pipe_guard_end(&guard);
	return part;
}

void
lane_attended(struct lane *lane, const struct poll_set *set, struct lane_part part)
{
	struct pipe_guard guard = enter(lane);

	if (part.count > 0 && lane->attended) {
		poll_loop_turn(lane->loop, set, part.first, part.count);
		lane->attended = false;
	}
	(void)pthread_mutex_unlock(&lane->mutex);
	pipe_guard_end(&guard);
}

unsigned
lane_load(const struct lane *lane)
{
	return atomic_load_explicit(&lane->load, memory_order_relaxed);
}

/* --- Creating and freeing --- */

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
	for (size_t i = 0; i < BUCKETS; i++) {
		LIST_INIT(&lane->questions[i]);
	}
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
