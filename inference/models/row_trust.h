/*
 * Row trust: may the rows of a model's batches be split? Only a config that states batching promises that each row of
 * the outputs depends on that row of the inputs alone; and the promise is audited: some answers assembled from rows are
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
	ROWS_OF_MEMBER,	 /* of an ensemble: the rows of a member are not trusted */
};

struct row_trust {
	_Atomic(enum row_standing) standing;
	atomic_int purges_due;	     /* purges of its stored entries still to be made; 0: they are good */
	atomic_bool purging;	     /* a purge is under way */
	_Atomic uint64_t purge_from; /* when the next purge may begin, clock_now_ns() */

	/* Of an ensemble: row_trust_losses() at the last check of its members, and the losses found then. */
	_Atomic uint64_t checked;
	_Atomic uint64_t member_losses;

	/* The audit; see row_difference_add for the tolerance. */
	double tolerance;
	bool audits;
	_Atomic uint64_t first_left; /* first answers still to be audited, all of them */
	_Atomic uint64_t answers;    /* later answers assembled from rows */
	_Atomic uint64_t run_ns;     /* of all runs that were not audits */
	_Atomic uint64_t audit_ns;
	_Atomic uint64_t audited;
	_Atomic uint64_t different; /* of these: not identical, but within the tolerance */
	_Atomic uint64_t mismatched;
};

void row_trust_init(struct row_trust *trust, enum row_standing standing, uint64_t first, double tolerance);

/* Is a request cached row by row? */
static inline bool
row_trust_by_row(const struct row_trust *trust)
{
	return atomic_load_explicit(&trust->standing, memory_order_acquire) == ROWS_STATED;
}

/* May requests share a batch? */
static inline bool
row_trust_together(const struct row_trust *trust)
{
	return atomic_load_explicit(&trust->standing, memory_order_acquire) <= ROWS_NOT_CACHED;
}

/* Ends the trust, and makes purges due. Returns true to the first caller, which reports it. */
bool row_trust_lose(struct row_trust *trust, enum row_standing why);

/*
 * The stored entries of a model that lost row trust, or of an ensemble with such a member, may be wrong. This process
 * no longer finds them (see inference/cache/key.h), but other servers that share the store might. So they are purged:
 * twice, since other loops may still store entries after the first purge; a failed purge is repeated.
 */
#define ROW_TRUST_PURGES 2
#define ROW_TRUST_PURGE_AGAIN_NS UINT64_C(2000000000)

static inline bool
row_trust_taints_store(const struct row_trust *trust)
{
	return atomic_load_explicit(&trust->purges_due, memory_order_relaxed) > 0;
}

void row_trust_taint_store(struct row_trust *trust);

/* Returns true if the caller must purge now, and then call row_trust_end_purge. */
bool row_trust_begin_purge(struct row_trust *trust, uint64_t now_ns);
void row_trust_end_purge(struct row_trust *trust, bool good, uint64_t now_ns);

/* Counts losses of row trust by any model, from 1 on. Count a loss after all other changes. */
uint64_t row_trust_losses(void);
void row_trust_count_loss(void);

/* "stated", "granularity", "none", "guessed", "misshapen", "dependent", "member" */
const char *row_standing_name(enum row_standing standing);

/*
 * Of `count` assembled answers, returns how many must be audited, as the first ones all are. None of these may be given
 * out without a verdict; a caller that cannot get one gives the audit back.
 */
uint64_t row_trust_first_audits(struct row_trust *trust, uint64_t count);
void row_trust_give_back(struct row_trust *trust, uint64_t count);

/* Are audits of first answers left? */
bool row_trust_is_new(const struct row_trust *trust);

/* For later answers: is one of `count` to be audited? One in ROW_TRUST_SAMPLE is, while that can be afforded. */
#define ROW_TRUST_SAMPLE 4096
bool row_trust_samples(struct row_trust *trust, uint64_t count, uint64_t cost_ns);

/* May an audit of this expected cost be made? Audits may take a hundredth of the model's time. */
bool row_trust_affords(const struct row_trust *trust, uint64_t cost_ns);

/* What an audit found. */
struct row_difference {
	bool bits;     /* not identical */
	double excess; /* the largest difference relative to the allowed one; above 1: mismatch; infinite where shapes,
			  strings, or numbers that are not real differ */
	double expected; /* the two numbers, if `excess` is finite */
	double got;
	size_t output; /* index of their output */
};

/* The largest finite magnitude in a tensor of real numbers; 0 for other datatypes. */
double row_scale(const struct tensor *tensor);

/*
 * Compares one output, adding to what was found in others. A real number may differ by `tolerance` of itself, plus a
 * fiftieth of `tolerance` of `scale`, the largest number of the output in the whole batch: kernels sum in another order
 * for another batch, so that numbers near zero differ by more than their own size. For FP16, it may differ by 8 unit
 * roundoffs of itself (or `tolerance`, if larger) plus 4 of the largest number of `expected`; for BF16, by 4 and 2. NaN
 * equals NaN, and an infinity itself.
 */
void row_difference_add(struct row_difference *difference, size_t index, const struct tensor *expected,
			const struct tensor *got, double scale, double tolerance);

/* Counts an audit that took `ns`. Returns true if it is a mismatch. */
bool row_trust_count_audit(struct row_trust *trust, const struct row_difference *difference, uint64_t ns);

#endif
