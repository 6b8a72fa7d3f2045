/* Lanes over a store that answers when the test says so, through a pipe that stands for its server. */
#include "plugins/shared_client.h"

#include "base/clock.h"
#include "base/unit_test.h"
#include "plugins/triton.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 8
#define EACH 200

/* --- The store --- */

struct fake_lane {
	const struct cache_host *host;
	void *watch;
	struct cache_lookup *asked[64];
	size_t count;
};

static struct fake_lane *
lane_of(struct cache_lane *lane)
{
	return (struct fake_lane *)lane;
}

static struct {
	int ends[2]; /* a byte written to [1] answers all look-ups */
	bool down;
	atomic_uint asked;
	unsigned removed;
	unsigned stored;
	bool holds; /* inserts stay unanswered until detach */
	struct cache_insert *held;
} server;

static void
answer_all(struct fake_lane *lane, bool failed)
{
	while (lane->count > 0) {
		struct cache_lookup *lookup = lane->asked[--lane->count];

		if (!failed) {
			lookup->values[0] = blob_copy(bytes_make(lookup->keys[0].digest.bytes, 16));
		}
		lookup->failed = failed;
		lookup->done(lookup);
	}
}

static void
on_bytes(void *argument, unsigned events)
{
	char bytes[64];

	(void)events;
	assert_true(read(server.ends[0], bytes, sizeof(bytes)) > 0);
	answer_all(argument, false);
}

static struct cache_lane *
fake_attach(struct cache *cache, const struct cache_host *host)
{
	struct fake_lane *lane = calloc(1, sizeof(*lane));

	(void)cache;
	lane->host = host;
	lane->watch = host->watch_new(host->context, server.ends[0], on_bytes, lane);
	host->watch_set(lane->watch, CACHE_READ);
	return (struct cache_lane *)lane;
}

static void
fake_detach(struct cache_lane *base)
{
	struct fake_lane *lane = lane_of(base);

	answer_all(lane, true);
	if (server.held != NULL) {
		server.held->done(server.held);
		server.held = NULL;
	}
	lane->host->watch_free(lane->watch);
	free(lane);
}

static bool
fake_lookup(struct cache_lane *base, struct cache_lookup *lookup)
{
	struct fake_lane *lane = lane_of(base);

	if (server.down) {
		lookup->failed = true;
		return true;
	}
	lane->asked[lane->count++] = lookup;
	atomic_fetch_add(&server.asked, 1);
	return false;
}

static bool
fake_insert(struct cache_lane *base, struct cache_insert *insert)
{
	struct fake_lane *lane = lane_of(base);

	(void)lane;
	assert_int_equal(insert->mode, CACHE_KEEP);
	server.stored++;
	server.held = server.holds ? insert : NULL;
	return !server.holds;
}

static void
fake_remove(struct cache_lane *base, const struct cache_key *key)
{
	struct fake_lane *lane = lane_of(base);

	(void)lane;
	(void)key;
	server.removed++;
}

static const struct cache_ops ops = {
	.name = "fake",
	.attach = fake_attach,
	.detach = fake_detach,
	.lookup = fake_lookup,
	.insert = fake_insert,
	.remove = fake_remove,
};

/* --- The tests --- */

static struct generation *generation;

static struct generation_key
key_of(const char *name)
{
	struct generation_key key;

	generation_make_key(generation, name, &key);
	return key;
}

static void
tell(void)
{
	assert_int_equal(write(server.ends[1], "x", 1), 1);
}

static int
set_up(void **state)
{
	server.down = false;
	server.holds = false;
	atomic_store(&server.asked, 0);
	server.removed = 0;
	server.stored = 0;
	assert_int_equal(pipe(server.ends), 0);
	*state = shared_client_new(&ops, NULL);
	return *state == NULL;
}

static int
tear_down(void **state)
{
	shared_client_free(*state);
	(void)close(server.ends[0]);
	(void)close(server.ends[1]);
	return 0;
}

static void
test_found(void **state)
{
	struct generation_key key = key_of("1");
	struct client_finding finding;

	tell(); /* the pipe can be read before the look-up asks */
	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns() + 30 * NS_PER_S, &finding),
			 CLIENT_FOUND);
	assert_memory_equal(finding.value->data, key.key.digest.bytes, 16);
	shared_client_remove(&finding);
	assert_int_equal(server.removed, 1);
	client_finding_end(&finding);
	assert_int_equal(shared_client_load(*state), 0);
}

static void
test_failed(void **state)
{
	struct generation_key key = key_of("1");
	struct client_finding finding;

	server.down = true;
	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns() + 30 * NS_PER_S, &finding),
			 CLIENT_FAILED);
	assert_null(finding.value);
	client_finding_end(&finding);
}

/*
 * A look-up that was given up as late is answered later, or when the client is freed, and nothing leaks; its key is not
 * asked for again meanwhile.
 */
static void
test_late(void **state)
{
	struct generation_key key = key_of("1");
	struct client_finding finding;

	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns(), &finding), CLIENT_LATE);
	client_finding_end(&finding);
	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns() + 1000000, &finding), CLIENT_LATE);
	client_finding_end(&finding);
	assert_int_equal(atomic_load(&server.asked), 1);
	tell();
	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns() + 30 * NS_PER_S, &finding),
			 CLIENT_FOUND);
	client_finding_end(&finding);
	assert_int_equal(atomic_load(&server.asked), 1);
	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns(), &finding),
			 CLIENT_LATE); /* until shared_client_free */
	client_finding_end(&finding);
}

static void
test_insert(void **state)
{
	struct generation_key key = key_of("1");
	struct blob *value = blob_copy(bytes_text("value"));
	atomic_size_t bytes = value->length;

	shared_client_insert(*state, &key, value, 0, &bytes);
	assert_int_equal(server.stored, 1);
	assert_int_equal(atomic_load(&bytes), 0);
}

/* An insert that is unanswered when the client is freed is given up, and its bytes are subtracted. */
static void
test_insert_on_its_way(void **state)
{
	struct generation_key key = key_of("1");
	struct blob *value = blob_copy(bytes_text("value"));
	atomic_size_t bytes = value->length;
	struct shared_client *client = shared_client_new(&ops, NULL);

	(void)state;
	server.holds = true;
	shared_client_insert(client, &key, value, 0, &bytes);
	assert_int_equal(atomic_load(&bytes), 5);
	shared_client_free(client);
	assert_int_equal(atomic_load(&bytes), 0);
}

/* Of all who found an entry by one question the first decides what to do with it. */
static void
test_settled_once(void **state)
{
	struct generation_key key = key_of("1");
	struct client_finding first;
	struct client_finding second;

	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns(), &first), CLIENT_LATE);
	tell();
	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns() + 30 * NS_PER_S, &second), CLIENT_FOUND);
	assert_true(shared_client_remove(&second));
	assert_false(shared_client_remove(&first));
	assert_int_equal(server.removed, 1);
	client_finding_end(&first);
	client_finding_end(&second);
}

/* The background thread polls for a client, and a look-up takes over. */
static void
test_attended(void **state)
{
	struct generation_key key = key_of("1");
	struct client_finding finding;
	struct poll_set set = {0};
	struct client_part part;

	poll_set_clear(&set, clock_now_ns() + 30 * NS_PER_S);
	part = shared_client_attend(*state, &set);
	assert_true(part.count > 0);
	tell();
	assert_int_equal(shared_client_look_up(*state, &key, 0, clock_now_ns() + 30 * NS_PER_S, &finding),
			 CLIENT_FOUND);
	client_finding_end(&finding);
	for (size_t i = 0; i < set.count; i++) {
		set.at[i].revents = POLLIN; /* as the background thread saw it */
	}
	shared_client_attended(*state, &set, part); /* whose events were handed out already */
	poll_set_clear(&set, 0);
	assert_int_equal(shared_client_attend(*state, &set).count, 0); /* used just now, so not polled for */
	poll_set_fini(&set);
}

struct asker {
	struct shared_client *client;
	unsigned number;
	unsigned found;
};

static void *
ask_often(void *argument)
{
	struct asker *asker = argument;
	char name[24];

	for (unsigned i = 0; i < EACH; i++) {
		struct generation_key key;
		struct client_finding finding;

		(void)snprintf(name, sizeof(name), "%u", asker->number * EACH + i);
		key = key_of(name);
		if (shared_client_look_up(asker->client, &key, 0, clock_now_ns() + 30 * NS_PER_S, &finding) ==
			    CLIENT_FOUND &&
		    memcmp(finding.value->data, key.key.digest.bytes, 16) == 0) {
			asker->found++;
		}
		client_finding_end(&finding);
	}
	return NULL;
}

/* Each thread gets its own answer, whichever thread polled for it. */
static void
test_many(void **state)
{
	struct asker askers[THREADS];
	pthread_t threads[THREADS];
	unsigned told = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		askers[i] = (struct asker){.client = *state, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
	}
	while (told < THREADS * EACH) {
		unsigned asked = atomic_load(&server.asked);

		if (asked > told) {
			told = asked;
			tell();
		}
		(void)sched_yield();
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(askers[i].found, EACH);
	}
}

int
main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(test_found),
		TEST(test_failed),
		TEST(test_late),
		TEST(test_insert),
		TEST(test_insert_on_its_way),
		TEST(test_settled_once),
		TEST(test_attended),
		TEST(test_many),
	};
	struct error error;
	int failed;

	generation = generation_open("", (struct bytes){0}, NULL, NULL, &error);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	generation_close(generation);
	return failed;
}
