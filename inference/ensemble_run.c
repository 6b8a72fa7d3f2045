#include "inference/ensemble_run.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/memory.h"
#include "inference/models/batch.h"
#include "inference/engine_internal.h"
#include "inference/cache/entry.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 30)

/* A tensor of the ensemble. */
struct value {
	bool ready;
	bool absent;   /* an optional input that the request left out */
	bool has_rows; /* its first dimension is that of the batch */
	struct tensor tensor;
	struct blob *block; /* holds the data, or NULL; a reference if a step made it */
};

struct step_run {
	struct inference_request request; /* first */
	struct ensemble_run *run;
	const struct ensemble_step *step;
	bool started;
	bool underway;
};

struct ensemble_run {
	atomic_size_t references; /* held by the job and by mail under way */
	struct loop_mail withdraw_mail;
	atomic_bool withdrawing;
	struct model *model;
	struct job *job;
	struct job_list jobs; /* only `job` */
	struct job_origin origin;
	struct batch batch;
	struct arena arena;
	struct value *values;
	struct step_run *steps;
	size_t underway;
	struct run_times times;
	bool over;  /* no more steps: it failed or was cancelled */
	bool ended; /* the job is back with its owner */
	bool cancelled;
	struct error error;
};

/* --- Shapes: adding or removing the batch dimension between models, as Triton does --- */

static bool
dims_fit(const struct model_dims *dims, const int64_t *shape, size_t rank)
{
	if (dims->rank != rank) {
		return false;
	}
	for (size_t i = 0; i < rank; i++) {
		if (dims->dims[i] != -1 && dims->dims[i] != shape[i]) {
			return false;
		}
	}
	return true;
}

/*
 * Writes the shape in which the tensor is passed on; returns its rank. TENSOR_RANK_MAX is room enough: a config's dims
 * are fewer.
 */
static size_t
convert_shape(const struct value *value, const struct model_dims *dims, bool wants_rows, int64_t *shape)
{
	const struct tensor *tensor = &value->tensor;
	bool fits = dims_fit(dims, tensor->shape, tensor->rank);
	size_t skip = value->has_rows && !wants_rows && !fits && tensor->rank > 0 && tensor->shape[0] == 1;
	size_t lead = !value->has_rows && wants_rows && fits;

	shape[0] = 1;
	memcpy(shape + lead, tensor->shape + skip, (tensor->rank - skip) * sizeof(*shape));
	return tensor->rank - skip + lead;
}

/* --- Finishing --- */

static enum status
write_outputs(struct ensemble_run *run, struct error *error)
{
	const struct model_config *config = &run->model->config;
	struct backend_output *outputs = memory_array(config->output_count, sizeof(*outputs));
	uint8_t **data = memory_array(config->output_count, sizeof(*data));
	enum status status;

	for (size_t i = 0; i < config->output_count; i++) {
		const struct value *value = &run->values[run->model->ensemble->outputs[i]];
		const struct model_tensor *tensor = &config->outputs[i];

		outputs[i].datatype = value->tensor.datatype;
		outputs[i].length = value->tensor.data.length;
		outputs[i].rank = convert_shape(value, tensor->has_reshape ? &tensor->reshape : &tensor->dims,
						model_batches(run->model), outputs[i].shape);
	}
	status = batch_allocate(&run->batch, outputs, data, error);
	for (size_t i = 0; i < config->output_count && status == STATUS_OK; i++) {
		struct bytes from = run->values[run->model->ensemble->outputs[i]].tensor.data;

		if (from.length > 0) {
			memcpy(data[i], from.at, from.length);
		}
	}
	free(outputs);
	free(data);
	return status;
}

/* Frees what an ended run no longer needs. */
static void
drop_values(struct ensemble_run *run)
{
	for (size_t i = run->model->config.input_count; run->values != NULL && i < run->model->ensemble->tensor_count;
	     i++) {
		blob_unref(run->values[i].block);
	}
	batch_fini(&run->batch);
	arena_fini(&run->arena);
}

static void
unref(struct ensemble_run *run)
{
	if (atomic_fetch_sub(&run->references, 1) == 1) {
		free(run);
	}
}

static void
finish(struct ensemble_run *run)
{
	struct job *job = run->job;
	struct error error = run->error;
	enum status status = error.status;

	run->batch.outputs_ns = clock_now_ns();
	if (status == STATUS_OK) {
		status = write_outputs(run, &error);
	}
	(void)batch_finish(&run->batch, status, &error, &run->times);
	job->withdrawn = run->cancelled;
	if (job->ran && !run->origin.audits) {
		(void)atomic_fetch_add(&run->model->rows.run_ns, job->finished_ns - job->started_ns);
	}
	drop_values(run);
	run->ended = true;
	job->finished(job);
}

/* --- Failing --- */

static void
cancel_steps(struct ensemble_run *run)
{
	run->underway++; /* an answer may come before engine_cancel returns */
	for (size_t i = 0; i < run->model->ensemble->step_count; i++) {
		if (run->steps[i].underway) {
			engine_cancel(&run->steps[i].request);
		}
	}
	run->underway--;
}

/* Records the first failure, and cancels the other steps. */
static void
fail(struct ensemble_run *run, const struct error *error)
{
	if (run->over) {
		return;
	}
	run->over = true;
	run->error = *error;
	(void)error_prefix(&run->error, "in ensemble '%.*s', ", BYTES_ARGS(run->model->config.name));
	cancel_steps(run);
}

/* --- Steps --- */

static bool
is_due(const struct ensemble_run *run, const struct step_run *step)
{
	for (size_t i = 0; i < step->step->input_count; i++) {
		if (!run->values[step->step->inputs[i].tensor].ready) {
			return false;
		}
	}
	return !step->started;
}

static void
keep_dates(struct ensemble_run *run, const struct inference_request *request)
{
	struct batch *batch = &run->batch;

	if (batch->created_ms == 0 || request->created_ms < batch->created_ms) {
		batch->created_ms = request->created_ms;
	}
	if (request->expires_ms != 0 && (batch->expires_ms == 0 || request->expires_ms < batch->expires_ms)) {
		batch->expires_ms = request->expires_ms;
	}
}

/* Makes every output of the step a value, with a reference to the whole answer. */
static void
take_answer(struct step_run *step)
{
	struct inference_request *request = &step->request;
	struct ensemble_run *run = step->run;

	for (size_t i = 0; i < step->step->output_count; i++) {
		const struct ensemble_port *port = &step->step->outputs[i];
		struct value *value = &run->values[port->tensor];

		value->tensor = entry_output(request->entry, port->index);
		value->has_rows = model_batches(step->step->model);
		value->block = blob_ref(request->entry);
		value->ready = true;
	}
	blob_unref(request->entry);
	run->times.input_ns += request->times.input_ns;
	run->times.infer_ns += request->times.infer_ns;
	run->times.output_ns += request->times.output_ns;
	keep_dates(run, request);
}

static void
step_answered(struct step_run *step)
{
	struct ensemble_run *run = step->run;

	step->underway = false;
	run->underway--;
	if (step->request.status == STATUS_OK) {
		take_answer(step);
	} else {
		fail(run, step->request.error);
	}
}

static void advance(struct ensemble_run *run);

static void
on_step_done(struct inference_request *request)
{
	struct step_run *step = (struct step_run *)request;
	struct ensemble_run *run = step->run;

	step_answered(step);
	advance(run);
}

/* Sets the inputs. The block of the last one becomes the body: inputs that all lie in it are not copied. */
static bool
fill_inputs(struct step_run *step)
{
	const struct model *model = step->step->model;
	struct ensemble_run *run = step->run;
	struct tensor *inputs = arena_array(&run->arena, step->step->input_count, sizeof(*inputs));

	for (size_t i = 0; inputs != NULL && i < step->step->input_count; i++) {
		const struct ensemble_port *port = &step->step->inputs[i];
		const struct value *value = &run->values[port->tensor];
		struct tensor *input = &inputs[step->request.input_count];
		int64_t *shape = arena_array(&run->arena, TENSOR_RANK_MAX, sizeof(*shape));

		if (shape == NULL) {
			return false;
		}
		if (value->absent) {
			continue;
		}
		*input = value->tensor;
		input->content_type = bytes_make(NULL, 0); /* no part of the ensemble's key */
		input->name = model->config.inputs[port->index].name;
		input->rank =
			convert_shape(value, &model->config.inputs[port->index].dims, model_batches(model), shape);
		input->shape = shape;
		step->request.block = value->block;
		step->request.input_count++;
	}
	step->request.inputs = inputs;
	return inputs != NULL;
}

static void
start_step(struct step_run *step)
{
	struct ensemble_run *run = step->run;
	struct error error;

	step->started = true;
	step->request = (struct inference_request){
		.model = step->step->model,
		.id = run->origin.id,
		.parameters = run->job->parameters,
		.parameter_count = run->job->parameter_count,
		.directives = run->origin.directives,
		.arena = &run->arena,
		.wants_dates = true,
		.splits_rows = run->job->by_row || run->job->splits_rows,
		.audits = run->origin.audits,
		.error = arena_room(&run->arena, sizeof(error)),
		.done = on_step_done,
	};
	if (step->request.error == NULL || !fill_inputs(step)) {
		(void)error_set(&error, STATUS_UNAVAILABLE, "no memory for the request's tensors");
		fail(run, &error);
		return;
	}
	step->underway = true;
	run->underway++;
	if (engine_infer(run->origin.lane, &step->request)) {
		step_answered(step);
	}
}

/* Starts all steps that are due; a step that is answered at once may make more due. */
static void
advance(struct ensemble_run *run)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < run->model->ensemble->step_count && !run->over; i++) {
			if (is_due(run, &run->steps[i])) {
				start_step(&run->steps[i]);
				more = true;
			}
		}
	}
	if (run->underway == 0) {
		finish(run);
	}
}

/* --- Starting --- */

static void
set_inputs(struct ensemble_run *run)
{
	const struct model_config *config = &run->model->config;

	for (size_t i = 0; i < config->input_count; i++) {
		struct value *value = &run->values[i];

		value->ready = true;
		value->absent = true;
		value->has_rows = model_batches(run->model);
		for (size_t k = 0; k < run->batch.input_count; k++) {
			const struct tensor *input = &run->batch.inputs[k];

			if (bytes_equal(input->name, config->inputs[i].name)) {
				value->absent = false;
				value->tensor = *input;
				value->block = blob_holds(run->batch.gathered, input->data) ? run->batch.gathered
											    : run->origin.block;
			}
		}
	}
}

static struct ensemble_run *
run_new(struct model *model, struct job *job, const struct job_origin *origin)
{
	struct ensemble_run *run = memory_new(sizeof(*run));

	atomic_init(&run->references, 1);
	run->model = model;
	run->job = job;
	run->origin = *origin;
	arena_init(&run->arena, ARENA_MAX);
	TAILQ_INIT(&run->jobs);
	TAILQ_INSERT_TAIL(&run->jobs, job, queue);
	return run;
}

static void
start(struct ensemble_run *run)
{
	const struct ensemble *ensemble = run->model->ensemble;
	struct error error;
	enum status status = batch_init(&run->batch, run->model, &run->jobs, &error);

	run->job->queued_ns = run->batch.started_ns;
	run->batch.keeps_stale = run->origin.directives.has_max_stale;
	run->values = arena_array(&run->arena, ensemble->tensor_count, sizeof(*run->values));
	run->steps = arena_array(&run->arena, ensemble->step_count, sizeof(*run->steps));
	if (status == STATUS_OK && (run->values == NULL || run->steps == NULL)) {
		status = error_set(&error, STATUS_UNAVAILABLE, "no memory for the steps");
	}
	if (status != STATUS_OK) {
		run->error = error;
		finish(run);
		return;
	}
	for (size_t i = 0; i < ensemble->step_count; i++) {
		run->steps[i].run = run;
		run->steps[i].step = &ensemble->steps[i];
	}
	set_inputs(run);
	advance(run);
}

static void
cancel(struct ensemble_run *run)
{
	if (!run->over) {
		run->over = true;
		run->cancelled = true;
		(void)error_set(&run->error, STATUS_CANCELLED, "the client closed the connection");
	}
	cancel_steps(run);
	if (run->underway == 0) {
		finish(run);
	}
}

/* --- The executor: runs on the lane's loop; calls from other threads arrive by mail --- */

static bool
submit(struct model *model, struct job *job, const struct job_origin *origin)
{
	struct ensemble_run *run = run_new(model, job, origin);

	atomic_store(&job->execution, run);
	start(run);
	return true;
}

static void
on_withdraw_mail(struct loop_mail *mail)
{
	struct ensemble_run *run = container_of(mail, struct ensemble_run, withdraw_mail);

	if (!run->ended) {
		cancel(run);
	}
	unref(run);
}

static void
withdraw(struct model *model, struct job *job)
{
	struct ensemble_run *run = atomic_load(&job->execution);

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
	struct ensemble_run *run = atomic_exchange(&job->execution, NULL);

	if (run != NULL) {
		unref(run);
	}
}

const struct executor_ops ensemble_executor_ops = {
	.passes_on = true, .submit = submit, .withdraw = withdraw, .release = release};
