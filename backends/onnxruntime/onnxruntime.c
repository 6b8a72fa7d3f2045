#include "backends/onnxruntime/onnxruntime.h"

#include "backends/onnxruntime/session.h"
#include "backends/onnxruntime/weights.h"
#include "base/memory.h"
#include "base/machine.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Parameters that are passed on under the same name in ONNX Runtime. */
#define ALLOCATOR "session.use_device_allocator_for_initializers"
#define SHRINKAGE "memory.enable_memory_arena_shrinkage"

#define DEFAULT_INSTANCES 2

static const char *
ort_version(struct error *error)
{
	const struct onnxruntime *runtime = onnxruntime_get(error);
	static char text[64];

	if (runtime == NULL) {
		return NULL;
	}
	(void)snprintf(text, sizeof(text), "onnxruntime %s", runtime->version);
	return text;
}

/* --- Session options --- */

static enum status
read_number(const struct model_config *config, const char *name, int minimum, int maximum, int *number,
	    struct error *error)
{
	const struct model_parameter *parameter = model_config_parameter(config, name);
	char *end;
	long value;

	if (parameter == NULL) {
		return STATUS_OK;
	}
	errno = 0;
	value = strtol((const char *)parameter->value.at, &end, 10);
	if (errno != 0 || end == (const char *)parameter->value.at || *end != '\0' || value < minimum ||
	    value > maximum) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "parameter '%s' must be a number between %d and %d, got '%.*s'", name, minimum,
				 maximum, BYTES_ARGS(parameter->value));
	}
	*number = (int)value;
	return STATUS_OK;
}

static enum status
read_switch(const struct model_config *config, const char *name, bool *on, struct error *error)
{
	const struct model_parameter *parameter = model_config_parameter(config, name);
	bool yes;

	if (parameter == NULL) {
		return STATUS_OK;
	}
	yes = bytes_equal_nocase(parameter->value, "true") || bytes_equal_nocase(parameter->value, "on") ||
	      bytes_equal_text(parameter->value, "1");
	if (!yes && !bytes_equal_nocase(parameter->value, "false") && !bytes_equal_nocase(parameter->value, "off") &&
	    !bytes_equal_text(parameter->value, "0")) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "parameter '%s' must be true, false, on, off, 1 or 0, got '%.*s'", name,
				 BYTES_ARGS(parameter->value));
	}
	*on = yes;
	return STATUS_OK;
}

/* optimization { graph { level } }, with the meaning that Triton's backend gives the numbers. */
static GraphOptimizationLevel
optimization_level(const struct model_config *config)
{
	switch (config->has_graph_level ? config->graph_level : 0) {
	case -1:
		return ORT_ENABLE_BASIC;
	case 1:
		return ORT_ENABLE_EXTENDED;
	case 2:
		return ORT_DISABLE_ALL;
	default:
		return ORT_ENABLE_ALL;
	}
}

/* Whether the config allows several runs at once. */
static bool
has_many_instances(const struct model_config *config)
{
	int count = config->instance_group_count == 0 ? DEFAULT_INSTANCES : 0;

	for (size_t i = 0; i < config->instance_group_count; i++) {
		int given = config->instance_groups[i].count;

		count += given > 0 ? given : DEFAULT_INSTANCES;
	}
	return count > 1;
}

static enum status
set_options(const struct onnxruntime *runtime, const struct model_config *config, OrtSessionOptions *options,
	    struct error *error)
{
	const OrtApi *api = runtime->api;
	int intra = 0;
	int inter = 0;
	int mode = 0;
	bool arena = true;
	bool pattern = true;
	OrtStatus *failed;

	if (read_number(config, "intra_op_thread_count", 0, 1024, &intra, error) != STATUS_OK ||
	    read_number(config, "inter_op_thread_count", 0, 1024, &inter, error) != STATUS_OK ||
	    read_number(config, "execution_mode", 0, 1, &mode, error) != STATUS_OK ||
	    read_switch(config, "enable_mem_arena", &arena, error) != STATUS_OK ||
	    read_switch(config, "enable_mem_pattern", &pattern, error) != STATUS_OK) {
		return error->status;
	}
	if (intra == 0 && (long)machine_processors() < sysconf(_SC_NPROCESSORS_ONLN)) {
		intra = (int)machine_processors(); /* else ONNX Runtime takes all, and tries to bind a thread to each */
	}
	failed = api->SetSessionGraphOptimizationLevel(options, optimization_level(config));
	if (failed == NULL) {
		failed = api->SetIntraOpNumThreads(options, intra);
	}
	if (failed == NULL) {
		failed = api->SetInterOpNumThreads(options, inter);
	}
	if (failed == NULL) {
		failed = api->SetSessionExecutionMode(options, mode == 0 ? ORT_SEQUENTIAL : ORT_PARALLEL);
	}
	if (failed == NULL) {
		failed = arena ? api->EnableCpuMemArena(options) : api->DisableCpuMemArena(options);
	}
	if (failed == NULL) {
		failed = pattern ? api->EnableMemPattern(options) : api->DisableMemPattern(options);
	}
	if (failed == NULL && has_many_instances(config)) {
		/* Spinning for longer takes the processor from other runs; not spinning makes a single run slower. */
		failed = api->AddSessionConfigEntry(options, "session.intra_op.spin_duration_us", "10");
	}
	if (failed == NULL && model_config_parameter(config, ALLOCATOR) != NULL) {
		failed = api->AddSessionConfigEntry(options, ALLOCATOR,
						    (const char *)model_config_parameter(config, ALLOCATOR)->value.at);
	}
	return onnxruntime_check(runtime, failed, error);
}

/* ONNX Runtime checks the value when the model runs. */
static enum status
set_run_options(struct backend_model *model, const struct model_config *config, struct error *error)
{
	const struct model_parameter *shrinkage = model_config_parameter(config, SHRINKAGE);
	const OrtApi *api = model->runtime->api;
	OrtStatus *failed;

	if (shrinkage == NULL) {
		return STATUS_OK;
	}
	failed = api->CreateRunOptions(&model->run_options);
	if (failed == NULL) {
		failed = api->AddRunConfigEntry(model->run_options, SHRINKAGE, (const char *)shrinkage->value.at);
	}
	return onnxruntime_check(model->runtime, failed, error);
}

/* --- Opening --- */

/* model.onnx; or model.onnx/model.onnx, where model.onnx is a folder that holds external data, too. */
static char *
model_file(const struct backend_files *files, const struct model_config *config)
{
	const char *name = config->default_model_filename.length > 0 ? (const char *)config->default_model_filename.at
								     : "model.onnx";
	char *path = memory_format("%s/%s", files->path, name);
	struct stat information;
	bool is_folder = stat(path, &information) == 0 && S_ISDIR(information.st_mode);

	free(path);
	return is_folder ? memory_format("%s/model.onnx", name) : memory_text(name);
}

static void
ort_close(struct backend_model *model)
{
	session_forget(model);
	model->runtime->api->ReleaseRunOptions(model->run_options);
	model->runtime->api->ReleaseSession(model->session);
	free(model);
}

static enum status
make_options(struct backend_model *model, const struct model_config *config, OrtSessionOptions **options,
	     struct error *error)
{
	const OrtApi *api = model->runtime->api;
	enum status status = onnxruntime_check(model->runtime, api->CreateSessionOptions(options), error);

	if (status == STATUS_OK && config->cpu_accelerator.length > 0) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "unknown Execution Accelerator '%.*s' is requested",
				   BYTES_ARGS(config->cpu_accelerator));
	}
	if (status == STATUS_OK) {
		status = set_run_options(model, config, error);
	}
	return status == STATUS_OK ? set_options(model->runtime, config, *options, error) : status;
}

static enum status
make_session(struct backend_model *model, const struct weights *weights, const struct model_config *config,
	     struct error *error)
{
	const OrtApi *api = model->runtime->api;
	struct bytes bytes = weights_model(weights);
	OrtSessionOptions *options = NULL;
	enum status status = make_options(model, config, &options, error);

	if (status == STATUS_OK) {
		status = weights_add(weights, model->runtime, options, error);
	}
	if (status == STATUS_OK) {
		status = onnxruntime_check(model->runtime,
					   api->CreateSessionFromArray(model->runtime->environment, bytes.at,
								       bytes.length, options, &model->session),
					   error);
	}
	api->ReleaseSessionOptions(options);
	return status;
}

static struct backend_model *
ort_open(struct backend_files *files, const struct model_config *config, struct error *error)
{
	const struct onnxruntime *runtime = onnxruntime_get(error);
	char *file = runtime == NULL ? NULL : model_file(files, config);
	struct weights *weights = runtime == NULL ? NULL : weights_read(files, file, error);
	struct backend_model *model;
	enum status status;

	free(file);
	if (weights == NULL) {
		return NULL;
	}
	model = memory_new(sizeof(*model));
	model->runtime = runtime;
	status = make_session(model, weights, config, error);
	weights_free(weights);
	(void)malloc_trim(0); /* building a session fragments the heap, more so with more tensors */
	if (status == STATUS_OK) {
		status = session_describe(model, error);
	}
	if (status != STATUS_OK) {
		ort_close(model);
		return NULL;
	}
	return model;
}

static const struct backend_signature *
ort_signature(struct backend_model *model)
{
	return &model->signature;
}

const struct backend_ops backend_onnxruntime_ops = {
	.name = "onnxruntime",
	.version = ort_version,
	.open = ort_open,
	.close = ort_close,
	.signature = ort_signature,
	.run = session_run,
	.default_instance_count = DEFAULT_INSTANCES,
	.default_model_filename = "model.onnx",
	.platform = "onnxruntime_onnx",
};
