/* The inputs of a fetch, which outlive the request that leads it, and the job made from them. */
#include "inference/fetch/fetch.h"
#include "inference/cache/key.h"

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

/* Returns the bytes to copy, or 0 if all data lie aligned in the request's block. */
static size_t
measure_copy(const struct fetch *fetch, size_t input_count)
{
	const struct model_config *config = &fetch->model->config;
	bool in_block = true;
	size_t total = 1;

	for (size_t k = 0; k < input_count; k++) {
		size_t length = 0;

		for (size_t i = 0; i < fetch->count; i++) {
			const struct flight *flight = &fetch->flights[i];

			if (!flight->answered) {
				in_block = in_block && lies_well_in(fetch->leader->block, flight->data[k],
								    alignment_of(config->inputs[k].datatype));
				length += flight->data[k].length;
			}
		}
		total += job_aligned(length);
	}
	return in_block && fetch->leader->block != NULL ? 0 : total;
}

/* Copies into one block, with the rows of each input adjacent, so that a run need not gather them. */
static void
copy_rows(struct fetch *fetch, size_t input_count)
{
	size_t at = 0;

	for (size_t k = 0; k < input_count; k++) {
		for (size_t i = 0; i < fetch->count; i++) {
			struct bytes *data = &fetch->flights[i].data[k];

			if (fetch->flights[i].answered || data->at == NULL) {
				continue;
			}
			if (data->length > 0) {
				memcpy(fetch->inputs->data + at, data->at, data->length);
			}
			data->at = fetch->inputs->data + at;
			at += data->length;
		}
		at = job_aligned(at);
	}
}

static bool
copy_parameters(struct fetch *fetch)
{
	const struct inference_request *request = fetch->leader;
	struct parameter *copies = arena_array(&fetch->arena, request->parameter_count, sizeof(*request->parameters));
	size_t count = 0;

	for (size_t i = 0; copies != NULL && i < request->parameter_count; i++) {
		struct parameter *copy = &copies[count];

		/* The steps of an ensemble use the parameters that steer a request, too. */
		if (!fetch->executor->passes_on && key_leaves_out(request->parameters[i].name)) {
			continue;
		}
		*copy = request->parameters[i];
		copy->name = arena_copy(&fetch->arena, copy->name);
		if (copy->kind == PARAMETER_TEXT) {
			copy->text = arena_copy(&fetch->arena, copy->text);
		}
		if (copy->name.at == NULL || (copy->kind == PARAMETER_TEXT && copy->text.at == NULL)) {
			return false;
		}
		count++;
	}
	fetch->job.parameters = copies;
	fetch->job.parameter_count = count;
	return copies != NULL;
}

static bool
copy_content_type(struct fetch *fetch, const struct tensor *from, struct tensor *to)
{
	if (from->content_type.length > 0) {
		to->content_type = arena_copy(&fetch->arena, from->content_type);
	}
	return from->content_type.length == 0 || to->content_type.at != NULL;
}

static bool
copy_shapes(struct fetch *fetch)
{
	const struct tensor **ordered = fetch->leader->state->ordered;
	const struct model *model = fetch->model;
	size_t total = model->config.input_count;
	struct tensor *inputs = arena_array(&fetch->arena, total, sizeof(*inputs));
	size_t count = 0;

	for (size_t i = 0; inputs != NULL && i < total; i++) {
		int64_t *shape;

		if (ordered[i] == NULL) {
			continue;
		}
		shape = arena_array(&fetch->arena, TENSOR_RANK_MAX + 1, sizeof(*shape));
		if (shape == NULL) {
			return false;
		}
		inputs[count] = *ordered[i];
		if (!copy_content_type(fetch, ordered[i], &inputs[count])) {
			return false;
		}
		inputs[count].name = model->config.inputs[i].name;
		inputs[count].rank = model_input_shape(model, i, ordered[i], shape);
		inputs[count].shape = shape;
		count++;
	}
	fetch->job.inputs = inputs;
	fetch->job.input_count = count;
	return inputs != NULL;
}

bool
fetch_keep_inputs(struct fetch *fetch)
{
	size_t input_count = fetch->model->config.input_count;
	size_t copied;

	if (fetch->kept) {
		return true;
	}
	for (size_t i = 0; i < fetch->count; i++) {
		struct bytes *own = arena_array(&fetch->arena, input_count, sizeof(*own));

		if (own == NULL) {
			return false;
		}
		memcpy(own, fetch->flights[i].data, input_count * sizeof(*own));
		fetch->flights[i].data = own;
	}
	copied = measure_copy(fetch, input_count);
	fetch->inputs =
		copied == 0 ? blob_ref(fetch->leader->block) : blob_new(copied + input_count * JOB_DATA_ALIGNMENT);
	if (fetch->inputs == NULL) {
		return false;
	}
	if (copied > 0) {
		copy_rows(fetch, input_count);
	}
	if (fetch->executor->passes_on && !fetch->mode.shared) {
		fetch->id = arena_copy(&fetch->arena, fetch->leader->id);
	}
	fetch->kept = copy_parameters(fetch) && copy_shapes(fetch);
	return fetch->kept;
}

/* The data of the job's inputs; inputs that the request left out are skipped. */
static struct bytes *
present_data(struct fetch *fetch, const struct flight *flight)
{
	struct bytes *data = arena_array(&fetch->arena, fetch->job.input_count, sizeof(*data));
	size_t next = 0;

	for (size_t i = 0; data != NULL && i < fetch->job.input_count; i++) {
		while (!bytes_equal(fetch->model->config.inputs[next].name, fetch->job.inputs[i].name)) {
			next++;
		}
		data[i] = flight->data[next++];
	}
	return data;
}

bool
fetch_fill_job(struct fetch *fetch)
{
	struct job *job = &fetch->job;

	job->parts = arena_array(&fetch->arena, fetch->count, sizeof(*job->parts));
	for (size_t i = 0; job->parts != NULL && i < fetch->count; i++) {
		struct flight *flight = &fetch->flights[i];
		struct job_part *part = &job->parts[job->part_count];

		if (flight->answered) {
			continue;
		}
		part->rows = (int64_t)flight->rows;
		part->data = present_data(fetch, flight);
		part->key = fetch->mode.stores ? &flight->key.digest : NULL;
		if (part->data == NULL) {
			return false;
		}
		flight->part = job->part_count++;
		job->rows += part->rows;
	}
	return job->parts != NULL;
}
