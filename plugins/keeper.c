#include "plugins/keeper.h"

#include "base/clock.h"
#include "plugins/entry.h"
#include "plugins/threads.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define TURN_NS UINT64_C(100000000) /* at least so often, for lanes whose descriptors are not watched */
#define SECOND_NS UINT64_C(1000000000)
#define FAREWELL_NS UINT64_C(500000000)
#define STORING_NS UINT64_C(5000000) /* in one turn, as there is more to be done */

struct storing {
	struct generation_key key;
	struct blob *entry;
	uint64_t ttl_ms;
	STAILQ_ENTRY(storing) queue;
};

STAILQ_HEAD(storing_queue, storing);

struct keeper {
	struct keeper_options options;
	pthread_t thread;
	int wake_fd;
	struct poll_set set;
	struct lane_part *parts; /* the writer's is the last */
	bool more;		 /* to be stored than there was time for */
	atomic_bool stopping;
	atomic_size_t bytes; /* that are not stored yet */
	pthread_mutex_t mutex;
	struct storing_queue queue; /* under it */
};

/* --- Storing --- */

static bool
reserve(struct keeper *keeper, size_t length)
{
	size_t before = atomic_fetch_add(&keeper->bytes, length);

	if (before == 0 || before + length <= keeper->options.waiting_bytes) { /* one alone always goes */
		return true;
	}
	(void)atomic_fetch_sub(&keeper->bytes, length);
	return false;
}

bool
keeper_store(struct keeper *keeper, const struct generation_key *key, struct blob *entry, uint64_t ttl_ms)
{
	bool reserved = reserve(keeper, entry->length);
	struct storing *storing = reserved ? malloc(sizeof(*storing)) : NULL;
	bool first;

	if (storing == NULL) {
		(void)atomic_fetch_sub(&keeper->bytes, reserved ? entry->length : 0);
		blob_unref(entry);
		return false;
	}
	*storing = (struct storing){.key = *key, .entry = entry, .ttl_ms = ttl_ms};
	(void)pthread_mutex_lock(&keeper->mutex);
	first = STAILQ_EMPTY(&keeper->queue);
	STAILQ_INSERT_TAIL(&keeper->queue, storing, queue);
	(void)pthread_mutex_unlock(&keeper->mutex);
	if (first) {
		(void)eventfd_write(keeper->wake_fd, 1);
	}
	return true;
}

static struct storing *
next_storing(struct keeper *keeper)
{
	struct storing *storing;

	(void)pthread_mutex_lock(&keeper->mutex);
	storing = STAILQ_FIRST(&keeper->queue);
	if (storing != NULL) {
		STAILQ_REMOVE_HEAD(&keeper->queue, queue);
	}
	(void)pthread_mutex_unlock(&keeper->mutex);
	return storing;
}

/* Is there more? */
static bool
store_some(struct keeper *keeper)
{
	uint64_t end_ns = clock_now_ns() + STORING_NS;
	struct storing *storing;

	while (clock_now_ns() < end_ns) {
		storing = next_storing(keeper);
		if (storing == NULL) {
			return false;
		}
		if (plugin_entry_seal(storing->entry, keeper->options.entry_key, &storing->key.key.digest,
				      clock_wall_ms(), storing->ttl_ms)) {
			lane_insert(keeper->options.writer, &storing->key, storing->entry, storing->ttl_ms,
				    &keeper->bytes);
		} else { /* no memory */
			(void)atomic_fetch_sub(&keeper->bytes, storing->entry->length);
			blob_unref(storing->entry);
		}
		free(storing);
	}
	return true;
}

/* --- The thread --- */

static void
turn(struct keeper *keeper, uint64_t until_ns)
{
	const struct keeper_options *options = &keeper->options;
	eventfd_t value;

	poll_set_clear(&keeper->set, keeper->more ? 0 : until_ns);
	poll_set_add(&keeper->set, keeper->wake_fd, POLLIN, 0);
	for (size_t i = 0; i < options->lane_count; i++) {
		keeper->parts[i] = lane_attend(options->lanes[i], &keeper->set);
	}
	if (options->writer != NULL) {
		keeper->parts[options->lane_count] = lane_attend(options->writer, &keeper->set);
	}
	poll_set_wait(&keeper->set);
	(void)eventfd_read(keeper->wake_fd, &value);
	for (size_t i = 0; i < options->lane_count; i++) {
		lane_attended(options->lanes[i], &keeper->set, keeper->parts[i]);
	}
	if (options->writer != NULL) {
		lane_attended(options->writer, &keeper->set, keeper->parts[options->lane_count]);
		keeper->more = store_some(keeper);
	}
}

static void *
run(void *argument)
{
	struct keeper *keeper = argument;
	uint64_t next_ns = clock_now_ns() + SECOND_NS;
	uint64_t end_ns;

	while (!atomic_load(&keeper->stopping)) {
		uint64_t now = clock_now_ns();

		if (now >= next_ns) {
			next_ns = now + SECOND_NS;
			keeper->options.every_second(keeper->options.context);
		}
		turn(keeper, next_ns < now + TURN_NS ? next_ns : now + TURN_NS);
	}
	end_ns = clock_now_ns() + FAREWELL_NS;
	while (atomic_load(&keeper->bytes) > 0 && clock_now_ns() < end_ns) {
		turn(keeper, end_ns);
	}
	return NULL;
}

/* --- From first to last --- */

void
keeper_free(struct keeper *keeper)
{
	struct storing *storing;

	if (keeper == NULL) {
		return;
	}
	while ((storing = STAILQ_FIRST(&keeper->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&keeper->queue, queue);
		blob_unref(storing->entry);
		free(storing);
	}
	if (keeper->wake_fd >= 0) {
		(void)close(keeper->wake_fd);
	}
	poll_set_fini(&keeper->set);
	(void)pthread_mutex_destroy(&keeper->mutex);
	free(keeper->parts);
	free(keeper);
}

struct keeper *
keeper_start(const struct keeper_options *options)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));

	if (keeper == NULL) {
		return NULL;
	}
	keeper->options = *options;
	(void)pthread_mutex_init(&keeper->mutex, NULL);
	STAILQ_INIT(&keeper->queue);
	keeper->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	keeper->parts = calloc(options->lane_count + 1, sizeof(*keeper->parts));
	if (keeper->wake_fd < 0 || keeper->parts == NULL ||
	    !thread_begin(&keeper->thread, "hippocamp cache", run, keeper)) {
		keeper_free(keeper);
		return NULL;
	}
	return keeper;
}

void
keeper_stop(struct keeper *keeper)
{
	if (keeper != NULL) {
		atomic_store(&keeper->stopping, true);
		(void)eventfd_write(keeper->wake_fd, 1);
		(void)pthread_join(keeper->thread, NULL);
	}
}
