/* The priority and the queue timeout of a request. */
#include "inference/engine_internal.h"

#define TIMEOUT_MAX_US ((uint64_t)1000000000000) /* eleven days */

/* --- Priority and timeout, as in dynamic_batching --- */

static bool
read_unsigned(const struct inference_request *request, const char *name, uint64_t *number)
{
	const struct parameter *parameter = parameter_find(request->parameters, request->parameter_count, name);

	if (parameter == NULL || (parameter->kind != PARAMETER_UNSIGNED &&
				  (parameter->kind != PARAMETER_SIGNED || parameter->signed_number < 0))) {
		return false;
	}
	*number = parameter->unsigned_number;
	return true;
}

/* The steps of an ensemble queue with the leader's priority and timeout, so these must be equal for all that join. */
static struct queue_class
queue_class(const struct inference_request *request)
{
	struct queue_class class = {0};

	(void)read_unsigned(request, "priority", &class.priority);
	(void)read_unsigned(request, "timeout", &class.timeout);
	return class;
}

void
request_set_level(struct inference_request *request)
{
	struct request_state *state = request->state;
	const struct model_batching *batching = &request->model->config.batching;
	uint64_t level = 0;

	if (request->model->ensemble != NULL) {
		state->queue_class = queue_class(request);
	}
	if (batching->priority_levels == 0) {
		state->level = 1;
		return;
	}
	(void)read_unsigned(request, "priority", &level);
	state->level =
		(size_t)(level == 0 || level > batching->priority_levels ? batching->default_priority_level : level);
}

uint64_t
request_queue_timeout(const struct inference_request *request)
{
	const struct model_queue_policy *policy =
		model_batching_policy(&request->model->config.batching, request->state->level);
	uint64_t timeout = policy->default_timeout_us;
	uint64_t wish = 0;

	if (request->model->config.scheduling != MODEL_SCHEDULING_DYNAMIC) {
		return 0;
	}
	if (policy->allow_timeout_override && read_unsigned(request, "timeout", &wish) && wish > 0 &&
	    (timeout == 0 || wish < timeout)) {
		timeout = wish;
	}
	return timeout < TIMEOUT_MAX_US ? timeout : TIMEOUT_MAX_US;
}
