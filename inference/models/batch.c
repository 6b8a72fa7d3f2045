#include "inference/models/batch.h"

#include "base/clock.h"
#include "base/memory.h"
#include "inference/cache/entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STALE_PART_MS 1000U
#define FEW 4 /* inputs or outputs */

/* --- Inputs --- */

/* Returns the size of input `index` over all parts; *start is its data if they are contiguous, else NULL. */
static size_t
measure_input(const struct batch *batch, size_t index, const uint8_t **start)
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
gather_input(const struct batch *batch, size_t index, uint8_t *to)
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

/* Contiguous inputs are used in place; the others are copied into one block. */
static enum status
gather(struct batch *batch, struct error *error)
{
	const struct job *first = TAILQ_FIRST(batch->jobs);
	size_t count = first->input_count;
	const uint8_t *few[FEW];
	const uint8_t **starts = memory_few(few, FEW, count, sizeof(*starts));
	size_t total = 0;

	batch->inputs = memory_array(count, sizeof(*batch->inputs));
	for (size_t i = 0; i < count; i++) {
		batch->inputs[i] = first->inputs[i];
		batch->inputs[i].data.length = measure_input(batch, i, &starts[i]);
		total += starts[i] == NULL ? job_aligned(batch->inputs[i].data.length) : 0;
	}
	batch->gathered = total == 0 ? NULL : blob_new(total);
	if (total > 0 && batch->gathered == NULL) {
		memory_few_free(few, starts);
		return error_set(error, STATUS_UNAVAILABLE, "no memory for a batch of %zu bytes", total);
	}
	total = 0;
	for (size_t i = 0; i < count; i++) {
		batch->inputs[i].data.at = starts[i];
		if (starts[i] == NULL && batch->inputs[i].data.length > 0) {
			gather_input(batch, i, batch->gathered->data + total);
			batch->inputs[i].data.at = batch->gathered->data + total;
			total += job_aligned(batch->inputs[i].data.length);
		}
	}
	memory_few_free(few, starts);
	return STATUS_OK;
}

/* Sets the shapes to the rows of the whole batch. */
static void
set_rows(struct batch *batch)
{
	batch->shapes = memory_array(batch->input_count, sizeof(*batch->shapes));
	for (size_t i = 0; i < batch->input_count && batch->rows > 0; i++) {
		struct tensor *input = &batch->inputs[i];

		memcpy(batch->shapes[i], input->shape, input->rank * sizeof(*input->shape));
		batch->shapes[i][0] = batch->rows;
		input->shape = batch->shapes[i];
	}
}

enum status
batch_init(struct batch *batch, struct model *model, struct job_list *jobs, struct error *error)
{
	const struct job *first = TAILQ_FIRST(jobs);
	enum status status;
	struct job *job;

	*batch = (struct batch){
		.model = model,
		.jobs = jobs,
		.input_count = first->input_count,
		.started_ns = clock_now_ns(),
		.single = first->part_count == 1 && TAILQ_NEXT(first, queue) == NULL ? &first->parts[0] : NULL,
	};
	TAILQ_FOREACH (job, jobs, queue) {
		batch->rows += job->rows;
	}
	status = gather(batch, error);
	if (status == STATUS_OK) {
		set_rows(batch);
	}
	return status;
}

void
batch_fini(struct batch *batch)
{
	free(batch->shapes);
	free(batch->inputs);
	blob_unref(batch->gathered);
	blob_unref(batch->together);
}

/* --- Outputs --- */

enum status
batch_allocate(struct batch *batch, const struct backend_output *outputs, uint8_t **data, struct error *error)
{
	const struct model *model = batch->model;
	size_t count = model->config.output_count;
	struct entry_shape few_shapes[FEW];
	int64_t few_sizes[FEW][TENSOR_RANK_MAX + 1];
	struct entry_shape *shapes = memory_few(few_shapes, FEW, count, sizeof(*shapes));
	int64_t(*sizes)[TENSOR_RANK_MAX + 1] = memory_few(few_sizes, FEW, count, sizeof(*sizes));
	struct blob **place = batch->single != NULL ? &batch->single->entry : &batch->together;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		char text[256];

		shapes[i] = (struct entry_shape){.name = model->config.outputs[i].name,
						 .datatype = outputs[i].datatype,
						 .shape = sizes[i],
						 .length = outputs[i].length,
						 .content_type = outputs[i].content_type};
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
	memory_few_free(few_shapes, shapes);
	memory_few_free(few_sizes, sizes);
	return status;
}

/* The outputs, and what is left of each to be split. */
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

/* Index of the first output that does not have `rows` rows, or -1. */
static ptrdiff_t
misshapen_output(const struct blob *entry, int64_t rows)
{
	for (size_t i = 0; i < entry_output_count(entry); i++) {
		struct tensor output = entry_output(entry, i);

		if (output.rank == 0 || output.shape[0] != rows) {
			return (ptrdiff_t)i;
		}
	}
	return -1;
}

/* Does every output have the rows of the batch? If not, the model loses row trust. */
static bool
check_rows(struct batch *batch, const struct blob *entry)
{
	ptrdiff_t index = batch->rows == 0 ? -1 : misshapen_output(entry, batch->rows);
	struct tensor output;
	char evidence[256];
	char shape[128];

	if (index < 0) {
		return true;
	}
	batch->rows_inseparable = true;
	output = entry_output(entry, (size_t)index);
	shape_text(output.shape, output.rank, shape, sizeof(shape));
	(void)snprintf(evidence, sizeof(evidence), "for %" PRId64 " rows it gave output '%.*s' as %s", batch->rows,
		       BYTES_ARGS(output.name), shape);
	model_lose_row_trust(batch->model, ROWS_MISSHAPEN, evidence);
	return false;
}

static enum status
inseparable(const struct batch *batch, struct error *error)
{
	return error_set(error, STATUS_INTERNAL, "model '%.*s' gave outputs that do not have the rows of its inputs",
			 BYTES_ARGS(batch->model->config.name));
}

/* A whole request gets the model's answer, whatever its shape; a row must get exactly one row. */
static enum status
check_single(struct batch *batch, struct error *error)
{
	return check_rows(batch, batch->single->entry) || !TAILQ_FIRST(batch->jobs)->by_row ? STATUS_OK
											    : inseparable(batch, error);
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
			.content_type = output->content_type,
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
split(struct batch *batch, struct error *error)
{
	struct splitting splitting;
	enum status status = STATUS_OK;
	struct job *job;

	if (!check_rows(batch, batch->together)) {
		return inseparable(batch, error);
	}
	splitting_init(&splitting, batch->together);
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

/* --- Finishing --- */

/*
 * Dates an entry. An answer made from others is as old as the oldest of them; its own lifetime begins now, but ends
 * with the first of theirs. A part that is stale already was acceptable, so the whole is usable for STALE_PART_MS,
 * unless keeps_stale is set.
 */
static struct freshness_entry
date(const struct batch *batch, uint64_t lifetime_ms)
{
	uint64_t now = clock_wall_ms();
	struct freshness_entry freshness = {.created_ms = now, .lifetime_ms = lifetime_ms};
	uint64_t expires = batch->expires_ms;

	if (batch->created_ms == 0) {
		return freshness;
	}
	if (batch->created_ms < now) { /* else it comes from a clock that is ahead */
		freshness.created_ms = batch->created_ms;
	}
	if (expires != 0 && expires <= now && !batch->keeps_stale) {
		expires = now + STALE_PART_MS;
	}
	if (lifetime_ms != 0 && (expires == 0 || now + lifetime_ms < expires)) {
		expires = now + lifetime_ms;
	}
	freshness.lifetime_ms = expires == 0 ? 0 : expires > freshness.created_ms ? expires - freshness.created_ms : 1;
	return freshness;
}

/* When memory runs out, entries get no MAC: readers of the store reject them, requests here use them. */
static void
authenticate(struct job *job)
{
	struct keyed_hash *mac = job->entry_key == NULL ? NULL : keyed_hash_new(job->entry_hash, job->entry_key);

	for (size_t i = 0; i < job->part_count && mac != NULL; i++) {
		(void)entry_authenticate(job->parts[i].entry, mac);
	}
	keyed_hash_free(mac);
}

static void
seal(const struct batch *batch, struct job *job, uint64_t cost_ns)
{
	for (size_t i = 0; i < job->part_count; i++) {
		const struct job_part *part = &job->parts[i];
		uint64_t share = batch->rows > 0 ? cost_ns * (uint64_t)part->rows / (uint64_t)batch->rows : cost_ns;
		struct freshness_entry freshness = date(batch, part->lifetime_ms);

		freshness.cost_us = share / 1000;
		entry_seal(part->entry, part->key, &freshness);
	}
}

void
job_drop_entries(struct job *job)
{
	for (size_t i = 0; i < job->part_count; i++) {
		blob_unref(job->parts[i].entry);
		job->parts[i].entry = NULL;
	}
}

enum status
batch_finish(struct batch *batch, enum status status, const struct error *error, const struct run_times *times)
{
	uint64_t finished = clock_now_ns();
	struct error split_error;
	struct job *job;

	if (status == STATUS_OK) {
		status = batch->single == NULL ? split(batch, &split_error) : check_single(batch, &split_error);
		error = &split_error;
	}
	TAILQ_FOREACH (job, batch->jobs, queue) {
		job->status = status;
		job->ran = true;
		job->first = job == TAILQ_FIRST(batch->jobs);
		job->batch_rows = batch->rows;
		job->rows_inseparable = batch->rows_inseparable;
		job->started_ns = batch->started_ns;
		job->finished_ns = finished;
		job->times = *times;
		job->times.output_ns += finished - batch->outputs_ns;
		if (status == STATUS_OK) {
			seal(batch, job, finished - batch->started_ns);
			authenticate(job);
		} else {
			*job_error(job) = *error;
			job_drop_entries(job);
		}
	}
	return status;
}
