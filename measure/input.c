#include "measure/input.h"

#include "base/memory.h"
#include "measure/input_file.h"
#include "measure/input_make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_MAX ((size_t)16 << 30)

struct input_set {
	struct arena arena;
	struct model_tensor *inputs; /* the model's, with the shapes that the user has given */
	size_t input_count;
	struct input_entry *entries;
	size_t entry_count;
	bool is_uniform;
	struct input_variation variation;
};

/* --- Shapes --- */

static enum status
bad_shape(const char *text, const char *why, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "--shape %s: %s", text, why);
}

/* Reads "3,224,224". */
static bool
read_dims(const char *text, int64_t *dims, size_t *rank)
{
	*rank = 0;
	do {
		char *end;

		text += *text == ',';
		if (*rank == TENSOR_RANK_MAX || *text < '0' || *text > '9') {
			return false;
		}
		dims[(*rank)++] = (int64_t)strtoll(text, &end, 10);
		text = end;
	} while (*text == ',');
	return *text == '\0';
}

static bool
fits(const struct model_dims *dims, const int64_t *given, size_t rank)
{
	bool same = dims->rank == rank;

	for (size_t i = 0; same && i < rank; i++) {
		same = dims->dims[i] < 0 || dims->dims[i] == given[i];
	}
	return same;
}

static enum status
apply_shape(struct input_set *set, const char *text, struct error *error)
{
	const char *colon = strrchr(text, ':');
	int64_t dims[TENSOR_RANK_MAX];
	struct model_tensor *input;
	ptrdiff_t index;
	size_t rank;

	if (colon == NULL || !read_dims(colon + 1, dims, &rank)) {
		return bad_shape(text, "give NAME:DIM,DIM, as in IMAGE:3,224,224", error);
	}
	index = model_tensor_index(set->inputs, set->input_count, bytes_make(text, (size_t)(colon - text)));
	if (index < 0) {
		return bad_shape(text, "the model has no such input", error);
	}
	input = &set->inputs[index];
	if (!fits(&input->dims, dims, rank)) {
		char wanted[256];

		shape_text(input->dims.dims, input->dims.rank, wanted, sizeof(wanted));
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--shape %s: the model's shape is %s (without a batch dimension)", text, wanted);
	}
	memcpy(input->dims.dims, dims, rank * sizeof(*dims));
	return STATUS_OK;
}

static enum status
copy_inputs(struct input_set *set, const struct model_config *model, const struct input_options *options,
	    struct error *error)
{
	set->input_count = model->input_count;
	set->inputs = arena_array(&set->arena, model->input_count + 1, sizeof(*set->inputs));
	memory_check(set->inputs != NULL);
	for (size_t i = 0; i < model->input_count; i++) {
		struct model_tensor *input = &set->inputs[i];
		size_t rank = model->inputs[i].dims.rank;

		*input = model->inputs[i];
		input->dims.dims = arena_array(&set->arena, rank + 1, sizeof(*input->dims.dims));
		memory_check(input->dims.dims != NULL);
		if (rank > 0) {
			memcpy(input->dims.dims, model->inputs[i].dims.dims, rank * sizeof(*input->dims.dims));
		}
	}
	for (size_t i = 0; i < options->shape_count; i++) {
		if (apply_shape(set, options->shapes[i], error) != STATUS_OK) {
			return error->status;
		}
	}
	return STATUS_OK;
}

/* --- Entries --- */

/* For input_files_read and input_make: `tensors` has one for each input; those without a name are left out. */
static void
add_entry(void *context, const struct tensor *tensors)
{
	struct input_set *set = context;
	struct input_entry *entry;

	set->entries = memory_grow(set->entries, set->entry_count + 1, sizeof(*set->entries));
	entry = &set->entries[set->entry_count++];
	*entry = (struct input_entry){.tensors =
					      arena_array(&set->arena, set->input_count + 1, sizeof(*entry->tensors))};
	memory_check(entry->tensors != NULL);
	for (size_t i = 0; i < set->input_count; i++) {
		if (tensors[i].name.length > 0) {
			entry->tensors[entry->count++] = tensors[i];
		}
	}
}

static bool
are_alike(const struct input_entry *a, const struct input_entry *b)
{
	bool alike = a->count == b->count;

	for (size_t i = 0; alike && i < a->count; i++) {
		const struct tensor *one = &a->tensors[i];
		const struct tensor *two = &b->tensors[i];

		alike = bytes_equal(one->name, two->name) && one->rank == two->rank &&
			one->data.length == two->data.length &&
			memcmp(one->shape, two->shape, one->rank * sizeof(*one->shape)) == 0;
	}
	return alike;
}

static enum status
read_entries(struct input_set *set, const struct input_options *options, struct error *error)
{
	const struct input_target target = {.inputs = set->inputs,
					    .count = set->input_count,
					    .arena = &set->arena,
					    .entry = add_entry,
					    .context = set};

	if (options->file_count == 0) {
		return input_make(&target, options, &set->variation, error);
	}
	for (size_t i = 0; i < options->file_count; i++) {
		if (input_file_read(options->files[i], &target, error) != STATUS_OK) {
			return error_prefix(error, "--input-data %s: ", options->files[i]);
		}
	}
	if (set->entry_count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--input-data %s: it has no inputs",
				 options->files[0]);
	}
	return STATUS_OK;
}

struct input_set *
input_set_new(const struct model_config *model, const struct input_options *options, struct error *error)
{
	struct input_set *set = memory_new(sizeof(*set));

	arena_init(&set->arena, MEMORY_MAX);
	if (copy_inputs(set, model, options, error) != STATUS_OK || read_entries(set, options, error) != STATUS_OK) {
		input_set_free(set);
		return NULL;
	}
	set->is_uniform = true;
	for (size_t i = 1; i < set->entry_count; i++) {
		set->is_uniform = set->is_uniform && are_alike(&set->entries[0], &set->entries[i]);
	}
	return set;
}

void
input_set_free(struct input_set *set)
{
	if (set != NULL) {
		free(set->entries);
		arena_fini(&set->arena);
		free(set);
	}
}

const struct input_entry *
input_set_entry(const struct input_set *set, uint64_t number)
{
	return &set->entries[number % set->entry_count];
}

bool
input_set_is_uniform(const struct input_set *set)
{
	return set->is_uniform;
}

uint64_t
input_set_distinct(const struct input_set *set)
{
	return set->variation.length > 0 ? set->variation.distinct : set->entry_count;
}

size_t
input_set_varied(const struct input_set *set, size_t *length)
{
	*length = set->variation.length;
	return set->variation.tensor;
}

void
input_set_vary(const struct input_set *set, uint64_t number, uint8_t *bytes)
{
	memcpy(bytes, set->entries[0].tensors[set->variation.tensor].data.at, set->variation.length);
	input_variation_write(&set->variation, number, bytes);
}
