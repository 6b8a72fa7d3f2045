#include "inference/models/fingerprint.h"

#include "base/memory.h"
#include "inference/cache/cache_policy.h"
#include "inference/models/model.h"

#include <stdlib.h>

static void
add_number(struct digest *digest, uint64_t number)
{
	digest_add(digest, bytes_make(&number, sizeof(number)));
}

/* Every text is preceded by its length, so that no two sequences of fields read alike. */
static void
add_text(struct digest *digest, struct bytes text)
{
	add_number(digest, text.length);
	digest_add(digest, text);
}

static void
add_dims(struct digest *digest, const struct model_dims *dims)
{
	add_number(digest, dims->rank);
	digest_add(digest, bytes_make(dims->dims, dims->rank * sizeof(*dims->dims)));
}

static void
add_tensors(struct digest *digest, const struct model_tensor *tensors, size_t count)
{
	add_number(digest, count);
	for (size_t i = 0; i < count; i++) {
		add_text(digest, tensors[i].name);
		add_number(digest, tensors[i].datatype);
		add_dims(digest, &tensors[i].dims);
		add_number(digest, tensors[i].has_reshape);
		add_dims(digest, &tensors[i].reshape);
	}
}

static int
by_name(const void *left, const void *right)
{
	const struct model_parameter *const *a = left;
	const struct model_parameter *const *b = right;

	return bytes_compare((*a)->name, (*b)->name);
}

/* Sorted by name: a map has no order of its own. */
static void
add_parameters(struct digest *digest, const struct model_config *config)
{
	const struct model_parameter **sorted = memory_array(config->parameter_count, sizeof(*sorted));
	size_t count = 0;

	for (size_t i = 0; i < config->parameter_count; i++) {
		if (!cache_policy_is_parameter(config->parameters[i].name)) {
			sorted[count++] = &config->parameters[i];
		}
	}
	qsort(sorted, count, sizeof(*sorted), by_name);
	add_number(digest, count);
	for (size_t i = 0; i < count; i++) {
		add_text(digest, sorted[i]->name);
		add_text(digest, sorted[i]->value);
	}
	free(sorted);
}

/* How many instances run, how they queue and what is cached do not change an answer, so they are left out. */
static void
add_config(struct digest *digest, const struct model_config *config)
{
	add_text(digest, config->backend);
	add_text(digest, config->default_model_filename);
	add_number(digest, (uint64_t)config->max_batch_size);
	add_tensors(digest, config->inputs, config->input_count);
	add_tensors(digest, config->outputs, config->output_count);
	add_parameters(digest, config);
	add_number(digest, config->has_graph_level);
	add_number(digest, (uint64_t)config->graph_level);
}

static void
add_mappings(struct digest *digest, const struct model_mapping *mappings, size_t count)
{
	add_number(digest, count);
	for (size_t i = 0; i < count; i++) {
		add_text(digest, mappings[i].tensor);
		add_text(digest, mappings[i].ensemble_tensor);
	}
}

static void
add_steps(struct digest *digest, const struct model_config *config, const struct ensemble *ensemble)
{
	add_number(digest, config->step_count);
	for (size_t i = 0; i < config->step_count; i++) {
		const struct model *model = ensemble->steps[i].model;

		add_text(digest, model->config.name);
		add_number(digest, (uint64_t)model->version);
		add_text(digest, bytes_make(model->fingerprint.bytes, model->fingerprint.length));
		add_mappings(digest, config->steps[i].inputs, config->steps[i].input_count);
		add_mappings(digest, config->steps[i].outputs, config->steps[i].output_count);
	}
}

/* The fingerprint is not secret: whoever can read the model's files may know it. The secret is in the cache key. */
static struct digest *
start(struct error *error)
{
	struct digest *digest = digest_new();

	if (digest == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory to read the model's files");
		return NULL;
	}
	add_text(digest, bytes_text("hippocamp model fingerprint 3"));
	return digest;
}

enum status
fingerprint_model(const struct fingerprint_parts *parts, struct digest_value *value, struct error *error)
{
	struct digest *digest = start(error);

	if (digest == NULL) {
		return error->status;
	}
	add_text(digest, bytes_text(parts->backend_version));
	add_text(digest, bytes_make(parts->files.bytes, parts->files.length));
	add_config(digest, parts->config);
	if (parts->ensemble != NULL) {
		add_steps(digest, parts->config, parts->ensemble);
	}
	digest_end(digest, value);
	digest_free(digest);
	return STATUS_OK;
}
