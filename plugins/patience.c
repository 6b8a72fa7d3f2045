#include "plugins/patience.h"

#define ROW 20			   /* late answers, until it is the store that is slow */
#define TRY_NS UINT64_C(100000000) /* between look-ups then */
#define KEY_ROW 2		   /* late answers, until it is the key */
#define ALONE_MS 500		   /* for a key that was late */
#define LARGE 65536		   /* a value that may take long in a store that is quick */

static struct patience_key *
key_of(struct patience *patience, const struct digest_value *digest)
{
	uint16_t slot;

	memcpy(&slot, digest->bytes, sizeof(slot));
	return &patience->keys[slot % PATIENCE_KEYS];
}

static uint32_t
cut_ms(uint64_t now_ns)
{
	return (uint32_t)(now_ns / 1000000U);
}

static uint32_t
load(const _Atomic uint32_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

/* Threads read the clock in another order than they come here, so differences may be below 0. */
static bool
is_left_alone(const struct patience_key *key, uint64_t now_ns)
{
	return load(&key->late_in_row) >= KEY_ROW && (int32_t)(cut_ms(now_ns) - load(&key->late_ms)) < ALONE_MS;
}

bool
patience_allows(struct patience *patience, const struct digest_value *digest, uint64_t now_ns)
{
	uint64_t tried_ns = atomic_load_explicit(&patience->tried_ns, memory_order_relaxed);

	if (is_left_alone(key_of(patience, digest), now_ns)) {
		return false;
	}
	if (load(&patience->late_in_row) < ROW) {
		return true;
	}
	return (int64_t)(now_ns - tried_ns) >= (int64_t)TRY_NS &&
	       atomic_compare_exchange_strong(&patience->tried_ns, &tried_ns, now_ns);
}

static void
note_late_key(struct patience_key *key, uint64_t start_ns, uint64_t now_ns)
{
	if (load(&key->late_in_row) == 0 || (int32_t)(cut_ms(start_ns) - load(&key->late_ms)) >= 0) {
		(void)atomic_fetch_add_explicit(&key->late_in_row, 1, memory_order_relaxed);
		atomic_store_explicit(&key->late_ms, cut_ms(now_ns), memory_order_relaxed);
	}
}

static enum patience_change
note_late(struct patience *patience, uint64_t start_ns, uint64_t now_ns)
{
	uint64_t late_ns = atomic_load_explicit(&patience->late_ns, memory_order_relaxed);

	if ((int64_t)(start_ns - late_ns) < 0 ||
	    !atomic_compare_exchange_strong(&patience->late_ns, &late_ns, now_ns) ||
	    atomic_fetch_add(&patience->late_in_row, 1) + 1 != ROW) {
		return PATIENCE_AS_BEFORE;
	}
	atomic_store_explicit(&patience->tried_ns, now_ns, memory_order_relaxed);
	return PATIENCE_LOST;
}

enum patience_change
patience_note(struct patience *patience, const struct digest_value *digest, bool late, uint64_t start_ns,
	      uint64_t now_ns)
{
	struct patience_key *key = key_of(patience, digest);

	if (late) {
		note_late_key(key, start_ns, now_ns);
		return load(&key->size) > LARGE ? PATIENCE_AS_BEFORE : note_late(patience, start_ns, now_ns);
	}
	if (load(&key->late_in_row) > 0) {
		atomic_store_explicit(&key->late_in_row, 0, memory_order_relaxed);
	}
	return load(&patience->late_in_row) > 0 && atomic_exchange(&patience->late_in_row, 0) >= ROW
		       ? PATIENCE_FOUND
		       : PATIENCE_AS_BEFORE;
}

uint32_t
patience_size(struct patience *patience, const struct digest_value *digest)
{
	return load(&key_of(patience, digest)->size);
}

void
patience_note_size(struct patience *patience, const struct digest_value *digest, size_t size)
{
	atomic_store_explicit(&key_of(patience, digest)->size, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size,
			      memory_order_relaxed);
}
