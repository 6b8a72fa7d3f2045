#include "inference/models/classification.h"

#include "base/memory.h"
#include "inference/models/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ELEMENTS_MAX 1000000
#define LABEL_FILE_MAX ((size_t)64 << 20)

static void
split_lines(struct labels *labels)
{
	size_t capacity = 0;
	char *rest = labels->text;
	char *line;

	while ((line = strsep(&rest, "\n")) != NULL) {
		if (rest == NULL && *line == '\0') {
			break; /* after the last newline */
		}
		if (labels->count == capacity) {
			capacity = capacity == 0 ? 64 : capacity * 2;
			labels->lines = memory_grow(labels->lines, capacity, sizeof(*labels->lines));
		}
		labels->lines[labels->count++] = bytes_make(line, strcspn(line, "\r"));
	}
}

enum status
labels_read(const char *folder, struct bytes name, struct labels **labels, struct error *error)
{
	char *path;
	FILE *file;
	size_t length;

	if (!folder_path_is_inside(name)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "label_filename '%.*s' must lie in the model's folder",
				 BYTES_ARGS(name));
	}
	path = memory_format("%s/%.*s", folder, BYTES_ARGS(name));
	file = file_open(path);
	if (file == NULL) {
		const char *reason = errno == EINVAL ? "it is no regular file" : strerror(errno);
		char *hint = folder_hint(path);

		(void)error_set(error, STATUS_INVALID_ARGUMENT, "cannot read label file '%s': %s%s", path, reason,
				hint);
		free(hint);
		free(path);
		return error->status;
	}
	free(path);
	*labels = memory_new(sizeof(**labels));
	(*labels)->text = memory_new(LABEL_FILE_MAX + 1);
	length = fread((*labels)->text, 1, LABEL_FILE_MAX, file);
	(void)fclose(file);
	(*labels)->text = memory_grow((*labels)->text, length + 1, 1);
	(*labels)->text[length] = '\0';
	split_lines(*labels);
	return STATUS_OK;
}

void
labels_free(struct labels *labels)
{
	if (labels != NULL) {
		free(labels->lines);
		free(labels->text);
		free(labels);
	}
}

struct candidate {
	double value;
	int64_t integer; /* exact, where the datatype is an integer */
	uint32_t index;
};

static bool
is_real(enum datatype datatype)
{
	return datatype == DATATYPE_FP32 || datatype == DATATYPE_FP64;
}

static struct candidate
load(const struct tensor *tensor, size_t index)
{
	const uint8_t *at = tensor->data.at + index * datatype_size(tensor->datatype);
	struct candidate candidate = {0};
	float single;

	switch (tensor->datatype) {
	case DATATYPE_FP32:
		memcpy(&single, at, sizeof(single));
		candidate.value = (double)single;
		return candidate;
	case DATATYPE_FP64:
		memcpy(&candidate.value, at, sizeof(candidate.value));
		return candidate;
	case DATATYPE_INT8:
		candidate.integer = (int8_t)*at;
		break;
	case DATATYPE_INT16: {
		int16_t value;

		memcpy(&value, at, sizeof(value));
		candidate.integer = value;
		break;
	}
	case DATATYPE_INT32: {
		int32_t value;

		memcpy(&value, at, sizeof(value));
		candidate.integer = value;
		break;
	}
	default:
		memcpy(&candidate.integer, at, datatype_size(tensor->datatype));
		break;
	}
	candidate.value =
		tensor->datatype == DATATYPE_UINT64 ? (double)(uint64_t)candidate.integer : (double)candidate.integer;
	return candidate;
}

/* Largest first; NaN last; equal values by index. */
static int
compare(const void *left, const void *right)
{
	const struct candidate *a = left;
	const struct candidate *b = right;
	bool a_number = a->value == a->value;
	bool b_number = b->value == b->value;

	if (a_number != b_number) {
		return a_number ? -1 : 1;
	}
	if (a_number && a->value != b->value) {
		return a->value > b->value ? -1 : 1;
	}
	return (a->index > b->index) - (a->index < b->index);
}

static bool
append_text(const struct tensor *output, const struct candidate *candidate, const struct labels *labels,
	    struct arena *arena, struct bytes *out)
{
	struct bytes label = labels != NULL && candidate->index < labels->count ? labels->lines[candidate->index]
										: bytes_make(NULL, 0);
	char number[400]; /* %f of the largest double has 316 characters */
	uint8_t *text;
	uint32_t length;

	if (is_real(output->datatype)) {
		(void)snprintf(number, sizeof(number), "%f:%u", candidate->value, candidate->index);
	} else if (output->datatype == DATATYPE_UINT64) {
		(void)snprintf(number, sizeof(number), "%llu:%u", (unsigned long long)candidate->integer,
			       candidate->index);
	} else {
		(void)snprintf(number, sizeof(number), "%lld:%u", (long long)candidate->integer, candidate->index);
	}
	length = (uint32_t)(strlen(number) + (label.length > 0 ? 1 + label.length : 0));
	text = arena_get(arena, sizeof(length) + length);
	if (text == NULL) {
		return false;
	}
	*out = bytes_make(text, sizeof(length) + length);
	memcpy(text, &length, sizeof(length));
	memcpy(text + sizeof(length), number, strlen(number));
	if (label.length > 0) {
		text[sizeof(length) + strlen(number)] = ':';
		memcpy(text + sizeof(length) + strlen(number) + 1, label.at, label.length);
	}
	return true;
}

static bool
join(struct arena *arena, const struct bytes *texts, size_t count, struct bytes *joined)
{
	size_t total = 0;
	uint8_t *at;

	for (size_t i = 0; i < count; i++) {
		total += texts[i].length;
	}
	at = arena_get(arena, total);
	if (at == NULL) {
		return false;
	}
	*joined = bytes_make(at, total);
	for (size_t i = 0; i < count; i++) {
		memcpy(at, texts[i].at, texts[i].length);
		at += texts[i].length;
	}
	return true;
}

enum status
classify(const struct tensor *output, bool batches, uint32_t classes, const struct labels *labels, struct arena *arena,
	 struct tensor *result, struct error *error)
{
	size_t element = datatype_size(output->datatype);
	size_t elements = element == 0 ? 0 : output->data.length / element;
	size_t rows = batches && output->rank > 0 ? (size_t)output->shape[0] : 1;
	size_t row = rows == 0 ? 0 : elements / rows;
	size_t kept = classes < row ? classes : row;
	struct candidate *candidates;
	struct bytes *texts;
	int64_t *shape;

	if (element == 0 || output->datatype == DATATYPE_FP16 || output->datatype == DATATYPE_BF16 ||
	    output->datatype == DATATYPE_BOOL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "class result not available for output due to unsupported type '%s'",
				 datatype_name(output->datatype));
	}
	if (elements > ELEMENTS_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "classification output tensor too large");
	}
	candidates = arena_array(arena, row, sizeof(*candidates));
	texts = arena_array(arena, rows * kept, sizeof(*texts));
	shape = arena_array(arena, 2, sizeof(*shape));
	if (candidates == NULL || texts == NULL || shape == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory to classify the output");
	}
	for (size_t r = 0; r < rows; r++) {
		for (size_t i = 0; i < row; i++) {
			candidates[i] = load(output, r * row + i);
			candidates[i].index = (uint32_t)i;
		}
		qsort(candidates, row, sizeof(*candidates), compare);
		for (size_t i = 0; i < kept; i++) {
			if (!append_text(output, &candidates[i], labels, arena, &texts[r * kept + i])) {
				return error_set(error, STATUS_UNAVAILABLE, "no memory to classify the output");
			}
		}
	}
	*result = *output;
	result->datatype = DATATYPE_BYTES;
	result->shape = shape;
	result->rank = 0;
	if (batches) {
		shape[result->rank++] = (int64_t)rows;
	}
	shape[result->rank++] = (int64_t)kept;
	return join(arena, texts, rows * kept, &result->data)
		       ? STATUS_OK
		       : error_set(error, STATUS_UNAVAILABLE, "no memory to classify the output");
}
