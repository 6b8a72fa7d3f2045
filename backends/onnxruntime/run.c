#include "backends/onnxruntime/session.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>

/* The arguments and results of one run of ONNX Runtime. */
struct call {
	struct backend_model *model;
	struct backend_run *run;
	const char **input_names;
	OrtValue **inputs;
	const char **output_names;
	OrtValue **outputs;
	struct backend_output *shapes;
	uint8_t **data;
	size_t output_count;
};

static const OrtApi *
api_of(const struct call *call)
{
	return call->model->runtime->api;
}

static enum status
check(const struct call *call, OrtStatus *failed, struct error *error)
{
	return onnxruntime_check(call->model->runtime, failed, error);
}

static void
call_init(struct call *call, struct backend_model *model, struct backend_run *run)
{
	size_t outputs = run->config->output_count;

	*call = (struct call){.model = model, .run = run, .output_count = outputs};
	call->input_names = memory_array(run->input_count, sizeof(*call->input_names));
	call->inputs = memory_array(run->input_count, sizeof(*call->inputs));
	call->output_names = memory_array(outputs, sizeof(*call->output_names));
	call->outputs = memory_array(outputs, sizeof(*call->outputs));
	call->shapes = memory_array(outputs, sizeof(*call->shapes));
	call->data = memory_array(outputs, sizeof(*call->data));
	for (size_t i = 0; i < outputs; i++) {
		call->output_names[i] = (const char *)run->config->outputs[i].name.at; /* ends with a NUL */
	}
}

static void
release_values(const struct call *call, OrtValue **values, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		api_of(call)->ReleaseValue(values[i]);
		values[i] = NULL;
	}
}

static void
call_fini(struct call *call)
{
	release_values(call, call->inputs, call->run->input_count);
	release_values(call, call->outputs, call->output_count);
	free(call->input_names);
	free(call->inputs);
	free(call->output_names);
	free(call->outputs);
	free(call->shapes);
	free(call->data);
}

/* Strings may contain NUL bytes, where FillStringTensor would end them; the element buffers take any bytes. */
static enum status
make_strings(const struct call *call, const struct tensor *tensor, OrtValue **value, struct error *error)
{
	struct bytes rest = tensor->data;
	enum status status =
		check(call,
		      api_of(call)->CreateTensorAsOrtValue(call->model->runtime->allocator, tensor->shape, tensor->rank,
							   ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, value),
		      error);

	for (size_t i = 0; rest.length > 0 && status == STATUS_OK; i++) {
		struct bytes element = tensor_next_string(&rest);
		char *buffer = NULL;

		status = check(call,
			       api_of(call)->GetResizedStringTensorElementBuffer(*value, i, element.length, &buffer),
			       error);
		if (status == STATUS_OK && element.length > 0) {
			memcpy(buffer, element.at, element.length);
		}
	}
	return status;
}

static enum status
make_input(const struct call *call, const struct tensor *tensor, OrtValue **value, struct error *error)
{
	if (tensor->datatype == DATATYPE_BYTES) {
		return make_strings(call, tensor, value, error);
	}
	return check(call,
		     api_of(call)->CreateTensorWithDataAsOrtValue(
			     call->model->runtime->memory, (void *)(uintptr_t)tensor->data.at, tensor->data.length,
			     tensor->shape, tensor->rank, onnxruntime_type(tensor->datatype), value),
		     error);
}

static enum status
make_inputs(struct call *call, struct error *error)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < call->run->input_count && status == STATUS_OK; i++) {
		call->input_names[i] = (const char *)call->run->inputs[i].name.at; /* the config's, ends with a NUL */
		status = make_input(call, &call->run->inputs[i], &call->inputs[i], error);
	}
	return status;
}

static const struct backend_tensor *
find_output(const struct backend_model *model, struct bytes name)
{
	for (size_t i = 0; i < model->signature.output_count; i++) {
		if (bytes_equal(model->signature.outputs[i].name, name)) {
			return &model->signature.outputs[i];
		}
	}
	return NULL;
}

/*
 * A graph may pass an input on as an output. ONNX Runtime then returns the input itself and leaves preallocated memory
 * as it was, without an error.
 */
static bool
is_input(const struct backend_model *model, struct bytes name)
{
	for (size_t i = 0; i < model->signature.input_count; i++) {
		if (bytes_equal(model->signature.inputs[i].name, name)) {
			return true;
		}
	}
	return false;
}

/* Finds the size before the run, if all dimensions are fixed but the first one of a model that batches. */
static bool
predict_output(const struct call *call, size_t index)
{
	const struct backend_tensor *tensor = find_output(call->model, call->run->config->outputs[index].name);
	struct backend_output *output = &call->shapes[index];
	int64_t elements;

	if (tensor == NULL || tensor->datatype == DATATYPE_BYTES || is_input(call->model, tensor->name)) {
		return false;
	}
	output->datatype = tensor->datatype;
	output->rank = tensor->rank;
	memcpy(output->shape, tensor->shape, tensor->rank * sizeof(*tensor->shape));
	if (call->run->batch > 0 && tensor->rank > 0 && tensor->shape[0] == -1) {
		output->shape[0] = call->run->batch;
	}
	if (!shape_elements(output->shape, output->rank, &elements)) {
		return false;
	}
	output->length = (size_t)elements * datatype_size(output->datatype);
	return true;
}

static enum status
run_model(struct call *call, struct error *error)
{
	call->run->infer_start_ns = clock_now_ns();
	enum status status = check(call,
				   api_of(call)->Run(call->model->session, call->model->run_options, call->input_names,
						     (const OrtValue *const *)call->inputs, call->run->input_count,
						     call->output_names, call->output_count, call->outputs),
				   error);
	call->run->infer_end_ns = clock_now_ns();
	return status;
}

/* Lets the model write the results straight into their final place. */
static enum status
run_in_place(struct call *call, struct error *error)
{
	enum status status = call->run->allocate(call->run, call->shapes, call->data, error);

	for (size_t i = 0; i < call->output_count && status == STATUS_OK; i++) {
		const struct backend_output *output = &call->shapes[i];

		status = check(call,
			       api_of(call)->CreateTensorWithDataAsOrtValue(
				       call->model->runtime->memory, call->data[i], output->length, output->shape,
				       output->rank, onnxruntime_type(output->datatype), &call->outputs[i]),
			       error);
	}
	return status == STATUS_OK ? run_model(call, error) : status;
}

static enum status
measure_output(const struct call *call, size_t index, struct error *error)
{
	const OrtApi *api = api_of(call);
	struct backend_output *output = &call->shapes[index];
	OrtTensorTypeAndShapeInfo *info = NULL;
	ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
	size_t elements = 0;
	size_t content = 0;
	OrtStatus *failed = api->GetTensorTypeAndShape(call->outputs[index], &info);

	if (failed == NULL) {
		failed = api->GetTensorElementType(info, &type);
	}
	if (failed == NULL) {
		failed = api->GetDimensionsCount(info, &output->rank);
	}
	if (failed == NULL && output->rank > TENSOR_RANK_MAX) {
		api->ReleaseTensorTypeAndShapeInfo(info);
		return error_set(error, STATUS_UNSUPPORTED, "output '%s' has %zu dimensions, the maximum is %d",
				 call->output_names[index], output->rank, TENSOR_RANK_MAX);
	}
	if (failed == NULL) {
		failed = api->GetDimensions(info, output->shape, output->rank);
	}
	if (failed == NULL) {
		failed = api->GetTensorShapeElementCount(info, &elements);
	}
	if (failed == NULL && type == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) {
		failed = api->GetStringTensorDataLength(call->outputs[index], &content);
	}
	api->ReleaseTensorTypeAndShapeInfo(info);
	output->datatype = onnxruntime_datatype(type);
	output->length = output->datatype == DATATYPE_BYTES ? content + elements * sizeof(uint32_t)
							    : elements * datatype_size(output->datatype);
	return check(call, failed, error);
}

/* Frames each element with its length: the protocol's form of BYTES. */
static enum status
copy_strings(const struct call *call, size_t index, struct error *error)
{
	uint8_t *to = call->data[index];
	size_t total = call->shapes[index].length;
	size_t count = 1;
	size_t content;
	size_t *offsets;
	uint8_t *text;
	enum status status;

	for (size_t i = 0; i < call->shapes[index].rank; i++) {
		count *= (size_t)call->shapes[index].shape[i];
	}
	content = total - count * sizeof(uint32_t);
	if (count == 0) {
		return STATUS_OK;
	}
	offsets = memory_array(count, sizeof(*offsets));
	text = malloc(content + 1);
	status = text == NULL ? error_set(error, STATUS_UNAVAILABLE, "no memory for the response")
			      : check(call,
				      api_of(call)->GetStringTensorContent(call->outputs[index], text, content, offsets,
									   count),
				      error);
	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		size_t end = i + 1 < count ? offsets[i + 1] : content;
		uint32_t length = (uint32_t)(end - offsets[i]);

		memcpy(to, &length, sizeof(length));
		memcpy(to + sizeof(length), text + offsets[i], length);
		to += sizeof(length) + length;
	}
	free(offsets);
	free(text);
	return status;
}

static enum status
copy_output(const struct call *call, size_t index, struct error *error)
{
	void *from = NULL;
	enum status status;

	if (call->shapes[index].datatype == DATATYPE_BYTES) {
		return copy_strings(call, index, error);
	}
	status = check(call, api_of(call)->GetTensorMutableData(call->outputs[index], &from), error);
	if (status == STATUS_OK && from != NULL && call->shapes[index].length > 0) {
		memcpy(call->data[index], from, call->shapes[index].length);
	}
	return status;
}

/* Lets ONNX Runtime allocate the outputs, whose sizes only the run tells, and copies them. */
static enum status
run_and_copy(struct call *call, struct error *error)
{
	enum status status = run_model(call, error);

	for (size_t i = 0; i < call->output_count && status == STATUS_OK; i++) {
		status = measure_output(call, i, error);
	}
	if (status == STATUS_OK) {
		status = call->run->allocate(call->run, call->shapes, call->data, error);
	}
	for (size_t i = 0; i < call->output_count && status == STATUS_OK; i++) {
		status = copy_output(call, i, error);
	}
	return status;
}

/*
 * A run may fail because of its preallocated memory. If the same run succeeds without it, the graph does not keep the
 * shapes that it declares.
 */
static enum status
run_again(struct call *call, struct error *error)
{
	enum status status;

	release_values(call, call->outputs, call->output_count);
	status = run_and_copy(call, error);
	if (status == STATUS_OK) {
		atomic_store(&call->model->shapes_unreliable, true);
	}
	return status;
}

enum status
session_run(struct backend_model *model, struct backend_run *run, struct error *error)
{
	bool in_place = !atomic_load(&model->shapes_unreliable);
	struct call call;
	enum status status;

	call_init(&call, model, run);
	for (size_t i = 0; i < call.output_count && in_place; i++) {
		in_place = predict_output(&call, i);
	}
	status = make_inputs(&call, error);
	if (status == STATUS_OK && in_place) {
		status = run_in_place(&call, error);
		if (status != STATUS_OK) {
			status = run_again(&call, error);
		}
	} else if (status == STATUS_OK) {
		status = run_and_copy(&call, error);
	}
	call_fini(&call);
	return status;
}
