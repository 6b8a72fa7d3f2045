#include "inference/models/model.h"

#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>

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

bool
model_members_keep_rows(const struct model *model)
{
	for (size_t i = 0; i < model->ensemble->step_count; i++) {
		if (!model_by_row(model->ensemble->steps[i].model)) {
			return false;
		}
	}
	return true;
}

/* Returns the losses of an ensemble's members; counts them again if any model lost row trust since the last count. */
static uint64_t
member_losses(struct model *model)
{
	uint64_t now = row_trust_losses(); /* before any member is looked at */
	uint64_t losses = 0;

	if (atomic_load(&model->rows.checked) >= now) { /* no loss since the last count */
		return atomic_load(&model->rows.member_losses);
	}
	for (size_t i = 0; i < model->ensemble->step_count; i++) {
		losses += model_row_losses(model->ensemble->steps[i].model);
	}
	if (atomic_load(&model->rows.member_losses) < losses) { /* even if its own answers are cached whole */
		raise_to(&model->rows.member_losses, losses);
		row_trust_taint_store(&model->rows);
	}
	if (row_trust_by_row(&model->rows) && !model_members_keep_rows(model)) {
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

/* It is not known which of the members has dependent rows. */
static void
lose_member_trust(struct model *model)
{
	for (size_t i = 0; i < model->ensemble->step_count; i++) {
		model_lose_row_trust(model->ensemble->steps[i].model, ROWS_DEPENDENT,
				     "an ensemble that it is a part of does not");
	}
}

/* Counts the loss twice: keys made in between match no other time, so entries stored under them are never found. */
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
		lose_member_trust(model);
	}
}

/* --- Loaded ensembles --- */

static pthread_mutex_t ensembles_mutex = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, model) ensembles = LIST_HEAD_INITIALIZER(ensembles);

void
model_list_ensemble(struct model *model)
{
	if (model->ensemble != NULL) {
		(void)pthread_mutex_lock(&ensembles_mutex);
		LIST_INSERT_HEAD(&ensembles, model, loaded);
		(void)pthread_mutex_unlock(&ensembles_mutex);
	}
}

void
model_unlist_ensemble(struct model *model)
{
	if (model->ensemble != NULL && model->row_record != NULL) { /* it was listed */
		(void)pthread_mutex_lock(&ensembles_mutex);
		LIST_REMOVE(model, loaded);
		(void)pthread_mutex_unlock(&ensembles_mutex);
	}
}

/* A member of ensembles: this model or, if that is NULL, any version of this name. */
struct member {
	const struct model *model;
	struct bytes name;
};

/* Directly or not. */
static bool
is_made_of(const struct model *ensemble, const struct member *wanted)
{
	for (size_t i = 0; i < ensemble->ensemble->step_count; i++) {
		const struct model *model = ensemble->ensemble->steps[i].model;
		bool is_wanted =
			wanted->model != NULL ? model == wanted->model : bytes_equal(model->config.name, wanted->name);

		if (is_wanted || (model->ensemble != NULL && is_made_of(model, wanted))) {
			return true;
		}
	}
	return false;
}

static void
each_ensemble(const struct member *wanted, void (*tell)(void *context, struct bytes name, int64_t version),
	      void *context)
{
	const struct model *ensemble;

	(void)pthread_mutex_lock(&ensembles_mutex);
	LIST_FOREACH (ensemble, &ensembles, loaded) {
		if (is_made_of(ensemble, wanted)) {
			tell(context, ensemble->config.name, ensemble->version);
		}
	}
	(void)pthread_mutex_unlock(&ensembles_mutex);
}

void
model_each_ensemble_of(const struct model *model, void (*tell)(void *context, struct bytes name, int64_t version),
		       void *context)
{
	each_ensemble(&(struct member){.model = model}, tell, context);
}

void
model_each_ensemble_with(struct bytes name, void (*tell)(void *context, struct bytes name, int64_t version),
			 void *context)
{
	each_ensemble(&(struct member){.name = name}, tell, context);
}

bool
model_is_suspended(const struct model *model)
{
	for (size_t i = 0; model->ensemble != NULL && i < model->ensemble->step_count; i++) {
		if (model_is_suspended(model->ensemble->steps[i].model)) {
			return true;
		}
	}
	return atomic_load_explicit(&model->suspended, memory_order_relaxed);
}

/* --- References --- */

void
model_unref(struct model *model)
{
	if (atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) == 1) {
		model->unused(model, model->unused_context);
	}
}
