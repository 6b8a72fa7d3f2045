/*
 * May the rows of a model's batches be told apart? Only what a config states is a promise that each row of the outputs
 * comes of that row of the inputs alone; and a promise is audited: some answers that were put together out of rows are
 * computed again by themselves and compared. Room-private. Everything here may be called on any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_ROW_TRUST_H
#define HIPPOCAMP_INFERENCE_MODELS_ROW_TRUST_H

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
	atomic_int purges_due;	     /* how often its entries in the store have still to be removed; 0: they are good */
	atomic_bool purging;	     /* one of these is under way */
	_Atomic uint64_t purge_from; /* when the next one may begin, clock_now_ns() */

	/* Of an ensemble: row_trust_losses() when its models were looked at last, and what was found then. */
	_Atomic uint64_t checked;
	_Atomic uint64_t member_losses;

	/* Of the audit: how many of the first answers, and how far they may differ; see row_difference. */
	double tolerance;
	bool audits;
	_Atomic uint64_t first_left; /* of the first answers: they are audited all */
	_Atomic uint64_t answers;    /* that were put together later */
	_Atomic uint64_t run_ns;     /* of all runs that were not audits */
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

/* Trust no more. True for the first who says so, who tells. Then purges are due. */
bool row_trust_lose(struct row_trust *trust, enum row_standing why);

/*
 * What the store has of a model that has lost its trust, or of an ensemble with such a member, may be wrong. Nobody
 * here finds it again (see inference/cache/key.h), but others who share the store might. So it is removed: twice, since
 * what other loops were storing meanwhile may come behind the first time, and tried again where the store cannot be
 * reached.
 */
#define ROW_TRUST_PURGES 2
#define ROW_TRUST_PURGE_AGAIN_NS UINT64_C(2000000000)

static inline bool
row_trust_taints_store(const struct row_trust *trust)
{
	return atomic_load_explicit(&trust->purges_due, memory_order_relaxed) > 0;
}

void row_trust_taint_store(struct row_trust *trust);

/* True: the caller purges now, and says afterwards how that went. */
bool row_trust_begin_purge(struct row_trust *trust, uint64_t now_ns);
void row_trust_end_purge(struct row_trust *trust, bool good, uint64_t now_ns);

/* How often any model's rows have lost their trust, from 1 on; to be moved when all else has been. */
uint64_t row_trust_losses(void);
void row_trust_count_loss(void);

/* "stated", "granularity", "none", "guessed", "misshapen", "dependent", "member" */
const char *row_standing_name(enum row_standing standing);

/*
 * `count` answers were put together. How many of them are to be audited as belonging to the first ones: as many as are
 * left of these. Nobody gets one of them without a verdict; who cannot have it gives the audit back.
 */
uint64_t row_trust_first_audits(struct row_trust *trust, uint64_t count);
void row_trust_give_back(struct row_trust *trust, uint64_t count);

/* Are some of the first ones left? */
bool row_trust_is_new(const struct row_trust *trust);

/* The same, later: is one of them to be audited, as one in ROW_TRUST_SAMPLE is while that can be afforded? */
#define ROW_TRUST_SAMPLE 4096
bool row_trust_samples(struct row_trust *trust, uint64_t count, uint64_t cost_ns);

/* May an audit that is expected to take so long be made, if audits are to take a hundredth of the model's time? */
bool row_trust_affords(const struct row_trust *trust, uint64_t cost_ns);

/* What an audit found. */
struct row_difference {
	bool bits;     /* not bit for bit the same */
	double excess; /* the largest difference as a part of what is let pass: above 1 it is a mismatch; infinite where
			  shapes, strings, or what is no real number differ */
	double expected; /* the two numbers, where it is finite */
	double got;
	size_t output; /* where that is */
};

/* The largest finite number of a tensor of real numbers; 0 of any other. */
double row_scale(const struct tensor *tensor);

/*
 * Compares one output, adding to what was found in others. What is let pass of a real number is `tolerance` of itself,
 * and a fiftieth of that of `scale`, the largest number of the output in the whole batch: kernels sum in another order
 * for another batch, so that numbers near zero differ by more than their own size. Of FP16 it is at least 8 units in
 * the last place, and 4 of the largest number of `expected`; of BF16, which is coarser, 4 and 2. NaN is like NaN, and
 * an infinity like itself.
 */
void row_difference_add(struct row_difference *difference, size_t index, const struct tensor *expected,
			const struct tensor *got, double scale, double tolerance);

/* Counts an audit that took `ns`. True: it is a mismatch. */
bool row_trust_count_audit(struct row_trust *trust, const struct row_difference *difference, uint64_t ns);

#endif
