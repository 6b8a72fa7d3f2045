#include "server/pass_reason.h"

static const struct {
	const char *name;
	const char *cache_status;
} reasons[PASS_REASONS] = {
	[PASS_NO_INFERENCE] = {"", ""},
	[PASS_NOT_CACHED] = {"not-cached", "hippocamp; fwd=bypass; detail=not-cached"},
	[PASS_SUSPENDED] = {"suspended", "hippocamp; fwd=bypass; detail=suspended"},
	[PASS_AUTHORIZATION] = {"authorization", "hippocamp; fwd=bypass; detail=authorization"},
	[PASS_VERSION] = {"version", "hippocamp; fwd=bypass; detail=version"},
	[PASS_REQUEST] = {"request", "hippocamp; fwd=bypass; detail=request"},
	[PASS_RESPONSE] = {"response", "hippocamp; fwd=bypass; detail=response"},
};

struct bytes
pass_reason_status(enum pass_reason reason)
{
	return bytes_text(reasons[reason].cache_status);
}

struct bytes
pass_reason_count(struct pass_counts *counts, enum pass_reason reason)
{
	if (reason != PASS_NO_INFERENCE) {
		counter_add(&counts->by_reason[reason], 1);
	}
	return pass_reason_status(reason);
}

void
pass_reason_metrics(const struct pass_counts *counts, const struct metric_sink *sink)
{
	static const char name[] = "hippocamp_passed_total";

	metric_emit_family(sink, name, "counter",
			   "Inference requests that went through to the server behind without the cache, by reason");
	for (size_t i = PASS_NO_INFERENCE + 1; i < PASS_REASONS; i++) {
		struct metric_label label = {.name = "reason", .value = bytes_text(reasons[i].name)};

		metric_emit(sink, name, &label, counter_read(&counts->by_reason[i]));
	}
}
