/*
 * May the rows of a model's batches be told apart? Only what a config states is a promise that each row of the outputs
 * comes of that row of the inputs alone; and a promise is audited: some answers that were put together out of rows are
 * computed again by themselves and compared. Room-private. Everything here may be called on any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_ROW_TRUST_H
#define HIPPOCAMP_INFERENCE_ROW_TRUST_H

#include "base/tensor.h"

#include <stdatomic.h>
#include <stddef.h>

enum row_standing {
	ROWS_STATED,	 /* the config states batching */
	ROWS_NOT_CACHED, /* the same, but the config wants requests cached whole (granularity `request`) */
	ROWS_NONE,	 /* there is no batch dimension */
	ROWS_GUESSED,	 /* batching was completed from the model's shapes, which promise nothing */
	ROWS_MISSHAPEN,	 /* outputs were seen that do not have the rows of the inputs */
	ROWS_DEPENDENT,	 /* an audit found that a row's answer depends on its neighbours */
	ROWS_OF_MEMBER,	 /* of an ensemble: a model of its steps does not keep rows apart */
};

struct row_trust {
	_Atomic(enum row_standing) standing;
	atomic_bool purge_due;	  /* entries of rows lie in the store that nobody should find */
	_Atomic uint64_t checked; /* of an ensemble: row_trust_losses() when its models were looked at last */

	/* Of the audit: how many of the first answers, and how far they may differ; see row_difference. */
	uint64_t first;
	double tolerance;
	_Atomic uint64_t answers; /* that were put together */
	_Atomic uint64_t run_ns;  /* of all runs but these: */
	_Atomic uint64_t audit_ns;
	_Atomic uint64_t audited;
	_Atomic uint64_t different; /* of these: not bit for bit, but within the tolerance */
	_Atomic uint64_t mismatched;
};

void row_trust_init(struct row_trust *trust, enum row_standing standing, uint64_t first, double tolerance);

/* Is a request cached row by row? */
static inline bool
row_trust_by_row(const struct row_trust *trust)
{
	return atomic_load_explicit(&trust->standing, memory_order_acquire) == ROWS_STATED;
}

/* May requests run together? */
static inline bool
row_trust_together(const struct row_trust *trust)
{
	return atomic_load_explicit(&trust->standing, memory_order_acquire) <= ROWS_NOT_CACHED;
}

/* Trust no more. True for the first who says so, who tells. Then a purge is due, which row_trust_take_purge takes. */
bool row_trust_lose(struct row_trust *trust, enum row_standing why);
bool row_trust_take_purge(struct row_trust *trust);

/* How often any model's rows have lost their trust, from 1 on: as long as it stays, no standing changes. */
uint64_t row_trust_losses(void);

/* "stated", "granularity", "none", "guessed", "misshapen", "dependent", "member" */
const char *row_standing_name(enum row_standing standing);

/*
 * Counts `count` answers that were put together. Returns how many of them are to be audited: all of the first
 * trust->first ones; of later ones one in 4096, while audits take less than a hundredth of the model's time, where
 * `cost_ns` is what one is expected to take.
 */
uint64_t row_trust_audits_due(struct row_trust *trust, uint64_t count, uint64_t cost_ns);

/* What an audit found. */
struct row_difference {
	bool bits;     /* not bit for bit the same */
	double worst;  /* the largest difference, as a part of the largest number of its output; infinite where shapes,
			  strings, or what is no number differ */
	size_t output; /* where that is */
};

/*
 * Compares one output, adding to what was found in others. FP numbers are measured against the largest finite one of
 * `expected`; NaN is like NaN, and an infinity like itself. FP16 and BF16 are coarse, so their differences count less:
 * by what 16 units in the last place of FP16 and BF16 are above `tolerance`.
 */
void row_difference_add(struct row_difference *difference, size_t index, const struct tensor *expected,
			const struct tensor *got, double tolerance);

/* Counts an audit that took `ns`. True: it is a mismatch. */
bool row_trust_count_audit(struct row_trust *trust, const struct row_difference *difference, uint64_t ns);

#endif
