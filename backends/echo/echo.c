#include "backends/echo/echo.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>

#define DELAY_MAX_MS 600000

struct backend_model {
	bool delays;
	int64_t delay_ms;
};

static const char *
echo_version(struct error *error)
{
	(void)error;
	return "echo 1";
}

static bool
read_delay(struct bytes text, int64_t *delay_ms)
{
	int64_t value = 0;

	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9' || value > DELAY_MAX_MS) {
			return false;
		}
		value = value * 10 + text.at[i] - '0';
	}
	*delay_ms = value;
	return text.length > 0 && value <= DELAY_MAX_MS;
}

/* Inputs and outputs correspond by position, so no input may be missing. */
static enum status
check_tensors(const struct model_config *config, struct error *error)
{
	if (config->input_count != config->output_count) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "backend 'echo' needs as many outputs as inputs, got %zu and %zu",
				 config->output_count, config->input_count);
	}
	for (size_t i = 0; i < config->input_count; i++) {
		if (config->inputs[i].optional) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "backend 'echo' has no optional inputs: '%.*s'",
					 BYTES_ARGS(config->inputs[i].name));
		}
	}
	return STATUS_OK;
}

static struct backend_model *
echo_open(struct backend_files *files, const struct model_config *config, struct error *error)
{
	const struct model_parameter *mode = model_config_parameter(config, "mode");
	const struct model_parameter *delay = model_config_parameter(config, "delay_ms");
	struct backend_model *model = memory_new(sizeof(*model));

	(void)files;
	model->delays = mode != NULL && bytes_equal_text(mode->value, "delay");
	if (mode != NULL && !model->delays && !bytes_equal_text(mode->value, "identity")) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"parameter 'mode' of backend 'echo' must be 'identity' or 'delay', got '%.*s'",
				BYTES_ARGS(mode->value));
		free(model);
		return NULL;
	}
	if (delay != NULL && !read_delay(delay->value, &model->delay_ms)) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"parameter 'delay_ms' of backend 'echo' must be a number up to %d, got '%.*s'",
				DELAY_MAX_MS, BYTES_ARGS(delay->value));
		free(model);
		return NULL;
	}
	if (check_tensors(config, error) != STATUS_OK) {
		free(model);
		return NULL;
	}
	return model;
}

static void
echo_close(struct backend_model *model)
{
	free(model);
}

static void
sleep_for(struct backend_model *model, const struct backend_run *run)
{
	const struct parameter *parameter = parameter_find(run->parameters, run->parameter_count, "delay_ms");
	int64_t delay_ms = model->delay_ms;
	struct timespec left;

	if (parameter != NULL && parameter->kind == PARAMETER_SIGNED) {
		delay_ms = parameter->signed_number;
	}
	delay_ms = delay_ms < 0 ? 0 : delay_ms > DELAY_MAX_MS ? DELAY_MAX_MS : delay_ms;
	left = (struct timespec){.tv_sec = delay_ms / 1000, .tv_nsec = delay_ms % 1000 * 1000000};
	while (nanosleep(&left, &left) != 0 && errno == EINTR) {
	}
}

static enum status
echo_run(struct backend_model *model, struct backend_run *run, struct error *error)
{
	const struct parameter *fail = parameter_find(run->parameters, run->parameter_count, "fail");
	struct backend_output *outputs = memory_array(run->config->output_count, sizeof(*outputs));
	uint8_t **data = memory_array(run->config->output_count, sizeof(*data));
	enum status status;

	run->infer_start_ns = clock_now_ns();
	if (model->delays) {
		sleep_for(model, run);
	}
	run->infer_end_ns = clock_now_ns();
	if (fail != NULL && fail->kind == PARAMETER_TEXT) {
		status = error_set(error, STATUS_INTERNAL, "%.*s", BYTES_ARGS(fail->text));
		goto out;
	}
	for (size_t i = 0; i < run->input_count; i++) {
		const struct tensor *input = &run->inputs[i];

		outputs[i].datatype = input->datatype;
		outputs[i].rank = input->rank;
		outputs[i].length = input->data.length;
		memcpy(outputs[i].shape, input->shape, input->rank * sizeof(*input->shape));
	}
	status = run->allocate(run, outputs, data, error);
	for (size_t i = 0; i < run->input_count && status == STATUS_OK; i++) {
		if (run->inputs[i].data.length > 0) {
			memcpy(data[i], run->inputs[i].data.at, run->inputs[i].data.length);
		}
	}
out:
	free(outputs);
	free(data);
	return status;
}

const struct backend_ops backend_echo_ops = {
	.name = "echo",
	.version = echo_version,
	.open = echo_open,
	.close = echo_close,
	.run = echo_run,
	.default_instance_count = 1,
};
