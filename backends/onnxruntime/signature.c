#include "backends/onnxruntime/session.h"

#include "base/memory.h"

#include <stdlib.h>

typedef OrtStatus *(ORT_API_CALL *get_name_fn)(const OrtSession *, size_t, OrtAllocator *, char **);
typedef OrtStatus *(ORT_API_CALL *get_type_fn)(const OrtSession *, size_t, OrtTypeInfo **);

static enum status
read_type(struct backend_model *model, const OrtTypeInfo *info, bool is_output, struct backend_tensor *tensor,
	  struct error *error)
{
	const OrtApi *api = model->runtime->api;
	const OrtTensorTypeAndShapeInfo *shape = NULL;
	ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
	OrtStatus *failed = api->CastTypeInfoToTensorInfo(info, &shape);

	if (failed == NULL && shape == NULL && is_output) {
		tensor->is_other = true;
		return STATUS_OK;
	}
	if (failed == NULL && shape == NULL) {
		return error_set(error, STATUS_UNSUPPORTED, "'%.*s' is not a tensor; only tensors are supported",
				 BYTES_ARGS(tensor->name));
	}
	if (failed == NULL) {
		failed = api->GetTensorElementType(shape, &type);
	}
	if (failed == NULL) {
		failed = api->GetDimensionsCount(shape, &tensor->rank);
	}
	if (failed == NULL && tensor->rank > TENSOR_RANK_MAX) {
		return error_set(error, STATUS_UNSUPPORTED, "'%.*s' has %zu dimensions, the maximum is %d",
				 BYTES_ARGS(tensor->name), tensor->rank, TENSOR_RANK_MAX);
	}
	if (failed == NULL) {
		failed = api->GetDimensions(shape, tensor->shape, tensor->rank);
	}
	tensor->datatype = onnxruntime_datatype(type);
	if (failed == NULL && tensor->datatype == DATATYPE_INVALID) {
		return error_set(error, STATUS_UNSUPPORTED, "'%.*s' has ONNX element type %d, which is not supported",
				 BYTES_ARGS(tensor->name), (int)type);
	}
	return onnxruntime_check(model->runtime, failed, error);
}

static enum status
read_tensor(struct backend_model *model, size_t index, get_name_fn get_name, get_type_fn get_type, bool is_output,
	    struct backend_tensor *tensor, struct error *error)
{
	const OrtApi *api = model->runtime->api;
	OrtTypeInfo *info = NULL;
	char *name = NULL;
	enum status status;

	status = onnxruntime_check(model->runtime, get_name(model->session, index, model->runtime->allocator, &name),
				   error);
	if (status != STATUS_OK) {
		return status;
	}
	tensor->name = bytes_text(memory_text(name));
	(void)onnxruntime_check(model->runtime, api->AllocatorFree(model->runtime->allocator, name), error);
	status = onnxruntime_check(model->runtime, get_type(model->session, index, &info), error);
	if (status == STATUS_OK) {
		status = read_type(model, info, is_output, tensor, error);
		api->ReleaseTypeInfo(info);
	}
	return status;
}

enum status
session_describe(struct backend_model *model, struct error *error)
{
	const OrtApi *api = model->runtime->api;
	struct backend_signature *signature = &model->signature;
	size_t required = 0;
	size_t optional = 0;
	size_t outputs = 0;
	OrtStatus *failed = api->SessionGetInputCount(model->session, &required);
	enum status status;

	if (failed == NULL) {
		failed = api->SessionGetOverridableInitializerCount(model->session, &optional);
	}
	if (failed == NULL) {
		failed = api->SessionGetOutputCount(model->session, &outputs);
	}
	status = onnxruntime_check(model->runtime, failed, error);
	signature->inputs = memory_array(required + optional, sizeof(*signature->inputs));
	signature->outputs = memory_array(outputs, sizeof(*signature->outputs));
	for (size_t i = 0; i < required && status == STATUS_OK; i++) {
		status = read_tensor(model, i, api->SessionGetInputName, api->SessionGetInputTypeInfo, false,
				     &signature->inputs[signature->input_count++], error);
	}
	for (size_t i = 0; i < optional && status == STATUS_OK; i++) {
		signature->inputs[signature->input_count].optional = true;
		status = read_tensor(model, i, api->SessionGetOverridableInitializerName,
				     api->SessionGetOverridableInitializerTypeInfo, false,
				     &signature->inputs[signature->input_count++], error);
	}
	for (size_t i = 0; i < outputs && status == STATUS_OK; i++) {
		status = read_tensor(model, i, api->SessionGetOutputName, api->SessionGetOutputTypeInfo, true,
				     &signature->outputs[signature->output_count++], error);
	}
	return status;
}

static void
free_tensors(struct backend_tensor *tensors, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free((void *)(uintptr_t)tensors[i].name.at);
	}
	free(tensors);
}

void
session_forget(struct backend_model *model)
{
	free_tensors(model->signature.inputs, model->signature.input_count);
	free_tensors(model->signature.outputs, model->signature.output_count);
}
