#include "measure/input_file.h"

#include "base/file.h"
#include "base/memory.h"
#include "wire/npy.h"
#include "wire/zip.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Reading --- */

static enum status
unreadable(struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "it cannot be read: %s", strerror(errno));
}

static enum status
read_all(int fd, size_t size, struct arena *arena, struct bytes *content, struct error *error)
{
	uint8_t *at = arena_room(arena, size + 1);
	size_t length = 0;

	if (at == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "there is no memory for its %zu bytes", size);
	}
	while (length < size) {
		ssize_t got = read(fd, at + length, size - length);

		if (got < 0) {
			return unreadable(error);
		}
		if (got == 0) {
			break;
		}
		length += (size_t)got;
	}
	*content = bytes_make(at, length);
	return STATUS_OK;
}

static enum status
read_file(const char *path, struct arena *arena, struct bytes *content, struct error *error)
{
	int fd = file_open_regular(path);
	struct stat state;
	enum status status;

	if (fd < 0) {
		return unreadable(error);
	}
	status =
		fstat(fd, &state) != 0 ? unreadable(error) : read_all(fd, (size_t)state.st_size, arena, content, error);
	(void)close(fd);
	return status;
}

static bool
ends_with(struct bytes name, const char *end)
{
	size_t length = strlen(end);

	return name.length >= length && memcmp(name.at + name.length - length, end, length) == 0;
}

/* --- Arrays --- */

/* Of an input: one inference's data, or with a further dimension in front, that of several inferences. */
static enum status
count_entries(const struct model_tensor *input, const struct tensor *array, size_t *count, struct error *error)
{
	size_t rank = input->dims.rank;
	size_t more = array->rank > rank ? 1 : 0;
	bool fits = array->datatype == input->datatype && array->rank == rank + more;
	char shape[256];

	for (size_t i = 0; fits && i < rank; i++) {
		fits = input->dims.dims[i] < 0 || input->dims.dims[i] == array->shape[i + more];
	}
	*count = !fits ? 0 : more == 0 ? 1 : (size_t)array->shape[0];
	if (fits) {
		return STATUS_OK;
	}
	shape_text(input->dims.dims, rank, shape, sizeof(shape));
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "its array for input '%.*s' is no %s of shape %s, nor a list of such", BYTES_ARGS(input->name),
			 datatype_name(input->datatype), shape);
}

/* Takes the next inference's data from the front of `rest`, what is left of the array's. */
static struct tensor
take_part(const struct model_tensor *input, const struct tensor *array, struct bytes *rest)
{
	struct tensor part = *array;

	if (array->rank > input->dims.rank) {
		part.rank--;
		part.shape++;
		part.data = bytes_make(rest->at, tensor_rows_length(array, *rest, 1));
		*rest = bytes_skip(*rest, part.data.length);
	}
	return part;
}

/* The number of inferences that the arrays have: one for each input, without a name where it is not there. */
static enum status
count_all(const struct input_target *target, const struct tensor *arrays, size_t *count, struct error *error)
{
	bool is_first = true;

	*count = 0;
	for (size_t i = 0; i < target->count; i++) {
		const struct model_tensor *input = &target->inputs[i];
		size_t own;

		if (arrays[i].name.length == 0 && input->optional) {
			continue;
		}
		if (arrays[i].name.length == 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT, "it has nothing for input '%.*s'",
					 BYTES_ARGS(input->name));
		}
		if (count_entries(input, &arrays[i], &own, error) != STATUS_OK) {
			return error->status;
		}
		if (!is_first && own != *count) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "it has %zu inferences for one input, but %zu for '%.*s'", *count, own,
					 BYTES_ARGS(input->name));
		}
		*count = own;
		is_first = false;
	}
	return STATUS_OK;
}

static enum status
add_arrays(const struct input_target *target, const struct tensor *arrays, struct error *error)
{
	struct tensor *tensors;
	struct bytes *rests;
	size_t count;

	if (count_all(target, arrays, &count, error) != STATUS_OK) {
		return error->status;
	}
	tensors = memory_array(target->count + 1, sizeof(*tensors));
	rests = memory_array(target->count + 1, sizeof(*rests));
	for (size_t i = 0; i < target->count; i++) {
		rests[i] = arrays[i].data;
	}
	for (size_t k = 0; k < count; k++) {
		for (size_t i = 0; i < target->count; i++) {
			tensors[i] = arrays[i].name.length == 0 ? (struct tensor){0}
								: take_part(&target->inputs[i], &arrays[i], &rests[i]);
		}
		target->entry(target->context, tensors);
	}
	free(tensors);
	free(rests);
	return STATUS_OK;
}

/* --- Kinds of files --- */

static enum status
take_array(const struct input_target *target, struct bytes name, struct bytes content, struct tensor *arrays,
	   struct error *error)
{
	ptrdiff_t index = model_tensor_index(target->inputs, target->count, name);

	if (index < 0) {
		return STATUS_OK; /* something else, such as labels */
	}
	if (npy_decode(content, target->arena, &arrays[index], error) != STATUS_OK) {
		return error_prefix(error, "'%.*s': ", BYTES_ARGS(name));
	}
	arrays[index].name = target->inputs[index].name;
	return STATUS_OK;
}

static enum status
read_npz(struct bytes archive, const struct input_target *target, struct tensor *arrays, struct error *error)
{
	struct zip_entry entry;
	size_t place = 0;
	enum status status = STATUS_OK;

	while (status == STATUS_OK && zip_next(archive, &place, &entry)) {
		struct bytes name = entry.name;
		struct bytes content;

		name.length -= ends_with(name, ".npy") ? strlen(".npy") : 0;
		status = zip_content(&entry, target->arena, &content, error);
		if (status == STATUS_OK) {
			status = take_array(target, name, content, arrays, error);
		}
	}
	return status == STATUS_OK ? add_arrays(target, arrays, error) : status;
}

static enum status
read_npy(struct bytes content, const struct input_target *target, struct tensor *arrays, struct error *error)
{
	if (target->count != 1) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "the model has %zu inputs: give a .npz file with an array for each", target->count);
	}
	if (take_array(target, target->inputs[0].name, content, arrays, error) != STATUS_OK) {
		return error->status;
	}
	return add_arrays(target, arrays, error);
}

/* A file with the input's name holds its raw data. */
static enum status
take_raw(const struct model_tensor *input, struct bytes content, struct tensor *array, struct error *error)
{
	size_t size = datatype_size(input->datatype);
	int64_t elements;
	int64_t found;

	*array = (struct tensor){.name = input->name,
				 .datatype = input->datatype,
				 .rank = input->dims.rank,
				 .shape = input->dims.dims,
				 .data = content};
	if (!shape_elements(array->shape, array->rank, &elements)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "input '%.*s' has a dimension of any size: give --shape %.*s:DIM,DIM",
				 BYTES_ARGS(input->name), BYTES_ARGS(input->name));
	}
	if (size == 0 ? !tensor_strings_valid(content, elements, &found) : content.length != size * (size_t)elements) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "'%.*s' in it does not have the bytes of its shape",
				 BYTES_ARGS(input->name));
	}
	return STATUS_OK;
}

static enum status
read_folder(const char *path, const struct input_target *target, struct tensor *arrays, struct error *error)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < target->count && status == STATUS_OK; i++) {
		const struct model_tensor *input = &target->inputs[i];
		char *raw = memory_format("%s/%.*s", path, BYTES_ARGS(input->name));
		char *npy = memory_format("%s.npy", raw);
		struct bytes content;

		if (access(npy, R_OK) == 0) {
			status = read_file(npy, target->arena, &content, error);
			if (status == STATUS_OK) {
				status = take_array(target, input->name, content, arrays, error);
			}
		} else if (access(raw, R_OK) == 0) {
			status = read_file(raw, target->arena, &content, error);
			if (status == STATUS_OK) {
				status = take_raw(input, content, &arrays[i], error);
			}
		}
		free(raw);
		free(npy);
	}
	return status == STATUS_OK ? add_arrays(target, arrays, error) : status;
}

static enum status
read_any(const char *path, const struct input_target *target, struct tensor *arrays, struct error *error)
{
	struct bytes name = bytes_text(path);
	struct bytes content;
	struct stat state;

	if (stat(path, &state) == 0 && S_ISDIR(state.st_mode)) {
		return read_folder(path, target, arrays, error);
	}
	if (read_file(path, target->arena, &content, error) != STATUS_OK) {
		return error->status;
	}
	if (ends_with(name, ".npz")) {
		return read_npz(content, target, arrays, error);
	}
	if (ends_with(name, ".npy")) {
		return read_npy(content, target, arrays, error);
	}
	return input_data_decode(content, target->inputs, target->count, target->arena, target->entry, target->context,
				 error);
}

enum status
input_file_read(const char *path, const struct input_target *target, struct error *error)
{
	struct tensor *arrays = memory_array(target->count + 1, sizeof(*arrays));
	enum status status = read_any(path, target, arrays, error);

	free(arrays);
	return status;
}
