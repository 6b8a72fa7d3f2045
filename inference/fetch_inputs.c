/* The inputs of a fetch, which outlive the request that led it, and the job that is made of them. */
#include "inference/engine_internal.h"
#include "inference/key.h"

static bool
lies_well_in(const struct blob *block, struct bytes data, size_t alignment)
{
	return data.length == 0 || (blob_holds(block, data) && (uintptr_t)data.at % alignment == 0);
}

static size_t
alignment_of(enum datatype datatype)
{
	size_t size = datatype_size(datatype);

	return size == 0 ? 1 : size;
}

/* Bytes to copy, or 0 where all lies well in the request's body. */
static size_t
measure_copy(const struct trip *trip, size_t input_count)
{
	const struct model_config *config = &trip->model->config;
	bool in_body = true;
	size_t total = 1;

	for (size_t k = 0; k < input_count; k++) {
		size_t length = 0;

		for (size_t i = 0; i < trip->count; i++) {
			const struct flight *flight = &trip->flights[i];

			if (!flight->answered) {
				in_body = in_body && lies_well_in(trip->leader->body, flight->data[k],
								  alignment_of(config->inputs[k].datatype));
				length += flight->data[k].length;
			}
		}
		total += job_aligned(length);
	}
	return in_body && trip->leader->body != NULL ? 0 : total;
}

/* One block, and in it the rows of one input behind each other, so that a run finds them in one piece. */
static void
copy_rows(struct trip *trip, size_t input_count)
{
	size_t at = 0;

	for (size_t k = 0; k < input_count; k++) {
		for (size_t i = 0; i < trip->count; i++) {
			struct bytes *data = &trip->flights[i].data[k];

			if (trip->flights[i].answered || data->at == NULL) {
				continue;
			}
			if (data->length > 0) {
				memcpy(trip->inputs->data + at, data->at, data->length);
			}
			data->at = trip->inputs->data + at;
			at += data->length;
		}
		at = job_aligned(at);
	}
}

static bool
copy_parameters(struct trip *trip)
{
	const struct inference_request *request = trip->leader;
	struct parameter *copies = arena_array(&trip->arena, request->parameter_count, sizeof(*request->parameters));
	size_t count = 0;

	for (size_t i = 0; copies != NULL && i < request->parameter_count; i++) {
		struct parameter *copy = &copies[count];

		/* What steers a request steers the steps of an ensemble, too. */
		if (!trip->executor->passes_on && key_leaves_out(request->parameters[i].name)) {
			continue;
		}
		*copy = request->parameters[i];
		copy->name = arena_copy(&trip->arena, copy->name);
		if (copy->kind == PARAMETER_TEXT) {
			copy->text = arena_copy(&trip->arena, copy->text);
		}
		if (copy->name.at == NULL || (copy->kind == PARAMETER_TEXT && copy->text.at == NULL)) {
			return false;
		}
		count++;
	}
	trip->job.parameters = copies;
	trip->job.parameter_count = count;
	return copies != NULL;
}

static bool
copy_shapes(struct trip *trip)
{
	const struct tensor **ordered = trip->leader->ordered;
	const struct model *model = trip->model;
	size_t total = model->config.input_count;
	struct tensor *inputs = arena_array(&trip->arena, total, sizeof(*inputs));
	size_t count = 0;

	for (size_t i = 0; inputs != NULL && i < total; i++) {
		int64_t *shape;

		if (ordered[i] == NULL) {
			continue;
		}
		shape = arena_array(&trip->arena, TENSOR_RANK_MAX + 1, sizeof(*shape));
		if (shape == NULL) {
			return false;
		}
		inputs[count] = *ordered[i];
		inputs[count].name = model->config.inputs[i].name;
		inputs[count].rank = model_input_shape(model, i, ordered[i], shape);
		inputs[count].shape = shape;
		count++;
	}
	trip->job.inputs = inputs;
	trip->job.input_count = count;
	return inputs != NULL;
}

bool
trip_keep_inputs(struct trip *trip)
{
	size_t input_count = trip->model->config.input_count;
	size_t copied;

	if (trip->kept) {
		return true;
	}
	for (size_t i = 0; i < trip->count; i++) {
		struct bytes *own = arena_array(&trip->arena, input_count, sizeof(*own));

		if (own == NULL) {
			return false;
		}
		memcpy(own, trip->flights[i].data, input_count * sizeof(*own));
		trip->flights[i].data = own;
	}
	copied = measure_copy(trip, input_count);
	trip->inputs = copied == 0 ? blob_ref(trip->leader->body) : blob_new(copied + input_count * JOB_DATA_ALIGNMENT);
	if (trip->inputs == NULL) {
		return false;
	}
	if (copied > 0) {
		copy_rows(trip, input_count);
	}
	if (trip->executor->passes_on && !trip->mode.shared) {
		trip->id = arena_copy(&trip->arena, trip->leader->id);
	}
	trip->kept = copy_parameters(trip) && copy_shapes(trip);
	return trip->kept;
}

/* Inputs that the request left out have no place in the job. */
static struct bytes *
present_data(struct trip *trip, const struct flight *flight)
{
	struct bytes *data = arena_array(&trip->arena, trip->job.input_count, sizeof(*data));
	size_t next = 0;

	for (size_t i = 0; data != NULL && i < trip->job.input_count; i++) {
		while (!bytes_equal(trip->model->config.inputs[next].name, trip->job.inputs[i].name)) {
			next++;
		}
		data[i] = flight->data[next++];
	}
	return data;
}

bool
trip_fill_job(struct trip *trip)
{
	struct job *job = &trip->job;

	job->parts = arena_array(&trip->arena, trip->count, sizeof(*job->parts));
	for (size_t i = 0; job->parts != NULL && i < trip->count; i++) {
		struct flight *flight = &trip->flights[i];
		struct job_part *part = &job->parts[job->part_count];

		if (flight->answered) {
			continue;
		}
		part->rows = (int64_t)flight->rows;
		part->data = present_data(trip, flight);
		part->key = trip->mode.stores ? &flight->key.digest : NULL;
		if (part->data == NULL) {
			return false;
		}
		flight->part = job->part_count++;
		job->rows += part->rows;
	}
	return job->parts != NULL;
}
