#include "inference/remote_run.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/memory.h"
#include "inference/engine_internal.h"
#include "inference/models/batch.h"
#include "inference/models/row_units.h"
#include "inference/remote.h"

#include <stdlib.h>

/* One call, and the batch of one job that it runs: the job itself, or a unit of it in an audit. */
struct attempt {
	struct remote_call call; /* first */
	struct job_list jobs;
	struct batch batch;
};

struct remote_run {
	atomic_size_t references; /* held by the job and by mail under way */
	struct loop_mail withdraw_mail;
	atomic_bool withdrawing;
	struct model *model;
	struct job *job;
	struct job_origin origin;
	struct parameter *parameters; /* those of the job that go to the server */
	size_t parameter_count;
	struct attempt main;
	struct attempt *underway; /* NULL: the job is back with its owner */

	struct row_audit_plan plan;
	size_t audited;
	double *scales;
	struct row_unit unit;
	struct row_unit_run alone;
	struct attempt audit;
	struct error *audit_error; /* NULL before the first audit: it is larger than all the rest */
};

static void on_main(struct remote_call *call, enum status status, const struct error *error);
static void on_audit(struct remote_call *call, enum status status, const struct error *error);

static void
unref(struct remote_run *run)
{
	if (atomic_fetch_sub(&run->references, 1) == 1) {
		free(run->parameters);
		free(run->audit_error);
		free(run);
	}
}

/* Gives the job back. The run may be gone. */
static void
conclude(struct remote_run *run)
{
	struct job *job = run->job;

	run->underway = NULL;
	free(run->scales);
	run->scales = NULL;
	job->finished(job);
}

/* --- Attempts --- */

static enum status
allocate(struct remote_call *call, const struct backend_output *outputs, uint8_t **data, struct error *error)
{
	return batch_allocate(&((struct attempt *)call)->batch, outputs, data, error);
}

/* Sends a job. Fails when memory runs out. */
static enum status
attempt_start(struct remote_run *run, struct attempt *attempt, struct job *job,
	      void (*done)(struct remote_call *call, enum status status, const struct error *error),
	      struct error *error)
{
	const struct engine_lane *lane = run->origin.lane;
	enum status status;

	TAILQ_INIT(&attempt->jobs);
	TAILQ_INSERT_TAIL(&attempt->jobs, job, queue);
	status = batch_init(&attempt->batch, run->model, &attempt->jobs, error);
	if (status != STATUS_OK) {
		return status;
	}
	attempt->call = (struct remote_call){
		.model = run->model,
		.inputs = attempt->batch.inputs,
		.input_count = attempt->batch.input_count,
		.parameters = run->parameters,
		.parameter_count = run->parameter_count,
		.id = run->origin.id,
		.job = job,
		.allocate = allocate,
		.done = done,
	};
	if (lane->remote_ops == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "there is no server behind to run model '%.*s'",
				 BYTES_ARGS(run->model->config.name));
	}
	run->underway = attempt;
	return lane->remote_ops->start(lane->remote, &attempt->call, error);
}

/* Fills in the result of the attempt's job. */
static enum status
attempt_finish(struct attempt *attempt, enum status status, const struct error *error)
{
	uint64_t now = clock_now_ns();

	attempt->batch.outputs_ns = now;
	status = batch_finish(&attempt->batch, status, error,
			      &(struct run_times){.infer_ns = now - attempt->batch.started_ns});
	batch_fini(&attempt->batch);
	return status;
}

static void
fail_unsent(struct attempt *attempt, const struct error *error)
{
	(void)attempt_finish(attempt, error->status, error);
}

/* --- Audits --- */

/* The unit could not be run, for a reason that says nothing about it. The first answers need a verdict. */
static void
give_up_audit(struct remote_run *run, const struct error *error)
{
	struct job *job = run->job;

	row_trust_give_back(&run->model->rows, run->plan.due - run->audited);
	job_drop_entries(job);
	*job_error(job) = *error;
	job->status = error->status;
	conclude(run);
}

static void
audit_next(struct remote_run *run)
{
	if (run->audited == run->plan.due) {
		conclude(run);
		return;
	}
	if (run->audit_error == NULL) {
		run->audit_error = memory_new(sizeof(*run->audit_error));
	}
	run->unit = row_unit_find(&run->main.jobs, row_audit_index(&run->plan, run->audited));
	row_unit_run_init(&run->alone, &run->unit, run->audit_error);
	if (attempt_start(run, &run->audit, &run->alone.job, on_audit, run->audit_error) != STATUS_OK) {
		fail_unsent(&run->audit, run->audit_error);
		row_unit_run_fini(&run->alone);
		give_up_audit(run, run->audit_error);
	}
}

/* The job's rows depend on each other: nobody may get them one by one. */
static void
refuse(struct job *job)
{
	if (job->by_row) {
		job_drop_entries(job);
		job->rows_inseparable = true;
		job->status = error_set(job_error(job), STATUS_INTERNAL,
					"the rows of the model's outputs cannot be told apart");
	}
}

static void
on_audit(struct remote_call *call, enum status status, const struct error *error)
{
	struct remote_run *run = container_of((struct attempt *)call, struct remote_run, audit);
	uint64_t ns = clock_now_ns() - run->audit.batch.started_ns;
	struct error reason = status == STATUS_OK ? (struct error){0} : *error;
	bool passed;

	status = attempt_finish(&run->audit, status, &reason);
	if (status == STATUS_UNAVAILABLE || status == STATUS_PASS || status == STATUS_CANCELLED) {
		row_unit_run_fini(&run->alone);
		give_up_audit(run, run->audit_error);
		return;
	}
	passed = row_unit_judge(run->model, &run->unit, run->alone.part.entry, run->audit_error, run->scales, ns);
	row_unit_run_fini(&run->alone);
	run->audited++;
	if (passed) {
		audit_next(run);
	} else {
		refuse(run->job);
		conclude(run);
	}
}

/* --- The job's own run --- */

static void
on_main(struct remote_call *call, enum status status, const struct error *error)
{
	struct remote_run *run = container_of((struct attempt *)call, struct remote_run, main);
	struct job *job = run->job;

	status = attempt_finish(&run->main, status, error);
	(void)atomic_fetch_add_explicit(&run->model->rows.run_ns, job->finished_ns - job->started_ns,
					memory_order_relaxed);
	if (status != STATUS_OK) {
		conclude(run);
	} else if (row_audit_begin(run->model, &run->main.jobs, &run->plan)) {
		run->scales = row_units_scales(run->model, &run->main.jobs);
		audit_next(run);
	} else {
		if (run->plan.due > 0) { /* trust was lost meanwhile */
			refuse(job);
		}
		conclude(run);
	}
}

/* --- The executor --- */

/* What steers the cache is ours; the other server gets the rest, with what says how a request is handled. */
static void
choose_parameters(struct remote_run *run)
{
	const struct job *job = run->job;

	run->parameters = memory_array(job->parameter_count, sizeof(*run->parameters));
	for (size_t i = 0; i < job->parameter_count; i++) {
		if (!bytes_equal_text(job->parameters[i].name, "cache") &&
		    !bytes_equal_text(job->parameters[i].name, "cache_status")) {
			run->parameters[run->parameter_count++] = job->parameters[i];
		}
	}
}

static bool
submit(struct model *model, struct job *job, const struct job_origin *origin)
{
	struct remote_run *run = memory_new(sizeof(*run));
	struct error error;

	atomic_init(&run->references, 1);
	run->model = model;
	run->job = job;
	run->origin = *origin;
	choose_parameters(run);
	atomic_store(&job->execution, run);
	job->queued_ns = clock_now_ns();
	if (attempt_start(run, &run->main, job, on_main, &error) != STATUS_OK) {
		fail_unsent(&run->main, &error);
		conclude(run);
	}
	return true;
}

static void
on_withdraw_mail(struct loop_mail *mail)
{
	struct remote_run *run = container_of(mail, struct remote_run, withdraw_mail);
	const struct engine_lane *lane = run->origin.lane;
	struct job *job = run->job;
	struct error error;

	if (run->underway != NULL) {
		lane->remote_ops->cancel(lane->remote, &run->underway->call);
		(void)error_set(&error, STATUS_CANCELLED, "the client closed the connection");
		(void)attempt_finish(run->underway, error.status, &error);
		if (run->underway == &run->audit) {
			row_unit_run_fini(&run->alone);
			give_up_audit(run, &error);
		} else {
			job->withdrawn = true;
			conclude(run);
		}
	}
	unref(run);
}

/* The job's owner may be on any thread, the call is on the lane's. */
static void
withdraw(struct model *model, struct job *job)
{
	struct remote_run *run = atomic_load(&job->execution);

	(void)model;
	if (run != NULL && !atomic_exchange(&run->withdrawing, true)) {
		(void)atomic_fetch_add(&run->references, 1);
		run->withdraw_mail.deliver = on_withdraw_mail;
		loop_post(run->origin.lane->loop, &run->withdraw_mail);
	}
}

static void
release(struct job *job)
{
	struct remote_run *run = atomic_exchange(&job->execution, NULL);

	if (run != NULL) {
		unref(run);
	}
}

const struct executor_ops remote_executor_ops = {
	.passes_on = true, .submit = submit, .withdraw = withdraw, .release = release};
