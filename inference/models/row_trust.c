#include "inference/models/row_trust.h"

#include <math.h>

#define SHARE_OF_RUNS 100
#define LEAST 1e-9 /* smaller differences do not count */

#define SCALE_SHARE 50.0 /* the scale counts with tolerance / SCALE_SHARE */

/* Unit roundoff: half a unit in the last place of 1. */
#define FP16_UNIT (1.0 / 2048)
#define BF16_UNIT (1.0 / 256)

void
row_trust_init(struct row_trust *trust, enum row_standing standing, uint64_t first, double tolerance)
{
	*trust = (struct row_trust){.tolerance = tolerance, .audits = first > 0};
	atomic_init(&trust->standing, standing);
	atomic_init(&trust->first_left, first);
}

static _Atomic uint64_t losses = 1;

uint64_t
row_trust_losses(void)
{
	return atomic_load_explicit(&losses, memory_order_acquire);
}

void
row_trust_count_loss(void)
{
	(void)atomic_fetch_add(&losses, 1);
}

bool
row_trust_lose(struct row_trust *trust, enum row_standing why)
{
	enum row_standing old = atomic_load(&trust->standing);

	while (old <= ROWS_NOT_CACHED) {
		if (atomic_compare_exchange_weak(&trust->standing, &old, why)) {
			row_trust_taint_store(trust);
			return true;
		}
	}
	return false;
}

void
row_trust_taint_store(struct row_trust *trust)
{
	atomic_store(&trust->purge_from, 0);
	atomic_store(&trust->purges_due, ROW_TRUST_PURGES);
}

bool
row_trust_begin_purge(struct row_trust *trust, uint64_t now_ns)
{
	bool due;

	if (!row_trust_taints_store(trust) || atomic_exchange(&trust->purging, true)) {
		return false;
	}
	due = row_trust_taints_store(trust) && now_ns >= atomic_load(&trust->purge_from);
	if (!due) {
		atomic_store(&trust->purging, false);
	}
	return due;
}

void
row_trust_end_purge(struct row_trust *trust, bool good, uint64_t now_ns)
{
	atomic_store(&trust->purge_from, now_ns + ROW_TRUST_PURGE_AGAIN_NS);
	(void)atomic_fetch_sub(&trust->purges_due, good);
	atomic_store(&trust->purging, false);
}

const char *
row_standing_name(enum row_standing standing)
{
	static const char *const names[] = {
		[ROWS_STATED] = "stated",    [ROWS_NOT_CACHED] = "granularity", [ROWS_NONE] = "none",
		[ROWS_GUESSED] = "guessed",  [ROWS_MISSHAPEN] = "misshapen",	[ROWS_DEPENDENT] = "dependent",
		[ROWS_OF_MEMBER] = "member",
	};

	return names[standing];
}

/* --- When to audit --- */

bool
row_trust_affords(const struct row_trust *trust, uint64_t cost_ns)
{
	return trust->audits &&
	       (atomic_load_explicit(&trust->audit_ns, memory_order_relaxed) + cost_ns) * SHARE_OF_RUNS <=
		       atomic_load_explicit(&trust->run_ns, memory_order_relaxed);
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool
row_trust_is_new(const struct row_trust *trust)
{
	return atomic_load_explicit(&trust->first_left, memory_order_relaxed) > 0;
}

uint64_t
row_trust_first_audits(struct row_trust *trust, uint64_t count)
{
	uint64_t left = atomic_load_explicit(&trust->first_left, memory_order_relaxed);

	while (left > 0 && row_trust_together(trust)) {
		uint64_t due = smaller(left, count);

		if (atomic_compare_exchange_weak(&trust->first_left, &left, left - due)) {
			return due;
		}
	}
	return 0;
}

bool
row_trust_samples(struct row_trust *trust, uint64_t count, uint64_t cost_ns)
{
	uint64_t before;

	if (!trust->audits || !row_trust_together(trust)) {
		return false;
	}
	before = atomic_fetch_add_explicit(&trust->answers, count, memory_order_relaxed);
	return before / ROW_TRUST_SAMPLE != (before + count) / ROW_TRUST_SAMPLE && row_trust_affords(trust, cost_ns);
}

void
row_trust_give_back(struct row_trust *trust, uint64_t count)
{
	(void)atomic_fetch_add(&trust->first_left, count);
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

double
row_scale(const struct tensor *tensor)
{
	size_t count = is_real(tensor->datatype) ? tensor->data.length / datatype_size(tensor->datatype) : 0;
	double scale = 0;

	for (size_t i = 0; i < count; i++) {
		double size = fabs(real_at(tensor, i));

		scale = isfinite(size) && size > scale ? size : scale;
	}
	return scale;
}

/* The difference allowed for one number: relative to it, plus absolute. */
struct allowance {
	double relative;
	double absolute;
};

static double
larger(double a, double b)
{
	return a > b ? a : b;
}

static struct allowance
allowance(const struct tensor *expected, double scale, double tolerance)
{
	struct allowance allowed = {tolerance, scale * tolerance / SCALE_SHARE};
	double own = row_scale(expected);

	if (expected->datatype == DATATYPE_FP16) {
		allowed = (struct allowance){larger(tolerance, 8 * FP16_UNIT), own * 4 * FP16_UNIT};
	} else if (expected->datatype == DATATYPE_BF16) {
		allowed = (struct allowance){larger(tolerance, 4 * BF16_UNIT), own * 2 * BF16_UNIT};
	}
	allowed.absolute = larger(allowed.absolute, LEAST);
	return allowed;
}

static void
compare_reals(struct row_difference *difference, size_t index, const struct tensor *expected, const struct tensor *got,
	      const struct allowance *allowed)
{
	size_t count = expected->data.length / datatype_size(expected->datatype);

	for (size_t i = 0; i < count; i++) {
		double a = real_at(expected, i);
		double b = real_at(got, i);
		double excess = fabs(a - b) / (allowed->absolute + allowed->relative * fabs(a));

		if (a == b || (isnan(a) && isnan(b))) {
			continue;
		}
		if (!isfinite(excess)) {
			excess = INFINITY;
		}
		if (excess > difference->excess) {
			*difference = (struct row_difference){true, excess, a, b, index};
		}
	}
}

void
row_difference_add(struct row_difference *difference, size_t index, const struct tensor *expected,
		   const struct tensor *got, double scale, double tolerance)
{
	bool alike = expected->datatype == got->datatype && expected->rank == got->rank &&
		     memcmp(expected->shape, got->shape, expected->rank * sizeof(*got->shape)) == 0 &&
		     expected->data.length == got->data.length;
	struct allowance allowed;

	if (alike && bytes_equal(expected->data, got->data)) {
		return;
	}
	difference->bits = true;
	if (alike && is_real(expected->datatype)) {
		allowed = allowance(expected, scale, tolerance);
		compare_reals(difference, index, expected, got, &allowed);
	} else {
		difference->excess = INFINITY;
		difference->output = index;
	}
}

bool
row_trust_count_audit(struct row_trust *trust, const struct row_difference *difference, uint64_t ns)
{
	bool mismatch = difference->excess > 1;

	(void)atomic_fetch_add_explicit(&trust->audited, 1, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&trust->audit_ns, ns, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&trust->different, difference->bits && !mismatch, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&trust->mismatched, mismatch, memory_order_relaxed);
	return mismatch;
}
