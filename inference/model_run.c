#include "inference/model_run.h"

#include "base/clock.h"
#include "base/memory.h"
#include "inference/entry.h"
#include "inference/model.h"

#include <stdlib.h>

#define DATA_ALIGNMENT ((size_t)64)

struct batch_run {
	struct backend_run run; /* first */
	const struct model *model;
	struct job_list *jobs;
	struct job_part *single; /* the only part there is: its entry is written in place */
	struct tensor *inputs;
	struct blob *gathered;
	struct blob *together; /* an entry of all rows, to be taken apart */
	bool indivisible;
};

/* --- Inputs --- */

static size_t
aligned(size_t length)
{
	return (length + DATA_ALIGNMENT - 1) & ~(DATA_ALIGNMENT - 1);
}

/* The bytes of input `index` over all parts: *start where they lie in one piece already, else NULL. */
static size_t
measure_input(const struct batch_run *batch, size_t index, const uint8_t **start)
{
	const uint8_t *next = NULL;
	size_t total = 0;
	struct job *job;

	*start = NULL;
	TAILQ_FOREACH (job, batch->jobs, queue) {
		for (size_t i = 0; i < job->part_count; i++) {
			struct bytes data = job->parts[i].data[index];

			if (total == 0) {
				*start = data.at;
			} else if (data.length > 0 && data.at != next) {
				*start = NULL;
			}
			next = data.at + data.length;
			total += data.length;
			if (*start == NULL) {
				next = NULL;
			}
		}
	}
	return total;
}

static void
gather_input(const struct batch_run *batch, size_t index, uint8_t *to)
{
	struct job *job;

	TAILQ_FOREACH (job, batch->jobs, queue) {
		for (size_t i = 0; i < job->part_count; i++) {
			struct bytes data = job->parts[i].data[index];

			if (data.length > 0) {
				memcpy(to, data.at, data.length);
			}
			to += data.length;
		}
	}
}

/* Inputs that lie in one piece are passed as they are; the others are copied into one block. */
static enum status
gather(struct batch_run *batch, struct error *error)
{
	const struct job *first = TAILQ_FIRST(batch->jobs);
	size_t count = first->input_count;
	const uint8_t **starts = memory_array(count, sizeof(*starts));
	size_t total = 0;

	batch->inputs = memory_array(count, sizeof(*batch->inputs));
	for (size_t i = 0; i < count; i++) {
		batch->inputs[i] = first->inputs[i];
		batch->inputs[i].data.length = measure_input(batch, i, &starts[i]);
		total += starts[i] == NULL ? aligned(batch->inputs[i].data.length) : 0;
	}
	batch->gathered = total == 0 ? NULL : blob_new(total);
	if (total > 0 && batch->gathered == NULL) {
		free(starts);
		return error_set(error, STATUS_UNAVAILABLE, "no memory for a batch of %zu bytes", total);
	}
	total = 0;
	for (size_t i = 0; i < count; i++) {
		batch->inputs[i].data.at = starts[i];
		if (starts[i] == NULL && batch->inputs[i].data.length > 0) {
			gather_input(batch, i, batch->gathered->data + total);
			batch->inputs[i].data.at = batch->gathered->data + total;
			total += aligned(batch->inputs[i].data.length);
		}
	}
	free(starts);
	return STATUS_OK;
}

/* Shapes with the rows of the whole batch. */
static void
set_rows(struct batch_run *batch, int64_t (*shapes)[TENSOR_RANK_MAX + 1])
{
	for (size_t i = 0; i < batch->run.input_count && batch->run.batch > 0; i++) {
		struct tensor *input = &batch->inputs[i];

		memcpy(shapes[i], input->shape, input->rank * sizeof(*input->shape));
		shapes[i][0] = batch->run.batch;
		input->shape = shapes[i];
	}
}

/* --- Outputs --- */

static enum status
allocate(struct backend_run *run, const struct backend_output *outputs, uint8_t **data, struct error *error)
{
	struct batch_run *batch = (struct batch_run *)run;
	const struct model *model = batch->model;
	size_t count = model->config.output_count;
	struct entry_shape *shapes = memory_array(count, sizeof(*shapes));
	int64_t(*sizes)[TENSOR_RANK_MAX + 1] = memory_array(count, sizeof(*sizes));
	struct blob **place = batch->single != NULL ? &batch->single->entry : &batch->together;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		char text[256];

		shapes[i] = (struct entry_shape){.name = model->config.outputs[i].name,
						 .datatype = outputs[i].datatype,
						 .shape = sizes[i],
						 .length = outputs[i].length};
		if (!model_output_shape(model, i, &outputs[i], sizes[i], &shapes[i].rank)) {
			shape_text(outputs[i].shape, outputs[i].rank, text, sizeof(text));
			status = error_set(error, STATUS_INTERNAL,
					   "model '%.*s' gave output '%.*s' as %s %s, which its configuration does not "
					   "allow",
					   BYTES_ARGS(model->config.name), BYTES_ARGS(shapes[i].name),
					   datatype_name(outputs[i].datatype), text);
		}
	}
	if (status == STATUS_OK) {
		blob_unref(*place);
		*place = entry_new(shapes, count, data);
		if (*place == NULL) {
			status = error_set(error, STATUS_UNAVAILABLE, "no memory for the response of model '%.*s'",
					   BYTES_ARGS(model->config.name));
		}
	}
	free(shapes);
	free(sizes);
	return status;
}

/* Where the reader of each output stands. */
struct splitting {
	size_t count;
	struct tensor *outputs;
	struct bytes *rest;
	struct entry_shape *shapes;
	int64_t (*sizes)[TENSOR_RANK_MAX + 1];
	uint8_t **data;
};

static void
splitting_init(struct splitting *splitting, const struct blob *together)
{
	size_t count = entry_output_count(together);

	*splitting = (struct splitting){.count = count};
	splitting->outputs = memory_array(count, sizeof(*splitting->outputs));
	splitting->rest = memory_array(count, sizeof(*splitting->rest));
	splitting->shapes = memory_array(count, sizeof(*splitting->shapes));
	splitting->sizes = memory_array(count, sizeof(*splitting->sizes));
	splitting->data = memory_array(count, sizeof(*splitting->data));
	for (size_t i = 0; i < count; i++) {
		splitting->outputs[i] = entry_output(together, i);
		splitting->rest[i] = splitting->outputs[i].data;
	}
}

static void
splitting_fini(struct splitting *splitting)
{
	free(splitting->outputs);
	free(splitting->rest);
	free(splitting->shapes);
	free(splitting->sizes);
	free(splitting->data);
}

static bool
has_rows(const struct splitting *splitting, int64_t rows)
{
	for (size_t i = 0; i < splitting->count; i++) {
		if (splitting->outputs[i].rank == 0 || splitting->outputs[i].shape[0] != rows) {
			return false;
		}
	}
	return true;
}

static struct blob *
split_off(struct splitting *splitting, int64_t rows)
{
	struct blob *entry;

	for (size_t i = 0; i < splitting->count; i++) {
		const struct tensor *output = &splitting->outputs[i];

		memcpy(splitting->sizes[i], output->shape, output->rank * sizeof(*output->shape));
		splitting->sizes[i][0] = rows;
		splitting->shapes[i] = (struct entry_shape){
			.name = output->name,
			.datatype = output->datatype,
			.rank = output->rank,
			.shape = splitting->sizes[i],
			.length = tensor_rows_length(output, splitting->rest[i], rows),
		};
	}
	entry = entry_new(splitting->shapes, splitting->count, splitting->data);
	for (size_t i = 0; i < splitting->count && entry != NULL; i++) {
		size_t length = splitting->shapes[i].length;

		if (length > 0) {
			memcpy(splitting->data[i], splitting->rest[i].at, length);
		}
		splitting->rest[i] = bytes_skip(splitting->rest[i], length);
	}
	return entry;
}

static enum status
split(struct batch_run *batch, struct error *error)
{
	struct splitting splitting;
	enum status status = STATUS_OK;
	struct job *job;

	splitting_init(&splitting, batch->together);
	batch->indivisible = !has_rows(&splitting, batch->run.batch);
	if (batch->indivisible) {
		status = error_set(error, STATUS_INTERNAL,
				   "model '%.*s' gave outputs that do not have the rows of its inputs",
				   BYTES_ARGS(batch->model->config.name));
	}
	TAILQ_FOREACH (job, batch->jobs, queue) {
		for (size_t i = 0; i < job->part_count && status == STATUS_OK; i++) {
			job->parts[i].entry = split_off(&splitting, job->parts[i].rows);
			if (job->parts[i].entry == NULL) {
				status = error_set(error, STATUS_UNAVAILABLE,
						   "no memory for the response of model '%.*s'",
						   BYTES_ARGS(batch->model->config.name));
			}
		}
	}
	splitting_fini(&splitting);
	return status;
}

/* --- The run --- */

static void
seal(struct job *job, uint64_t cost_ns, int64_t all_rows)
{
	uint64_t now = clock_wall_ms();

	for (size_t i = 0; i < job->part_count; i++) {
		const struct job_part *part = &job->parts[i];
		uint64_t share = all_rows > 0 ? cost_ns * (uint64_t)part->rows / (uint64_t)all_rows : cost_ns;

		entry_seal(part->entry, part->key,
			   &(struct freshness_entry){
				   .created_ms = now, .lifetime_ms = part->lifetime_ms, .cost_us = share / 1000});
	}
}

static void
drop_entries(struct job *job)
{
	for (size_t i = 0; i < job->part_count; i++) {
		blob_unref(job->parts[i].entry);
		job->parts[i].entry = NULL;
	}
}

static void
finish(struct batch_run *batch, enum status status, const struct error *error, uint64_t started_ns)
{
	uint64_t finished = clock_now_ns();
	struct job *job;

	TAILQ_FOREACH (job, batch->jobs, queue) {
		job->status = status;
		job->ran = true;
		job->first = job == TAILQ_FIRST(batch->jobs);
		job->batch_rows = batch->run.batch;
		job->indivisible = batch->indivisible;
		job->started_ns = started_ns;
		job->infer_start_ns = batch->run.infer_start_ns;
		job->infer_end_ns = batch->run.infer_end_ns;
		job->finished_ns = finished;
		if (status == STATUS_OK) {
			seal(job, finished - started_ns, batch->run.batch);
		} else {
			job->error = *error;
			drop_entries(job);
		}
	}
}

static enum status
run_together(struct model *model, struct job_list *jobs)
{
	const struct job *first = TAILQ_FIRST(jobs);
	uint64_t started = clock_now_ns();
	struct batch_run batch = {
		.run =
			{
				.config = &model->config,
				.input_count = first->input_count,
				.parameters = first->parameters,
				.parameter_count = first->parameter_count,
				.allocate = allocate,
				.infer_start_ns = started,
				.infer_end_ns = started,
			},
		.model = model,
		.jobs = jobs,
		.single = first->part_count == 1 && TAILQ_NEXT(first, queue) == NULL ? &first->parts[0] : NULL,
	};
	int64_t(*shapes)[TENSOR_RANK_MAX + 1] = memory_array(first->input_count, sizeof(*shapes));
	struct error error;
	enum status status;
	struct job *job;

	TAILQ_FOREACH (job, jobs, queue) {
		batch.run.batch += job->rows;
	}
	status = gather(&batch, &error);
	if (status == STATUS_OK) {
		set_rows(&batch, shapes);
		batch.run.inputs = batch.inputs;
		status = model->backend->run(model->backend_model, &batch.run, &error);
	}
	if (status == STATUS_OK && batch.single == NULL) {
		status = split(&batch, &error);
	}
	finish(&batch, status, &error, started);
	free(shapes);
	free(batch.inputs);
	blob_unref(batch.gathered);
	blob_unref(batch.together);
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
		job->error = (struct error){0};
		(void)run_together(model, &alone);
		TAILQ_REMOVE(&alone, job, queue);
		TAILQ_INSERT_TAIL(batch, job, queue);
	}
}
