#include "inference/models/row_units.h"

#include "base/memory.h"
#include "inference/models/row_audit.h"

#include <stdio.h>
#include <stdlib.h>

#define EVIDENCE_MAX 512

static size_t
units_of(const struct job *job)
{
	return job->splits_rows && job->rows > 0 ? (size_t)job->rows : job->part_count;
}

static size_t
count_units(struct job_list *batch)
{
	size_t count = 0;
	struct job *job;

	TAILQ_FOREACH (job, batch, queue) {
		count += units_of(job);
	}
	return count;
}

/* Does the batch have several jobs, or rows that are answered or stored apart? */
static bool
is_told_apart(struct job_list *batch)
{
	const struct job *first = TAILQ_FIRST(batch);

	return TAILQ_NEXT(first, queue) != NULL || first->by_row || first->splits_rows;
}

bool
row_audit_begin(struct model *model, struct job_list *batch, struct row_audit_plan *plan)
{
	*plan = (struct row_audit_plan){.units = count_units(batch)};
	if (plan->units < 2 || !is_told_apart(batch)) {
		return false;
	}
	if (!row_trust_together(&model->rows)) { /* lost during this run */
		plan->due = 1;
		return false;
	}
	plan->turn = (size_t)atomic_load_explicit(&model->rows.answers, memory_order_relaxed);
	plan->due = (size_t)row_trust_first_audits(&model->rows, plan->units);
	if (plan->due == 0) {
		plan->due = (size_t)row_trust_samples(&model->rows, plan->units,
						      atomic_load_explicit(&model->run_span_ns, memory_order_relaxed));
	}
	return plan->due > 0;
}

size_t
row_audit_index(const struct row_audit_plan *plan, size_t number)
{
	return plan->due == 1 ? plan->turn % plan->units : number * (plan->units - 1) / (plan->due - 1);
}

struct row_unit
row_unit_find(struct job_list *batch, size_t index)
{
	struct row_unit unit = {.row = -1};

	TAILQ_FOREACH (unit.job, batch, queue) {
		if (index < units_of(unit.job)) {
			break;
		}
		index -= units_of(unit.job);
	}
	unit.part = unit.job->parts;
	if (!unit.job->splits_rows || unit.job->rows == 0) {
		unit.part += index;
		return unit;
	}
	while (index >= (size_t)unit.part->rows) {
		index -= (size_t)unit.part->rows;
		unit.part++;
	}
	unit.row = (int64_t)index;
	return unit;
}

double *
row_units_scales(const struct model *model, struct job_list *batch)
{
	double *scales = memory_array(model->config.output_count, sizeof(*scales));
	struct job *job;

	TAILQ_FOREACH (job, batch, queue) {
		for (size_t i = 0; i < job->part_count; i++) {
			row_audit_raise(scales, job->parts[i].entry);
		}
	}
	return scales;
}

void
row_unit_run_init(struct row_unit_run *run, const struct row_unit *unit, struct error *error)
{
	const struct job *job = unit->job;

	run->data = memory_array(job->input_count, sizeof(*run->data));
	run->part = (struct job_part){.rows = unit->row < 0 ? unit->part->rows : 1, .data = run->data};
	run->job = (struct job){
		.inputs = job->inputs,
		.input_count = job->input_count,
		.parts = &run->part,
		.part_count = 1,
		.rows = run->part.rows,
		.parameters = job->parameters,
		.parameter_count = job->parameter_count,
		.error = error,
	};
	for (size_t i = 0; i < job->input_count; i++) {
		run->data[i] = unit->row < 0 ? unit->part->data[i]
					     : row_audit_row(&job->inputs[i], unit->part->data[i], unit->row);
	}
}

void
row_unit_run_fini(struct row_unit_run *run)
{
	blob_unref(run->part.entry);
	free(run->data);
}

bool
row_unit_judge(struct model *model, const struct row_unit *unit, const struct blob *alone, const struct error *error,
	       const double *scales, uint64_t ns)
{
	char evidence[EVIDENCE_MAX];

	if (alone != NULL) {
		return row_audit_passes(model, alone, unit->part->entry, unit->row, scales, ns);
	}
	(void)snprintf(evidence, sizeof(evidence), "a row does not run without its neighbours (%.300s)", error->text);
	model_lose_row_trust(model, ROWS_DEPENDENT, evidence);
	return false;
}
