#include "wire/input_data.h"

#include "wire/tensor_json.h"

struct reading {
	const struct model_tensor *inputs;
	size_t count;
	struct arena *arena;
	input_data_fn entry;
	void *context;
	size_t number; /* entries so far */
	struct error *error;
};

static enum status
no_memory(const struct reading *reading)
{
	return error_set(reading->error, STATUS_UNAVAILABLE, "no memory for the inputs");
}

static enum status
read_shape(const struct reading *reading, yyjson_val *shape, struct tensor *tensor)
{
	size_t rank = yyjson_arr_size(shape);
	int64_t *dims = arena_array(reading->arena, rank + 1, sizeof(*dims));

	if (!yyjson_is_arr(shape) || rank > TENSOR_RANK_MAX) {
		return error_set(reading->error, STATUS_INVALID_ARGUMENT, "'shape' is no list of dimensions");
	}
	if (dims == NULL) {
		return no_memory(reading);
	}
	for (size_t i = 0; i < rank; i++) {
		yyjson_val *dim = yyjson_arr_get(shape, i);

		dims[i] = yyjson_get_sint(dim);
		if (!yyjson_is_int(dim) || dims[i] < 0) {
			return error_set(reading->error, STATUS_INVALID_ARGUMENT, "a dimension of 'shape' is no size");
		}
	}
	tensor->rank = rank;
	tensor->shape = dims;
	return STATUS_OK;
}

static enum status
read_base64(const struct reading *reading, yyjson_val *text, struct tensor *tensor)
{
	size_t size = datatype_size(tensor->datatype);
	int64_t elements;
	int64_t found;
	bool is_whole;

	if (!yyjson_is_str(text) || !json_base64(json_bytes(text), reading->arena, &tensor->data)) {
		return error_set(reading->error, STATUS_INVALID_ARGUMENT, "'b64' is no base64");
	}
	is_whole = shape_elements(tensor->shape, tensor->rank, &elements) &&
		   (size == 0 ? tensor_strings_valid(tensor->data, elements, &found)
			      : tensor->data.length / size == (size_t)elements && tensor->data.length % size == 0);
	return is_whole ? STATUS_OK
			: error_set(reading->error, STATUS_INVALID_ARGUMENT,
				    "'b64' does not have the bytes of its shape");
}

static enum status
read_content(const struct reading *reading, yyjson_val *content, struct tensor *tensor)
{
	struct tensor_decoder decoder = {.arena = reading->arena, .error = reading->error};
	enum status status;

	for (size_t i = 0; i < tensor->rank; i++) {
		if (tensor->shape[i] < 0) {
			return error_set(reading->error, STATUS_INVALID_ARGUMENT,
					 "its shape has a dimension of any size: give a \"shape\", or --shape");
		}
	}
	if (yyjson_is_obj(content)) {
		return read_base64(reading, yyjson_obj_get(content, "b64"), tensor);
	}
	status = tensor_decode_data(&decoder, content, tensor);
	if (status == STATUS_OK && decoder.wraps) {
		return error_set(reading->error, STATUS_INVALID_ARGUMENT, "a number does not fit into its datatype");
	}
	return status;
}

static enum status
read_tensor(const struct reading *reading, yyjson_val *value, const struct model_tensor *input, struct tensor *tensor)
{
	yyjson_val *content = yyjson_obj_get(value, "content");
	yyjson_val *shape = yyjson_obj_get(value, "shape");
	enum status status = STATUS_OK;

	*tensor = (struct tensor){
		.name = input->name, .datatype = input->datatype, .rank = input->dims.rank, .shape = input->dims.dims};
	if (shape != NULL) {
		status = read_shape(reading, shape, tensor);
	}
	if (status == STATUS_OK) {
		status = read_content(reading, content == NULL ? value : content, tensor);
	}
	if (status != STATUS_OK) {
		return error_prefix(reading->error, "input '%.*s' of entry %zu: ", BYTES_ARGS(input->name),
				    reading->number);
	}
	return STATUS_OK;
}

/* perf_analyzer also takes expected outputs and times: they are no inputs. */
static enum status
read_entry(struct reading *reading, yyjson_val *entry)
{
	struct tensor *tensors = arena_array(reading->arena, reading->count + 1, sizeof(*tensors));

	if (tensors == NULL) {
		return no_memory(reading);
	}
	for (size_t i = 0; i < reading->count; i++) {
		const struct model_tensor *input = &reading->inputs[i];
		yyjson_val *value = yyjson_obj_getn(entry, (const char *)input->name.at, input->name.length);

		if (value != NULL && read_tensor(reading, value, input, &tensors[i]) != STATUS_OK) {
			return reading->error->status;
		}
		if (value == NULL && !input->optional) {
			return error_set(reading->error, STATUS_INVALID_ARGUMENT, "entry %zu has no input '%.*s'",
					 reading->number, BYTES_ARGS(input->name));
		}
	}
	reading->number++;
	reading->entry(reading->context, tensors);
	return STATUS_OK;
}

static enum status
read_list(struct reading *reading, yyjson_val *list, bool is_nested)
{
	yyjson_arr_iter items = yyjson_arr_iter_with(list);
	enum status status = STATUS_OK;
	yyjson_val *item;

	while (status == STATUS_OK && (item = yyjson_arr_iter_next(&items)) != NULL) {
		if (yyjson_is_arr(item) && !is_nested) {
			status = read_list(reading, item, true);
		} else {
			status = read_entry(reading, item);
		}
	}
	return status;
}

enum status
input_data_decode(struct bytes json, const struct model_tensor *inputs, size_t count, struct arena *arena,
		  input_data_fn entry, void *context, struct error *error)
{
	struct reading reading = {
		.inputs = inputs, .count = count, .arena = arena, .entry = entry, .context = context, .error = error};
	yyjson_doc *document = json_read(json, error);
	yyjson_val *list;
	enum status status;

	if (document == NULL) {
		return error_prefix(error, "it is no JSON in perf_analyzer's form: ");
	}
	status = json_get_array(yyjson_doc_get_root(document), "data", &list, error);
	if (status != STATUS_OK && yyjson_obj_get(yyjson_doc_get_root(document), "inputs") != NULL) {
		status = error_set(
			error, STATUS_INVALID_ARGUMENT,
			"it is the body of a request; a file of inputs has {\"data\": [{\"NAME\": [...]}, ...]}, "
			"with the tensors of one inference in each pair of braces");
	}
	if (status == STATUS_OK) {
		status = read_list(&reading, list, false);
	}
	yyjson_doc_free(document);
	return status;
}
