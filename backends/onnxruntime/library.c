#include "backends/onnxruntime/library.h"

#include "base/log.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define LIBRARY_NAME "libonnxruntime.so.1"

static struct onnxruntime runtime;
static struct error load_error;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct {
	enum datatype datatype;
	ONNXTensorElementDataType type;
} types[] = {
	{DATATYPE_BOOL, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL},
	{DATATYPE_UINT8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
	{DATATYPE_UINT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16},
	{DATATYPE_UINT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32},
	{DATATYPE_UINT64, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64},
	{DATATYPE_INT8, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
	{DATATYPE_INT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16},
	{DATATYPE_INT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
	{DATATYPE_INT64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
	{DATATYPE_FP16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
	{DATATYPE_FP32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
	{DATATYPE_FP64, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE},
	{DATATYPE_BYTES, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING},
	{DATATYPE_BF16, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16},
};

ONNXTensorElementDataType
onnxruntime_type(enum datatype datatype)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (types[i].datatype == datatype) {
			return types[i].type;
		}
	}
	return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

enum datatype
onnxruntime_datatype(ONNXTensorElementDataType type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (types[i].type == type) {
			return types[i].datatype;
		}
	}
	return DATATYPE_INVALID;
}

enum status
onnxruntime_check(const struct onnxruntime *from, OrtStatus *failed, struct error *error)
{
	if (failed == NULL) {
		return STATUS_OK;
	}
	(void)error_set(error, STATUS_INTERNAL, "onnx runtime error %d: %s", (int)from->api->GetErrorCode(failed),
			from->api->GetErrorMessage(failed));
	from->api->ReleaseStatus(failed);
	return error->status;
}

static void ORT_API_CALL
forward_log(void *context, OrtLoggingLevel severity, const char *category, const char *id, const char *location,
	    const char *message)
{
	enum log_level level = severity >= ORT_LOGGING_LEVEL_ERROR     ? LOG_ERROR
			       : severity == ORT_LOGGING_LEVEL_WARNING ? LOG_WARNING
								       : LOG_VERBOSE;

	(void)context;
	(void)category;
	(void)id;
	log_at(level, "onnxruntime: %s (%s)", message, location);
}

/*
 * Opens the library beside the installed program, in the source tree's .deps, or where the system's loader finds it.
 * The run path alone would not do: AddressSanitizer replaces dlopen and ignores the program's run path.
 */
static void *
open_library(void)
{
	static const char *const places[] = {"../lib/hippocamp/", "../../.deps/prefix/lib/"};
	char program[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program));
	void *library = NULL;

	while (length > 0 && program[length - 1] != '/') {
		length--;
	}
	for (size_t i = 0; i < sizeof(places) / sizeof(*places) && length > 0 && library == NULL; i++) {
		char path[PATH_MAX + 64];

		(void)snprintf(path, sizeof(path), "%.*s%s" LIBRARY_NAME, (int)length, program, places[i]);
		if (access(path, R_OK) == 0) {
			library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		}
	}
	return library != NULL ? library : dlopen(LIBRARY_NAME, RTLD_NOW | RTLD_LOCAL);
}

static void
load(void)
{
	void *library = open_library();
	const OrtApiBase *(*get_base)(void) = NULL;
	const OrtApiBase *base;
	OrtStatus *failed;

	if (library != NULL) {
		*(void **)&get_base = dlsym(library, "OrtGetApiBase");
	}
	if (get_base == NULL) {
		(void)error_set(&load_error, STATUS_UNAVAILABLE,
				"cannot load ONNX Runtime: %s. It belongs into lib/hippocamp beside bin/, or on "
				"LD_LIBRARY_PATH",
				dlerror());
		return;
	}
	base = get_base();
	runtime.version = base->GetVersionString();
	runtime.api = base->GetApi(ORT_API_VERSION);
	if (runtime.api == NULL) {
		(void)error_set(&load_error, STATUS_UNAVAILABLE,
				"ONNX Runtime %s is too old: version 1.%d or newer is needed", runtime.version,
				ORT_API_VERSION);
		return;
	}
	failed = runtime.api->CreateEnvWithCustomLogger(forward_log, NULL, ORT_LOGGING_LEVEL_ERROR, "hippocamp",
							&runtime.environment);
	if (failed == NULL) {
		failed = runtime.api->DisableTelemetryEvents(runtime.environment);
	}
	if (failed == NULL) {
		failed = runtime.api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &runtime.memory);
	}
	if (failed == NULL) {
		failed = runtime.api->GetAllocatorWithDefaultOptions(&runtime.allocator);
	}
	(void)onnxruntime_check(&runtime, failed, &load_error);
}

const struct onnxruntime *
onnxruntime_get(struct error *error)
{
	(void)pthread_once(&once, load);
	if (load_error.status != STATUS_OK) {
		*error = load_error;
		return NULL;
	}
	return &runtime;
}
