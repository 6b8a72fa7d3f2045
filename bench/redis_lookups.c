/*
 * Measures the rate at which one loop looks up values in Redis, with the program's loop and store but no requests.
 *
 * usage: redis_lookups SIZE KEYS DEPTH SECONDS OPTION=VALUE...
 *
 * Stores KEYS values of SIZE bytes, reads all back, then keeps DEPTH look-ups of one key each under way for SECONDS, on
 * one thread. The options are those of --cache-config redis. Prints JSON: look-ups, seconds, and the thread's processor
 * time per look-up in microseconds. Exit status 1: a value is missing or wrong.
 */
#include "base/clock.h"
#include "base/container_of.h"
#include "base/memory.h"
#include "caches/redis/redis.h"
#include "inference/cache/cache_host.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUE_MAX ((size_t)256 << 20)
#define COUNT_MAX 1000000
#define FILL_RETRY_MS 10
#define FILL_LIMIT_NS UINT64_C(60000000000)
#define COMPARED 16 /* bytes compared of each value during the measurement */

static const struct cache_ops *const ops = &cache_redis_ops;
static const char scope[] = "bench:1:0000000000000000";

struct entry {
	struct cache_key key;
	struct blob *value;
};

/* A look-up of one key. */
struct slot {
	struct cache_lookup lookup; /* first: on_answer casts it to its slot */
	struct bench *bench;
	const struct entry *entry;
	struct blob *value;
};

struct bench {
	struct loop *loop;
	struct loop_timer *timer;
	struct cache_lane *lane;
	struct entry *entries;
	size_t entry_count;
	uint64_t duration_ns;
	/* Filling. */
	size_t filled;
	uint64_t fill_deadline_ns;
	struct slot probe;
	struct cache_insert insert;
	/* Measuring. */
	struct slot *slots;
	size_t depth;
	size_t next;
	size_t under_way;
	uint64_t answered;
	uint64_t started_ns;
	uint64_t cpu_ns;
};

static _Noreturn void
die(const char *what)
{
	(void)fprintf(stderr, "redis_lookups: %s\n", what);
	exit(EXIT_FAILURE);
}

static uint64_t
read_number(const char *text, uint64_t minimum, uint64_t maximum)
{
	char *end;
	uint64_t number = strtoull(text, &end, 10);

	if (*text == '\0' || *text == '-' || *end != '\0' || number < minimum || number > maximum) {
		(void)fprintf(stderr, "redis_lookups: %s is no number from %" PRIu64 " to %" PRIu64 "\n", text, minimum,
			      maximum);
		exit(EXIT_FAILURE);
	}
	return number;
}

/* Fills in incompressible bytes. They are the same in every run, so values that another run stored are valid. */
static void
draw(uint8_t *at, size_t length, uint64_t number)
{
	uint64_t seed[] = {number, length, 0};

	for (size_t i = 0; i < length; i += sizeof(uint64_t)) {
		uint64_t drawn = checksum64(bytes_make(seed, sizeof(seed)));
		size_t rest = length - i;

		memcpy(at + i, &drawn, rest < sizeof(drawn) ? rest : sizeof(drawn));
		seed[2]++;
	}
}

static void
make_entries(struct bench *bench, size_t size)
{
	bench->entries = memory_array(bench->entry_count, sizeof(*bench->entries));
	for (size_t i = 0; i < bench->entry_count; i++) {
		struct entry *entry = &bench->entries[i];

		entry->value = blob_new(size);
		if (entry->value == NULL) {
			die("no memory for the values");
		}
		draw(entry->value->data, size, i);
		entry->key.scope = bytes_make(scope, sizeof(scope) - 1);
		entry->key.digest.length = 16;
		memcpy(entry->key.digest.bytes, entry->value->data, 16);
	}
}

/* Starts a look-up. True: it was answered at once, and `done` is not called. */
static bool
look_up(struct bench *bench, struct slot *slot, size_t index, void (*done)(struct cache_lookup *lookup))
{
	slot->bench = bench;
	slot->entry = &bench->entries[index];
	slot->lookup = (struct cache_lookup){
		.keys = &slot->entry->key, .count = 1, .values = &slot->value, .now_ns = clock_now_ns(), .done = done};
	return ops->lookup(bench->lane, &slot->lookup);
}

/* --- Measuring --- */

static void on_answer(struct cache_lookup *lookup);

static void
ask(struct bench *bench, struct slot *slot)
{
	bool answered = look_up(bench, slot, bench->next, on_answer);

	bench->next = (bench->next + 1) % bench->entry_count;
	bench->under_way++;
	if (answered) {
		die("a look-up could not be made");
	}
}

static void
report(const struct bench *bench)
{
	uint64_t time_ns = clock_now_ns() - bench->started_ns;
	uint64_t cpu_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - bench->cpu_ns;

	(void)printf("{\"lookups\": %" PRIu64 ", \"seconds\": %.6f, \"cpu\": %.3f}\n", bench->answered,
		     (double)time_ns / 1e9, (double)cpu_ns / 1e3 / (double)bench->answered);
}

static void
on_answer(struct cache_lookup *lookup)
{
	struct slot *slot = (struct slot *)lookup;
	struct bench *bench = slot->bench;
	const struct blob *expected = slot->entry->value;

	if (slot->value == NULL || slot->value->length != expected->length ||
	    memcmp(slot->value->data, expected->data, COMPARED) != 0) {
		die(slot->value != NULL ? "a wrong value" : lookup->failed ? "a look-up failed" : "a value is gone");
	}
	blob_unref(slot->value);
	slot->value = NULL;
	bench->under_way--;
	bench->answered++;
	if (lookup->now_ns - bench->started_ns < bench->duration_ns) {
		ask(bench, slot);
	} else if (bench->under_way == 0) {
		report(bench);
		loop_stop(bench->loop);
	}
}

static void
measure(struct bench *bench)
{
	bench->slots = memory_array(bench->depth, sizeof(*bench->slots));
	bench->cpu_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
	bench->started_ns = clock_now_ns();
	for (size_t i = 0; i < bench->depth; i++) {
		ask(bench, &bench->slots[i]);
	}
}

/* --- Filling --- */

static void on_inserted(struct cache_insert *insert);

/* Stores a missing value and looks it up again, until it is found: at first there is no connection to the server. */
static void
on_found(struct cache_lookup *lookup)
{
	struct slot *probe = (struct slot *)lookup;
	struct bench *bench = probe->bench;

	if (probe->value != NULL) {
		if (!bytes_equal(blob_bytes(probe->value), blob_bytes(probe->entry->value))) {
			die("a wrong value");
		}
		blob_unref(probe->value);
		probe->value = NULL;
		if (++bench->filled < bench->entry_count) {
			loop_timer_set(bench->timer, 0);
		} else {
			measure(bench);
		}
		return;
	}
	if (clock_now_ns() > bench->fill_deadline_ns) {
		die("cannot fill the store; its messages say why");
	}
	bench->insert =
		(struct cache_insert){.key = &probe->entry->key, .value = probe->entry->value, .done = on_inserted};
	if (lookup->failed || ops->insert(bench->lane, &bench->insert)) {
		loop_timer_set(bench->timer, FILL_RETRY_MS);
	}
}

static void
fill(void *argument)
{
	struct bench *bench = argument;

	if (look_up(bench, &bench->probe, bench->filled, on_found)) {
		on_found(&bench->probe.lookup);
	}
}

static void
on_inserted(struct cache_insert *insert)
{
	struct bench *bench = container_of(insert, struct bench, insert);

	fill(bench);
}

/* --- Start and end --- */

static struct cache *
open_store(char **options, struct error *error)
{
	void *settings = memory_new(ops->settings_size);

	option_presets(*ops->options, settings);
	for (; *options != NULL; options++) {
		const char *value = strchr(*options, '=');
		const struct option *option;

		if (value == NULL) {
			die("options are OPTION=VALUE");
		}
		option = option_find(*ops->options, bytes_make(*options, (size_t)(value - *options)));
		if (option == NULL) {
			(void)fprintf(stderr, "redis_lookups: the store has no option for %s\n", *options);
			exit(EXIT_FAILURE);
		}
		if (option_set(option, settings, value + 1, error) != STATUS_OK) {
			die(error->text);
		}
	}
	return ops->open(settings, false, error);
}

static void
run(struct bench *bench, struct cache *store)
{
	struct cache_host host;
	struct error error = {0};

	bench->loop = loop_new(&error);
	if (bench->loop == NULL) {
		die(error.text);
	}
	cache_host_init(&host, bench->loop, NULL);
	bench->lane = ops->attach(store, &host);
	if (bench->lane == NULL) {
		die("no memory");
	}
	bench->timer = loop_timer_new(bench->loop, fill, bench);
	bench->fill_deadline_ns = clock_now_ns() + FILL_LIMIT_NS;
	loop_timer_set(bench->timer, 0);
	loop_run(bench->loop);
	loop_timer_free(bench->timer);
	ops->detach(bench->lane);
	loop_free(bench->loop);
}

int
main(int argc, char **argv)
{
	struct bench bench = {0};
	struct error error = {0};
	struct cache *store;

	if (argc < 6) {
		die("usage: redis_lookups SIZE KEYS DEPTH SECONDS OPTION=VALUE...");
	}
	(void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
	log_configure(&(struct log_settings){.error = true, .warning = true});
	bench.entry_count = read_number(argv[2], 1, COUNT_MAX);
	bench.depth = read_number(argv[3], 1, COUNT_MAX);
	bench.duration_ns = read_number(argv[4], 1, 3600) * NS_PER_S;
	make_entries(&bench, read_number(argv[1], COMPARED, VALUE_MAX));
	store = open_store(argv + 5, &error);
	if (store == NULL) {
		die(error.text);
	}
	run(&bench, store);
	ops->close(store);
	for (size_t i = 0; i < bench.entry_count; i++) {
		blob_unref(bench.entries[i].value);
	}
	free(bench.entries);
	free(bench.slots);
	return EXIT_SUCCESS;
}
