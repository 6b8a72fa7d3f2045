#include "inference/model_run.h"

#include "inference/batch.h"

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

void
model_run_batch(struct model *model, struct job_list *batch)
{
	struct job_list rest;
	struct job *job;

	if (run_together(model, batch) == STATUS_OK || TAILQ_NEXT(TAILQ_FIRST(batch), queue) == NULL) {
		return;
	}
	/* One request must not fail another: those that ran together run alone. */
	TAILQ_INIT(&rest);
	TAILQ_CONCAT(&rest, batch, queue);
	while ((job = TAILQ_FIRST(&rest)) != NULL) {
		struct job_list alone;

		TAILQ_REMOVE(&rest, job, queue);
		TAILQ_INIT(&alone);
		TAILQ_INSERT_TAIL(&alone, job, queue);
		(void)run_together(model, &alone);
		TAILQ_REMOVE(&alone, job, queue);
		TAILQ_INSERT_TAIL(batch, job, queue);
	}
}
