#include "upstream/replica.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <stdlib.h>

#define RETRY_NS UINT64_C(1000000000)

static bool
is_open(const struct replica *replica)
{
	return atomic_load_explicit(&replica->failures, memory_order_relaxed) >= REPLICA_FAILURES;
}

/* May a call go to this replica? While it is down, one in a while may, to find out whether it is back. */
static bool
admits(const struct replica *replica)
{
	return !is_open(replica) || clock_now_ns() >= atomic_load_explicit(&replica->retry_ns, memory_order_relaxed);
}

void
replica_begin(struct replica *replica)
{
	(void)atomic_fetch_add_explicit(&replica->outstanding, 1, memory_order_relaxed);
}

void
replica_end(struct replica *replica)
{
	(void)atomic_fetch_sub_explicit(&replica->outstanding, 1, memory_order_relaxed);
}

void
replica_note_success(struct replica *replica)
{
	if (atomic_load_explicit(&replica->failures, memory_order_relaxed) != 0 &&
	    atomic_exchange(&replica->failures, 0) >= REPLICA_FAILURES) {
		log_info("upstream %s answers again", replica->url.text);
	}
}

void
replica_note_failure(struct replica *replica, const char *why)
{
	atomic_store(&replica->retry_ns, clock_now_ns() + RETRY_NS);
	if (atomic_fetch_add(&replica->failures, 1) + 1 == REPLICA_FAILURES) {
		log_warning("upstream %s is down: %s", replica->url.text, why);
	}
}

static ptrdiff_t
least_loaded(const struct replica_set *set, uint64_t tried, size_t turn, bool any)
{
	size_t least = SIZE_MAX;
	ptrdiff_t chosen = -1;

	for (size_t i = 0; i < set->count; i++) {
		size_t index = (turn + i) % set->count;
		const struct replica *replica = &set->replicas[index];
		size_t outstanding = atomic_load_explicit(&replica->outstanding, memory_order_relaxed);

		if ((tried & UINT64_C(1) << index) == 0 && outstanding < least && (any || admits(replica))) {
			least = outstanding;
			chosen = (ptrdiff_t)index;
		}
	}
	return chosen;
}

ptrdiff_t
replica_choose_good(struct replica_set *set, uint64_t tried, size_t *turn)
{
	ptrdiff_t chosen;

	(*turn)++;
	chosen = least_loaded(set, tried, *turn, false);
	if (chosen >= 0 && is_open(&set->replicas[chosen])) { /* this call finds out, others wait */
		atomic_store(&set->replicas[chosen].retry_ns, clock_now_ns() + RETRY_NS);
	}
	return chosen;
}

ptrdiff_t
replica_choose(struct replica_set *set, uint64_t tried, size_t *turn)
{
	ptrdiff_t chosen = replica_choose_good(set, tried, turn);

	/* Where all seem to be down, the call finds out as it would without us. */
	return chosen >= 0 ? chosen : least_loaded(set, tried, *turn, true);
}

enum status
replica_set_open(struct replica_set *set, const char *const *urls, size_t count, const struct tls_client_options *tls,
		 struct error *error)
{
	*set = (struct replica_set){0};
	if (count > REPLICAS_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--upstream is given %zu times, the maximum is %d",
				 count, REPLICAS_MAX);
	}
	set->replicas = memory_array(count, sizeof(*set->replicas));
	for (size_t i = 0; i < count; i++) {
		struct upstream_url *url = &set->replicas[i].url;

		if (upstream_url_parse(urls[i], url, error) != STATUS_OK) {
			return error->status;
		}
		set->count++;
		if (url->tls && set->tls == NULL) {
			set->tls = tls_client_new(tls, error);
			if (set->tls == NULL) {
				return error->status;
			}
		}
	}
	return STATUS_OK;
}

void
replica_set_fini(struct replica_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		upstream_url_fini(&set->replicas[i].url);
	}
	tls_client_free(set->tls);
	free(set->replicas);
}
