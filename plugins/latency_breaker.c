#include "plugins/latency_breaker.h"

#include "base/clock.h"

#define ROW 20			   /* late answers in a row: then the store counts as slow */
#define TRY_NS UINT64_C(100000000) /* between look-ups of a slow store */
#define KEY_ROW 2		   /* late answers in a row: then the key counts as slow */
#define ALONE_MS 500		   /* for which look-ups of a slow key are skipped */
#define LARGE 65536		   /* bytes; a larger value may be late from a fast store */

static struct latency_breaker_key *
key_of(struct latency_breaker *latency_breaker, const struct digest_value *digest)
{
	uint16_t slot;

	memcpy(&slot, digest->bytes, sizeof(slot));
	return &latency_breaker->keys[slot % LATENCY_BREAKER_KEYS];
}

static uint32_t
cut_ms(uint64_t now_ns)
{
	return (uint32_t)(now_ns / NS_PER_MS);
}

static uint32_t
load(const _Atomic uint32_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

/* Threads may read the clock in one order and come here in another, so differences may be negative. */
static bool
is_left_alone(const struct latency_breaker_key *key, uint64_t now_ns)
{
	return load(&key->late_in_row) >= KEY_ROW && (int32_t)(cut_ms(now_ns) - load(&key->late_ms)) < ALONE_MS;
}

bool
latency_breaker_allows(struct latency_breaker *latency_breaker, const struct digest_value *digest, uint64_t now_ns)
{
	uint64_t tried_ns = atomic_load_explicit(&latency_breaker->tried_ns, memory_order_relaxed);

	if (is_left_alone(key_of(latency_breaker, digest), now_ns)) {
		return false;
	}
	if (load(&latency_breaker->late_in_row) < ROW) {
		return true;
	}
	return (int64_t)(now_ns - tried_ns) >= (int64_t)TRY_NS &&
	       atomic_compare_exchange_strong(&latency_breaker->tried_ns, &tried_ns, now_ns);
}

static void
note_late_key(struct latency_breaker_key *key, uint64_t start_ns, uint64_t now_ns)
{
	if (load(&key->late_in_row) == 0 || (int32_t)(cut_ms(start_ns) - load(&key->late_ms)) >= 0) {
		(void)atomic_fetch_add_explicit(&key->late_in_row, 1, memory_order_relaxed);
		atomic_store_explicit(&key->late_ms, cut_ms(now_ns), memory_order_relaxed);
	}
}

static enum latency_breaker_change
note_late(struct latency_breaker *latency_breaker, uint64_t start_ns, uint64_t now_ns)
{
	uint64_t late_ns = atomic_load_explicit(&latency_breaker->late_ns, memory_order_relaxed);

	if ((int64_t)(start_ns - late_ns) < 0 ||
	    !atomic_compare_exchange_strong(&latency_breaker->late_ns, &late_ns, now_ns) ||
	    atomic_fetch_add(&latency_breaker->late_in_row, 1) + 1 != ROW) {
		return LATENCY_BREAKER_AS_BEFORE;
	}
	atomic_store_explicit(&latency_breaker->tried_ns, now_ns, memory_order_relaxed);
	return LATENCY_BREAKER_LOST;
}

enum latency_breaker_change
latency_breaker_note(struct latency_breaker *latency_breaker, const struct digest_value *digest, bool late,
		     uint64_t start_ns, uint64_t now_ns)
{
	struct latency_breaker_key *key = key_of(latency_breaker, digest);

	if (late) {
		note_late_key(key, start_ns, now_ns);
		return load(&key->size) > LARGE ? LATENCY_BREAKER_AS_BEFORE
						: note_late(latency_breaker, start_ns, now_ns);
	}
	if (load(&key->late_in_row) > 0) {
		atomic_store_explicit(&key->late_in_row, 0, memory_order_relaxed);
	}
	return load(&latency_breaker->late_in_row) > 0 && atomic_exchange(&latency_breaker->late_in_row, 0) >= ROW
		       ? LATENCY_BREAKER_FOUND
		       : LATENCY_BREAKER_AS_BEFORE;
}

uint32_t
latency_breaker_size(struct latency_breaker *latency_breaker, const struct digest_value *digest)
{
	return load(&key_of(latency_breaker, digest)->size);
}

void
latency_breaker_note_size(struct latency_breaker *latency_breaker, const struct digest_value *digest, size_t size)
{
	atomic_store_explicit(&key_of(latency_breaker, digest)->size, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size,
			      memory_order_relaxed);
}
