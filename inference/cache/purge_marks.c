#include "inference/cache/purge_marks.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct purge_mark_entry {
	char *model;
	char *version; /* "": all versions */
	uint64_t at_ms;
};

void
purge_marks_init(struct purge_marks *marks)
{
	*marks = (struct purge_marks){0};
	(void)pthread_mutex_init(&marks->lock, NULL);
}

static void
forget(struct purge_marks *marks)
{
	for (size_t i = 0; i < marks->count; i++) {
		if (marks->entries[i].at_ms > marks->everything_ms) { /* purging too much does no harm */
			marks->everything_ms = marks->entries[i].at_ms;
		}
		free(marks->entries[i].model);
		free(marks->entries[i].version);
	}
	free(marks->entries);
	marks->entries = NULL;
	marks->count = 0;
}

void
purge_marks_fini(struct purge_marks *marks)
{
	forget(marks);
	(void)pthread_mutex_destroy(&marks->lock);
}

static void
put_everything(struct purge_marks *marks, uint64_t now_ms)
{
	forget(marks);
	marks->everything_ms = now_ms > marks->everything_ms ? now_ms : marks->everything_ms;
}

static void
put(struct purge_marks *marks, struct bytes model, struct bytes version, uint64_t now_ms)
{
	for (size_t i = 0; i < marks->count; i++) {
		struct purge_mark_entry *entry = &marks->entries[i];

		if (bytes_equal_text(model, entry->model) && bytes_equal_text(version, entry->version)) {
			entry->at_ms = now_ms > entry->at_ms ? now_ms : entry->at_ms;
			return;
		}
	}
	if (marks->count == PURGE_MARKS_MAX) {
		put_everything(marks, now_ms);
		return;
	}
	marks->entries = memory_grow(marks->entries, marks->count + 1, sizeof(*marks->entries));
	marks->entries[marks->count++] =
		(struct purge_mark_entry){.model = memory_format("%.*s", BYTES_ARGS(model)),
					  .version = memory_format("%.*s", BYTES_ARGS(version)),
					  .at_ms = now_ms};
}

void
purge_marks_add(struct purge_marks *marks, struct bytes model, struct bytes version, uint64_t now_ms)
{
	(void)pthread_mutex_lock(&marks->lock);
	if (model.length == 0) {
		put_everything(marks, now_ms);
	} else {
		put(marks, model, version, now_ms);
	}
	(void)atomic_fetch_add_explicit(&marks->version, 1, memory_order_release);
	(void)pthread_mutex_unlock(&marks->lock);
}

static uint64_t
latest(const struct purge_marks *marks, struct bytes model, const char *version)
{
	uint64_t at_ms = marks->everything_ms;

	for (size_t i = 0; i < marks->count; i++) {
		const struct purge_mark_entry *entry = &marks->entries[i];

		if (bytes_equal_text(model, entry->model) &&
		    (*entry->version == '\0' || strcmp(entry->version, version) == 0) && entry->at_ms > at_ms) {
			at_ms = entry->at_ms;
		}
	}
	return at_ms;
}

void
purge_marks_look(struct purge_marks *marks, struct purge_marks_seen *seen, struct bytes model, int64_t version)
{
	char text[24];
	uint64_t found;
	uint64_t before = atomic_load_explicit(&seen->purged_ms, memory_order_relaxed);
	uint64_t now;

	(void)snprintf(text, sizeof(text), "%" PRId64, version);
	(void)pthread_mutex_lock(&marks->lock);
	now = atomic_load_explicit(&marks->version, memory_order_relaxed);
	found = latest(marks, model, text);
	(void)pthread_mutex_unlock(&marks->lock);
	/* Times only grow: a thread that read an earlier time but stores it later changes nothing. */
	while (before < found && !atomic_compare_exchange_weak_explicit(&seen->purged_ms, &before, found,
									memory_order_relaxed, memory_order_relaxed)) {
	}
	atomic_store_explicit(&seen->version, now, memory_order_release);
}
