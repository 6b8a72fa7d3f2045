/* Opening and closing a model. */
#include "base/log.h"
#include "base/memory.h"
#include "inference/models/autocomplete.h"
#include "inference/models/fingerprint.h"
#include "inference/cache/key.h"
#include "inference/models/model.h"
#include "inference/models/model_files.h"
#include "inference/models/model_run.h"
#include "inference/models/warmup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SCOPE_FINGERPRINT_BYTES 4
#define BATCH_STATISTICS_MAX 1024
#define ENSEMBLE_VERSION "ensemble 1" /* to be changed when the same steps give other answers */

static enum status
read_all_labels(struct model *model, const char *folder, struct error *error)
{
	enum status status = STATUS_OK;

	model->labels = memory_array(model->config.output_count, sizeof(*model->labels));
	for (size_t i = 0; i < model->config.output_count && status == STATUS_OK; i++) {
		if (model->config.outputs[i].label_filename.length > 0) {
			status = labels_read(folder, model->config.outputs[i].label_filename, &model->labels[i], error);
		}
	}
	return status;
}

static void
sort_inputs(struct model *model)
{
	const struct model_config *config = &model->config;

	model->inputs_by_name = memory_array(config->input_count, sizeof(*model->inputs_by_name));
	for (size_t i = 0; i < config->input_count; i++) {
		size_t at = i;

		while (at > 0 &&
		       bytes_compare(config->inputs[model->inputs_by_name[at - 1]].name, config->inputs[i].name) > 0) {
			model->inputs_by_name[at] = model->inputs_by_name[at - 1];
			at--;
		}
		model->inputs_by_name[at] = i;
	}
}

static enum status
prepare_keys(struct model *model, const struct model_options *options, struct error *error)
{
	const struct digest_value *fingerprint = &model->fingerprint;
	char hex[2 * SCOPE_FINGERPRINT_BYTES + 1];

	hex_text(bytes_make(fingerprint->bytes, SCOPE_FINGERPRINT_BYTES), hex);
	(void)snprintf(model->scope, sizeof(model->scope), "%.*s:%" PRId64 ":%s", BYTES_ARGS(model->config.name),
		       model->version, hex);
	buf_init(&model->key_prefix, 64);
	sort_inputs(model);
	return key_write_prefix(&model->key_prefix, options->key_hash, options->name_space, model->config.name,
				model->version, fingerprint)
		       ? STATUS_OK
		       : error_set(error, STATUS_UNAVAILABLE, "no memory for the model");
}

static enum status
open_ensemble(struct model *model, const struct model_options *options, struct error *error)
{
	struct model_config *config = &model->config;
	enum status status = autocomplete_ensemble(config, options->name, error);

	if (status != STATUS_OK) {
		return status;
	}
	model->ensemble = ensemble_open(config, options->find, options->find_context, error);
	return model->ensemble == NULL ? error->status : options->format->completed(config, error);
}

static void
tell_left_out(const struct model_options *options, const struct backend_signature *signature)
{
	for (size_t i = 0; i < signature->output_count; i++) {
		if (signature->outputs[i].is_other) {
			log_warning("model '%s' version %" PRId64
				    ": output '%.*s' is left out, as it is not a tensor (a "
				    "sequence or a map): export the model without ZipMap to have it",
				    options->name, options->version, BYTES_ARGS(signature->outputs[i].name));
		}
	}
}

static enum status
open_backend(struct model *model, const struct model_options *options, struct model_files *files, struct error *error)
{
	struct model_config *config = &model->config;
	const struct backend_signature *signature = NULL;
	bool names_outputs = config->output_count > 0;
	enum status status;

	status = autocomplete_backend(config, options->name, options->backends, &model->backend, error);
	if (status == STATUS_OK) {
		status = autocomplete_check(config, error);
	}
	if (status != STATUS_OK) {
		return status;
	}
	model->backend_model = model->backend->open(&files->files, config, error);
	if (model->backend_model == NULL) {
		return error->status;
	}
	if (model->backend->signature != NULL) {
		signature = model->backend->signature(model->backend_model);
	}
	status = autocomplete_tensors(config, model->backend, signature, options->autocomplete, options->default_batch,
				      error);
	if (status == STATUS_OK && signature != NULL && !names_outputs) {
		tell_left_out(options, signature);
	}
	return status == STATUS_OK ? options->format->completed(config, error) : status;
}

static enum status
open_and_name(struct model *model, const struct model_options *options, struct model_files *files, struct error *error)
{
	struct fingerprint_parts parts = {.config = &model->config};
	enum status status = autocomplete_is_ensemble(&model->config) ? open_ensemble(model, options, error)
								      : open_backend(model, options, files, error);

	if (status != STATUS_OK) {
		return status;
	}
	model_files_digest(files, &parts.files);
	parts.ensemble = model->ensemble;
	parts.backend_version = model->ensemble != NULL ? ENSEMBLE_VERSION : model->backend->version(error);
	status = parts.backend_version == NULL ? error->status : fingerprint_model(&parts, &model->fingerprint, error);
	return status == STATUS_OK ? prepare_keys(model, options, error) : status;
}

/* Warns of files that are ignored: they do not prevent loading, but may have been meant to do something. */
static void
tell_stray(const struct model_options *options)
{
	struct buf list;

	if (*options->path == '\0') {
		return;
	}
	buf_init(&list, ERROR_TEXT_SIZE);
	model_files_list_stray(options->path, &list);
	if (list.length > 0) {
		log_warning("left alone in '%s': %.*s", options->path, BYTES_ARGS(buf_bytes(&list)));
	}
	buf_fini(&list);
}

static enum status
open_files(struct model *model, const struct model_options *options, struct error *error)
{
	struct model_files files;
	enum status status;

	if (!model_files_init(&files, options->path)) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory to read the model's files");
	}
	status = open_and_name(model, options, &files, error);
	model_files_fini(&files);
	tell_stray(options);
	return status;
}

static enum row_standing
standing(const struct model *model)
{
	bool stated = model->cache_policy.granularity == GRANULARITY_ROW ||
		      (model->config.states_batching &&
		       model_config_parameter(&model->config, MODEL_GUESSED_BATCHING) == NULL);

	if (model->config.max_batch_size == 0) {
		return ROWS_NONE;
	}
	if (!stated) {
		return ROWS_GUESSED;
	}
	if (model->ensemble != NULL && !model_members_keep_rows(model)) {
		return ROWS_OF_MEMBER;
	}
	return model->cache_policy.granularity == GRANULARITY_REQUEST ? ROWS_NOT_CACHED : ROWS_STATED;
}

/* An earlier loss of trust in the same model content still counts. */
static void
begin_trust(struct model *model)
{
	const struct cache_policy *policy = &model->cache_policy;
	enum row_standing initial = standing(model);
	int why;

	model->row_record = row_record_get(buf_bytes(&model->key_prefix));
	if (row_record_recall(model->row_record, policy->audit_tolerance, &why) && policy->audit > 0) {
		initial = (enum row_standing)why;
		log_warning("model '%.*s' version %" PRId64
			    " did not keep the rows of a batch apart when it was loaded "
			    "before: each request runs by itself and is cached whole",
			    BYTES_ARGS(model->config.name), model->version);
	}
	row_trust_init(&model->rows, initial, (uint64_t)policy->audit, policy->audit_tolerance);
	if (model_row_losses(model) > 0) {
		row_trust_taint_store(&model->rows);
	}
	model_list_ensemble(model);
}

static void
prepare(struct model *model)
{
	const struct model_config *config = &model->config;
	size_t batch = config->max_batch_size < 1 ? 1 : (size_t)config->max_batch_size;

	model->freshness = cache_policy_freshness(&model->cache_policy);
	begin_trust(model);
	if (config->batching.preserve_ordering) {
		model->ordering = ordering_new();
	}
	model->statistics = statistics_new(batch < BATCH_STATISTICS_MAX ? batch : BATCH_STATISTICS_MAX);
}

static void
run_batch(void *context, struct job_list *batch)
{
	model_run_batch(context, batch);
}

static void
start_instances(struct model *model)
{
	const struct model_config *config = &model->config;
	struct scheduler_options options = {
		.name = (const char *)config->name.at,
		.config = config,
		.run = run_batch,
		.context = model,
	};

	if (model->ensemble != NULL || model_is_remote(model)) {
		return;
	}
	for (size_t i = 0; i < config->instance_group_count; i++) {
		options.instances += config->instance_groups[i].count;
	}
	model->scheduler = scheduler_new(&options);
}

struct model *
model_open(const struct model_options *options, struct model_config *config, struct error *error)
{
	struct model *model = memory_new(sizeof(*model));
	enum status status;

	atomic_init(&model->references, 1);
	model->unused = options->unused;
	model->unused_context = options->unused_context;
	model->version = options->version;
	model->config = *config;
	*config = (struct model_config){0};
	if (options->cache_all && !model->config.states_response_cache) {
		model->config.response_cache =
			!model->config.decoupled && model->config.scheduling != MODEL_SCHEDULING_SEQUENCE;
	}
	atomic_init(&model->suspended, model_config_parameter(&model->config, MODEL_UNKNOWN) != NULL);
	model->remote_server = options->remote_server;
	model->remote_stamp = options->remote_stamp;
	model->cache_policy = options->cache_policy;
	status = cache_policy_read(&model->config, &model->cache_policy, error);
	if (status == STATUS_OK) {
		status = open_files(model, options, error);
	}
	if (status == STATUS_OK) {
		status = read_all_labels(model, options->folder, error);
	}
	if (status == STATUS_OK) {
		prepare(model);
		status = warmup_run(model, options->folder, error);
	}
	if (status != STATUS_OK) {
		model_close(model);
		return NULL;
	}
	start_instances(model);
	return model;
}

void
model_close(struct model *model)
{
	model_unlist_ensemble(model);
	scheduler_free(model->scheduler);
	ordering_free(model->ordering);
	ensemble_close(model->ensemble);
	if (model->backend_model != NULL) {
		model->backend->close(model->backend_model);
	}
	statistics_unref(model->statistics);
	for (size_t i = 0; model->labels != NULL && i < model->config.output_count; i++) {
		labels_free(model->labels[i]);
	}
	free(model->labels);
	free(model->inputs_by_name);
	row_record_put(model->row_record);
	buf_fini(&model->key_prefix);
	model_config_fini(&model->config);
	free(model);
}
