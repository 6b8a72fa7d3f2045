#include "inference/models/autocomplete.h"

#include "inference/models/ensemble.h"

#include <inttypes.h>
#include <stdio.h>

#define PRIORITY_LEVELS_MAX 1000

static enum status
no_memory(struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE, "no memory for the model configuration");
}

static void
set_text(struct model_config *config, struct bytes *field, const char *text)
{
	*field = arena_copy(&config->arena, bytes_text(text));
}

/* --- Backend --- */

static bool
matches(const struct model_config *config, const struct backend_ops *backend)
{
	if (config->backend.length > 0) {
		return bytes_equal_text(config->backend, backend->name);
	}
	if (config->platform.length > 0) {
		return backend->platform != NULL && bytes_equal_text(config->platform, backend->platform);
	}
	/* Neither is given: the name of the model file decides. */
	return backend->default_model_filename != NULL &&
	       (config->default_model_filename.length == 0 ||
		bytes_equal_text(config->default_model_filename, backend->default_model_filename));
}

static enum status
complete_name(struct model_config *config, const char *name, struct error *error)
{
	if (config->name.length == 0) {
		set_text(config, &config->name, name);
	}
	return bytes_equal_text(config->name, name)
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT,
				   "unexpected directory name '%s' for model '%.*s', directory name must equal model "
				   "name",
				   name, BYTES_ARGS(config->name));
}

enum status
autocomplete_backend(struct model_config *config, const char *name, const struct backend_ops *const *backends,
		     const struct backend_ops **backend, struct error *error)
{
	enum status status = complete_name(config, name, error);

	if (status != STATUS_OK) {
		return status;
	}
	while (*backends != NULL && !matches(config, *backends)) {
		backends++;
	}
	*backend = *backends;
	if (*backend == NULL) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"unsupported backend '%.*s' (platform '%.*s') for model '%.*s': hippocamp runs backend "
			"'onnxruntime' (platform 'onnxruntime_onnx'), 'upstream' and 'echo'",
			BYTES_ARGS(config->backend), BYTES_ARGS(config->platform), BYTES_ARGS(config->name));
	}
	set_text(config, &config->backend, (*backend)->name);
	if (config->platform.length == 0 && (*backend)->platform != NULL) {
		set_text(config, &config->platform, (*backend)->platform);
	}
	if (config->default_model_filename.length == 0 && (*backend)->default_model_filename != NULL) {
		set_text(config, &config->default_model_filename, (*backend)->default_model_filename);
	}
	return STATUS_OK;
}

/* --- Checks that need no model --- */

static bool
reshape_fits(const struct model_tensor *tensor)
{
	int64_t sizes[2] = {1, 1};
	size_t variable[2] = {0, 0};
	const struct model_dims *both[2] = {&tensor->dims, &tensor->reshape};

	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < both[k]->rank; i++) {
			if (both[k]->dims[i] == -1) {
				variable[k]++;
			} else if (__builtin_mul_overflow(sizes[k], both[k]->dims[i], &sizes[k])) {
				return false;
			}
		}
	}
	return sizes[0] == sizes[1] && variable[0] == variable[1];
}

static enum status
check_tensor(const struct model_config *config, const struct model_tensor *tensor, const char *kind,
	     struct error *error)
{
	if (tensor->name.length == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "model %s must specify 'name' for %.*s", kind,
				 BYTES_ARGS(config->name));
	}
	if (tensor->datatype == DATATYPE_INVALID) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "model %s '%.*s' must specify 'data_type' for %.*s",
				 kind, BYTES_ARGS(tensor->name), BYTES_ARGS(config->name));
	}
	if (tensor->dims.rank == 0 || tensor->dims.rank >= TENSOR_RANK_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "model %s '%.*s' must specify 'dims' for %.*s", kind,
				 BYTES_ARGS(tensor->name), BYTES_ARGS(config->name));
	}
	for (size_t i = 0; i < tensor->dims.rank; i++) {
		if (tensor->dims.dims[i] < 1 && tensor->dims.dims[i] != -1) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "model %s '%.*s' dimension must be integer >= 1, or -1 to indicate a "
					 "variable-size dimension for %.*s",
					 kind, BYTES_ARGS(tensor->name), BYTES_ARGS(config->name));
		}
	}
	if (tensor->has_reshape && (tensor->reshape.rank >= TENSOR_RANK_MAX || !reshape_fits(tensor))) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "model %s '%.*s' has different size for dims and reshape for %.*s", kind,
				 BYTES_ARGS(tensor->name), BYTES_ARGS(config->name));
	}
	if (tensor->format != MODEL_FORMAT_NONE && tensor->dims.rank != 3) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "model input NHWC/NCHW require 3 dims for %.*s",
				 BYTES_ARGS(config->name));
	}
	if (tensor->is_shape_tensor) {
		return error_set(error, STATUS_UNSUPPORTED, "shape tensors are not supported: '%.*s' of %.*s",
				 BYTES_ARGS(tensor->name), BYTES_ARGS(config->name));
	}
	return STATUS_OK;
}

static enum status
check_tensors(const struct model_config *config, const struct model_tensor *tensors, size_t count, const char *kind,
	      struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		enum status status = check_tensor(config, &tensors[i], kind, error);

		for (size_t k = 0; k < i && status == STATUS_OK; k++) {
			if (bytes_equal(tensors[i].name, tensors[k].name)) {
				return error_set(error, STATUS_INVALID_ARGUMENT,
						 "model %s '%.*s' is configured twice for %.*s", kind,
						 BYTES_ARGS(tensors[i].name), BYTES_ARGS(config->name));
			}
		}
		if (status != STATUS_OK) {
			return status;
		}
	}
	return STATUS_OK;
}

static enum status
check_scheduling(const struct model_config *config, struct error *error)
{
	if (config->response_cache && (config->decoupled || config->scheduling == MODEL_SCHEDULING_SEQUENCE)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "Response Cache does not currently support model %.*s with %s. Please disable the "
				 "response cache.",
				 BYTES_ARGS(config->name),
				 config->decoupled ? "'decoupled' transaction policy" : "sequence batching scheduler");
	}
	if (config->decoupled) {
		return error_set(error, STATUS_UNSUPPORTED, "decoupled models are not supported: %.*s",
				 BYTES_ARGS(config->name));
	}
	if (config->scheduling == MODEL_SCHEDULING_SEQUENCE) {
		return error_set(error, STATUS_UNSUPPORTED, "sequence_batching is not supported yet: %.*s",
				 BYTES_ARGS(config->name));
	}
	if (config->has_ragged_input) {
		return error_set(error, STATUS_UNSUPPORTED,
				 "ragged batching (allow_ragged_batch) is not supported: %.*s",
				 BYTES_ARGS(config->name));
	}
	return STATUS_OK;
}

static enum status
check_priorities(const struct model_config *config, struct error *error)
{
	const struct model_batching *batching = &config->batching;

	if (batching->priority_levels == 0) {
		return STATUS_OK;
	}
	if (batching->priority_levels > PRIORITY_LEVELS_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "at most %d priority levels are supported for %.*s",
				 PRIORITY_LEVELS_MAX, BYTES_ARGS(config->name));
	}
	if (batching->default_priority_level == 0 || batching->default_priority_level > batching->priority_levels) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "default priority level must be in range [1, %" PRIu64 "] for %.*s",
				 batching->priority_levels, BYTES_ARGS(config->name));
	}
	for (size_t i = 0; i < batching->policy_count; i++) {
		if (batching->policies[i].level == 0 || batching->policies[i].level > batching->priority_levels) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "priority queue policy must have priority level in range [1, %" PRIu64
					 "] for %.*s",
					 batching->priority_levels, BYTES_ARGS(config->name));
		}
	}
	if (batching->preserve_ordering && batching->priority_levels > 1) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "Only one priority level is allowed when 'preserve_ordering' is true for %.*s",
				 BYTES_ARGS(config->name));
	}
	return STATUS_OK;
}

static bool
delays(const struct model_queue_policy *policy)
{
	return policy->delays && policy->default_timeout_us > 0;
}

static enum status
check_batching(const struct model_config *config, struct error *error)
{
	const struct model_batching *batching = &config->batching;
	bool delaying = delays(&batching->default_policy);

	for (size_t i = 0; i < batching->preferred_count; i++) {
		if (batching->preferred[i] <= 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "dynamic batching preferred size must be positive for %.*s",
					 BYTES_ARGS(config->name));
		}
	}
	for (size_t i = 0; i < batching->policy_count; i++) {
		delaying = delaying || delays(&batching->policies[i].policy);
	}
	if (batching->preserve_ordering && delaying) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true "
				 "for %.*s",
				 BYTES_ARGS(config->name));
	}
	return check_priorities(config, error);
}

static enum status
check_instance_groups(const struct model_config *config, struct error *error)
{
	for (size_t i = 0; i < config->instance_group_count; i++) {
		const struct model_instance_group *group = &config->instance_groups[i];

		if (group->kind == MODEL_KIND_GPU) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"instance group %.*s_%zu of model %.*s has kind KIND_GPU but no GPUs are available",
				BYTES_ARGS(config->name), i, BYTES_ARGS(config->name));
		}
		if (group->count < 0 || group->count > 1024) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "instance group %.*s_%zu of model %.*s has count %d, expected 0 to 1024",
					 BYTES_ARGS(config->name), i, BYTES_ARGS(config->name), group->count);
		}
	}
	return STATUS_OK;
}

enum status
autocomplete_check(const struct model_config *config, struct error *error)
{
	enum status status;

	if (config->max_batch_size < 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "'max_batch_size' must be non-negative value for %.*s",
				 BYTES_ARGS(config->name));
	}
	if (config->default_model_filename.length > 0 &&
	    memchr(config->default_model_filename.at, '/', config->default_model_filename.length) != NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "'default_model_filename' must name a file of the version folder for %.*s, got '%.*s'",
				 BYTES_ARGS(config->name), BYTES_ARGS(config->default_model_filename));
	}
	if (config->repository_agent.length >
	    0) { /* its owner wants the files verified or changed before they are used */
		return error_set(
			error, STATUS_UNSUPPORTED,
			"model '%.*s' asks for the repository agent '%.*s' (model_repository_agents), and there are "
			"no repository agents here: check the files before, and leave the field out",
			BYTES_ARGS(config->name), BYTES_ARGS(config->repository_agent));
	}
	status = check_scheduling(config, error);
	if (status == STATUS_OK) {
		status = check_batching(config, error);
	}
	if (status == STATUS_OK) {
		status = check_tensors(config, config->inputs, config->input_count, "input", error);
	}
	if (status == STATUS_OK) {
		status = check_tensors(config, config->outputs, config->output_count, "output", error);
	}
	return status == STATUS_OK ? check_instance_groups(config, error) : status;
}

/* --- Ensembles --- */

bool
autocomplete_is_ensemble(const struct model_config *config)
{
	return config->scheduling == MODEL_SCHEDULING_ENSEMBLE || bytes_equal_text(config->platform, "ensemble");
}

static enum status
check_has_tensors(const struct model_config *config, struct error *error)
{
	if (config->input_count > 0 && config->output_count > 0) {
		return STATUS_OK;
	}
	return error_set(error, STATUS_INVALID_ARGUMENT, "must specify '%s' for model '%.*s'",
			 config->input_count == 0 ? "input" : "output", BYTES_ARGS(config->name));
}

static enum status
check_platform(const struct model_config *config, struct error *error)
{
	if (config->scheduling != MODEL_SCHEDULING_ENSEMBLE) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "ensemble scheduling must be set for ensemble %.*s whose platform is ensemble",
				 BYTES_ARGS(config->name));
	}
	if (!bytes_equal_text(config->platform, "ensemble")) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"ensemble scheduling cannot be set for model '%.*s' whose platform is not ensemble: write "
			"platform: \"ensemble\"",
			BYTES_ARGS(config->name));
	}
	if (config->backend.length > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "Ensemble model '%.*s' must have platform type 'ensemble' and empty backend type",
				 BYTES_ARGS(config->name));
	}
	return STATUS_OK;
}

enum status
autocomplete_ensemble(struct model_config *config, const char *name, struct error *error)
{
	enum status status = complete_name(config, name, error);

	if (status == STATUS_OK) {
		status = check_platform(config, error);
	}
	if (status == STATUS_OK) {
		status = autocomplete_check(config, error);
	}
	if (status == STATUS_OK) {
		status = check_has_tensors(config, error);
	}
	return status == STATUS_OK ? ensemble_check(config, error) : status;
}

/* --- Completion from the model's signature --- */

static bool
can_batch(const struct backend_signature *signature)
{
	for (size_t i = 0; i < signature->input_count; i++) {
		if (signature->inputs[i].rank == 0 || signature->inputs[i].shape[0] != -1) {
			return false;
		}
	}
	for (size_t i = 0; i < signature->output_count; i++) {
		const struct backend_tensor *output = &signature->outputs[i];

		if (!output->is_other && (output->rank == 0 || output->shape[0] != -1)) {
			return false;
		}
	}
	return signature->input_count > 0;
}

static bool
copy_tensor(struct model_config *config, const struct backend_tensor *from, struct model_tensor *to)
{
	size_t lead = config->max_batch_size > 0;
	size_t rank = from->rank - lead;

	to->name = arena_copy(&config->arena, from->name);
	to->datatype = from->datatype;
	to->optional = from->optional;
	to->dims.rank = rank == 0 ? 1 : rank;
	to->dims.dims = arena_array(&config->arena, to->dims.rank, sizeof(int64_t));
	if (to->name.at == NULL || to->dims.dims == NULL) {
		return false;
	}
	memcpy(to->dims.dims, from->shape + lead, rank * sizeof(int64_t));
	if (rank == 0) { /* a scalar: clients see [1] */
		to->dims.dims[0] = 1;
		to->has_reshape = true;
		to->reshape.dims = to->dims.dims;
	}
	return true;
}

static bool
copy_tensors(struct model_config *config, const struct backend_tensor *from, size_t count,
	     struct model_tensor **tensors, size_t *tensor_count)
{
	size_t kept = 0;

	*tensors = arena_array(&config->arena, count, sizeof(**tensors));
	for (size_t i = 0; *tensors != NULL && i < count; i++) {
		/* Batching models take no optional inputs, as in Triton. */
		if (from[i].is_other || (from[i].optional && config->max_batch_size > 0)) {
			continue;
		}
		if (!copy_tensor(config, &from[i], &(*tensors)[kept++])) {
			return false;
		}
	}
	*tensor_count = kept;
	return *tensors != NULL;
}

static enum status
fill_tensors(struct model_config *config, const struct backend_signature *signature, int32_t default_batch,
	     struct error *error)
{
	if (can_batch(signature) && config->max_batch_size == 0 && !config->states_max_batch_size) {
		config->max_batch_size = default_batch;
		if (default_batch > 1 && config->scheduling == MODEL_SCHEDULING_NONE) {
			config->scheduling = MODEL_SCHEDULING_DYNAMIC;
		}
	}
	if (config->input_count == 0 &&
	    !copy_tensors(config, signature->inputs, signature->input_count, &config->inputs, &config->input_count)) {
		return no_memory(error);
	}
	if (config->output_count == 0 && !copy_tensors(config, signature->outputs, signature->output_count,
						       &config->outputs, &config->output_count)) {
		return no_memory(error);
	}
	return STATUS_OK;
}

static const struct backend_tensor *
find_tensor(const struct backend_tensor *tensors, size_t count, struct bytes name)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes_equal(tensors[i].name, name)) {
			return &tensors[i];
		}
	}
	return NULL;
}

static enum status
compare_shape(const struct model_config *config, const struct model_tensor *tensor, const struct backend_tensor *model,
	      struct error *error)
{
	const struct model_dims *dims = tensor->has_reshape ? &tensor->reshape : &tensor->dims;
	size_t lead = config->max_batch_size > 0;
	int64_t full[TENSOR_RANK_MAX + 1] = {-1};
	size_t rank = dims->rank + lead;
	bool fits = rank == model->rank;
	char configured[256];
	char provided[256];

	memcpy(full + lead, dims->dims, dims->rank * sizeof(*full));
	for (size_t i = 0; i < rank && fits; i++) {
		fits = full[i] == model->shape[i] || full[i] == -1 || model->shape[i] == -1;
	}
	if (fits) {
		return STATUS_OK;
	}
	shape_text(full, rank, configured, sizeof(configured));
	shape_text(model->shape, model->rank, provided, sizeof(provided));
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "model '%.*s', tensor '%.*s': the model expects %zu dimensions (shape %s) but the model "
			 "configuration specifies %zu dimensions (shape %s)",
			 BYTES_ARGS(config->name), BYTES_ARGS(tensor->name), model->rank, provided, rank, configured);
}

static enum status
compare_tensors(const struct model_config *config, const struct model_tensor *tensors, size_t count,
		const struct backend_tensor *model, size_t model_count, const char *kind, struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		const struct backend_tensor *found = find_tensor(model, model_count, tensors[i].name);
		enum status status;

		if (found == NULL) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"unexpected inference %s '%.*s' in the configuration of model '%.*s': the model "
				"has none of that name",
				kind, BYTES_ARGS(tensors[i].name), BYTES_ARGS(config->name));
		}
		if (found->is_other) {
			return error_set(
				error, STATUS_UNSUPPORTED,
				"%s '%.*s' of model '%.*s' is not a tensor (a sequence or a map), and only tensors "
				"are supported: leave it out of the configuration, or export the model without it "
				"(without ZipMap)",
				kind, BYTES_ARGS(tensors[i].name), BYTES_ARGS(config->name));
		}
		if (found->datatype != tensors[i].datatype) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"unable to load model '%.*s', configuration expects datatype %s for %s '%.*s', "
				"model provides %s",
				BYTES_ARGS(config->name), datatype_config_name(tensors[i].datatype), kind,
				BYTES_ARGS(tensors[i].name), datatype_config_name(found->datatype));
		}
		status = compare_shape(config, &tensors[i], found, error);
		if (status != STATUS_OK) {
			return status;
		}
	}
	return STATUS_OK;
}

static enum status
compare(const struct model_config *config, const struct backend_signature *signature, struct error *error)
{
	size_t required = 0;
	enum status status;

	for (size_t i = 0; i < signature->input_count; i++) {
		required += !signature->inputs[i].optional;
	}
	if (config->input_count < required || config->input_count > signature->input_count) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "unable to load model '%.*s', configuration expects %zu inputs, model provides %zu",
				 BYTES_ARGS(config->name), config->input_count, required);
	}
	if (config->max_batch_size > 0 && !can_batch(signature)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "autofill failed for model '%.*s': model does not support batching while non-zero "
				 "max_batch_size is specified",
				 BYTES_ARGS(config->name));
	}
	status = compare_tensors(config, config->inputs, config->input_count, signature->inputs, signature->input_count,
				 "input", error);
	return status != STATUS_OK ? status
				   : compare_tensors(config, config->outputs, config->output_count, signature->outputs,
						     signature->output_count, "output", error);
}

/* --- Instance groups --- */

static enum status
fill_instance_groups(struct model_config *config, const struct backend_ops *backend, struct error *error)
{
	bool none = config->instance_group_count == 0;

	if (none) {
		config->instance_groups = arena_array(&config->arena, 1, sizeof(*config->instance_groups));
		if (config->instance_groups == NULL) {
			return no_memory(error);
		}
		config->instance_group_count = 1;
		config->instance_groups[0].name = config->name;
	}
	for (size_t i = 0; i < config->instance_group_count; i++) {
		struct model_instance_group *group = &config->instance_groups[i];
		char name[320];

		if (group->name.length == 0) {
			(void)snprintf(name, sizeof(name), "%.*s_%zu", BYTES_ARGS(config->name), i);
			set_text(config, &group->name, name);
		}
		if (group->kind == MODEL_KIND_AUTO) {
			group->kind = MODEL_KIND_CPU;
		}
		if (group->count == 0) {
			group->count = backend->default_instance_count;
		}
	}
	return STATUS_OK;
}

/* Runs after max_batch_size is completed. */
static enum status
check_preferred(const struct model_config *config, struct error *error)
{
	const struct model_batching *batching = &config->batching;

	for (size_t i = 0; i < batching->preferred_count; i++) {
		if (batching->preferred[i] > config->max_batch_size) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"dynamic batching preferred size must be <= max batch size for %.*s: %d is more "
				"than %d",
				BYTES_ARGS(config->name), batching->preferred[i], config->max_batch_size);
		}
	}
	return STATUS_OK;
}

static bool
fill_batching(struct model_config *config)
{
	struct model_batching *batching = &config->batching;

	if (config->scheduling != MODEL_SCHEDULING_DYNAMIC || batching->preferred_count > 0 ||
	    config->max_batch_size == 0) {
		return true;
	}
	batching->preferred = arena_array(&config->arena, 1, sizeof(*batching->preferred));
	if (batching->preferred == NULL) {
		return false;
	}
	batching->preferred[0] = config->max_batch_size;
	batching->preferred_count = 1;
	return true;
}

enum status
autocomplete_tensors(struct model_config *config, const struct backend_ops *backend,
		     const struct backend_signature *signature, bool allowed, int32_t default_batch,
		     struct error *error)
{
	enum status status = STATUS_OK;

	if (signature != NULL && allowed && (config->input_count == 0 || config->output_count == 0)) {
		status = fill_tensors(config, signature, default_batch, error);
	}
	if (status == STATUS_OK) {
		status = check_has_tensors(config, error);
	}
	if (status == STATUS_OK && signature != NULL) {
		status = compare(config, signature, error);
	}
	if (status == STATUS_OK) {
		status = check_preferred(config, error);
	}
	if (status == STATUS_OK && !fill_batching(config)) {
		status = no_memory(error);
	}
	return status == STATUS_OK ? fill_instance_groups(config, backend, error) : status;
}
