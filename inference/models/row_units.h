/*
 * Audits of batches: some units of a batch, parts of jobs or their rows, are run again by themselves and compared with
 * the answers that they got together (row_trust.h). This says which, makes the jobs, and judges; the caller runs them.
 * Room-private, but for executors.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_ROW_UNITS_H
#define HIPPOCAMP_INFERENCE_MODELS_ROW_UNITS_H

#include "inference/models/model.h"
#include "inference/scheduler/job_queue.h"

/* A part of a job, or one of its rows. */
struct row_unit {
	struct job *job;
	struct job_part *part;
	int64_t row; /* -1: the whole part */
};

struct row_audit_plan {
	size_t units; /* of the batch */
	size_t due;   /* how many of them to audit, spread over the batch */
	size_t turn;
};

/*
 * Is a batch that has just run to be audited before anyone gets answers? If so, fills the plan. If not, plan->due is 0
 * where the batch is good as it is, and 1 where trust was lost during this run, so that it must run apart.
 */
bool row_audit_begin(struct model *model, struct job_list *batch, struct row_audit_plan *plan);

/* The index of the unit that is audited as number `number`: the first and last rows have neighbours on one side only.
 */
size_t row_audit_index(const struct row_audit_plan *plan, size_t number);

struct row_unit row_unit_find(struct job_list *batch, size_t index);

/* The largest numbers of each output over the batch, for row_unit_judge; free() them. */
double *row_units_scales(const struct model *model, struct job_list *batch);

/* A job of one unit alone. Its error is the caller's. */
struct row_unit_run {
	struct job job;
	struct job_part part;
	struct bytes *data;
};

void row_unit_run_init(struct row_unit_run *run, const struct row_unit *unit, struct error *error);
void row_unit_run_fini(struct row_unit_run *run);

/*
 * Compares what the unit got with what it got alone, in `ns` (NULL: it failed, for that reason). False: it depends on
 * its neighbours, and the model has lost row trust.
 */
bool row_unit_judge(struct model *model, const struct row_unit *unit, const struct blob *alone,
		    const struct error *error, const double *scales, uint64_t ns);

#endif
