#include "plugins/shared_client.h"

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
struct client_question {
	struct cache_lookup base; /* first */
	atomic_uint references;
	struct shared_client *client;
	struct generation_key key;
	struct blob *value;
	bool answered;
	bool settled; /* it is decided what to do with the entry */
	LIST_ENTRY(client_question) list;
};

LIST_HEAD(question_list, client_question);

/* A waiting thread, on its own stack. */
struct waiter {
	struct client_question *question;
	pthread_cond_t wake;
	TAILQ_ENTRY(waiter) list;
};

struct client_insert {
	struct cache_insert base; /* first */
	struct generation_key key;
	atomic_size_t *bytes;
};

struct shared_client {
	const struct cache_ops *ops;
	struct cache_lane *lane; /* of the store */
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
bucket_of(struct shared_client *client, const struct generation_key *key)
{
	return &client->questions[key->key.digest.bytes[0] % BUCKETS];
}

static void
question_unref(struct client_question *question)
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
	struct client_question *question = (struct client_question *)base;
	struct shared_client *client = question->client;
	struct waiter *waiter;

	question->answered = true;
	LIST_REMOVE(question, list);
	client->question_count--;
	TAILQ_FOREACH (waiter, &client->waiting, list) {
		if (waiter->question != question) {
			continue;
		}
		if (waiter != client->leader) {
			(void)pthread_cond_signal(&waiter->wake);
		} else if (client->polling) {
			poll_loop_wake(client->loop);
		}
	}
	question_unref(question);
}

/* Asks the store. NULL where there is no memory. */
static struct client_question *
ask(struct shared_client *client, const struct generation_key *key, size_t expected)
{
	struct client_question *question = calloc(1, sizeof(*question));

	if (question == NULL) {
		return NULL;
	}
	atomic_init(&question->references, 2);
	question->client = client;
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
	LIST_INSERT_HEAD(bucket_of(client, key), question, list);
	client->question_count++;
	if (client->ops->lookup(client->lane, &question->base)) {
		on_answer(&question->base);
	}
	return question;
}

/*
 * Joins an unanswered question for the same key, so that the store is not asked again, however long its answer takes.
 */
static struct client_question *
join_or_ask(struct shared_client *client, const struct generation_key *key, size_t expected)
{
	struct client_question *question;

	LIST_FOREACH (question, bucket_of(client, key), list) {
		if (memcmp(&question->key.key.digest, &key->key.digest, sizeof(key->key.digest)) == 0) {
			(void)atomic_fetch_add(&question->references, 1);
			return question;
		}
	}
	return ask(client, key, expected);
}

/* --- Waiting --- */

static void
lead(struct shared_client *client, const struct waiter *waiter, uint64_t deadline_ns)
{
	struct poll_set *set = &client->set;

	client->leader = waiter;
	client->attended = false; /* from now on the background thread would be too late anyway */
	poll_set_clear(set, deadline_ns);
	poll_loop_collect(client->loop, set);
	client->polling = true;
	(void)pthread_mutex_unlock(&client->mutex);
	poll_set_wait(set);
	(void)pthread_mutex_lock(&client->mutex);
	client->polling = false;
	poll_loop_turn(client->loop, set, 0, set->count);
	client->leader = NULL;
	client->led_ns = clock_now_ns();
}

static struct timespec
time_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static void
catch_up(struct shared_client *client)
{
	if (client->ops->catch_up != NULL) {
		client->ops->catch_up(client->lane);
	}
}

static void
await(struct shared_client *client, struct waiter *waiter, uint64_t deadline_ns)
{
	struct timespec deadline = time_of(deadline_ns);

	while (!waiter->question->answered && clock_now_ns() < deadline_ns) {
		if (client->leader != NULL) {
			(void)pthread_cond_clockwait(&waiter->wake, &client->mutex, CLOCK_MONOTONIC, &deadline);
		} else {
			lead(client, waiter, deadline_ns);
		}
	}
	/* A last look, for answers that came while this thread did not run. */
	if (!waiter->question->answered && client->leader == NULL) {
		catch_up(client);
	}
}

static void
wait_for(struct shared_client *client, struct client_question *question, uint64_t deadline_ns)
{
	struct waiter waiter = {.question = question, .wake = PTHREAD_COND_INITIALIZER};
	struct waiter *next;

	TAILQ_INSERT_TAIL(&client->waiting, &waiter, list);
	await(client, &waiter, deadline_ns);
	TAILQ_REMOVE(&client->waiting, &waiter, list);
	next = TAILQ_FIRST(&client->waiting);
	if (client->leader == NULL && next != NULL) {
		(void)pthread_cond_signal(&next->wake); /* its turn to lead */
	}
	(void)pthread_cond_destroy(&waiter.wake);
}

/* --- Looking up --- */

/* Tells the polling thread to watch our new events. */
static void
used(struct shared_client *client)
{
	if (client->leader != NULL || client->attended) {
		poll_loop_used(client->loop);
	}
}

static enum client_answer
judge(const struct client_question *question, struct client_finding *finding)
{
	finding->value = question->value;
	if (question->value != NULL) {
		return CLIENT_FOUND;
	}
	if (question->base.corrupt) {
		return CLIENT_DAMAGED;
	}
	return question->base.failed ? CLIENT_FAILED : CLIENT_ABSENT;
}

static enum client_answer
look_up(struct shared_client *client, const struct generation_key *key, size_t expected, uint64_t deadline_ns,
	struct client_finding *finding)
{
	struct client_question *question;

	if (client->leader == NULL && client->question_count > 0) {
		catch_up(client); /* else unread replies are taken for overdue */
	}
	question = join_or_ask(client, key, expected);
	if (question == NULL) {
		return CLIENT_FAILED;
	}
	*finding = (struct client_finding){.client = client, .question = question};
	if (question->answered || client->leader != NULL) { /* else this thread polls for it, below */
		used(client);
	}
	if (!question->answered) {
		wait_for(client, question, deadline_ns);
	}
	return question->answered ? judge(question, finding) : CLIENT_LATE;
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

enum client_answer
shared_client_look_up(struct shared_client *client, const struct generation_key *key, size_t expected,
		      uint64_t deadline_ns, struct client_finding *finding)
{
	enum client_answer answer = CLIENT_LATE;
	struct pipe_guard guard;

	*finding = (struct client_finding){0};
	(void)atomic_fetch_add(&client->load, 1);
	guard = pipe_guard_begin(client->guards);
	if (lock_until(&client->mutex, deadline_ns)) {
		answer = look_up(client, key, expected, deadline_ns, finding);
		(void)pthread_mutex_unlock(&client->mutex);
	}
	pipe_guard_end(&guard);
	(void)atomic_fetch_sub(&client->load, 1);
	return answer;
}

void
shared_client_peek(struct shared_client *client, struct cache_lookup *lookup)
{
	if (client->ops->peek != NULL) {
		client->ops->peek(client->lane, lookup);
	}
}

/* --- What to do with an entry that was found --- */

static struct pipe_guard
enter(struct shared_client *client)
{
	struct pipe_guard guard = pipe_guard_begin(client->guards);

	(void)pthread_mutex_lock(&client->mutex);
	return guard;
}

/* Writes pending output itself if no thread polls. */
static void
leave(struct shared_client *client, const struct pipe_guard *guard)
{
	used(client);
	if (client->leader == NULL && !client->attended) {
		poll_loop_glance(client->loop);
	}
	(void)pthread_mutex_unlock(&client->mutex);
	pipe_guard_end(guard);
}

/* Is this the first decision about the entry? */
static bool
settle(struct client_question *question)
{
	bool first = !question->settled;

	question->settled = true;
	return first;
}

bool
shared_client_confirm(struct client_finding *finding, uint64_t ttl_ms)
{
	struct shared_client *client = finding->client;
	bool first;

	if (client->ops->confirm == NULL) {
		return true;
	}
	(void)pthread_mutex_lock(&client->mutex);
	first = settle(finding->question);
	if (first) {
		client->ops->confirm(client->lane, &finding->question->base, 0, ttl_ms, 0);
	}
	(void)pthread_mutex_unlock(&client->mutex);
	return first;
}

static bool
throw_away(struct client_finding *finding, bool resets)
{
	struct shared_client *client = finding->client;
	struct pipe_guard guard = enter(client);
	bool first = settle(finding->question);

	if (first && client->ops->remove != NULL) {
		client->ops->remove(client->lane, &finding->question->key.key);
	}
	if (first && resets && client->ops->reset_connections != NULL) {
		poll_loop_glance(client->loop); /* so that the removal is sent before */
		client->ops->reset_connections(client->lane);
	}
	leave(client, &guard);
	return first;
}

bool
shared_client_remove(struct client_finding *finding)
{
	return throw_away(finding, false);
}

bool
shared_client_reset_connections(struct client_finding *finding)
{
	return throw_away(finding, true);
}

void
client_finding_end(struct client_finding *finding)
{
	if (finding->question != NULL) {
		question_unref(finding->question);
	}
}

/* --- Inserts --- */

static void
on_stored(struct cache_insert *base)
{
	(void)atomic_fetch_sub(((struct client_insert *)base)->bytes, base->value->length);
	blob_unref(base->value);
	free(base);
}

void
shared_client_insert(struct shared_client *client, const struct generation_key *key, struct blob *value,
		     uint64_t ttl_ms, atomic_size_t *bytes)
{
	struct client_insert *storing = malloc(sizeof(*storing));
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
	guard = enter(client);
	if (client->ops->insert(client->lane, &storing->base)) {
		on_stored(&storing->base);
	}
	leave(client, &guard);
}

/* --- For the background thread --- */

struct client_part
shared_client_attend(struct shared_client *client, struct poll_set *set)
{
	struct client_part part = {.first = set->count};
	struct pipe_guard guard = enter(client);

	if (client->leader == NULL && clock_now_ns() - client->led_ns >= BUSY_NS) {
		poll_loop_collect(client->loop, set);
		part.count = set->count - part.first;
		client->attended = part.count > 0;
	} else if (client->leader == NULL) {
		poll_loop_glance(client->loop);
	}
	(void)pthread_mutex_unlock(&client->mutex);
	pipe_guard_end(&guard);
	return part;
}

void
shared_client_attended(struct shared_client *client, const struct poll_set *set, struct client_part part)
{
	struct pipe_guard guard = enter(client);

	if (part.count > 0 && client->attended) {
		poll_loop_turn(client->loop, set, part.first, part.count);
		client->attended = false;
	}
	(void)pthread_mutex_unlock(&client->mutex);
	pipe_guard_end(&guard);
}

unsigned
shared_client_load(const struct shared_client *client)
{
	return atomic_load_explicit(&client->load, memory_order_relaxed);
}

/* --- Creating and freeing --- */

struct shared_client *
shared_client_new(const struct cache_ops *ops, struct cache *store)
{
	struct shared_client *client = calloc(1, sizeof(*client));

	if (client == NULL) {
		return NULL;
	}
	client->ops = ops;
	client->guards = pipe_guard_is_needed();
	(void)pthread_mutex_init(&client->mutex, NULL);
	TAILQ_INIT(&client->waiting);
	for (size_t i = 0; i < BUCKETS; i++) {
		LIST_INIT(&client->questions[i]);
	}
	client->loop = poll_loop_new();
	client->lane = client->loop == NULL ? NULL : ops->attach(store, poll_loop_host(client->loop));
	if (client->lane == NULL) {
		shared_client_free(client);
		return NULL;
	}
	return client;
}

void
shared_client_free(struct shared_client *client)
{
	if (client == NULL) {
		return;
	}
	if (client->lane != NULL) {
		client->ops->detach(client->lane);
	}
	poll_loop_free(client->loop);
	poll_set_fini(&client->set);
	(void)pthread_mutex_destroy(&client->mutex);
	free(client);
}
