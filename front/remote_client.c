#include "front/remote_client.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/memory.h"
#include "upstream/ledger.h"
#include "upstream/via.h"
#include "upstream/work_options.h"
#include "wire/upstream_body.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADERS_MAX ((size_t)128 * 1024)
#define JSON_MAX ((size_t)2 << 30)
#define RESERVED_MAX ((size_t)16 << 20)
#define BODY_MAX ((size_t)4 << 30)
#define ARENA_MAX ((size_t)4 << 30)
#define HEDGE_FACTOR 4
#define HEDGE_MS_MIN 1000
#define HEDGE_MS_UNKNOWN 30000 /* of a model that has not run yet */
#define NOT_UNDERSTOOD_MAX 8   /* responses in succession */
#define FEW 4		       /* outputs */
#define ERROR_BODY_MAX ((size_t)64 * 1024)

/* What the model is on its server. */
struct place {
	struct bytes name;
	struct bytes version; /* the one of the keys; empty: it is not known */
	int64_t number;	      /* it in the ledger */
	bool is_named;	      /* requests name it */
	bool is_beside;	      /* a model beside models of our own: nothing can be passed to its server */
};

struct client_call {
	struct upstream_call http; /* first */
	struct remote_call *call;
	struct place place;
	char version[24]; /* of the place, where it is a number */
	struct buf target;
	struct buf json;
	struct bytes *pieces; /* of the request's body */
	struct buf headers;

	int status;
	bool has_more; /* fields that clients of a failure need: see read_failure */
	bool is_coded; /* the response's body is compressed, which nobody asked for */
	uint64_t json_length;
	struct buf body;
	struct offload_work work; /* decodes it */
	bool is_working;	  /* on an offload thread; `call` NULL: it was cancelled */
	struct arena arena;
	struct upstream_response response;
	enum status decoded;
	struct error error;
};

static void
free_call(struct client_call *this)
{
	if (this->call != NULL) {
		this->call->state = NULL;
	}
	upstream_response_fini(&this->response);
	arena_fini(&this->arena);
	buf_fini(&this->target);
	buf_fini(&this->json);
	buf_fini(&this->headers);
	buf_fini(&this->body);
	free(this->pieces);
	free(this);
}

/* --- The response --- */

static void
on_head(struct upstream_call *http, const struct http1_head *head)
{
	struct client_call *this = (struct client_call *)http;
	struct bytes coding = http1_header(head, "content-encoding");

	this->status = head->status;
	this->has_more =
		http1_header(head, "retry-after").at != NULL || http1_header(head, "www-authenticate").at != NULL;
	this->is_coded = coding.length > 0 && !bytes_equal_nocase(coding, "identity");
	if (!http1_number(http1_header(head, "inference-header-content-length"), &this->json_length)) {
		this->json_length = UINT64_MAX;
	}
	buf_fini(&this->body); /* of a response that broke off */
	buf_init(&this->body, head->status == 200 ? BODY_MAX : ERROR_BODY_MAX);
	if (head->has_length && head->content_length <= RESERVED_MAX) { /* more, when it has come */
		(void)buf_reserve(&this->body, (size_t)head->content_length);
	}
}

static bool
on_body(struct upstream_call *http, struct bytes part)
{
	buf_append(&((struct client_call *)http)->body, part);
	return true;
}

/* The server's outputs by their index in the config. False: they are others than the config's. */
static bool
order_outputs(const struct model_config *config, const struct upstream_response *response,
	      const struct tensor **ordered)
{
	for (size_t i = 0; i < response->output_count; i++) {
		ptrdiff_t index = model_tensor_index(config->outputs, config->output_count, response->outputs[i].name);

		if (index < 0 || ordered[index] != NULL) {
			return false;
		}
		ordered[index] = &response->outputs[i];
	}
	return response->output_count == config->output_count;
}

static enum status
copy_outputs(struct remote_call *call, const struct tensor *const *ordered, struct error *error)
{
	const struct model_config *config = &call->model->config;
	struct backend_output few_outputs[FEW];
	uint8_t *few_data[FEW];
	struct backend_output *outputs = memory_few(few_outputs, FEW, config->output_count, sizeof(*outputs));
	uint8_t **data = memory_few(few_data, FEW, config->output_count, sizeof(*data));
	enum status status = STATUS_OK;

	for (size_t i = 0; i < config->output_count && status == STATUS_OK; i++) {
		if (!tensor_is_whole(ordered[i])) {
			status = error_set(error, STATUS_INTERNAL, "output '%.*s' does not have the bytes of its shape",
					   BYTES_ARGS(ordered[i]->name));
			break;
		}
		outputs[i].datatype = ordered[i]->datatype;
		outputs[i].rank = ordered[i]->rank;
		outputs[i].length = ordered[i]->data.length;
		outputs[i].content_type = ordered[i]->content_type;
		memcpy(outputs[i].shape, ordered[i]->shape, ordered[i]->rank * sizeof(*outputs[i].shape));
	}
	if (status == STATUS_OK) {
		status = call->allocate(call, outputs, data, error);
	}
	for (size_t i = 0; i < config->output_count && status == STATUS_OK; i++) {
		if (outputs[i].length > 0) {
			memcpy(data[i], ordered[i]->data.at, outputs[i].length);
		}
	}
	memory_few_free(few_outputs, outputs);
	memory_few_free(few_data, data);
	return status;
}

/* From now on the model is not cached: its answers have what an entry cannot hold. */
static void
suspend(struct model *model, const char *why, const char *outcome)
{
	if (!atomic_exchange(&model->suspended, true)) {
		log_warning("model '%.*s' version %" PRId64 " is not cached: %s%s", BYTES_ARGS(model->config.name),
			    model->version, why, outcome);
	}
}

/* The client is to have the response as it is, and so is whoever asks the model from now on. */
static enum status
pass_from_now_on(struct model *model, const char *why, struct error *error)
{
	suspend(model, why, "; its requests pass through");
	return error_set(error, STATUS_PASS, "%s", why);
}

/*
 * A response that is not understood may be so for a good reason: the client is to get it as it is. If that goes on, the
 * model is suspended, since each such request runs twice.
 */
static enum status
give_up(struct model *model, struct error *error)
{
	if (atomic_fetch_add(&model->not_understood, 1) + 1 >= NOT_UNDERSTOOD_MAX) {
		return pass_from_now_on(model, "its responses are not understood", error);
	}
	return error_set(error, STATUS_PASS, "the response is not understood");
}

/* Is it the version of the keys? Servers without versions state none, or any. */
static bool
is_expected(const struct place *place, const struct upstream_response *response)
{
	return place->version.length == 0 || response->model_version.length == 0 ||
	       bytes_equal(response->model_version, place->version);
}

/* In front of a server: what cannot be given again as it was passes. */
static enum status
take_whole(struct client_call *this, const struct upstream_response *response, const struct tensor **ordered,
	   struct error *error)
{
	struct remote_call *call = this->call;

	if (!response->is_plain) {
		return pass_from_now_on(call->model, "its responses have parameters, or other members", error);
	}
	if (!order_outputs(&call->model->config, response, ordered)) {
		return pass_from_now_on(call->model, "its responses have other outputs than its configuration", error);
	}
	if (!is_expected(&this->place, response) ||
	    (response->model_name.length > 0 && !bytes_equal(response->model_name, this->place.name))) {
		return give_up(call->model, error);
	}
	return copy_outputs(call, ordered, error);
}

/* The outputs of the config among the server's. */
static enum status
choose_outputs(const struct model_config *config, const struct upstream_response *response,
	       const struct tensor **chosen, struct error *error)
{
	for (size_t i = 0; i < response->output_count; i++) {
		ptrdiff_t index = model_tensor_index(config->outputs, config->output_count, response->outputs[i].name);

		if (index >= 0 && chosen[index] != NULL) {
			return error_set(error, STATUS_INTERNAL, "the response has the output '%.*s' twice",
					 BYTES_ARGS(config->outputs[index].name));
		}
		if (index >= 0) {
			chosen[index] = &response->outputs[i];
		}
	}
	for (size_t i = 0; i < config->output_count; i++) {
		if (chosen[i] == NULL) {
			return error_set(error, STATUS_INTERNAL, "the response lacks the output '%.*s'",
					 BYTES_ARGS(config->outputs[i].name));
		}
	}
	return STATUS_OK;
}

/* Beside models of our own: the tensors are answered with, whatever else there is, but perhaps not kept. */
static enum status
take_tensors(struct client_call *this, const struct upstream_response *response, const struct tensor **chosen,
	     struct error *error)
{
	struct model *model = this->call->model;

	if (!response->is_plain) {
		suspend(model, "its responses have parameters, or other members, which clients do not get", "");
	} else if (!is_expected(&this->place, response)) {
		suspend(model, "its server has another version now", "");
	}
	return choose_outputs(&model->config, response, chosen, error) == STATUS_OK
		       ? copy_outputs(this->call, chosen, error)
		       : error->status;
}

static enum status
take_response(struct client_call *this, const struct upstream_response *response, struct error *error)
{
	const struct tensor *few[FEW];
	const struct tensor **outputs = memory_few(few, FEW, this->call->model->config.output_count, sizeof(*outputs));
	enum status status = this->place.is_beside ? take_tensors(this, response, outputs, error)
						   : take_whole(this, response, outputs, error);

	memory_few_free(few, outputs);
	return status;
}

/* Nothing of the call's, which may be cancelled meanwhile. */
static void
run_decode(struct offload_work *work)
{
	struct client_call *this = container_of(work, struct client_call, work);
	struct bytes body = buf_bytes(&this->body);
	size_t json = this->json_length < body.length ? (size_t)this->json_length : body.length;

	if (!buf_ok(&this->body)) {
		this->decoded = error_set(&this->error, STATUS_UNAVAILABLE, "no memory for the response");
	} else if (this->is_coded) {
		this->decoded = error_set(&this->error, this->place.is_beside ? STATUS_INTERNAL : STATUS_PASS,
					  "the response is compressed");
	} else {
		this->decoded = upstream_response_decode(bytes_make(body.at, json), bytes_skip(body, json),
							 &this->arena, &this->response, &this->error);
	}
}

static enum status
status_of(int http)
{
	switch (http) {
	case 400:
		return STATUS_INVALID_ARGUMENT;
	case 404:
		return STATUS_NOT_FOUND;
	case 501:
		return STATUS_UNSUPPORTED;
	case 503:
		return STATUS_UNAVAILABLE;
	default:
		return STATUS_INTERNAL;
	}
}

/*
 * A failure that the server reports. One that is more than Triton's {"error": "…"} passes through or, beside models of
 * our own, is one of that server.
 */
static enum status
read_failure(struct client_call *this, struct error *error)
{
	char text[ERROR_TEXT_SIZE];
	bool personal = this->status == 401 || this->status == 403 || this->status == 407; /* not for who joined */
	bool is_told = this->status >= 400 && !personal && !this->is_coded && buf_ok(&this->body) &&
		       upstream_error_text(buf_bytes(&this->body), text, sizeof(text));

	if (is_told && (!this->has_more || this->place.is_beside)) {
		(void)error_set(error, status_of(this->status), "%s", text);
		error->http = this->status;
		error->is_remote = true;
	} else if (this->place.is_beside) {
		(void)error_set(error, STATUS_UNAVAILABLE, "upstream %s: HTTP status %d",
				upstream_lane_name(this->http.lane, this->http.replica), this->status);
		error->http = 502;
	} else {
		(void)error_set(error, STATUS_PASS, "HTTP status %d", this->status);
	}
	return error->status;
}

static enum status
blame_server(const struct client_call *this, struct error *error)
{
	struct error cause = *error;

	(void)error_set(error, STATUS_INTERNAL, "upstream %s: the response cannot be used: %.900s",
			upstream_lane_name(this->http.lane, this->http.replica), cause.text);
	error->http = 502;
	return error->status;
}

static enum status
take_decoded(struct client_call *this, struct error *error)
{
	if (this->decoded == STATUS_OK) {
		return take_response(this, &this->response, error);
	}
	if (this->is_coded || !buf_ok(&this->body)) {
		*error = this->error;
		return this->decoded;
	}
	/* The text is that of a client's fault, too: the decoder reads requests as well. */
	log_verbose("a response of model '%.*s': %s", BYTES_ARGS(this->place.name), this->error.text);
	return error_set(error, this->decoded, "it is no inference response of the protocol");
}

static void
finish(struct client_call *this, enum status status, struct error *error)
{
	struct remote_call *call = this->call;

	free_call(this);
	call->done(call, status, error);
}

static void
on_decoded(struct offload_work *work)
{
	struct client_call *this = container_of(work, struct client_call, work);
	const struct work_options *options = upstream_lane_work(this->http.lane);
	bool was_working = this->is_working;
	struct error error = {0};
	enum status status;

	if (this->call == NULL) { /* cancelled */
		free_call(this);
	} else {
		status = take_decoded(this, &error);
		if (status == STATUS_OK) {
			atomic_store_explicit(&this->call->model->not_understood, 0, memory_order_relaxed);
		} else if (this->place.is_beside) {
			status = blame_server(this, &error);
		} else if (status != STATUS_PASS) {
			status = give_up(this->call->model, &error);
		}
		finish(this, status, &error);
	}
	if (was_working) {
		options->release(options->context);
	}
}

/* Decodes the answer, elsewhere than on the loop if its JSON is long. */
static void
take_answer(struct client_call *this)
{
	const struct work_options *options = upstream_lane_work(this->http.lane);
	size_t json = this->json_length < this->body.length ? (size_t)this->json_length : this->body.length;

	/* Counts it as one of the version that the keys name: if it was another one, the counts show a change. */
	ledger_add(upstream_lane_ledger(this->http.lane), this->place.name, this->place.number, this->http.replica);
	arena_init_small(&this->arena, ARENA_MAX);
	this->work = (struct offload_work){.size = json, .run = run_decode, .done = on_decoded};
	if (options == NULL || json <= WORK_LONG) {
		run_decode(&this->work);
		on_decoded(&this->work);
		return;
	}
	this->work.loop = upstream_lane_loop(this->http.lane);
	this->is_working = true;
	options->hold(options->context);
	offload_post(options->offload, &this->work);
}

static void
on_done(struct upstream_call *http, enum http_outcome outcome, const char *why)
{
	struct client_call *this = (struct client_call *)http;
	struct error error = {0};

	if (outcome == HTTP_CALL_DONE && this->status == 200) {
		take_answer(this);
		return;
	}
	if (outcome != HTTP_CALL_DONE) {
		(void)error_set(&error, STATUS_UNAVAILABLE, "upstream %s", why);
		error.http = http_outcome_status(outcome);
	} else if (this->status == 502 && upstream_lane_is_grpc(http->lane, http->replica) && !this->place.is_beside) {
		(void)give_up(this->call->model, &error); /* the transcoder has not understood the response */
	} else {
		(void)read_failure(this, &error);
	}
	finish(this, error.status, &error);
}

/* --- The request --- */

/* The name of the header field that the parameter is (remote.h); `at` NULL: it is none. */
static struct bytes
field_of(const struct parameter *parameter)
{
	static const char *const prefixes[] = {REMOTE_FIELD, REMOTE_UNKEYED_FIELD};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		if (bytes_starts_with(parameter->name, prefixes[i])) {
			return bytes_skip(parameter->name, strlen(prefixes[i]));
		}
	}
	return bytes_make(NULL, 0);
}

static void
write_headers(struct client_call *this, bool binary)
{
	struct buf *headers = &this->headers;

	if (binary) {
		buf_text(headers, "Content-Type: application/octet-stream\r\nInference-Header-Content-Length: ");
		buf_unsigned(headers, this->json.length);
		buf_text(headers, "\r\n");
	} else {
		buf_text(headers, "Content-Type: application/json\r\n");
	}
	for (size_t i = 0; i < this->call->parameter_count; i++) {
		struct bytes field = field_of(&this->call->parameters[i]);

		if (field.at != NULL) {
			buf_append(headers, field);
			buf_text(headers, ": ");
			buf_append(headers, this->call->parameters[i].text);
			buf_text(headers, "\r\n");
		}
	}
	buf_text(headers, "Accept-Encoding: identity\r\nVia: ");
	buf_text(headers, via_own());
	buf_text(headers, "\r\n");
}

static void
find_place(struct client_call *this)
{
	const struct model *model = this->call->model;
	const struct model_parameter *name = model_config_parameter(&model->config, REMOTE_MODEL);
	const struct model_parameter *version = model_config_parameter(&model->config, REMOTE_VERSION);
	const struct model_parameter *asked = model_config_parameter(&model->config, REMOTE_ASKED_VERSION);
	const struct model_parameter *word = model_config_parameter(&model->config, REMOTE_UNVERSIONED);
	struct place *place = &this->place;

	place->is_beside = name != NULL;
	place->name = name != NULL ? name->value : model->config.name;
	version = asked != NULL ? asked : version;
	place->number = name == NULL	  ? model->version
			: version != NULL ? strtoll((const char *)version->value.at, NULL, 10)
					  : 0;
	if (word != NULL) {
		place->version = word->value;
	} else if (place->number > 0) {
		(void)snprintf(this->version, sizeof(this->version), "%" PRId64, place->number);
		place->version = bytes_text(this->version);
		place->is_named = name == NULL || asked != NULL;
	}
}

static enum status
write_request(struct client_call *this, struct error *error)
{
	const struct remote_call *call = this->call;
	struct parameter *parameters = memory_array(call->parameter_count, sizeof(*parameters));
	struct upstream_request request = {
		.id = call->id,
		.inputs = call->inputs,
		.input_count = call->input_count,
		.parameters = parameters,
		.binary = model_config_parameter(&call->model->config, FRONT_JSON_ONLY) == NULL,
	};
	size_t count = 0;
	enum status status;

	for (size_t i = 0; i < call->parameter_count; i++) {
		if (field_of(&call->parameters[i]).at == NULL) {
			parameters[request.parameter_count++] = call->parameters[i];
		}
	}
	buf_text(&this->target, "/v2/models/");
	http1_percent_encode(&this->target, this->place.name);
	if (this->place.is_named) {
		buf_format(&this->target, "/versions/%s", this->version);
	}
	buf_text(&this->target, "/infer");
	status = upstream_request_encode(&request, &this->json, error);
	free(parameters);
	this->pieces = memory_array(call->input_count + 1, sizeof(*this->pieces));
	this->pieces[count++] = buf_bytes(&this->json);
	for (size_t i = 0; i < call->input_count && request.binary; i++) {
		this->pieces[count++] = call->inputs[i].data;
	}
	write_headers(this, request.binary);
	this->http.body = this->pieces;
	this->http.body_count = count;
	this->http.target = buf_bytes(&this->target);
	this->http.headers = buf_bytes(&this->headers);
	if (status == STATUS_OK && !(buf_ok(&this->target) && buf_ok(&this->headers))) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	return status;
}

/* Several times what the model usually takes: a replica that is silent for longer is likely to be stopped. */
static unsigned
hedge_ms(const struct remote_call *call)
{
	const struct model_config *config = &call->model->config;
	const struct tensor *first = call->input_count > 0 ? &call->inputs[0] : NULL;
	uint64_t rows = config->max_batch_size > 0 && first != NULL && first->rank > 0 ? (uint64_t)first->shape[0] : 1;
	uint64_t usual = atomic_load_explicit(&call->model->run_cost_ns, memory_order_relaxed) / NS_PER_MS;
	uint64_t ms = HEDGE_FACTOR * (usual + 1) * rows;

	if (usual == 0 && atomic_load_explicit(&call->model->run_cost_ns, memory_order_relaxed) == 0) {
		return HEDGE_MS_UNKNOWN;
	}
	return ms < HEDGE_MS_MIN ? HEDGE_MS_MIN : ms > UINT_MAX ? UINT_MAX : (unsigned)ms;
}

/* Two attempts cost the server no more than two requests that are joined would, had each been asked for itself. */
static bool
may_repeat(struct upstream_call *http)
{
	const struct job *job = ((struct client_call *)http)->call->job;

	return job->is_joined != NULL && atomic_load(job->is_joined);
}

static enum status
start(void *remote, struct remote_call *call, struct error *error)
{
	struct upstream_lane *lane = remote;
	struct client_call *this = memory_new(sizeof(*this));

	call->state = this;
	this->call = call;
	find_place(this);
	buf_init(&this->target, ERROR_BODY_MAX);
	buf_init(&this->json, JSON_MAX);
	buf_init(&this->headers, HEADERS_MAX);
	if (write_request(this, error) != STATUS_OK) { /* such as FP16 for a server that takes JSON alone */
		if (!this->place.is_beside) {
			error->status = STATUS_PASS;
		}
		free_call(this);
		return error->status;
	}
	this->http.method = "POST";
	this->http.is_repeatable = true; /* a model whose answers may be cached gives the same one again */
	this->http.begins_anew = true;
	this->http.hedge_ms = hedge_ms(call);
	this->http.may_repeat = may_repeat;
	this->http.only = -1;
	this->http.on_head = on_head;
	this->http.on_body = on_body;
	this->http.done = on_done;
	upstream_call_start(lane, &this->http);
	return STATUS_OK;
}

static void
cancel(void *remote, struct remote_call *call)
{
	struct client_call *this = call->state;

	(void)remote;
	if (this->is_working) { /* until then */
		call->state = NULL;
		this->call = NULL;
		return;
	}
	upstream_call_cancel(&this->http);
	free_call(this);
}

const struct remote_ops remote_client_ops = {.start = start, .cancel = cancel};
