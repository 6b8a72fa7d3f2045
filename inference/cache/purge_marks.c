#include "inference/cache/purge_marks.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct purge_mark_entry {
	char *model;
	char *version; /* "": all versions */
	uint64_t at_ms;
	uint64_t at_ns;
};

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

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
		/* Purging too much does no harm. */
		marks->everything_ms = later(marks->everything_ms, marks->entries[i].at_ms);
		marks->everything_ns = later(marks->everything_ns, marks->entries[i].at_ns);
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
put_everything(struct purge_marks *marks, uint64_t at_ms, uint64_t at_ns)
{
	forget(marks);
	marks->everything_ms = later(marks->everything_ms, at_ms);
	marks->everything_ns = later(marks->everything_ns, at_ns);
}

static void
put(struct purge_marks *marks, struct bytes model, struct bytes version, uint64_t at_ms, uint64_t at_ns)
{
	for (size_t i = 0; i < marks->count; i++) {
		struct purge_mark_entry *entry = &marks->entries[i];

		if (bytes_equal_text(model, entry->model) && bytes_equal_text(version, entry->version)) {
			entry->at_ms = later(entry->at_ms, at_ms);
			entry->at_ns = later(entry->at_ns, at_ns);
			return;
		}
	}
	if (marks->count == PURGE_MARKS_MAX) {
		put_everything(marks, at_ms, at_ns);
		return;
	}
	marks->entries = memory_grow(marks->entries, marks->count + 1, sizeof(*marks->entries));
	marks->entries[marks->count++] = (struct purge_mark_entry){
		.model = memory_text_of(model), .version = memory_text_of(version), .at_ms = at_ms, .at_ns = at_ns};
}

void
purge_marks_add(struct purge_marks *marks, struct bytes model, struct bytes version, uint64_t at_ms, uint64_t at_ns)
{
	(void)pthread_mutex_lock(&marks->lock);
	if (model.length == 0) {
		put_everything(marks, at_ms, at_ns);
	} else {
		put(marks, model, version, at_ms, at_ns);
	}
	(void)atomic_fetch_add_explicit(&marks->version, 1, memory_order_release);
	(void)pthread_mutex_unlock(&marks->lock);
}

/* The times of the last purge of this version. */
static void
find_latest(const struct purge_marks *marks, struct bytes model, const char *version, uint64_t *at_ms, uint64_t *at_ns)
{
	*at_ms = marks->everything_ms;
	*at_ns = marks->everything_ns;
	for (size_t i = 0; i < marks->count; i++) {
		const struct purge_mark_entry *entry = &marks->entries[i];

		if (bytes_equal_text(model, entry->model) &&
		    (*entry->version == '\0' || strcmp(entry->version, version) == 0)) {
			*at_ms = later(*at_ms, entry->at_ms);
			*at_ns = later(*at_ns, entry->at_ns);
		}
	}
}

/* Times only grow: a thread that read an earlier time but stores it later changes nothing. */
static void
raise_time(_Atomic uint64_t *time, uint64_t to)
{
	uint64_t before = atomic_load_explicit(time, memory_order_relaxed);

	while (before < to &&
	       !atomic_compare_exchange_weak_explicit(time, &before, to, memory_order_relaxed, memory_order_relaxed)) {
	}
}

void
purge_marks_look(struct purge_marks *marks, struct purge_marks_seen *seen, struct bytes model, int64_t version)
{
	char text[24];
	uint64_t at_ms;
	uint64_t at_ns;
	uint64_t now;

	(void)snprintf(text, sizeof(text), "%" PRId64, version);
	(void)pthread_mutex_lock(&marks->lock);
	now = atomic_load_explicit(&marks->version, memory_order_relaxed);
	find_latest(marks, model, text, &at_ms, &at_ns);
	(void)pthread_mutex_unlock(&marks->lock);
	raise_time(&seen->purged_ms, at_ms);
	raise_time(&seen->purged_ns, at_ns);
	atomic_store_explicit(&seen->version, now, memory_order_release);
}
