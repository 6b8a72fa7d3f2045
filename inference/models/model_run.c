#include "inference/models/model_run.h"

#include "base/clock.h"
#include "base/moving_average.h"
#include "inference/models/batch.h"
#include "inference/models/row_units.h"

#include <stdlib.h>

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

/* --- Audits: see row_units.h --- */

/* Returns false if the answers of the batch depend on each other. */
static bool
audit_unit(struct model *model, const struct row_unit *unit, const double *scales)
{
	struct error error;
	struct row_unit_run alone;
	struct job_list list;
	uint64_t start = clock_now_ns();
	bool passed;

	row_unit_run_init(&alone, unit, &error);
	TAILQ_INIT(&list);
	TAILQ_INSERT_TAIL(&list, &alone.job, queue);
	(void)run_together(model, &list);
	passed = row_unit_judge(model, unit, alone.part.entry, &error, scales, clock_now_ns() - start);
	row_unit_run_fini(&alone);
	return passed;
}

/* Runs some units of a batch again before anyone gets answers. Returns false if the batch must run apart. */
static bool
audit(struct model *model, struct job_list *batch)
{
	struct row_audit_plan plan;
	bool passed = true;
	double *scales;

	if (!row_audit_begin(model, batch, &plan)) {
		return plan.due == 0;
	}
	scales = row_units_scales(model, batch);
	for (size_t i = 0; i < plan.due && passed; i++) {
		struct row_unit unit = row_unit_find(batch, row_audit_index(&plan, i));

		passed = audit_unit(model, &unit, scales);
	}
	free(scales);
	return passed;
}

/* --- Batches --- */

static void
refuse(struct job *job)
{
	job->rows_inseparable = true;
	job->status =
		error_set(job_error(job), STATUS_INTERNAL, "the rows of the model's outputs cannot be told apart");
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
