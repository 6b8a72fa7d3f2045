#include "inference/model.h"

#include "base/log.h"
#include "base/memory.h"
#include "inference/autocomplete.h"
#include "inference/fingerprint.h"
#include "inference/key.h"
#include "inference/model_files.h"
#include "inference/model_run.h"
#include "inference/warmup.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define SCOPE_FINGERPRINT_BYTES 4
#define BATCH_STATISTICS_MAX 1024
#define ENSEMBLE_VERSION "ensemble 1" /* to be changed when the same steps give other answers */

/* --- Shapes: `dims` as clients see them, `reshape` as the model does. --- */

/* Variable dimensions of one side take their sizes from the other side's, in order. */
static size_t
translate(const struct model_dims *from, const int64_t *sizes, const struct model_dims *to, int64_t *out)
{
	size_t next = 0;

	for (size_t i = 0; i < to->rank; i++) {
		if (to->dims[i] != -1) {
			out[i] = to->dims[i];
			continue;
		}
		while (next < from->rank && from->dims[next] != -1) {
			next++;
		}
		out[i] = next < from->rank ? sizes[next++] : -1;
	}
	return to->rank;
}

size_t
model_input_shape(const struct model *model, size_t input, const struct tensor *tensor, int64_t *shape)
{
	const struct model_tensor *config = &model->config.inputs[input];
	size_t lead = model_batches(model);

	if (!config->has_reshape) {
		memcpy(shape, tensor->shape, tensor->rank * sizeof(*shape));
		return tensor->rank;
	}
	if (lead != 0) {
		shape[0] = tensor->shape[0];
	}
	return lead + translate(&config->dims, tensor->shape + lead, &config->reshape, shape + lead);
}

bool
model_output_shape(const struct model *model, size_t index, const struct backend_output *output, int64_t *shape,
		   size_t *rank)
{
	const struct model_tensor *config = &model->config.outputs[index];
	size_t lead = model_batches(model);
	int64_t given;
	int64_t made;

	if (output->datatype != config->datatype) {
		return false;
	}
	if (!config->has_reshape) {
		memcpy(shape, output->shape, output->rank * sizeof(*shape));
		*rank = output->rank;
		return true;
	}
	if (output->rank != config->reshape.rank + lead) {
		return false;
	}
	if (lead != 0) {
		shape[0] = output->shape[0];
	}
	*rank = lead + translate(&config->reshape, output->shape + lead, &config->dims, shape + lead);
	return shape_elements(shape, *rank, &made) && shape_elements(output->shape, output->rank, &given) &&
	       made == given;
}

/* --- Rows --- */

static void
raise_to(_Atomic uint64_t *at, uint64_t value)
{
	uint64_t old = atomic_load(at);

	while (old < value && !atomic_compare_exchange_weak(at, &old, value)) {
	}
}

/* Looks at the models that an ensemble is made of, where any model has lost its trust since that was done last. */
static uint64_t
member_losses(struct model *model)
{
	uint64_t now = row_trust_losses(); /* before anything else is looked at */
	uint64_t losses = 0;

	if (atomic_load(&model->rows.checked) >= now) { /* each model once, however often it is used */
		return atomic_load(&model->rows.member_losses);
	}
	for (size_t i = 0; i < model->ensemble->step_count; i++) {
		losses += model_row_losses(model->ensemble->steps[i].model);
	}
	if (atomic_load(&model->rows.member_losses) < losses) { /* however its own answers are cached */
		raise_to(&model->rows.member_losses, losses);
		row_trust_taint_store(&model->rows);
	}
	if (row_trust_by_row(&model->rows) && !ensemble_keeps_rows(model->ensemble)) {
		model_lose_row_trust(model, ROWS_OF_MEMBER, "a model of its steps does not keep them apart");
	}
	raise_to(&model->rows.checked, now);
	return atomic_load(&model->rows.member_losses);
}

uint64_t
model_row_losses(struct model *model)
{
	return atomic_load(&model->row_record->losses) + (model->ensemble == NULL ? 0 : member_losses(model));
}

bool
model_by_row(struct model *model)
{
	if (model->ensemble != NULL) {
		(void)member_losses(model);
	}
	return row_trust_by_row(&model->rows);
}

/* Which of its models does not keep rows apart is not known. */
static void
distrust_members(struct model *model)
{
	for (size_t i = 0; i < model->ensemble->step_count; i++) {
		model_lose_row_trust(model->ensemble->steps[i].model, ROWS_DEPENDENT,
				     "an ensemble that it is a part of does not");
	}
}

/* Keys that are made between the two counts are of no other time, so that nothing which ran then is found later. */
void
model_lose_row_trust(struct model *model, enum row_standing why, const char *evidence)
{
	bool own = why != ROWS_OF_MEMBER;

	if (!row_trust_together(&model->rows)) {
		return;
	}
	if (own) {
		row_record_lose(model->row_record, (int)why, model->rows.tolerance);
	}
	if (!row_trust_lose(&model->rows, why)) {
		return;
	}
	if (own) {
		row_record_lose(model->row_record, (int)why, model->rows.tolerance);
		row_trust_count_loss();
	}
	log_warning(
		"model '%.*s' version %" PRId64
		" does not keep the rows of a batch apart: %s. From now on each request "
		"runs by itself and is cached whole; to have it so from the start, %s. If it may differ so much, set "
		"response_cache.audit_tolerance, or response_cache.audit to 0",
		BYTES_ARGS(model->config.name), model->version, evidence,
		model->ensemble != NULL ? "set the parameter response_cache.granularity to request"
					: "state max_batch_size: 0, and dims with the batch dimension, in its "
					  "config.pbtxt");
	if (own && model->ensemble != NULL) {
		distrust_members(model);
	}
}

/* --- Who is made of it --- */

static pthread_mutex_t ensembles_mutex = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, model) ensembles = LIST_HEAD_INITIALIZER(ensembles);

static void
enter_ensemble(struct model *model)
{
	if (model->ensemble != NULL) {
		(void)pthread_mutex_lock(&ensembles_mutex);
		LIST_INSERT_HEAD(&ensembles, model, loaded);
		(void)pthread_mutex_unlock(&ensembles_mutex);
	}
}

static void
remove_ensemble(struct model *model)
{
	if (model->ensemble != NULL && model->row_record != NULL) { /* it was entered */
		(void)pthread_mutex_lock(&ensembles_mutex);
		LIST_REMOVE(model, loaded);
		(void)pthread_mutex_unlock(&ensembles_mutex);
	}
}

static bool
is_made_of(const struct model *ensemble, const struct model *model)
{
	for (size_t i = 0; i < ensemble->ensemble->step_count; i++) {
		const struct model *member = ensemble->ensemble->steps[i].model;

		if (member == model || (member->ensemble != NULL && is_made_of(member, model))) {
			return true;
		}
	}
	return false;
}

void
model_each_ensemble_of(const struct model *model, void (*tell)(void *context, struct bytes name, int64_t version),
		       void *context)
{
	const struct model *ensemble;

	(void)pthread_mutex_lock(&ensembles_mutex);
	LIST_FOREACH (ensemble, &ensembles, loaded) {
		if (is_made_of(ensemble, model)) {
			tell(context, ensemble->config.name, ensemble->version);
		}
	}
	(void)pthread_mutex_unlock(&ensembles_mutex);
}

/* --- Running --- */

static void
run_batch(void *context, struct job_list *batch)
{
	model_run_batch(context, batch);
}

/* --- Opening --- */

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

/* Strangers in the folder are no reason not to load, but somebody may wonder why they do nothing. */
static void
tell_stray(const struct model_options *options)
{
	struct buf list;

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
	bool stated = model->config.states_batching || model->cache_policy.granularity == GRANULARITY_ROW;

	if (model->config.max_batch_size == 0) {
		return ROWS_NONE;
	}
	if (!stated) {
		return ROWS_GUESSED;
	}
	if (model->ensemble != NULL && !ensemble_keeps_rows(model->ensemble)) {
		return ROWS_OF_MEMBER;
	}
	return model->cache_policy.granularity == GRANULARITY_REQUEST ? ROWS_NOT_CACHED : ROWS_STATED;
}

/* What was found out about the same content stays true. */
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
	enter_ensemble(model);
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
start_instances(struct model *model)
{
	const struct model_config *config = &model->config;
	struct scheduler_options options = {
		.name = (const char *)config->name.at,
		.config = config,
		.run = run_batch,
		.context = model,
	};

	if (model->ensemble != NULL) {
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
	remove_ensemble(model);
	scheduler_free(model->scheduler);
	ordering_free(model->ordering);
	ensemble_close(model->ensemble);
	if (model->backend_model != NULL) {
		model->backend->close(model->backend_model);
	}
	statistics_free(model->statistics);
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

void
model_unref(struct model *model)
{
	if (atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) == 1) {
		model->unused(model, model->unused_context);
	}
}
