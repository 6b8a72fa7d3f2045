#include "tools/conformance/checks.h"

#include "base/clock.h"

#include <dirent.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_MAX ((size_t)200 << 20)
#define TIMEOUT_NS UINT64_C(5000000000) /* the longest wait for work done after an answer */
#define THREADS 8
#define KEYS 64
#define ROUNDS 400

static char text[1024];

#define FAIL(...)                                                                                                      \
	do {                                                                                                           \
		(void)snprintf(text, sizeof(text), __VA_ARGS__);                                                       \
		return text;                                                                                           \
	} while (0)

/* Ends the check with the failure of a step that it depends on. */
#define TRY(expression)                                                                                                \
	do {                                                                                                           \
		const char *wrong_ = (expression);                                                                     \
		if (wrong_ != NULL) {                                                                                  \
			return wrong_;                                                                                 \
		}                                                                                                      \
	} while (0)

/* --- Helpers --- */

static void
pause_shortly(void)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/*
 * Looks up and inserts, as Triton does after a miss, until the response is found or TIMEOUT_NS is over: the plug-in
 * may store after it has answered, or may not be able to store at first.
 */
static enum found
insert_patiently(const struct subject *subject, const char *key, const struct buf *response, struct buf *found)
{
	uint64_t end = clock_now_ns() + TIMEOUT_NS;
	enum found result;

	while ((result = subject_look_up(subject, key, found)) == FOUND_NOTHING && clock_now_ns() < end) {
		(void)subject_insert(subject, key, buf_bytes(response));
		pause_shortly();
	}
	return result;
}

static size_t
entries_of(const char *folder)
{
	DIR *open = opendir(folder);
	size_t count = 0;

	while (open != NULL && readdir(open) != NULL) {
		count++;
	}
	if (open != NULL) {
		(void)closedir(open);
	}
	return count;
}

static const char *
insert_and_find(struct subject *subject, const char *key, size_t size, uint32_t seed)
{
	struct buf response;
	struct buf found;
	enum found result;
	bool right;

	buf_init(&response, BUF_MAX);
	buf_init(&found, BUF_MAX);
	response_make(&response, size, seed);
	result = insert_patiently(subject, key, &response, &found);
	right = result == FOUND && response_is(&found, size, seed);
	buf_fini(&response);
	buf_fini(&found);
	if (result == FOUND_NOTHING) {
		FAIL("a response of %zu bytes was inserted and not found within 5 s", size);
	}
	if (!right) {
		FAIL("a response of %zu bytes was inserted, and something else found", size);
	}
	return NULL;
}

/* Looks up a key that must not be stored, for 0.2 s or until it is found. */
static enum found
look_up_for_a_while(const struct subject *subject, const char *key)
{
	enum found result = FOUND_NOTHING;
	struct buf found;

	buf_init(&found, BUF_MAX);
	for (int i = 0; i < 200 && result == FOUND_NOTHING; i++) {
		result = subject_look_up(subject, key, &found);
		pause_shortly();
	}
	buf_fini(&found);
	return result;
}

/* --- Correct use --- */

static const char *
check_life(struct subject *subject, const char *json)
{
	struct buf found;
	enum found result;

	TRY(subject_initialize(subject, json));
	buf_init(&found, BUF_MAX);
	result = subject_look_up(subject, "12345678901234567890", &found);
	buf_fini(&found);
	if (result != FOUND_NOTHING) {
		FAIL("a key that was never inserted was found");
	}
	TRY(insert_and_find(subject, "5083107807961747211", 100, 1));
	return subject_finalize(subject);
}

static const char *
check_two_lives(struct subject *subject, const char *json)
{
	for (int i = 0; i < 3; i++) {
		TRY(subject_initialize(subject, json));
		TRY(insert_and_find(subject, "1", 1000, 7));
		TRY(subject_finalize(subject));
	}
	return NULL;
}

/* A large response may be refused, but none may come back changed. */
static const char *
check_sizes(struct subject *subject, const char *json)
{
	static const size_t sizes[] = {1, 2, 100, 4095, 4096, 65536, 1 << 20, 16 << 20, 64 << 20};
	struct buf response;
	struct buf found;
	char key[24];

	TRY(subject_initialize(subject, json));
	buf_init(&response, BUF_MAX);
	buf_init(&found, BUF_MAX);
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		enum found result;

		(void)snprintf(key, sizeof(key), "%u", 100 + i);
		response_make(&response, sizes[i], i);
		if (sizes[i] <= 4096) {
			result = insert_patiently(subject, key, &response, &found);
		} else {
			(void)subject_insert(subject, key, buf_bytes(&response));
			result = subject_look_up(subject, key, &found);
		}
		if (result == FOUND_NOTHING && sizes[i] <= 4096) {
			FAIL("a response of %zu bytes was not found", sizes[i]);
		}
		if (result != FOUND_NOTHING && (result != FOUND || !response_is(&found, sizes[i], i))) {
			FAIL("a response of %zu bytes came back as another", sizes[i]);
		}
	}
	buf_fini(&response);
	buf_fini(&found);
	return subject_finalize(subject);
}

static const char *
check_again(struct subject *subject, const char *json)
{
	struct buf other;
	struct buf found;

	TRY(subject_initialize(subject, json));
	TRY(insert_and_find(subject, "7", 500, 1));
	buf_init(&other, BUF_MAX);
	buf_init(&found, BUF_MAX);
	response_make(&other, 700, 2);
	(void)subject_insert(subject, "7", buf_bytes(&other));
	if (insert_patiently(subject, "7", &other, &found) != FOUND ||
	    !(response_is(&found, 500, 1) || response_is(&found, 700, 2))) {
		FAIL("after a second insert under the same key neither of the two responses is found");
	}
	buf_fini(&other);
	buf_fini(&found);
	return subject_finalize(subject);
}

static const char *
check_keys(struct subject *subject, const char *json)
{
	char *longest = malloc(65537);
	struct buf found;

	if (longest == NULL) {
		return "no memory";
	}
	(void)memset(longest, '7', 65536);
	longest[65536] = '\0';
	TRY(subject_initialize(subject, json));
	TRY(insert_and_find(subject, "18446744073709551615", 64, 1));
	TRY(insert_and_find(subject, "18446744073709551614", 64, 2));
	TRY(insert_and_find(subject, "1844674407370955161", 64, 3));
	TRY(insert_and_find(subject, "model:1:0a1b2c3d:00112233445566778899aabbccddeeff", 64, 4));
	TRY(insert_and_find(subject, longest, 64, 5));
	buf_init(&found, BUF_MAX);
	if (subject_look_up(subject, "18446744073709551615", &found) != FOUND || !response_is(&found, 64, 1)) {
		FAIL("keys that are alike are taken for each other");
	}
	buf_fini(&found);
	free(longest);
	return subject_finalize(subject);
}

/* --- Incorrect use, and a host that fails --- */

static const char *
check_copy_fails_on_insert(struct subject *subject, const char *json)
{
	TRY(subject_initialize(subject, json));
	(void)subject_insert_in_vain(subject, "9", 5000);
	if (look_up_for_a_while(subject, "9") != FOUND_NOTHING) {
		FAIL("the copy failed, and yet an entry was stored: memory that nobody wrote is given out as an "
		     "answer");
	}
	TRY(insert_and_find(subject, "9", 5000, 3));
	return subject_finalize(subject);
}

static const char *
check_copy_fails_on_look_up(struct subject *subject, const char *json)
{
	TRY(subject_initialize(subject, json));
	TRY(insert_and_find(subject, "9", 5000, 3));
	if (subject_look_up_in_vain(subject, "9") != FOUND_NOTHING) {
		FAIL("the copy failed, and yet the look-up succeeded");
	}
	TRY(insert_and_find(subject, "9", 5000, 3));
	return subject_finalize(subject);
}

static const char *
check_odd_buffers(struct subject *subject, const char *json)
{
	struct buf found;

	TRY(subject_initialize(subject, json));
	subject_insert_buffers(subject, "9", 0);
	subject_insert_buffers(subject, "9", 2);
	(void)subject_insert(subject, "9", bytes_make("", 0));
	buf_init(&found, BUF_MAX);
	if (subject_look_up(subject, "9", &found) == FOUND_UNCOPIED) {
		FAIL("a look-up succeeds without a copy: the client gets an answer without outputs");
	}
	buf_fini(&found);
	TRY(insert_and_find(subject, "10", 5000, 3));
	return subject_finalize(subject);
}

/* Wrong and unusual configurations. The plug-in may accept or refuse each, but must not crash or leave a cache. */
static const char *
check_odd_configurations(struct subject *subject, const char *json)
{
	static const char *const odd[] = {
		"{}",
		"",
		"{\"size\":1048576}",
		"{\"no such key\":\"x\"}",
		"{\"size\":\"-1\"}",
		"{\"host\":\"\",\"port\":\"99999999\"}",
		"[]",
		"null",
		"{\"size\":",
		"{\"a\":{\"b\":[1,2,{}]}}",
		"{\"\\u0000\":\"\\ud800\"}",
	};

	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		if (subject_initialize(subject, odd[i]) == NULL) {
			TRY(subject_finalize(subject));
		} else if (subject->cache != NULL) {
			FAIL("an error was returned for the configuration '%s', and a cache was left", odd[i]);
		}
	}
	TRY(subject_initialize(subject, json));
	return subject_finalize(subject);
}

static const char *
check_finalize_at_once(struct subject *subject, const char *json)
{
	struct buf response;
	char key[24];

	buf_init(&response, BUF_MAX);
	response_make(&response, 100000, 1);
	for (int i = 0; i < 5; i++) {
		TRY(subject_initialize(subject, json));
		for (int k = 0; k < 50; k++) {
			(void)snprintf(key, sizeof(key), "%d", 1000 + k);
			(void)subject_insert(subject, key, buf_bytes(&response));
		}
		TRY(subject_finalize(subject));
	}
	buf_fini(&response);
	return NULL;
}

static const char *
check_leaves_nothing(struct subject *subject, const char *json)
{
	size_t threads;
	size_t descriptors;
	uint64_t end;

	TRY(subject_initialize(subject, json)); /* a memory checker may start a thread once */
	TRY(subject_finalize(subject));
	threads = entries_of("/proc/self/task");
	descriptors = entries_of("/proc/self/fd");
	end = clock_now_ns() + TIMEOUT_NS;
	TRY(subject_initialize(subject, json));
	TRY(insert_and_find(subject, "3", 100, 1));
	TRY(subject_finalize(subject));
	while (entries_of("/proc/self/task") > threads && clock_now_ns() < end) {
		pause_shortly();
	}
	if (entries_of("/proc/self/task") > threads) {
		FAIL("threads are left after TRITONCACHE_CacheFinalize, whose code is about to be unloaded");
	}
	if (entries_of("/proc/self/fd") > descriptors) {
		FAIL("descriptors are left open after TRITONCACHE_CacheFinalize");
	}
	host_plugin_close(&subject->plugin);
	return NULL;
}

/* --- Threads --- */

struct crowd {
	const struct subject *subject;
	unsigned number;
	bool alternating; /* all threads use one key, with two contents */
	const char *wrong;
};

static size_t
size_of_key(unsigned key)
{
	return 10 + (size_t)key * key * 17;
}

static void *
crowd_run(void *argument)
{
	struct crowd *crowd = argument;
	struct buf response;
	struct buf found;
	char name[24];

	buf_init(&response, BUF_MAX);
	buf_init(&found, BUF_MAX);
	for (unsigned i = 0; i < ROUNDS && crowd->wrong == NULL; i++) {
		unsigned key = crowd->alternating ? 0 : (i * 7 + crowd->number * 13) % KEYS;
		unsigned content = crowd->alternating ? 1 + (i + crowd->number) % 2 : key;
		enum found result;

		(void)snprintf(name, sizeof(name), "%u", 4000000000U + key + (crowd->alternating ? 1000U : 0U));
		result = subject_look_up(crowd->subject, name, &found);
		if (result == FOUND_NOTHING) {
			response_make(&response, size_of_key(content), content);
			(void)subject_insert(crowd->subject, name, buf_bytes(&response));
		} else if (result != FOUND || !(crowd->alternating ? response_is(&found, size_of_key(1), 1) ||
									     response_is(&found, size_of_key(2), 2)
								   : response_is(&found, size_of_key(key), key))) {
			crowd->wrong = "with several threads a wrong or torn response was found";
		} else if (crowd->alternating) {
			response_make(&response, size_of_key(content), content);
			(void)subject_insert(crowd->subject, name, buf_bytes(&response));
		}
	}
	buf_fini(&response);
	buf_fini(&found);
	return NULL;
}

static const char *
run_crowd(struct subject *subject, const char *json, bool alternating)
{
	struct crowd crowds[THREADS];
	pthread_t threads[THREADS];
	const char *wrong = NULL;

	TRY(subject_initialize(subject, json));
	for (unsigned i = 0; i < THREADS; i++) {
		crowds[i] = (struct crowd){.subject = subject, .number = i, .alternating = alternating};
		if (pthread_create(&threads[i], NULL, crowd_run, &crowds[i]) != 0) {
			return "no more threads";
		}
	}
	for (unsigned i = 0; i < THREADS; i++) {
		(void)pthread_join(threads[i], NULL);
		wrong = wrong == NULL ? crowds[i].wrong : wrong;
	}
	TRY(wrong);
	return subject_finalize(subject);
}

static const char *
check_threads(struct subject *subject, const char *json)
{
	return run_crowd(subject, json, false);
}

static const char *
check_threads_one_key(struct subject *subject, const char *json)
{
	return run_crowd(subject, json, true);
}

/* Inserts 300 MB, more than most caches hold. */
static const char *
check_full(struct subject *subject, const char *json)
{
	struct buf response;
	struct buf found;
	char key[24];

	TRY(subject_initialize(subject, json));
	buf_init(&response, BUF_MAX);
	buf_init(&found, BUF_MAX);
	for (unsigned i = 0; i < 600; i++) {
		unsigned asked = i < 10 ? 0 : i - 10;
		enum found result;

		(void)snprintf(key, sizeof(key), "%u", 5000 + i);
		response_make(&response, 500000, i);
		(void)subject_insert(subject, key, buf_bytes(&response));
		(void)snprintf(key, sizeof(key), "%u", 5000 + asked);
		result = subject_look_up(subject, key, &found);
		if (result != FOUND_NOTHING && (result != FOUND || !response_is(&found, 500000, asked))) {
			FAIL("once it is full a wrong response is found");
		}
	}
	buf_fini(&response);
	buf_fini(&found);
	return subject_finalize(subject);
}

/* --- Advice, because of how Triton's core uses a cache --- */

static const char *
expect_not_stored(struct subject *subject, const char *json, const char *key, struct bytes response, const char *why)
{
	TRY(subject_initialize(subject, json));
	(void)subject_insert(subject, key, response);
	if (look_up_for_a_while(subject, key) != FOUND_NOTHING) {
		FAIL("%s", why);
	}
	return subject_finalize(subject);
}

static const char *
check_no_outputs(struct subject *subject, const char *json)
{
	return expect_not_stored(subject, json, "11", bytes_make("\0\0\0", 4),
				 "a response without outputs is stored: Triton packs errors so, and the next equal "
				 "request gets an empty answer");
}

static const char *
check_empty_key(struct subject *subject, const char *json)
{
	struct buf response;
	const char *wrong;

	buf_init(&response, BUF_MAX);
	response_make(&response, 100, 1);
	wrong = expect_not_stored(subject, json, "", buf_bytes(&response),
				  "an empty key is stored under: Triton gives it for requests that it cannot hash, "
				  "which then share an answer");
	buf_fini(&response);
	return wrong;
}

/* Inserts responses, each with one wrong count, length or dimension. */
static const char *
check_malformed(struct subject *subject, const char *json)
{
	static const size_t lies[] = {0, 4, 12, 22, 31, 35, 43};
	struct buf response;
	const char *wrong = NULL;
	char key[24];

	buf_init(&response, BUF_MAX);
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies) && wrong == NULL; i++) {
		response_make(&response, 100, 1);
		response.at[lies[i]] ^= 0x55;
		(void)snprintf(key, sizeof(key), "%zu", 600 + i);
		wrong = expect_not_stored(subject, json, key, buf_bytes(&response),
					  "a response whose lengths lie is given back: Triton does not check them, and "
					  "crashes");
	}
	buf_fini(&response);
	return wrong;
}

static const char *
check_replaced(struct subject *subject, const char *json)
{
	struct buf empty;
	struct buf found;

	TRY(subject_initialize(subject, json));
	TRY(insert_and_find(subject, "12", 500, 1));
	buf_init(&empty, BUF_MAX);
	buf_init(&found, BUF_MAX);
	buf_append(&empty, bytes_make("\0\0\0", 4));
	(void)subject_insert(subject, "12", buf_bytes(&empty));
	for (int i = 0; i < 200; i++) {
		if (subject_look_up(subject, "12", &found) != FOUND || !response_is(&found, 500, 1)) {
			FAIL("a good response was replaced by one without outputs");
		}
		pause_shortly();
	}
	buf_fini(&empty);
	buf_fini(&found);
	return subject_finalize(subject);
}

static const char *
check_null_arguments(struct subject *subject, const char *json)
{
	TRITONSERVER_Error *error;

	TRY(subject_initialize(subject, json));
	error = subject->plugin.lookup(NULL, "1", NULL, NULL);
	if (error == NULL) {
		FAIL("a look-up without a cache succeeded");
	}
	TRITONSERVER_ErrorDelete(error);
	error = subject->plugin.insert(subject->cache, "1", NULL, NULL);
	if (error == NULL) {
		FAIL("an insert without an entry succeeded");
	}
	TRITONSERVER_ErrorDelete(error);
	return subject_finalize(subject);
}

static void
count_family(void *context, const char *name, const char *type, const char *help)
{
	(void)name;
	(void)type;
	(void)help;
	++*(size_t *)context;
}

static void
count_no_sample(void *context, const char *name, const struct metric_label *labels, size_t count, double value)
{
	(void)context;
	(void)name;
	(void)labels;
	(void)count;
	(void)value;
}

static const char *
check_behaves(struct subject *subject, const char *json)
{
	size_t families = 0;
	struct metric_sink sink = {.context = &families, .family = count_family, .sample = count_no_sample};
	const char *locale = setlocale(LC_ALL, NULL);
	char before[256];
	sigset_t mask_before;
	sigset_t mask_after;

	(void)snprintf(before, sizeof(before), "%s", locale);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
	TRY(subject_initialize(subject, json));
	TRY(insert_and_find(subject, "13", 100, 1));
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
	for (int i = 1; i < 32; i++) {
		if (sigismember(&mask_before, i) != sigismember(&mask_after, i)) {
			FAIL("the signals that the calling thread blocks are others than before");
		}
	}
	if (strcmp(before, setlocale(LC_ALL, NULL)) != 0) {
		FAIL("the locale is another than before");
	}
	TRY(subject_finalize(subject));
	host_metrics(&sink);
	if (families > 0) {
		FAIL("metric families are left after TRITONCACHE_CacheFinalize");
	}
	return NULL;
}

/* --- The list --- */

const struct check checks[] = {
	{"initialize, miss, insert, hit, finalize", true, check_life},
	{"several lives in one process", true, check_two_lives},
	{"responses of 1 byte to 64 MiB", true, check_sizes},
	{"a second insert under one key", true, check_again},
	{"keys that are long, odd or nearly the same", true, check_keys},
	{"a copy that fails on insert", true, check_copy_fails_on_insert},
	{"a copy that fails on look-up", true, check_copy_fails_on_look_up},
	{"no buffer, two buffers, a buffer of no bytes", true, check_odd_buffers},
	{"odd configurations", true, check_odd_configurations},
	{"finalize right after inserts", true, check_finalize_at_once},
	{"no thread and no descriptor is left", true, check_leaves_nothing},
	{"8 threads, 64 keys", true, check_threads},
	{"8 threads, one key, two contents", true, check_threads_one_key},
	{"300 MB of responses", true, check_full},
	{"a response without outputs is not stored", false, check_no_outputs},
	{"an empty key is not stored under", false, check_empty_key},
	{"a response whose lengths lie is not given back", false, check_malformed},
	{"a response without outputs replaces none", false, check_replaced},
	{"NULL arguments are errors", false, check_null_arguments},
	{"signals, locale and metrics are left as they were", false, check_behaves},
};
const size_t check_count = sizeof(checks) / sizeof(*checks);
