#include "inference/rows.h"

#include "base/memory.h"
#include "inference/cache/entry.h"
#include "inference/cache/key.h"
#include "inference/models/model.h"

#include <stdlib.h>

/* --- Cutting --- */

static void
cut_input(const struct inference_request *request, size_t input, struct slice *slices, size_t count)
{
	const struct tensor *tensor = request->state->ordered[input];
	struct bytes rest = tensor->data;

	for (size_t i = 0; i < count; i++) {
		size_t length = count == 1 ? rest.length : tensor_rows_length(tensor, rest, 1);

		slices[i].data[input] = bytes_make(rest.at, length);
		rest = bytes_skip(rest, length);
	}
}

static struct slice *
cut(struct inference_request *request, size_t count)
{
	size_t inputs = request->model->config.input_count;
	struct slice *slices = arena_array(request->arena, count, sizeof(*slices));
	struct bytes *data = slices == NULL ? NULL : arena_array(request->arena, count * inputs, sizeof(*data));

	if (data == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		slices[i].request = request;
		slices[i].rows = count == 1 ? (size_t)request->state->batch : 1;
		slices[i].data = data + i * inputs;
	}
	for (size_t i = 0; i < inputs; i++) {
		if (request->state->ordered[i] != NULL) {
			cut_input(request, i, slices, count);
		}
	}
	return slices;
}

bool
rows_cut(struct inference_request *request, bool by_row)
{
	struct request_state *state = request->state;
	bool rows = by_row && state->batch > 0;
	size_t count = rows ? (size_t)state->batch : 1;
	struct slice *slices = cut(request, count);

	if (slices == NULL) {
		return false;
	}
	state->slices = slices;
	state->slice_count = count;
	state->unresolved = count;
	state->by_row = rows;
	return true;
}

struct slice *
rows_whole(struct inference_request *request)
{
	return cut(request, 1);
}

/* --- Keys --- */

/* The tensors of one slice, in byte order of their names. */
static void
slice_tensors(const struct slice *slice, struct tensor *tensors, int64_t (*shapes)[TENSOR_RANK_MAX + 1],
	      const struct tensor **sorted)
{
	const struct inference_request *request = slice->request;
	const struct model *model = request->model;

	for (size_t i = 0; i < model->config.input_count; i++) {
		size_t input = model->inputs_by_name[i];
		const struct tensor *whole = request->state->ordered[input];

		sorted[i] = whole;
		if (whole == NULL || request->state->slice_count == 1) {
			continue;
		}
		tensors[i] = *whole;
		memcpy(shapes[i], whole->shape, whole->rank * sizeof(*whole->shape));
		shapes[i][0] = 1;
		tensors[i].shape = shapes[i];
		tensors[i].data = slice->data[input];
		sorted[i] = &tensors[i];
	}
}

bool
rows_make_keys(struct inference_request *request, struct keyed_hash *hash, struct buf *scratch)
{
	struct request_state *state = request->state;
	const struct model *model = request->model;
	size_t inputs = model->config.input_count;
	const struct tensor **sorted = arena_array(request->arena, inputs, sizeof(*sorted));
	struct tensor *tensors = NULL;
	int64_t(*shapes)[TENSOR_RANK_MAX + 1] = NULL;
	struct key_question question;

	if (state->slice_count > 1) {
		tensors = arena_array(request->arena, inputs, sizeof(*tensors));
		shapes = arena_array(request->arena, inputs, sizeof(*shapes));
	}
	if (sorted == NULL || (state->slice_count > 1 && (tensors == NULL || shapes == NULL))) {
		return false;
	}
	question = (struct key_question){
		.prefix = buf_bytes(&model->key_prefix),
		.granularity = state->by_row ? KEY_OF_ROW : KEY_OF_REQUEST,
		.row_losses = state->row_losses,
		.inputs = sorted,
		.input_count = inputs,
		.has_content_types = model_is_remote(model),
		.parameters = request->parameters,
		.parameter_count = request->parameter_count,
	};
	for (size_t i = 0; i < state->slice_count; i++) {
		struct slice *slice = &state->slices[i];

		slice_tensors(slice, tensors, shapes, sorted);
		slice->key.scope = bytes_text(model->scope);
		slice->keyed = key_make(hash, &question, scratch, &slice->key.digest);
		if (!slice->keyed) {
			return false;
		}
	}
	return true;
}

/* --- Assembling --- */

/* Adds a slice's outputs to the shapes of the whole; false where they do not fit. */
static bool
add_slice(struct entry_shape *shapes, int64_t (*sizes)[TENSOR_RANK_MAX], size_t count, const struct slice *slice)
{
	int64_t rows = (int64_t)slice->rows;

	for (size_t i = 0; i < count; i++) {
		struct tensor output = entry_output(slice->entry, i);

		if (output.rank == 0 || output.rank != shapes[i].rank || output.shape[0] != rows ||
		    output.datatype != shapes[i].datatype ||
		    !bytes_equal(output.content_type, shapes[i].content_type) ||
		    memcmp(output.shape + 1, sizes[i] + 1, (output.rank - 1) * sizeof(*output.shape)) != 0) {
			return false;
		}
		sizes[i][0] += output.shape[0];
		shapes[i].length += output.data.length;
	}
	return true;
}

static bool
measure(const struct inference_request *request, struct entry_shape *shapes, int64_t (*sizes)[TENSOR_RANK_MAX],
	size_t count)
{
	const struct request_state *state = request->state;

	for (size_t i = 0; i < count; i++) {
		struct tensor output = entry_output(state->slices[0].entry, i);

		memcpy(sizes[i], output.shape, output.rank * sizeof(*output.shape));
		sizes[i][0] = 0;
		shapes[i] = (struct entry_shape){.name = output.name,
						 .datatype = output.datatype,
						 .rank = output.rank,
						 .shape = sizes[i],
						 .content_type = output.content_type};
	}
	for (size_t i = 0; i < state->slice_count; i++) {
		if (entry_output_count(state->slices[i].entry) != count ||
		    !add_slice(shapes, sizes, count, &state->slices[i])) {
			return false;
		}
	}
	return true;
}

struct blob *
rows_assemble(const struct inference_request *request, bool *fit)
{
	const struct request_state *state = request->state;
	size_t count = entry_output_count(state->slices[0].entry);
	struct entry_shape *shapes = memory_array(count, sizeof(*shapes));
	int64_t(*sizes)[TENSOR_RANK_MAX] = memory_array(count, sizeof(*sizes));
	uint8_t **data = memory_array(count, sizeof(*data));
	struct blob *answer = NULL;

	*fit = measure(request, shapes, sizes, count);
	if (*fit) {
		answer = entry_new(shapes, count, data);
	}
	for (size_t i = 0; answer != NULL && i < state->slice_count; i++) {
		for (size_t k = 0; k < count; k++) {
			struct tensor output = entry_output(state->slices[i].entry, k);

			if (output.data.length > 0) {
				memcpy(data[k], output.data.at, output.data.length);
			}
			data[k] += output.data.length;
		}
	}
	free(shapes);
	free(sizes);
	free(data);
	return answer;
}
