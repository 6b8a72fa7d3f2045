#include "inference/models/validate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define SHAPE_TEXT 256

/* Triton's normaliser puts the request's id in front of what it says. */
static enum status __attribute__((format(printf, 3, 4)))
invalid(struct error *error, const struct given_inputs *request, const char *format, ...)
{
	char text[ERROR_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (request->id.length == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "[request id: <id_unknown>] %s", text);
	}
	return error_set(error, STATUS_INVALID_ARGUMENT, "[request id: %.*s] %s", BYTES_ARGS(request->id), text);
}

static void
append(char *list, size_t size, const char *format, ...)
{
	size_t length = strlen(list);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(list + length, size - length, format, args);
	va_end(args);
}

static const struct tensor *
find_input(const struct given_inputs *request, struct bytes name)
{
	for (size_t i = 0; i < request->input_count; i++) {
		if (bytes_equal(request->inputs[i].name, name)) {
			return &request->inputs[i];
		}
	}
	return NULL;
}

/* Checks at most one input more than can be right: a request may name thousands, and each costs a search. */
static enum status
check_duplicates(const struct model_config *config, const struct given_inputs *request, struct error *error)
{
	for (size_t i = 1; i < request->input_count && i <= config->input_count; i++) {
		if (find_input(request, request->inputs[i].name) != &request->inputs[i]) {
			return invalid(error, request, "input '%.*s' already exists in request",
				       BYTES_ARGS(request->inputs[i].name));
		}
	}
	return STATUS_OK;
}

static enum status
wrong_count(const struct model_config *config, const struct given_inputs *request, size_t required, struct error *error)
{
	char expected[64];
	char got[400] = "";
	char missing[400] = "";

	for (size_t i = 0; i < request->input_count && strlen(got) < sizeof(got) - 1; i++) {
		append(got, sizeof(got), "%s'%.*s'", i == 0 ? "" : ",", BYTES_ARGS(request->inputs[i].name));
	}
	for (size_t i = 0; i < config->input_count; i++) {
		const struct model_tensor *input = &config->inputs[i];

		if (!input->optional && find_input(request, input->name) == NULL) {
			append(missing, sizeof(missing), "%s'%.*s'", missing[0] == '\0' ? "" : ",",
			       BYTES_ARGS(input->name));
		}
	}
	if (required == config->input_count) {
		(void)snprintf(expected, sizeof(expected), "expected %zu inputs", required);
	} else {
		(void)snprintf(expected, sizeof(expected), "expected number of inputs between %zu and %zu", required,
			       config->input_count);
	}
	return invalid(error, request,
		       "%s but got %zu inputs for model '%.*s'. Got input(s) [%s], but missing required input(s) [%s]. "
		       "Please provide all required input(s).",
		       expected, request->input_count, BYTES_ARGS(config->name), got, missing);
}

static enum status
check_count(const struct model_config *config, const struct given_inputs *request, struct error *error)
{
	size_t required = 0;

	for (size_t i = 0; i < config->input_count; i++) {
		required += !config->inputs[i].optional;
	}
	if (request->input_count < required || request->input_count > config->input_count) {
		return wrong_count(config, request, required, error);
	}
	return STATUS_OK;
}

static enum status
match_inputs(const struct model_config *config, const struct given_inputs *request, const struct tensor **ordered,
	     struct error *error)
{
	size_t matched = 0;

	for (size_t i = 0; i < config->input_count; i++) {
		ordered[i] = find_input(request, config->inputs[i].name);
		matched += ordered[i] != NULL;
	}
	for (size_t i = 0; matched < request->input_count && i < request->input_count; i++) {
		bool known = false;

		for (size_t k = 0; k < config->input_count; k++) {
			known = known || ordered[k] == &request->inputs[i];
		}
		if (!known) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "unexpected inference input '%.*s' for model '%.*s'",
					 BYTES_ARGS(request->inputs[i].name), BYTES_ARGS(config->name));
		}
	}
	for (size_t i = 0; i < config->input_count; i++) {
		if (ordered[i] == NULL && !config->inputs[i].optional) {
			return wrong_count(config, request, config->input_count, error);
		}
	}
	return STATUS_OK;
}

static enum status
check_batch(const struct model_config *config, const struct given_inputs *request, int64_t *batch, struct error *error)
{
	*batch = 0;
	if (config->max_batch_size == 0) {
		return STATUS_OK;
	}
	for (size_t i = request->input_count; i-- > 0;) { /* so that the first is named, as by Triton */
		const struct tensor *input = &request->inputs[i];

		if (input->rank == 0) {
			return invalid(error, request,
				       "input '%.*s' has no shape but model requires batch dimension for '%.*s'",
				       BYTES_ARGS(input->name), BYTES_ARGS(config->name));
		}
		if (i + 1 < request->input_count && input->shape[0] != *batch) {
			return invalid(error, request, "input '%.*s' batch size does not match other inputs for '%.*s'",
				       BYTES_ARGS(input->name), BYTES_ARGS(config->name));
		}
		*batch = input->shape[0];
	}
	if (*batch < 1 || *batch > config->max_batch_size) {
		return invalid(error, request, "inference request batch-size must be <= %" PRId32 " for '%.*s'",
			       config->max_batch_size, BYTES_ARGS(config->name));
	}
	return STATUS_OK;
}

static bool
shape_fits(const struct model_config *config, const struct model_tensor *expected, const struct tensor *input)
{
	size_t lead = config->max_batch_size > 0;

	if (input->rank != expected->dims.rank + lead) {
		return false;
	}
	for (size_t i = 0; i < expected->dims.rank; i++) {
		if (expected->dims.dims[i] != -1 && expected->dims.dims[i] != input->shape[lead + i]) {
			return false;
		}
	}
	return true;
}

static enum status
wrong_shape(const struct model_config *config, const struct given_inputs *request, const struct model_tensor *expected,
	    const struct tensor *input, struct error *error)
{
	static const char note[] =
		" NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be "
		"prepended to each input shape. If you want to specify the full shape including the batch dim in your "
		"input dims config, try setting max_batch_size to zero. See the model configuration docs for more info "
		"on max_batch_size.";
	int64_t full[TENSOR_RANK_MAX + 1] = {-1};
	size_t lead = config->max_batch_size > 0;
	char wanted[SHAPE_TEXT];
	char got[SHAPE_TEXT];

	memcpy(full + lead, expected->dims.dims, expected->dims.rank * sizeof(*full));
	shape_text(full, expected->dims.rank + lead, wanted, sizeof(wanted));
	shape_text(input->shape, input->rank, got, sizeof(got));
	return invalid(error, request, "unexpected shape for input '%.*s' for model '%.*s'. Expected %s, got %s.%s",
		       BYTES_ARGS(input->name), BYTES_ARGS(config->name), wanted, got, lead ? note : "");
}

/* What follows the first `count` elements. */
static struct bytes
after_strings(struct bytes data, int64_t count)
{
	while (count-- > 0) {
		(void)tensor_next_string(&data);
	}
	return data;
}

static enum status
incomplete_string(const struct model_config *config, const struct given_inputs *request, const struct tensor *input,
		  struct bytes rest, struct error *error)
{
	if (rest.length < sizeof(uint32_t)) {
		return invalid(
			error, request,
			"incomplete string length indicator for inference input '%.*s' for model '%.*s', expecting "
			"4 bytes but only %zu bytes available. Please make sure the string length indicator is in one "
			"buffer.",
			BYTES_ARGS(input->name), BYTES_ARGS(config->name), rest.length);
	}
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "incomplete string data for inference input '%.*s', expecting string of length %" PRIu32
			 " but only %zu bytes available",
			 BYTES_ARGS(input->name), load_u32(rest.at), rest.length - sizeof(uint32_t));
}

static enum status
check_strings(const struct model_config *config, const struct given_inputs *request, const struct tensor *input,
	      int64_t elements, struct error *error)
{
	struct bytes rest;
	int64_t found;

	if (tensor_strings_valid(input->data, elements, &found)) {
		return STATUS_OK;
	}
	rest = after_strings(input->data, found);
	if (found > elements || (found == elements && rest.length >= sizeof(uint32_t))) { /* the rest is not counted */
		return invalid(error, request,
			       "unexpected number of string elements %" PRId64
			       " for inference input '%.*s' for model '%.*s', expecting %" PRId64,
			       elements + 1, BYTES_ARGS(input->name), BYTES_ARGS(config->name), elements);
	}
	if (rest.length >= sizeof(uint32_t)) {
		found++; /* one that is cut off counts */
	}
	if (rest.length > 0 && (rest.length < sizeof(uint32_t) || found == elements)) {
		return incomplete_string(config, request, input, rest, error);
	}
	return invalid(error, request,
		       "expected %" PRId64 " string elements for inference input '%.*s' for model '%.*s', got %" PRId64,
		       elements, BYTES_ARGS(input->name), BYTES_ARGS(config->name), found);
}

static enum status
check_size(const struct model_config *config, const struct given_inputs *request, const struct tensor *input,
	   struct error *error)
{
	int64_t elements;
	size_t expected;

	if (!shape_elements(input->shape, input->rank, &elements)) {
		return shape_too_large(input->name, input->shape, input->rank, error);
	}
	if (input->datatype == DATATYPE_BYTES) {
		return check_strings(config, request, input, elements, error);
	}
	if (__builtin_mul_overflow((size_t)elements, datatype_size(input->datatype), &expected)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "byte size overflow for input '%.*s': %" PRId64 " elements", BYTES_ARGS(input->name),
				 elements);
	}
	if (input->data.length != expected) {
		return invalid(error, request,
			       "input byte size mismatch for input '%.*s' for model '%.*s'. Expected %zu, got %zu",
			       BYTES_ARGS(input->name), BYTES_ARGS(config->name), expected, input->data.length);
	}
	return STATUS_OK;
}

static bool
is_specified(const struct tensor *input)
{
	for (size_t i = 0; i < input->rank; i++) {
		if (input->shape[i] < 0) {
			return false;
		}
	}
	return true;
}

static enum status
unspecified_shape(const struct model_config *config, const struct given_inputs *request, const struct tensor *input,
		  struct error *error)
{
	char shape[SHAPE_TEXT];

	shape_text(input->shape, input->rank, shape, sizeof(shape));
	return invalid(error, request,
		       "All input dimensions should be specified for input '%.*s' for model '%.*s', got %s",
		       BYTES_ARGS(input->name), BYTES_ARGS(config->name), shape);
}

static enum status
check_input(const struct model_config *config, const struct given_inputs *request, const struct model_tensor *expected,
	    const struct tensor *input, struct error *error)
{
	if (input->datatype != expected->datatype) {
		return invalid(error, request,
			       "inference input '%.*s' data-type is '%s', but model '%.*s' expects '%s'",
			       BYTES_ARGS(input->name), datatype_name(input->datatype), BYTES_ARGS(config->name),
			       datatype_name(expected->datatype));
	}
	if (!shape_fits(config, expected, input)) {
		return wrong_shape(config, request, expected, input, error);
	}
	if (!is_specified(input)) {
		return unspecified_shape(config, request, input, error);
	}
	return check_size(config, request, input, error);
}

enum status
validate_inputs(const struct model_config *config, const struct given_inputs *request, const struct tensor **ordered,
		int64_t *batch, struct error *error)
{
	enum status status = check_duplicates(config, request, error);

	if (status == STATUS_OK) {
		status = check_count(config, request, error);
	}
	if (status == STATUS_OK) {
		status = match_inputs(config, request, ordered, error);
	}
	if (status == STATUS_OK) {
		status = check_batch(config, request, batch, error);
	}
	for (size_t i = 0; i < config->input_count && status == STATUS_OK; i++) {
		if (ordered[i] != NULL) {
			status = check_input(config, request, &config->inputs[i], ordered[i], error);
		}
	}
	return status;
}
