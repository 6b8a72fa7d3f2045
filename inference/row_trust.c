#include "inference/row_trust.h"

#include <float.h>
#include <math.h>

#define SAMPLE_ONE_OF 4096
#define SHARE_OF_RUNS 100

/* Sixteen units in the last place. */
#define FP16_COARSENESS (16.0 / 2048)
#define BF16_COARSENESS (16.0 / 256)

void
row_trust_init(struct row_trust *trust, enum row_standing standing, uint64_t first, double tolerance)
{
	*trust = (struct row_trust){.first = first, .tolerance = tolerance};
	atomic_init(&trust->standing, standing);
}

static _Atomic uint64_t losses = 1;

uint64_t
row_trust_losses(void)
{
	return atomic_load_explicit(&losses, memory_order_acquire);
}

bool
row_trust_lose(struct row_trust *trust, enum row_standing why)
{
	enum row_standing old = atomic_load(&trust->standing);

	while (old <= ROWS_NOT_CACHED) {
		if (atomic_compare_exchange_weak(&trust->standing, &old, why)) {
			atomic_store(&trust->purge_due, old == ROWS_STATED);
			(void)atomic_fetch_add(&losses, 1);
			return true;
		}
	}
	return false;
}

bool
row_trust_take_purge(struct row_trust *trust)
{
	return atomic_load_explicit(&trust->purge_due, memory_order_relaxed) &&
	       atomic_exchange(&trust->purge_due, false);
}

const char *
row_standing_name(enum row_standing standing)
{
	static const char *const names[] = {
		[ROWS_STATED] = "stated",	[ROWS_NOT_CACHED] = "granularity", [ROWS_NONE] = "none",
		[ROWS_GUESSED] = "guessed",	[ROWS_MISSHAPEN] = "misshapen",	   [ROWS_DEPENDENT] = "dependent",
		[ROWS_OF_MEMBER] = "member",
	};

	return names[standing];
}

/* --- When --- */

static bool
within_share(const struct row_trust *trust, uint64_t cost_ns)
{
	return (atomic_load_explicit(&trust->audit_ns, memory_order_relaxed) + cost_ns) * SHARE_OF_RUNS <=
	       atomic_load_explicit(&trust->run_ns, memory_order_relaxed);
}

uint64_t
row_trust_audits_due(struct row_trust *trust, uint64_t count, uint64_t cost_ns)
{
	uint64_t before;

	if (trust->first == 0 || !row_trust_together(trust)) {
		return 0;
	}
	before = atomic_fetch_add_explicit(&trust->answers, count, memory_order_relaxed);
	if (before < trust->first) {
		return trust->first - before < count ? trust->first - before : count;
	}
	return before / SAMPLE_ONE_OF != (before + count) / SAMPLE_ONE_OF && within_share(trust, cost_ns);
}

/* --- Comparing --- */

static double
from_half(uint16_t bits)
{
	int exponent = bits >> 10 & 31;
	double fraction = bits & 1023;
	double value = exponent == 0	? ldexp(fraction, -24)
		       : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
					: ldexp(fraction + 1024, exponent - 25);

	return (bits & 0x8000) != 0 ? -value : value;
}

static double
from_brain(uint16_t bits)
{
	uint32_t wide = (uint32_t)bits << 16;
	float value;

	memcpy(&value, &wide, sizeof(value));
	return (double)value;
}

static bool
is_real(enum datatype datatype)
{
	return datatype == DATATYPE_FP16 || datatype == DATATYPE_BF16 || datatype == DATATYPE_FP32 ||
	       datatype == DATATYPE_FP64;
}

static double
real_at(const struct tensor *tensor, size_t index)
{
	const uint8_t *at = tensor->data.at + index * datatype_size(tensor->datatype);
	uint16_t half;
	float single;
	double real;

	switch (tensor->datatype) {
	case DATATYPE_FP32:
		memcpy(&single, at, sizeof(single));
		return (double)single;
	case DATATYPE_FP64:
		memcpy(&real, at, sizeof(real));
		return real;
	default:
		memcpy(&half, at, sizeof(half));
		return tensor->datatype == DATATYPE_FP16 ? from_half(half) : from_brain(half);
	}
}

/* The largest difference as a part of the largest number. */
static double
compare_reals(const struct tensor *expected, const struct tensor *got)
{
	size_t count = expected->data.length / datatype_size(expected->datatype);
	double scale = DBL_MIN;
	double worst = 0;

	for (size_t i = 0; i < count; i++) {
		double size = fabs(real_at(expected, i));

		scale = isfinite(size) && size > scale ? size : scale;
	}
	for (size_t i = 0; i < count; i++) {
		double a = real_at(expected, i);
		double b = real_at(got, i);
		double difference = fabs(a - b);

		if (a == b || (isnan(a) && isnan(b))) {
			continue;
		}
		if (!isfinite(difference)) {
			return INFINITY;
		}
		worst = difference > worst ? difference : worst;
	}
	return worst / scale;
}

static double
coarseness(enum datatype datatype, double tolerance)
{
	double coarse = datatype == DATATYPE_FP16 ? FP16_COARSENESS : datatype == DATATYPE_BF16 ? BF16_COARSENESS : 0;

	return coarse > tolerance && tolerance > 0 ? coarse / tolerance : 1;
}

void
row_difference_add(struct row_difference *difference, size_t index, const struct tensor *expected,
		   const struct tensor *got, double tolerance)
{
	double worst = INFINITY;
	bool alike = expected->datatype == got->datatype && expected->rank == got->rank &&
		     memcmp(expected->shape, got->shape, expected->rank * sizeof(*got->shape)) == 0 &&
		     expected->data.length == got->data.length;

	if (alike && bytes_equal(expected->data, got->data)) {
		return;
	}
	difference->bits = true;
	if (alike && is_real(expected->datatype)) {
		worst = compare_reals(expected, got) / coarseness(expected->datatype, tolerance);
	}
	if (worst >= difference->worst) {
		difference->worst = worst;
		difference->output = index;
	}
}

bool
row_trust_count_audit(struct row_trust *trust, const struct row_difference *difference, uint64_t ns)
{
	bool mismatch = difference->worst > trust->tolerance;

	(void)atomic_fetch_add_explicit(&trust->audited, 1, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&trust->audit_ns, ns, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&trust->different, difference->bits && !mismatch, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&trust->mismatched, mismatch, memory_order_relaxed);
	return mismatch;
}
