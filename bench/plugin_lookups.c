/*
 * plugin_lookups LIB THREADS SECONDS BYTES KEYS [OPTION=VALUE...]: measures how many look-ups, all hits, a plug-in for
 * Triton's cache interface answers. Calls the plug-in as Triton does, copying each response. Prints one JSON object.
 */
#include "base/clock.h"
#include "base/log.h"
#include "tools/conformance/subject.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define THREADS_MAX 64
#define TIMEOUT_NS UINT64_C(30000000000)

struct load {
	const struct subject *subject;
	uint64_t end_ns;
	size_t size;
	unsigned keys;
	unsigned number;
	uint64_t lookups;
	uint64_t misses;
};

static void
fail(const char *what)
{
	(void)fprintf(stderr, "plugin_lookups: %s\n", what);
	exit(1);
}

static void
name_key(char *name, size_t size, unsigned key)
{
	(void)snprintf(name, size, "%u", 100000 + key);
}

static void
fill(const struct subject *subject, size_t size, unsigned keys)
{
	struct buf response;
	struct buf found;
	char name[16];

	buf_init(&response, size + 4096);
	buf_init(&found, size + 4096);
	for (unsigned key = 0; key < keys; key++) {
		uint64_t end_ns = clock_now_ns() + TIMEOUT_NS;

		name_key(name, sizeof(name), key);
		response_make(&response, size, key);
		while (subject_look_up(subject, name, &found) != FOUND) {
			(void)subject_insert(subject, name, buf_bytes(&response));
			(void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
			if (clock_now_ns() > end_ns) {
				fail("an entry that was inserted is not found");
			}
		}
		if (!response_is(&found, size, key)) {
			fail("an entry is another than was inserted");
		}
	}
	buf_fini(&response);
	buf_fini(&found);
}

static void *
run(void *argument)
{
	struct load *load = argument;
	uint32_t draw = load->number * 7919 + 1;
	struct buf found;
	char name[16];

	buf_init(&found, load->size + 4096);
	while (clock_now_ns() < load->end_ns) {
		draw = draw * 1664525U + 1013904223U;
		name_key(name, sizeof(name), (draw >> 8) % load->keys);
		load->misses += subject_look_up(load->subject, name, &found) != FOUND;
		load->lookups++;
	}
	buf_fini(&found);
	return NULL;
}

static void
measure(const struct subject *subject, unsigned threads, unsigned seconds, size_t size, unsigned keys)
{
	static struct load loads[THREADS_MAX];
	pthread_t started[THREADS_MAX];
	uint64_t start_ns = clock_now_ns();
	uint64_t cpu_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t lookups = 0;
	uint64_t misses = 0;

	for (unsigned i = 0; i < threads; i++) {
		loads[i] = (struct load){.subject = subject,
					 .end_ns = start_ns + seconds * NS_PER_S,
					 .size = size,
					 .keys = keys,
					 .number = i};
		if (pthread_create(&started[i], NULL, run, &loads[i]) != 0) {
			fail("no more threads");
		}
	}
	for (unsigned i = 0; i < threads; i++) {
		(void)pthread_join(started[i], NULL);
		lookups += loads[i].lookups;
		misses += loads[i].misses;
	}
	(void)printf("{\"lookups\": %llu, \"misses\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n",
		     (unsigned long long)lookups, (unsigned long long)misses, (double)(clock_now_ns() - start_ns) / 1e9,
		     (double)(clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns) / 1e9);
}

int
main(int argc, char **argv)
{
	unsigned numbers[4]; /* threads, seconds, bytes, keys */
	struct subject subject;
	struct buf json;
	const char *wrong;

	if (argc < 6) {
		(void)fprintf(stderr, "usage: plugin_lookups LIB THREADS SECONDS BYTES KEYS [OPTION=VALUE...]\n");
		return 2;
	}
	for (int i = 0; i < 4; i++) {
		numbers[i] = (unsigned)strtoul(argv[2 + i], NULL, 10);
	}
	if (numbers[0] == 0 || numbers[0] > THREADS_MAX || numbers[3] == 0 ||
	    !configuration_of(&json, argv + 6, argc - 6)) {
		fail("these arguments cannot be");
	}
	log_configure(&(struct log_settings){.error = true});
	host_open_stub();
	wrong = subject_load(&subject, argv[1]);
	wrong = wrong == NULL ? subject_initialize(&subject, (const char *)json.at) : wrong;
	if (wrong != NULL) {
		fail(wrong);
	}
	fill(&subject, numbers[2], numbers[3]);
	measure(&subject, numbers[0], numbers[1], numbers[2], numbers[3]);
	buf_fini(&json);
	wrong = subject_finalize(&subject);
	if (wrong != NULL) {
		fail(wrong);
	}
	return 0;
}
