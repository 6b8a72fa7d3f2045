#include "inference/models/model_run.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/moving_average.h"
#include "inference/models/batch.h"
#include "inference/models/row_audit.h"

#include <stdio.h>
#include <stdlib.h>

#define EVIDENCE_MAX 512

struct model_run {
	struct backend_run run; /* first */
	struct batch batch;
};

static enum status
allocate(struct backend_run *run, const struct backend_output *outputs, uint8_t **data, struct error *error)
{
	return batch_allocate(&((struct model_run *)run)->batch, outputs, data, error);
}

static enum status
run_together(struct model *model, struct job_list *jobs)
{
	const struct job *first = TAILQ_FIRST(jobs);
	struct model_run this;
	struct batch *batch = &this.batch;
	struct backend_run *run = &this.run;
	struct error error;
	enum status status = batch_init(batch, model, jobs, &error);

	*run = (struct backend_run){
		.config = &model->config,
		.inputs = batch->inputs,
		.input_count = batch->input_count,
		.batch = batch->rows,
		.parameters = first->parameters,
		.parameter_count = first->parameter_count,
		.allocate = allocate,
		.infer_start_ns = batch->started_ns,
		.infer_end_ns = batch->started_ns,
	};
	if (status == STATUS_OK) {
		status = model->backend->run(model->backend_model, run, &error);
	}
	batch->outputs_ns = run->infer_end_ns;
	status = batch_finish(batch, status, &error,
			      &(struct run_times){.input_ns = run->infer_start_ns - batch->started_ns,
						  .infer_ns = run->infer_end_ns - run->infer_start_ns});
	batch_fini(batch);
	return status;
}

/* --- Audits: see row_trust.h --- */

/* A unit of an audit: a part of a job, or one of its rows. */
struct unit {
	struct job *job;
	struct job_part *part;
	int64_t row; /* -1: the whole part */
};

static size_t
units_of(const struct job *job)
{
	return job->splits_rows && job->rows > 0 ? (size_t)job->rows : job->part_count;
}

/* `index` must be below count_units(batch). */
static struct unit
find_unit(struct job_list *batch, size_t index)
{
	struct unit unit = {.row = -1};

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

/* Runs a unit without its neighbours. Returns NULL on failure. */
static struct blob *
run_unit(struct model *model, const struct unit *unit, uint64_t *ns, struct error *error)
{
	const struct job *job = unit->job;
	struct bytes *data = memory_array(job->input_count, sizeof(*data));
	struct job_part part = {.rows = unit->row < 0 ? unit->part->rows : 1, .data = data};
	uint64_t start = clock_now_ns();
	struct job_list list;
	struct job alone = {
		.inputs = job->inputs,
		.input_count = job->input_count,
		.parts = &part,
		.part_count = 1,
		.rows = part.rows,
		.parameters = job->parameters,
		.parameter_count = job->parameter_count,
		.error = error,
	};

	for (size_t i = 0; i < job->input_count; i++) {
		data[i] = unit->row < 0 ? unit->part->data[i]
					: row_audit_row(&job->inputs[i], unit->part->data[i], unit->row);
	}
	TAILQ_INIT(&list);
	TAILQ_INSERT_TAIL(&list, &alone, queue);
	(void)run_together(model, &list);
	*ns = clock_now_ns() - start;
	free(data);
	return part.entry;
}

/* A unit that cannot run without its neighbours depends on them. */
static bool
audit_unit(struct model *model, const struct unit *unit, const double *scales)
{
	struct error error;
	uint64_t ns;
	struct blob *expected = run_unit(model, unit, &ns, &error);
	char evidence[EVIDENCE_MAX];
	bool passed;

	if (expected == NULL) {
		(void)snprintf(evidence, sizeof(evidence), "a row does not run without its neighbours (%.300s)",
			       error.text);
		model_lose_row_trust(model, ROWS_DEPENDENT, evidence);
		return false;
	}
	passed = row_audit_passes(model, expected, unit->part->entry, unit->row, scales, ns);
	blob_unref(expected);
	return passed;
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

/* Audits `due` units, spread over the batch: the first and last rows have neighbours on one side only. */
static bool
audit_units(struct model *model, struct job_list *batch, size_t units, size_t due, size_t turn)
{
	double *scales = memory_array(model->config.output_count, sizeof(*scales));
	bool passed = true;
	struct job *job;

	TAILQ_FOREACH (job, batch, queue) {
		for (size_t i = 0; i < job->part_count; i++) {
			row_audit_raise(scales, job->parts[i].entry);
		}
	}
	for (size_t i = 0; i < due && passed; i++) {
		struct unit unit = find_unit(batch, due == 1 ? turn % units : i * (units - 1) / (due - 1));

		passed = audit_unit(model, &unit, scales);
	}
	free(scales);
	return passed;
}

/* Runs some units of a batch again before anyone gets answers. Returns false if the batch must run apart. */
static bool
audit(struct model *model, struct job_list *batch)
{
	size_t units = count_units(batch);
	size_t turn = (size_t)atomic_load_explicit(&model->rows.answers, memory_order_relaxed);
	uint64_t due;

	if (units < 2 || !is_told_apart(batch)) {
		return true;
	}
	if (!row_trust_together(&model->rows)) { /* lost during this run */
		return false;
	}
	due = row_trust_first_audits(&model->rows, units);
	if (due == 0) {
		due = row_trust_samples(&model->rows, units,
					atomic_load_explicit(&model->run_span_ns, memory_order_relaxed));
	}
	return due == 0 || audit_units(model, batch, units, (size_t)due, turn);
}

/* --- Batches --- */

static void
refuse(struct job *job)
{
	job->rows_inseparable = true;
	job->status = error_set(job->error, STATUS_INTERNAL, "the rows of the model's outputs cannot be told apart");
}

/* Runs each job by itself: no request may fail another, or change its answer. */
static void
run_apart(struct model *model, struct job_list *batch)
{
	struct job_list rest;
	struct job *job;

	TAILQ_INIT(&rest);
	TAILQ_CONCAT(&rest, batch, queue);
	while ((job = TAILQ_FIRST(&rest)) != NULL) {
		struct job_list alone;

		TAILQ_REMOVE(&rest, job, queue);
		TAILQ_INIT(&alone);
		TAILQ_INSERT_TAIL(&alone, job, queue);
		job_drop_entries(job);
		if (job->by_row && !row_trust_by_row(&model->rows)) {
			refuse(job);
		} else {
			(void)run_together(model, &alone);
		}
		TAILQ_REMOVE(&alone, job, queue);
		TAILQ_INSERT_TAIL(batch, job, queue);
	}
}

void
model_run_batch(struct model *model, struct job_list *batch)
{
	uint64_t start = clock_now_ns();
	enum status status = run_together(model, batch);

	(void)atomic_fetch_add_explicit(&model->rows.run_ns, clock_now_ns() - start, memory_order_relaxed);
	if (status == STATUS_OK ? !audit(model, batch) : TAILQ_NEXT(TAILQ_FIRST(batch), queue) != NULL) {
		run_apart(model, batch);
	}
}

/* --- Statistics --- */

void
model_run_account(struct model *model, size_t lane, const struct job *job)
{
	struct model_statistics *sums = statistics_begin(model->statistics, lane);
	size_t rows = job->rows > 0 ? (size_t)job->rows : 1;
	size_t batch_rows = job->batch_rows > 0 ? (size_t)job->batch_rows : 1;
	struct batch_statistic run = {
		.compute_input = {1, job->times.input_ns},
		.compute_infer = {1, job->times.infer_ns},
		.compute_output = {1, job->times.output_ns},
	};

	sums->inference_count += rows;
	sums->last_inference_ms = clock_wall_ms();
	duration_add(&sums->compute_input, run.compute_input.ns);
	duration_add(&sums->compute_infer, run.compute_infer.ns);
	duration_add(&sums->compute_output, run.compute_output.ns);
	if (job->first) {
		sums->execution_count++;
		statistics_add_batch(model->statistics, lane, batch_rows, &run);
		moving_average_add(&model->run_span_ns, job->finished_ns - job->started_ns);
		moving_average_add(&model->run_cost_ns, (job->finished_ns - job->started_ns) / batch_rows);
	}
	statistics_end(model->statistics, lane);
}

/* --- The executor --- */

static bool
submit(struct model *model, struct job *job, const struct job_origin *origin)
{
	(void)origin;
	return scheduler_submit(model->scheduler, job);
}

static void
withdraw(struct model *model, struct job *job)
{
	scheduler_withdraw(model->scheduler, job);
}

static void
promote(struct model *model, struct job *job, size_t level)
{
	scheduler_promote(model->scheduler, job, level);
}

const struct executor_ops model_executor_ops = {.submit = submit, .withdraw = withdraw, .promote = promote};
