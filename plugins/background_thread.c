#include "plugins/background_thread.h"

#include "base/clock.h"
#include "plugins/entry.h"
#include "plugins/threads.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define TURN_NS UINT64_C(100000000) /* longest wait, for clients whose descriptors are not in the set */
#define FAREWELL_NS UINT64_C(500000000)
#define STORING_NS UINT64_C(5000000) /* of storing in one turn, as other work waits */

struct storing {
	struct generation_key key;
	struct blob *entry;
	uint64_t ttl_ms;
	STAILQ_ENTRY(storing) queue;
};

STAILQ_HEAD(storing_queue, storing);

struct background_thread {
	struct background_thread_options options;
	pthread_t thread;
	int wake_fd;
	struct poll_set set;
	struct client_part *parts; /* one for each client; the last is the writer's */
	bool more;		   /* some entries are left from the last turn */
	atomic_bool stopping;
	atomic_size_t bytes; /* of entries that are not stored yet */
	pthread_mutex_t mutex;
	struct storing_queue queue; /* guarded by mutex */
};

/* --- Storing --- */

static bool
reserve(struct background_thread *background_thread, size_t length)
{
	size_t before = atomic_fetch_add(&background_thread->bytes, length);

	if (before == 0 || before + length <= background_thread->options.waiting_bytes) { /* a single one always fits */
		return true;
	}
	(void)atomic_fetch_sub(&background_thread->bytes, length);
	return false;
}

bool
background_thread_store(struct background_thread *background_thread, const struct generation_key *key,
			struct blob *entry, uint64_t ttl_ms)
{
	bool reserved = reserve(background_thread, entry->length);
	struct storing *storing = reserved ? malloc(sizeof(*storing)) : NULL;
	bool first;

	if (storing == NULL) {
		(void)atomic_fetch_sub(&background_thread->bytes, reserved ? entry->length : 0);
		blob_unref(entry);
		return false;
	}
	*storing = (struct storing){.key = *key, .entry = entry, .ttl_ms = ttl_ms};
	(void)pthread_mutex_lock(&background_thread->mutex);
	first = STAILQ_EMPTY(&background_thread->queue);
	STAILQ_INSERT_TAIL(&background_thread->queue, storing, queue);
	(void)pthread_mutex_unlock(&background_thread->mutex);
	if (first) {
		(void)eventfd_write(background_thread->wake_fd, 1);
	}
	return true;
}

static struct storing *
next_storing(struct background_thread *background_thread)
{
	struct storing *storing;

	(void)pthread_mutex_lock(&background_thread->mutex);
	storing = STAILQ_FIRST(&background_thread->queue);
	if (storing != NULL) {
		STAILQ_REMOVE_HEAD(&background_thread->queue, queue);
	}
	(void)pthread_mutex_unlock(&background_thread->mutex);
	return storing;
}

/* Stores entries for a limited time. Are some left? */
static bool
store_some(struct background_thread *background_thread)
{
	uint64_t end_ns = clock_now_ns() + STORING_NS;
	struct storing *storing;

	while (clock_now_ns() < end_ns) {
		storing = next_storing(background_thread);
		if (storing == NULL) {
			return false;
		}
		if (plugin_entry_seal(storing->entry, background_thread->options.entry_key, &storing->key.key.digest,
				      clock_wall_ms(), storing->ttl_ms)) {
			shared_client_insert(background_thread->options.writer, &storing->key, storing->entry,
					     storing->ttl_ms, &background_thread->bytes);
		} else { /* no memory */
			(void)atomic_fetch_sub(&background_thread->bytes, storing->entry->length);
			blob_unref(storing->entry);
		}
		free(storing);
	}
	return true;
}

/* --- The thread --- */

static void
turn(struct background_thread *background_thread, uint64_t until_ns)
{
	const struct background_thread_options *options = &background_thread->options;
	eventfd_t value;

	poll_set_clear(&background_thread->set, background_thread->more ? 0 : until_ns);
	poll_set_add(&background_thread->set, background_thread->wake_fd, POLLIN, 0);
	for (size_t i = 0; i < options->client_count; i++) {
		background_thread->parts[i] = shared_client_attend(options->clients[i], &background_thread->set);
	}
	if (options->writer != NULL) {
		background_thread->parts[options->client_count] =
			shared_client_attend(options->writer, &background_thread->set);
	}
	poll_set_wait(&background_thread->set);
	(void)eventfd_read(background_thread->wake_fd, &value);
	for (size_t i = 0; i < options->client_count; i++) {
		shared_client_attended(options->clients[i], &background_thread->set, background_thread->parts[i]);
	}
	if (options->writer != NULL) {
		shared_client_attended(options->writer, &background_thread->set,
				       background_thread->parts[options->client_count]);
		background_thread->more = store_some(background_thread);
	}
}

static void *
run(void *argument)
{
	struct background_thread *background_thread = argument;
	uint64_t next_ns = clock_now_ns() + NS_PER_S;
	uint64_t end_ns;

	while (!atomic_load(&background_thread->stopping)) {
		uint64_t now = clock_now_ns();

		if (now >= next_ns) {
			next_ns = now + NS_PER_S;
			background_thread->options.every_second(background_thread->options.context);
		}
		turn(background_thread, next_ns < now + TURN_NS ? next_ns : now + TURN_NS);
	}
	end_ns = clock_now_ns() + FAREWELL_NS;
	while (atomic_load(&background_thread->bytes) > 0 && clock_now_ns() < end_ns) {
		turn(background_thread, end_ns);
	}
	return NULL;
}

/* --- Starting and stopping --- */

void
background_thread_free(struct background_thread *background_thread)
{
	struct storing *storing;

	if (background_thread == NULL) {
		return;
	}
	while ((storing = STAILQ_FIRST(&background_thread->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&background_thread->queue, queue);
		blob_unref(storing->entry);
		free(storing);
	}
	if (background_thread->wake_fd >= 0) {
		(void)close(background_thread->wake_fd);
	}
	poll_set_fini(&background_thread->set);
	(void)pthread_mutex_destroy(&background_thread->mutex);
	free(background_thread->parts);
	free(background_thread);
}

struct background_thread *
background_thread_start(const struct background_thread_options *options)
{
	struct background_thread *background_thread = calloc(1, sizeof(*background_thread));

	if (background_thread == NULL) {
		return NULL;
	}
	background_thread->options = *options;
	(void)pthread_mutex_init(&background_thread->mutex, NULL);
	STAILQ_INIT(&background_thread->queue);
	background_thread->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	background_thread->parts = calloc(options->client_count + 1, sizeof(*background_thread->parts));
	if (background_thread->wake_fd < 0 || background_thread->parts == NULL ||
	    !thread_begin(&background_thread->thread, "hippocamp cache", run, background_thread)) {
		background_thread_free(background_thread);
		return NULL;
	}
	return background_thread;
}

void
background_thread_stop(struct background_thread *background_thread)
{
	if (background_thread != NULL) {
		atomic_store(&background_thread->stopping, true);
		(void)eventfd_write(background_thread->wake_fd, 1);
		(void)pthread_join(background_thread->thread, NULL);
	}
}
