#include "caches/redis/size_hints.h"

#include "base/digest.h"

static size_t
slot_of(struct bytes scope, uint32_t *mark)
{
	uint64_t hash = checksum64(scope);

	*mark = (uint32_t)(hash >> 32);
	return hash % SIZE_HINTS;
}

void
size_hints_note(struct size_hints *hints, struct bytes scope, size_t length)
{
	struct size_hint hint = {.length = length > UINT32_MAX ? UINT32_MAX : (uint32_t)length};
	size_t slot = slot_of(scope, &hint.scope);

	hints->hints[slot] = hint;
}

size_t
size_hints_expect(const struct size_hints *hints, struct bytes scope)
{
	uint32_t mark;
	size_t slot = slot_of(scope, &mark);

	return hints->hints[slot].scope == mark ? hints->hints[slot].length : 0;
}
