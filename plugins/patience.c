#include "plugins/patience.h"

#define ROW 20			   /* late answers, until it is the store that is slow */
#define TRY_NS UINT64_C(100000000) /* between look-ups then */
#define ALONE_MS 500U		   /* for a key that was late */

static size_t
slot_of(const struct digest_value *digest)
{
	uint16_t slot;

	memcpy(&slot, digest->bytes, sizeof(slot));
	return slot % PATIENCE_KEYS;
}

static uint32_t
cut_ms(uint64_t now_ns)
{
	return (uint32_t)(now_ns / 1000000U) | 1U; /* never 0 */
}

static bool
is_lost(const struct patience *patience)
{
	return atomic_load_explicit(&patience->late_in_row, memory_order_relaxed) >= ROW;
}

bool
patience_allows(struct patience *patience, const struct digest_value *digest, uint64_t now_ns)
{
	uint32_t late_ms = atomic_load_explicit(&patience->keys[slot_of(digest)].late_ms, memory_order_relaxed);
	uint64_t tried_ns = atomic_load_explicit(&patience->tried_ns, memory_order_relaxed);

	if (is_lost(patience)) {
		return now_ns - tried_ns >= TRY_NS &&
		       atomic_compare_exchange_strong(&patience->tried_ns, &tried_ns, now_ns);
	}
	return late_ms == 0 || cut_ms(now_ns) - late_ms >= ALONE_MS;
}

enum patience_change
patience_note(struct patience *patience, const struct digest_value *digest, bool late, uint64_t now_ns)
{
	size_t slot = slot_of(digest);
	bool again = atomic_exchange_explicit(&patience->keys[slot].late_once, late, memory_order_relaxed);

	atomic_store_explicit(&patience->keys[slot].late_ms, late && again ? cut_ms(now_ns) : 0, memory_order_relaxed);
	if (late) {
		return atomic_fetch_add(&patience->late_in_row, 1) + 1 == ROW ? PATIENCE_LOST : PATIENCE_AS_BEFORE;
	}
	return atomic_load_explicit(&patience->late_in_row, memory_order_relaxed) > 0 &&
			       atomic_exchange(&patience->late_in_row, 0) >= ROW
		       ? PATIENCE_FOUND
		       : PATIENCE_AS_BEFORE;
}

uint32_t
patience_size(const struct patience *patience, const struct digest_value *digest)
{
	return atomic_load_explicit(&patience->keys[slot_of(digest)].size, memory_order_relaxed);
}

void
patience_note_size(struct patience *patience, const struct digest_value *digest, size_t size)
{
	atomic_store_explicit(&patience->keys[slot_of(digest)].size, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size,
			      memory_order_relaxed);
}
