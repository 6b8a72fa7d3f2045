#include "upstream/replica.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "upstream/upstream.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_NS UINT64_C(1000000000)
#define LOOK_NS UINT64_C(900000000) /* a second, but for what a timer is early */

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
replica_begin(struct replica *replica, bool hedges)
{
	(void)atomic_fetch_add_explicit(&replica->outstanding, 1, memory_order_relaxed);
	counter_add(&replica->begun, 1);
	counter_add(&replica->hedged, hedges);
}

void
replica_end(struct replica *replica, bool failed)
{
	(void)atomic_fetch_sub_explicit(&replica->outstanding, 1, memory_order_relaxed);
	counter_add(&replica->failed, failed);
}

void
replica_note_success(struct replica *replica)
{
	if (atomic_load_explicit(&replica->failures, memory_order_relaxed) != 0 &&
	    atomic_exchange(&replica->failures, 0) >= REPLICA_FAILURES) {
		log_info("upstream %s answers again", replica->url.text);
	}
}

bool
replica_has_failed(const struct replica *replica)
{
	return atomic_load_explicit(&replica->failures, memory_order_relaxed) > 0;
}

bool
replica_is_due(struct replica *replica)
{
	uint64_t now = clock_now_ns();
	uint64_t due = atomic_load_explicit(&replica->look_ns, memory_order_relaxed);

	return now >= due && atomic_compare_exchange_strong(&replica->look_ns, &due, now + LOOK_NS);
}

void
replica_note_read(struct replica *replica, bool is_read)
{
	atomic_store_explicit(&replica->is_read, is_read, memory_order_relaxed);
}

void
replica_note_failure(struct replica *replica, const char *why)
{
	atomic_store(&replica->retry_ns, clock_now_ns() + RETRY_NS);
	switch (atomic_fetch_add(&replica->failures, 1) + 1) {
	case 1:
		log_verbose("upstream %s: %s", replica->url.text, why);
		break;
	case REPLICA_FAILURES:
		log_warning("upstream %s is down: %s", replica->url.text, why);
		break;
	default:
		break;
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
replica_set_open(struct replica_set *set, const struct upstream_options *options, struct error *error)
{
	size_t count = options->url_count;

	*set = (struct replica_set){0};
	if (count > REPLICAS_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--upstream is given %zu times, the maximum is %d",
				 count, REPLICAS_MAX);
	}
	set->replicas = memory_array(count, sizeof(*set->replicas));
	for (size_t i = 0; i < count; i++) {
		struct upstream_url *url = &set->replicas[i].url;

		if (upstream_url_parse("--upstream=", options->urls[i], url, error) != STATUS_OK) {
			return error->status;
		}
		set->count++;
		for (size_t k = 0; k < i; k++) {
			if (strcmp(url->text, set->replicas[k].url.text) == 0) {
				return error_set(error, STATUS_INVALID_ARGUMENT, "--upstream=%s is given twice",
						 url->text);
			}
		}
		if (url->tls && set->tls == NULL) {
			set->tls = tls_client_new(&options->tls, error);
			if (set->tls == NULL) {
				return error->status;
			}
		}
		set->replicas[i].dial = (struct dial_options){
			.url = url, .tls = set->tls, .connect_timeout_s = options->connect_timeout_s};
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

/* --- Metrics --- */

static uint64_t
read_begun(const struct replica *replica)
{
	return counter_read(&replica->begun);
}

static uint64_t
read_failed(const struct replica *replica)
{
	return counter_read(&replica->failed);
}

static uint64_t
read_hedged(const struct replica *replica)
{
	return counter_read(&replica->hedged);
}

static uint64_t
read_outstanding(const struct replica *replica)
{
	return atomic_load_explicit(&replica->outstanding, memory_order_relaxed);
}

static uint64_t
read_up(const struct replica *replica)
{
	return replica->url.grpc ? !is_open(replica) : atomic_load_explicit(&replica->is_read, memory_order_relaxed);
}

/* The replica of that address in one of the first `count` sets; NULL: there is none. */
static const struct replica *
find_other(struct replica_set *const *sets, size_t count, const char *address)
{
	for (size_t k = 0; k < count; k++) {
		for (size_t i = 0; i < sets[k]->count; i++) {
			if (strcmp(sets[k]->replicas[i].url.text, address) == 0) {
				return &sets[k]->replicas[i];
			}
		}
	}
	return NULL;
}

static uint64_t
total(struct replica_set *const *sets, size_t count, const char *address,
      uint64_t (*read)(const struct replica *replica))
{
	uint64_t sum = 0;

	for (size_t k = 0; k < count; k++) {
		const struct replica *replica = find_other(sets + k, 1, address);

		sum += replica == NULL ? 0 : read(replica);
	}
	return sum;
}

void
replica_metrics(struct replica_set *const *sets, size_t count, const struct metric_sink *sink)
{
	static const struct {
		const char *name;
		const char *type;
		const char *help;
		uint64_t (*read)(const struct replica *replica);
		bool adds; /* over sets in which the same address is */
	} families[] = {
		{"hippocamp_upstream_requests_total", "counter", "Requests that were sent to the server behind",
		 read_begun, true},
		{"hippocamp_upstream_failures_total", "counter",
		 "Of these, those that were not answered as a whole: not reached, ended, or silent for too long",
		 read_failed, true},
		{"hippocamp_upstream_hedged_total", "counter",
		 "Requests that were sent since another replica did not answer", read_hedged, true},
		{"hippocamp_upstream_requests_outstanding", "gauge", "Requests that wait for the server behind",
		 read_outstanding, true},
		{"hippocamp_upstream_up", "gauge", "1 if the server behind could be reached by the last look at it",
		 read_up, false},
	};

	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
		metric_emit_family(sink, families[i].name, families[i].type, families[i].help);
		for (size_t k = 0; k < count; k++) {
			for (size_t r = 0; r < sets[k]->count; r++) {
				const struct replica *replica = &sets[k]->replicas[r];
				struct metric_label label = {.name = "upstream",
							     .value = bytes_text(replica->url.text)};

				if (find_other(sets, k, replica->url.text) == NULL) {
					metric_emit(sink, families[i].name, &label,
						    families[i].adds ? total(sets + k, count - k, replica->url.text,
									     families[i].read)
								     : families[i].read(replica));
				}
			}
		}
	}
}
