#include "front/remote_registry.h"

#include "base/digest.h"
#include "base/log.h"
#include "base/memory.h"
#include "front/remote_client.h"
#include "front/remote_server.h"
#include "wire/model_config.h"
#include "wire/remote_config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMETER_MODEL "model"
#define PARAMETER_GENERATION "generation" /* the owner's word for what the model is */
#define CONFIG_MAX ((size_t)64 << 20)
#define WAIT_MS 300U	       /* for the first look at a server, whose model can be served without it */
#define WAIT_COMPLETE_MS 3000U /* where it cannot */

/* See struct remote_models. */
struct link {
	struct remote_server *server;
	char *model;	 /* there */
	int64_t version; /* 0: which one is for the server to say */
};

/* The owner's word for what a model is, which holds until its server shows a change. */
struct word {
	char *text;	  /* the server, the word, and our model */
	uint64_t changes; /* of the server, when the word was read first */
	bool is_used_up;
	bool is_purged; /* what was stored by it */
	LIST_ENTRY(word) next;
};

struct remote_registry {
	const struct remote_registry_options *options;
	struct remote_servers *servers;
	LIST_HEAD(, word) words; /* of the thread that loads models */
};

/* The lane of one loop. */
struct remote_lane {
	struct remote_registry *registry;
	struct loop *loop;
	struct lane_entry {
		struct remote_server *server;
		struct upstream_lane *lane;
	} * entries;
	size_t count;
};

/* --- Links --- */

static enum status
read_version(const struct model_config *config, int64_t *version, struct error *error)
{
	const struct model_parameter *parameter = model_config_parameter(config, REMOTE_ASKED_VERSION);
	char *end;

	*version = 0;
	if (parameter == NULL) {
		return STATUS_OK;
	}
	errno = 0;
	*version = strtoll((const char *)parameter->value.at, &end, 10);
	return parameter->value.length > 0 && *parameter->value.at >= '1' && *parameter->value.at <= '9' &&
			       *end == '\0' && errno == 0
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT,
				   "the parameter 'version' is '%.*s': give a number above 0",
				   BYTES_ARGS(parameter->value));
}

static struct remote_server *
find_server(struct remote_registry *registry, const struct model_config *config, struct error *error)
{
	struct remote_server *server = remote_servers_find(registry->servers, config);

	if (model_config_parameter(config, REMOTE_URL) == NULL) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"the backend 'upstream' needs the address of a server: parameters { key: \"url\" value "
				"{ string_value: \"http://HOST:PORT\" } }");
		return NULL;
	}
	return server != NULL ? server : remote_servers_add(registry->servers, config, error);
}

static struct link *
make_link(struct remote_registry *registry, const char *name, const struct model_config *config, struct error *error)
{
	const struct model_parameter *model = model_config_parameter(config, PARAMETER_MODEL);
	struct remote_server *server;
	struct link *link;
	int64_t version;

	if (read_version(config, &version, error) != STATUS_OK) {
		return NULL;
	}
	server = find_server(registry, config, error);
	if (server == NULL) {
		return NULL;
	}
	link = memory_new(sizeof(*link));
	link->server = server;
	link->model = model == NULL ? memory_text(name) : memory_text_of(model->value);
	link->version = version;
	remote_server_hold(server, link->model);
	return link;
}

static void
release(void *context, void *link)
{
	struct link *this = link;

	(void)context;
	remote_server_release(this->server, this->model);
	free(this->model);
	free(this);
}

static uint64_t
stamp(void *context, void *link)
{
	const struct link *this = link;

	(void)context;
	return remote_server_stamp(this->server, this->model, this->version);
}

/* --- The owner's word --- */

static void
purge_ensemble(void *context, struct bytes name, int64_t version)
{
	const struct remote_registry_options *options = ((const struct remote_registry *)context)->options;
	char *text = memory_text_of(name);

	(void)version;
	(void)options->purge(options->context, text);
	free(text);
}

/* What was stored of the model, and of all that contain it, is not to be found by those who state the same word. */
static bool
purge(struct remote_registry *registry, const char *name)
{
	if (!registry->options->purge(registry->options->context, name)) {
		return false;
	}
	model_each_ensemble_with(bytes_text(name), purge_ensemble, registry);
	return true;
}

static struct word *
find_word(struct remote_registry *registry, const struct link *link, const char *name, struct bytes stated,
	  uint64_t changes)
{
	char *text = memory_format("%s\n%.*s\n%s", remote_server_url(link->server), (int)stated.length,
				   (const char *)stated.at, name);
	struct word *word;

	LIST_FOREACH (word, &registry->words, next) {
		if (strcmp(word->text, text) == 0) {
			free(text);
			return word;
		}
	}
	word = memory_new(sizeof(*word));
	word->text = text;
	word->changes = changes;
	LIST_INSERT_HEAD(&registry->words, word, next);
	return word;
}

/* Does the word still say what the model is? */
static bool
word_holds(struct remote_registry *registry, const struct link *link, const char *name, struct bytes stated,
	   const struct remote_state *state)
{
	struct word *word = find_word(registry, link, name, stated, state->changes);

	if (!word->is_used_up && state->changes != word->changes) {
		word->is_used_up = true;
		log_warning("the generation '%.*s' of model '%s' is used up, as its server has shown a change: what is "
			    "cached is not shared any more; state another one",
			    BYTES_ARGS(stated), name);
	}
	if (word->is_used_up && !word->is_purged) {
		word->is_purged = purge(registry, name);
	}
	return !word->is_used_up;
}

/* --- Configurations --- */

struct marks {
	struct model_parameter list[3];
	size_t count;
	char version[24];
};

static void
add_mark(struct marks *marks, const char *name, const char *value)
{
	marks->list[marks->count++] = (struct model_parameter){.name = bytes_text(name), .value = bytes_text(value)};
}

static void
make_marks(const struct link *link, const struct remote_state *state, bool is_stated, struct marks *marks)
{
	*marks = (struct marks){.count = 0};
	add_mark(marks, REMOTE_MODEL, link->model);
	if (state->version > 0) {
		(void)snprintf(marks->version, sizeof(marks->version), "%" PRId64, state->version);
		add_mark(marks, REMOTE_VERSION, marks->version);
	}
	if (!state->is_there) {
		add_mark(marks, MODEL_UNKNOWN, "true");
	} else if (!is_stated) {
		add_mark(marks, MODEL_OWN_PARAMETER "generation", state->generation);
	}
}

/* Whether a server without statistics loads a model again cannot be seen: the owner's word is needed. */
static bool
settle(struct remote_registry *registry, const struct link *link, const char *name, const struct model_config *own,
       struct remote_state *state)
{
	const struct model_parameter *stated = model_config_parameter(own, PARAMETER_GENERATION);
	bool holds = state->is_there && stated != NULL && word_holds(registry, link, name, stated->value, state);

	if (state->is_there && !state->shows_loads && stated == NULL) {
		state->is_there = false;
		(void)snprintf(
			state->why, sizeof(state->why),
			"upstream %s has no statistics, or none of this model, so that it does not show when it loads "
			"it again: if you state another parameter 'generation' whenever the model changes, give it",
			remote_server_url(link->server));
	}
	return holds;
}

static bool
states_tensors(const struct model_config *own)
{
	return own->input_count > 0 && own->output_count > 0;
}

/* The server says what is wrong with a request, but by its own names, and to the client. */
static void
tell_differences(const char *name, const struct model_config *own, struct bytes behind)
{
	struct buf text;

	buf_init(&text, ERROR_TEXT_SIZE);
	remote_config_compare(own, behind, &text);
	if (text.length > 0) {
		log_warning("model '%s': config.pbtxt differs from what its server tells: %.*s", name,
			    BYTES_ARGS(buf_bytes(&text)));
	}
	buf_fini(&text);
}

/* Others may be meant for something, but do nothing here: one that is misspelt, as a rule. */
static void
tell_unknown(const char *name, const struct model_config *own)
{
	static const char *const known[] = {REMOTE_URL, PARAMETER_MODEL, REMOTE_ASKED_VERSION, PARAMETER_GENERATION};

	for (size_t i = 0; i < own->parameter_count; i++) {
		struct bytes parameter = own->parameters[i].name;
		bool is_known = bytes_starts_with(parameter, "response_cache.") ||
				bytes_starts_with(parameter, MODEL_OWN_PARAMETER);

		for (size_t k = 0; k < sizeof(known) / sizeof(*known); k++) {
			is_known = is_known || bytes_equal_text(parameter, known[k]);
		}
		if (!is_known) {
			log_warning("model '%s': the backend 'upstream' has no parameter '%.*s': there are url, model, "
				    "version and generation",
				    name, BYTES_ARGS(parameter));
		}
	}
}

static enum status
write_config(struct model_config *own, const struct remote_config *remote, struct model_config_text *config,
	     struct error *error)
{
	enum status status;
	struct buf json;

	buf_init(&json, CONFIG_MAX);
	status = remote_config_write(own, remote, &json, error);
	if (status == STATUS_OK) {
		free(config->at);
		config->at = memory_text_of(buf_bytes(&json));
		config->length = json.length;
		config->is_json = true;
	}
	buf_fini(&json);
	return status;
}

static enum status
complete_by(struct remote_registry *registry, const struct link *link, const char *name, struct model_config *own,
	    struct remote_state *state, struct model_config_text *config, struct error *error)
{
	bool is_stated = settle(registry, link, name, own, state);
	struct marks marks;
	struct remote_config remote = {.behind = bytes_text(state->config == NULL ? "" : state->config),
				       .completes = registry->options->completes,
				       .is_cached = state->is_there,
				       .marks = marks.list};

	make_marks(link, state, is_stated, &marks);
	remote.mark_count = marks.count;
	if (!states_tensors(own) && (state->config == NULL || !remote.completes)) {
		return error_set(error, STATUS_UNAVAILABLE,
				 "config.pbtxt states no input or no output, and they cannot be taken from its server: "
				 "%s. State them, or mend that",
				 state->is_there ? "auto-completion is off" : state->why);
	}
	if (!state->is_there) {
		log_warning("model '%s' is not cached for now: %s", name, state->why);
	} else {
		log_info("model '%s' runs as '%s' of %s", name, link->model, remote_server_url(link->server));
	}
	tell_differences(name, own, remote.behind);
	return write_config(own, &remote, config, error);
}

static enum status
complete_linked(struct remote_registry *registry, const char *name, struct model_config *own,
		struct model_config_text *config, struct remote_link *held, struct error *error)
{
	const struct link *link = held->held;
	struct remote_state state;
	enum status status;
	bool needs_it = !states_tensors(own);

	remote_server_wait(link->server, link->model, needs_it, needs_it ? WAIT_COMPLETE_MS : WAIT_MS);
	remote_server_state(link->server, link->model, link->version, &state);
	held->stamp = state.stamp;
	held->server = link->server;
	status = complete_by(registry, link, name, own, &state, config, error);
	remote_state_fini(&state);
	return status;
}

/* A configuration that cannot be read is for the repository to report. */
static bool
parse(const struct model_config_text *config, struct model_config *own)
{
	struct bytes text = bytes_make(config->at, config->length);
	struct error error;

	return (config->is_json ? model_config_parse_json(text, own, &error)
				: model_config_parse_text(text, "", own, &error)) == STATUS_OK;
}

static enum status
complete(void *context, const char *name, struct model_config_text *config, struct remote_link *link,
	 struct error *error)
{
	struct remote_registry *registry = context;
	enum status status = STATUS_OK;
	struct model_config own;

	*link = (struct remote_link){0};
	if (!parse(config, &own)) {
		return STATUS_OK;
	}
	if (bytes_equal_text(own.backend, "upstream")) {
		tell_unknown(name, &own);
		link->held = make_link(registry, name, &own, error);
		status =
			link->held == NULL ? error->status : complete_linked(registry, name, &own, config, link, error);
	}
	model_config_fini(&own);
	return status == STATUS_OK ? STATUS_OK : error_prefix(error, "model '%s': ", name);
}

static int64_t
number_of(const struct model_parameter *parameter)
{
	return parameter == NULL ? 0 : strtoll((const char *)parameter->value.at, NULL, 10);
}

bool
remote_registry_is_old(const struct model *model)
{
	const struct model_parameter *name = model_config_parameter(&model->config, REMOTE_MODEL);
	int64_t version = number_of(model_config_parameter(&model->config, REMOTE_ASKED_VERSION));

	return model->remote_server != NULL && name != NULL &&
	       remote_server_stamp(model->remote_server, (const char *)name->value.at, version) != model->remote_stamp;
}

struct remote_models
remote_registry_models(struct remote_registry *registry)
{
	return (struct remote_models){.complete = complete, .stamp = stamp, .release = release, .context = registry};
}

/* --- Running them --- */

static void *
open_lane(void *shared, struct loop *loop)
{
	struct remote_lane *lane = memory_new(sizeof(*lane));

	lane->registry = shared;
	lane->loop = loop;
	return lane;
}

static void
close_lane(void *remote)
{
	struct remote_lane *lane = remote;

	for (size_t i = 0; i < lane->count; i++) {
		upstream_lane_free(lane->entries[i].lane);
	}
	free(lane->entries);
	free(lane);
}

/* The lane's part of the server of a loaded model. */
static struct upstream_lane *
lane_of(struct remote_lane *lane, const struct model *model)
{
	struct remote_server *server = model->remote_server;

	for (size_t i = 0; i < lane->count; i++) {
		if (lane->entries[i].server == server) {
			return lane->entries[i].lane;
		}
	}
	lane->entries = memory_grow(lane->entries, lane->count + 1, sizeof(*lane->entries));
	lane->entries[lane->count].server = server;
	lane->entries[lane->count].lane = upstream_lane_new(remote_server_upstream(server), lane->loop, NULL);
	return lane->entries[lane->count++].lane;
}

static enum status
start(void *remote, struct remote_call *call, struct error *error)
{
	return remote_client_ops.start(lane_of(remote, call->model), call, error);
}

static void
cancel(void *remote, struct remote_call *call)
{
	remote_client_ops.cancel(remote, call);
}

static void
write_metrics(void *shared, const struct metric_sink *sink)
{
	remote_servers_metrics(((struct remote_registry *)shared)->servers, sink);
}

const struct remote_ops remote_registry_ops = {
	.open = open_lane, .close = close_lane, .metrics = write_metrics, .start = start, .cancel = cancel};

/* --- Life --- */

struct remote_registry *
remote_registry_new(const struct remote_registry_options *options)
{
	struct remote_registry *registry = memory_new(sizeof(*registry));

	registry->options = options;
	registry->servers = remote_servers_new(options);
	LIST_INIT(&registry->words);
	return registry;
}

void
remote_registry_stop(struct remote_registry *registry)
{
	remote_servers_stop(registry->servers);
}

void
remote_registry_free(struct remote_registry *registry)
{
	struct word *word;

	if (registry == NULL) {
		return;
	}
	while ((word = LIST_FIRST(&registry->words)) != NULL) {
		LIST_REMOVE(word, next);
		free(word->text);
		free(word);
	}
	remote_servers_free(registry->servers);
	free(registry);
}
