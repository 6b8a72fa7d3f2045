#include "front/replica_view.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSIONS_MAX ((size_t)100000)

static struct version_view *
find(const struct replica_view *view, const char *name, int64_t version)
{
	for (size_t i = 0; i < view->count; i++) {
		if (view->versions[i].version == version && strcmp(view->versions[i].name, name) == 0) {
			return &view->versions[i];
		}
	}
	return NULL;
}

/* Servers without states list what is ready. */
static void
on_item(void *context, struct bytes name, int64_t version, struct bytes state)
{
	struct replica_view *view = context;

	if ((state.length == 0 || bytes_equal_text(state, "READY")) && view->count < VERSIONS_MAX) {
		view->versions = memory_grow(view->versions, view->count + 1, sizeof(*view->versions));
		view->versions[view->count++] = (struct version_view){
			.name = memory_format("%.*s", (int)name.length, (const char *)name.at), .version = version};
	}
}

static void
on_statistics(void *context, struct bytes name, struct bytes version, const uint64_t *counters, size_t count)
{
	struct replica_view *view = context;

	for (size_t i = 0; i < view->count; i++) {
		struct version_view *one = &view->versions[i];
		char text[24];

		(void)snprintf(text, sizeof(text), "%lld", (long long)one->version);
		if (bytes_equal_text(name, one->name) && bytes_equal_text(version, text)) {
			memcpy(one->counters, counters, count * sizeof(*counters));
			one->counter_count = count;
		}
	}
}

enum status
replica_view_read(struct replica_view *view, struct bytes index, struct bytes statistics, struct error *error)
{
	enum status status;

	*view = (struct replica_view){0};
	status = upstream_index_decode(index, on_item, view, error);
	if (status == STATUS_OK && statistics.length > 0) {
		status = upstream_statistics_decode(statistics, on_statistics, view, error);
	}
	if (status != STATUS_OK) {
		replica_view_fini(view);
	}
	return status;
}

void
replica_view_fini(struct replica_view *view)
{
	for (size_t i = 0; i < view->count; i++) {
		free(view->versions[i].name);
	}
	free(view->versions);
	*view = (struct replica_view){0};
}

static bool
goes_back(const struct version_view *before, const struct version_view *now)
{
	if (now->counter_count < before->counter_count) {
		return true;
	}
	for (size_t i = 0; i < before->counter_count; i++) {
		if (now->counters[i] < before->counters[i]) {
			return true;
		}
	}
	return false;
}

void
replica_view_count_answers(struct replica_view *view, struct ledger *ledger, size_t replica)
{
	for (size_t i = 0; i < view->count; i++) {
		struct version_view *one = &view->versions[i];

		one->answers = ledger_count(ledger, bytes_text(one->name), one->version, replica);
	}
}

void
replica_view_begin(struct replica_view *view, struct ledger *ledger, size_t replica)
{
	for (size_t i = 0; i < view->count; i++) {
		struct version_view *one = &view->versions[i];

		one->base_answers = ledger_count(ledger, bytes_text(one->name), one->version, replica);
		one->base_success = one->counters[UPSTREAM_COUNTER_SUCCESS];
	}
}

/* Has the version counted fewer requests than it had answered at the time of the view before? */
static bool
lacks_answers(const struct version_view *before, const struct version_view *now)
{
	uint64_t success = now->counters[UPSTREAM_COUNTER_SUCCESS];

	return now->counter_count > 0 && success != UINT64_MAX && before->answers > before->base_answers &&
	       success < before->base_success + (before->answers - before->base_answers);
}

const char *
replica_view_compare(const struct replica_view *before, struct replica_view *now)
{
	for (size_t i = 0; i < before->count; i++) {
		const struct version_view *old = &before->versions[i];
		struct version_view *new = find(now, old->name, old->version);

		if (new == NULL) {
			return "a model is no longer ready";
		}
		if (goes_back(old, new) || lacks_answers(old, new)) {
			return "a model's statistics began anew";
		}
		new->base_answers = old->base_answers;
		new->base_success = old->base_success;
	}
	return now->count > before->count ? "a model is new" : NULL;
}
