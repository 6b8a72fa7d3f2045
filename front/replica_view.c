#include "front/replica_view.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define VERSIONS_MAX ((size_t)100000)

static int
by_name(const void *left, const void *right)
{
	const struct version_view *a = left;
	const struct version_view *b = right;
	int order = strcmp(a->name, b->name);

	return order != 0 ? order : (a->version > b->version) - (a->version < b->version);
}

static struct version_view *
find(const struct replica_view *view, const char *name, int64_t version)
{
	struct version_view wanted = {.name = (char *)(uintptr_t)name, .version = version};

	return view->count == 0 ? NULL
				: bsearch(&wanted, view->versions, view->count, sizeof(*view->versions), by_name);
}

/* Servers without states list what is ready; but Triton lists models that are not loaded without version and state. */
static void
on_item(void *context, struct bytes name, int64_t version, struct bytes word, struct bytes state)
{
	struct replica_view *view = context;
	bool is_ready = bytes_equal_text(state, "READY") || (state.length == 0 && word.at == NULL);
	bool is_text = memchr(name.at, '\0', name.length) == NULL &&
		       (word.length == 0 || memchr(word.at, '\0', word.length) == NULL);

	if (is_ready && is_text && view->count < VERSIONS_MAX) {
		view->versions = memory_grow(view->versions, view->count + 1, sizeof(*view->versions));
		view->versions[view->count++] =
			(struct version_view){.name = memory_text_of(name),
					      .version = version,
					      .word = word.at == NULL ? NULL : memory_text_of(word)};
	}
}

static void
free_version(struct version_view *one)
{
	free(one->name);
	free(one->word);
}

/* Which of several versions answers is not known if one of them has no number: such models are left out. */
static void
drop_ambiguous(struct replica_view *view)
{
	size_t kept = 0;
	size_t next;

	for (size_t i = 0; i < view->count; i = next) {
		bool has_word = false;

		for (next = i; next < view->count && strcmp(view->versions[next].name, view->versions[i].name) == 0;
		     next++) {
			has_word = has_word || view->versions[next].word != NULL;
		}
		for (size_t k = i; k < next; k++) {
			if (has_word && next > i + 1) {
				free_version(&view->versions[k]);
			} else {
				view->versions[kept++] = view->versions[k];
			}
		}
	}
	view->count = kept;
}

static void
on_statistics(void *context, struct bytes name, struct bytes version, const uint64_t *counters, size_t count)
{
	char *own_name = memory_text_of(name);
	char *own_version = memory_text_of(version);
	struct version_view *one = find(context, own_name, strtoll(own_version, NULL, 10));

	if (one != NULL) {
		memcpy(one->counters, counters, count * sizeof(*counters));
		one->counter_count = count;
	}
	free(own_name);
	free(own_version);
}

enum status
replica_view_read(struct replica_view *view, struct bytes index, struct bytes statistics, struct error *error)
{
	enum status status;

	*view = (struct replica_view){0};
	status = upstream_index_decode(index, on_item, view, error);
	if (view->count > 0) {
		qsort(view->versions, view->count, sizeof(*view->versions), by_name);
		drop_ambiguous(view);
	}
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
		free_version(&view->versions[i]);
	}
	free(view->versions);
	*view = (struct replica_view){0};
}

void
replica_view_keep(struct replica_view *view, bool (*keeps)(void *context, const char *name), void *context)
{
	size_t kept = 0;

	for (size_t i = 0; i < view->count; i++) {
		if (keeps(context, view->versions[i].name)) {
			view->versions[kept++] = view->versions[i];
		} else {
			free_version(&view->versions[i]);
		}
	}
	view->count = kept;
}

bool
replica_view_has_counters(const struct replica_view *view, const char *name)
{
	for (size_t i = 0; i < view->count; i++) {
		if (strcmp(view->versions[i].name, name) == 0 && view->versions[i].counter_count == 0) {
			return false;
		}
	}
	return true;
}

bool
replica_view_has_evidence(const struct replica_view *view)
{
	for (size_t i = 0; i < view->count; i++) {
		uint64_t success = view->versions[i].counters[UPSTREAM_COUNTER_SUCCESS];

		if (view->versions[i].counter_count == 0 || success == 0 || success == UINT64_MAX) {
			return false;
		}
	}
	return view->count > 0;
}

static bool
goes_back(const struct version_view *before, const struct version_view *now)
{
	if ((now->counter_count == 0) != (before->counter_count == 0)) {
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

static bool
is_same_word(const char *before, const char *now)
{
	return before == NULL ? now == NULL : now != NULL && strcmp(before, now) == 0;
}

const char *
replica_view_compare(const struct replica_view *before, struct replica_view *now, bool may_grow)
{
	for (size_t i = 0; i < before->count; i++) {
		const struct version_view *old = &before->versions[i];
		struct version_view *new = find(now, old->name, old->version);

		if (new == NULL) {
			return "a model is no longer ready";
		}
		if (!is_same_word(old->word, new->word)) {
			return "a model has another version";
		}
		if (goes_back(old, new) || lacks_answers(old, new)) {
			return "a model's statistics began anew";
		}
		new->base_answers = old->base_answers;
		new->base_success = old->base_success;
	}
	return now->count > before->count && !may_grow ? "a model is new" : NULL;
}
