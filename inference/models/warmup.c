#include "inference/models/warmup.h"

#include "base/memory.h"
#include "inference/models/folder.h"
#include "inference/models/model_run.h"
#include "inference/models/validate.h"

#include <inttypes.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)4 << 30)
#define FILE_MAX ((size_t)2 << 30)

/* One sample: a request of one row, which a job then repeats. */
struct sample {
	struct model *model;
	const struct model_warmup *config;
	const char *folder;
	struct arena arena;
	struct tensor *tensors;
	const struct tensor **ordered; /* by the config's inputs */
	int64_t batch;
};

static enum status
no_memory(struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE, "no memory for the warm-up");
}

static enum status
read_data(struct sample *sample, const struct model_warmup_input *input, size_t wanted, struct bytes *data,
	  struct error *error)
{
	char *path = memory_format("%s/warmup/%.*s", sample->folder, BYTES_ARGS(input->file));
	char *text = NULL;
	size_t length = 0;
	enum status status = STATUS_OK;

	if (!folder_path_is_inside(input->file)) {
		status = error_set(error, STATUS_INVALID_ARGUMENT,
				   "input_data_file '%.*s' must lie in the model's folder 'warmup'",
				   BYTES_ARGS(input->file));
	} else {
		status = file_read(path, FILE_MAX, &text, &length, error);
	}
	if (status == STATUS_OK && wanted > 0 && length < wanted) {
		status = error_set(
			error, STATUS_INVALID_ARGUMENT,
			"warmup setting expects %zu bytes, but the data provided from '%s' only has %zu bytes", wanted,
			path, length);
	}
	if (status == STATUS_OK) {
		*data = arena_copy(&sample->arena, bytes_make(text, wanted > 0 ? wanted : length));
		status = data->at == NULL ? no_memory(error) : STATUS_OK;
	}
	free(text);
	free(path);
	return status;
}

/* Random bytes; booleans are 0 or 1. */
static void
randomize(enum datatype datatype, uint8_t *at, size_t length)
{
	random_bytes(at, length);
	for (size_t i = 0; i < length && datatype == DATATYPE_BOOL; i++) {
		at[i] &= 1;
	}
}

/* Strings are empty (four zero bytes each), also for random data, as in Triton. */
static enum status
make_data(struct sample *sample, const struct model_warmup_input *input, int64_t elements, struct bytes *data,
	  struct error *error)
{
	size_t size = datatype_size(input->datatype);
	size_t length;
	uint8_t *made;

	if (input->kind == WARMUP_NOTHING) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "warmup setting expects input '%.*s' to have input_data_type set",
				 BYTES_ARGS(input->name));
	}
	if (__builtin_mul_overflow((size_t)elements, size == 0 ? sizeof(uint32_t) : size, &length)) {
		return no_memory(error);
	}
	if (input->kind == WARMUP_FILE) {
		return read_data(sample, input, size == 0 ? 0 : length, data, error);
	}
	made = arena_get(&sample->arena, length);
	if (made == NULL) {
		return no_memory(error);
	}
	if (input->kind == WARMUP_RANDOM && size > 0) {
		randomize(input->datatype, made, length);
	}
	*data = bytes_make(made, length);
	return STATUS_OK;
}

static enum status
make_tensor(struct sample *sample, const struct model_warmup_input *input, struct tensor *tensor, struct error *error)
{
	size_t lead = model_batches(sample->model);
	int64_t *shape = arena_array(&sample->arena, input->dims.rank + lead, sizeof(*shape));
	int64_t elements;

	if (shape == NULL || input->dims.rank + lead > TENSOR_RANK_MAX) {
		return no_memory(error);
	}
	if (lead > 0) {
		shape[0] = 1;
	}
	memcpy(shape + lead, input->dims.dims, input->dims.rank * sizeof(*shape));
	for (size_t i = 0; i < input->dims.rank; i++) {
		if (input->dims.dims[i] == -1) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"warmup setting expects all variable-size dimensions are specified for input '%.*s'",
				BYTES_ARGS(input->name));
		}
	}
	if (!shape_elements(shape, input->dims.rank + lead, &elements)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "tensor '%.*s' contains an invalid dimension",
				 BYTES_ARGS(input->name));
	}
	*tensor = (struct tensor){
		.name = input->name, .datatype = input->datatype, .rank = input->dims.rank + lead, .shape = shape};
	return make_data(sample, input, elements, &tensor->data, error);
}

static enum status
make_request(struct sample *sample, struct error *error)
{
	const struct model_warmup *config = sample->config;
	size_t inputs = sample->model->config.input_count;
	enum status status = STATUS_OK;

	sample->tensors = arena_array(&sample->arena, config->input_count, sizeof(*sample->tensors));
	sample->ordered = arena_array(&sample->arena, inputs, sizeof(*sample->ordered));
	if (sample->tensors == NULL || sample->ordered == NULL) {
		return no_memory(error);
	}
	for (size_t i = 0; i < config->input_count && status == STATUS_OK; i++) {
		status = make_tensor(sample, &config->inputs[i], &sample->tensors[i], error);
	}
	return status == STATUS_OK ? validate_inputs(&sample->model->config,
						     &(struct given_inputs){.inputs = sample->tensors,
									    .input_count = config->input_count},
						     sample->ordered, &sample->batch, error)
				   : status;
}

static bool
fill_job(struct sample *sample, struct job *job)
{
	const struct model *model = sample->model;
	size_t inputs = model->config.input_count;
	size_t rows = sample->config->batch_size == 0 ? 1 : sample->config->batch_size;
	struct tensor *tensors = arena_array(&sample->arena, inputs, sizeof(*tensors));
	struct bytes *data = arena_array(&sample->arena, inputs, sizeof(*data));

	job->parts = arena_array(&sample->arena, rows, sizeof(*job->parts));
	if (tensors == NULL || data == NULL || job->parts == NULL) {
		return false;
	}
	for (size_t i = 0; i < inputs; i++) {
		int64_t *shape = arena_array(&sample->arena, TENSOR_RANK_MAX + 1, sizeof(*shape));
		const struct tensor *from = sample->ordered[i];

		if (shape == NULL) {
			return false;
		}
		if (from == NULL) {
			continue;
		}
		tensors[job->input_count] = *from;
		tensors[job->input_count].name = model->config.inputs[i].name;
		tensors[job->input_count].rank = model_input_shape(model, i, from, shape);
		tensors[job->input_count].shape = shape;
		data[job->input_count++] = from->data;
	}
	job->inputs = tensors;
	job->part_count = rows;
	for (size_t i = 0; i < rows; i++) {
		job->parts[i] = (struct job_part){.rows = sample->batch, .data = data};
		job->rows += sample->batch;
	}
	return true;
}

static enum status
run_once(struct sample *sample, struct error *error)
{
	struct job job = {.error = error};
	struct job_list batch = TAILQ_HEAD_INITIALIZER(batch);

	if (!fill_job(sample, &job)) {
		return no_memory(error);
	}
	TAILQ_INSERT_TAIL(&batch, &job, queue);
	model_run_batch(sample->model, &batch);
	for (size_t i = 0; i < job.part_count; i++) {
		blob_unref(job.parts[i].entry);
	}
	if (job.status != STATUS_OK) {
		error->status = STATUS_INVALID_ARGUMENT;
		return error->status;
	}
	model_run_account(sample->model, 0, &job);
	return STATUS_OK;
}

static enum status
run_sample(struct sample *sample, struct error *error)
{
	uint32_t count = sample->config->count == 0 ? 1 : sample->config->count;
	int32_t maximum = sample->model->config.max_batch_size;
	enum status status;

	if (sample->config->batch_size > 1 && sample->config->batch_size > (uint32_t)maximum) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "batch size %" PRIu32 ", max allowed is %" PRId32,
				 sample->config->batch_size, maximum);
	}
	status = make_request(sample, error);
	for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
		status = run_once(sample, error);
	}
	return status;
}

enum status
warmup_run(struct model *model, const char *folder, struct error *error)
{
	if (model_is_remote(model) && model->config.warmup_count > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "model_warmup is for models that run here: leave it to the server behind");
	}
	for (size_t i = 0; i < model->config.warmup_count; i++) {
		struct sample sample = {.model = model, .config = &model->config.warmups[i], .folder = folder};
		enum status status;

		arena_init(&sample.arena, ARENA_MAX);
		status = run_sample(&sample, error);
		arena_fini(&sample.arena);
		if (status != STATUS_OK) {
			return error_prefix(error,
					    "failed to run warmup sample '%.*s': ", BYTES_ARGS(sample.config->name));
		}
	}
	return STATUS_OK;
}
