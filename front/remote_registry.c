#include "front/remote_registry.h"

#include "base/digest.h"
#include "base/log.h"
#include "base/memory.h"
#include "front/remote_client.h"
#include "front/remote_server.h"
#include "wire/model_config.h"
#include "wire/remote_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMETER_MODEL "model"
#define UNKNOWN MODEL_OWN_PARAMETER "unknown" /* see mark_unknown */
#define UNKNOWN_BYTES 16
#define CONFIG_MAX ((size_t)64 << 20)

struct link {
	char *place; /* of our model, see model_source.h */
	char *name;
	struct remote_server *server;
	char *model;	 /* there */
	int64_t version; /* 0: which one is for the server to say */
	LIST_ENTRY(link) next;
};

struct remote_registry {
	const struct remote_registry_options *options;
	struct remote_servers *servers;
	LIST_HEAD(, link) links; /* of the thread that loads models */
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

static struct link *
find_link(struct remote_registry *registry, const char *place)
{
	struct link *link;

	LIST_FOREACH (link, &registry->links, next) {
		if (strcmp(link->place, place) == 0) {
			return link;
		}
	}
	return NULL;
}

static void
free_link(struct link *link)
{
	free(link->place);
	free(link->name);
	free(link->model);
	free(link);
}

static void
drop_link(struct remote_registry *registry, const char *place)
{
	struct link *link = find_link(registry, place);

	if (link != NULL) {
		LIST_REMOVE(link, next);
		free_link(link);
	}
}

/* The version of the keys: the one that the link names or the newest; 0: it is not there, or may not be cached. */
static int64_t
find_version(const struct link *link)
{
	const struct model_source *source = &link->server->source;
	int64_t *versions = NULL;
	int64_t found = 0;
	size_t count = 0;
	struct error error;
	char *place;

	if (source->find(source->context, link->model, &place, &error) != STATUS_OK) {
		return 0;
	}
	free(place);
	if (source->versions(source->context, link->model, &versions, &count, &error) == STATUS_OK) {
		for (size_t i = 0; i < count; i++) {
			found = link->version == 0 || versions[i] == link->version ? versions[i] : found;
		}
	}
	free(versions);
	return found;
}

static uint64_t
stamp_of(const struct link *link)
{
	const struct model_source *source = &link->server->source;
	uint64_t parts[] = {source->stamp(source->context, link->model), (uint64_t)find_version(link)};

	return checksum64(bytes_make(parts, sizeof(parts))) | 1; /* not 0 */
}

static enum status
read_version(const struct model_config *config, int64_t *version, struct error *error)
{
	const struct model_parameter *parameter = model_config_parameter(config, REMOTE_ASKED_VERSION);
	char *end;

	*version = 0;
	if (parameter == NULL) {
		return STATUS_OK;
	}
	*version = strtoll((const char *)parameter->value.at, &end, 10);
	return parameter->value.length > 0 && *end == '\0' && *version > 0
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT,
				   "the parameter 'version' is '%.*s': give a number above 0",
				   BYTES_ARGS(parameter->value));
}

/* Makes the link of a place anew, and looks at its server unless that was done with this model in view. */
static struct link *
make_link(struct remote_registry *registry, const char *name, const char *place, const struct model_config *config,
	  struct error *error)
{
	const struct model_parameter *model = model_config_parameter(config, PARAMETER_MODEL);
	struct remote_server *server;
	struct link *link;
	int64_t version;

	drop_link(registry, place);
	if (model_config_parameter(config, REMOTE_URL) == NULL) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"the backend 'upstream' needs the address of a server: parameters { key: \"url\" value "
				"{ string_value: \"http://HOST:PORT\" } }");
		return NULL;
	}
	if (read_version(config, &version, error) != STATUS_OK) {
		return NULL;
	}
	server = remote_servers_find(registry->servers, config);
	if (server == NULL) {
		server = remote_servers_add(registry->servers, config, error);
	}
	if (server == NULL) {
		return NULL;
	}
	link = memory_new(sizeof(*link));
	link->place = memory_text(place);
	link->name = memory_text(name);
	link->server = server;
	link->model = model == NULL ? memory_text(name) : memory_text_of(model->value);
	link->version = version;
	LIST_INSERT_HEAD(&registry->links, link, next);
	if (follower_want(server->follower, link->model)) {
		remote_server_look(server);
	}
	return link;
}

static void
purge_ensemble(void *context, struct bytes name, int64_t version)
{
	const struct remote_registry_options *options = context;
	char *text = memory_text_of(name);

	(void)version;
	options->purge(options->purge_context, text);
	free(text);
}

/* What was stored of the models that lead to this one, and of all that contain them, is not to be found any more. */
static void
purge(void *context, const struct remote_server *server, const char *model)
{
	struct remote_registry *registry = context;
	struct remote_registry_options options = *registry->options;
	const struct link *link;

	LIST_FOREACH (link, &registry->links, next) {
		if (link->server == server && strcmp(link->model, model) == 0) {
			options.purge(options.purge_context, link->name);
			model_each_ensemble_with(bytes_text(link->name), purge_ensemble, &options);
		}
	}
}

/* --- Configurations --- */

struct marks {
	struct model_parameter list[3];
	size_t count;
	char version[24];
	char unknown[2 * UNKNOWN_BYTES + 1];
};

static void
add_mark(struct marks *marks, const char *name, const char *value)
{
	marks->list[marks->count++] = (struct model_parameter){.name = bytes_text(name), .value = bytes_text(value)};
}

/* Ensembles that contain the model may be cached: what they store now must never be found again. */
static void
mark_unknown(struct marks *marks)
{
	uint8_t random[UNKNOWN_BYTES];

	random_bytes(random, sizeof(random));
	hex_text(bytes_make(random, sizeof(random)), marks->unknown);
	add_mark(marks, UNKNOWN, marks->unknown);
}

static void
make_marks(const struct link *link, int64_t version, struct marks *marks)
{
	*marks = (struct marks){.count = 0};
	add_mark(marks, REMOTE_MODEL, link->model);
	if (version > 0) {
		(void)snprintf(marks->version, sizeof(marks->version), "%" PRId64, version);
		add_mark(marks, REMOTE_VERSION, marks->version);
	} else {
		mark_unknown(marks);
	}
}

/* Why it is not cached for now. */
static void
explain(const struct link *link, char *text, size_t size)
{
	const char *trouble = follower_trouble(link->server->follower);

	if (trouble != NULL) {
		(void)snprintf(text, size, "upstream %s", trouble);
	} else {
		(void)snprintf(text, size,
			       "upstream %s has no model '%s' that is ready%s, or one whose answers cannot be cached",
			       link->server->url, link->model, link->version > 0 ? " in that version" : "");
	}
}

static bool
is_complete(const struct model_config *own, const struct remote_config *remote)
{
	return (own->input_count > 0 && own->output_count > 0) || (remote->completes && remote->behind.length > 0);
}

static enum status
write_config(const struct link *link, struct model_config *own, bool completes, struct model_config_text *config,
	     struct error *error)
{
	const struct model_source *source = &link->server->source;
	int64_t version = find_version(link);
	struct marks marks;
	struct remote_config remote = {.completes = completes, .is_cached = version > 0, .marks = marks.list};
	char *behind = NULL;
	size_t length = 0;
	enum status status;
	struct buf json;
	char why[512];

	make_marks(link, version, &marks);
	remote.mark_count = marks.count;
	/* Also what was known of it before, if it is not there any more. */
	if (source->config(source->context, link->model, &behind, &length, error) == STATUS_OK) {
		remote.behind = bytes_make(behind, length);
	}
	if (version == 0) {
		explain(link, why, sizeof(why));
	}
	if (version == 0 && !is_complete(own, &remote)) {
		free(behind);
		return error_set(error, STATUS_UNAVAILABLE,
				 "its configuration states no input, or no output, and %s: state them to serve it all "
				 "the same",
				 why);
	}
	buf_init(&json, CONFIG_MAX);
	status = remote_config_write(own, &remote, &json, error);
	if (status == STATUS_OK) {
		free(config->at);
		config->at = memory_text_of(buf_bytes(&json));
		config->length = json.length;
		config->is_json = true;
	}
	if (status == STATUS_OK && version == 0) {
		log_warning("model '%s' is not cached for now: %s", link->name, why);
	}
	buf_fini(&json);
	free(behind);
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
complete(void *context, const char *name, const char *place, struct model_config_text *config, uint64_t *stamp,
	 struct error *error)
{
	struct remote_registry *registry = context;
	enum status status = STATUS_OK;
	struct model_config own;
	struct link *link;

	*stamp = 0;
	if (config->at == NULL || !parse(config, &own)) {
		drop_link(registry, place);
		return STATUS_OK;
	}
	if (!bytes_equal_text(own.backend, "upstream")) {
		drop_link(registry, place);
	} else {
		link = make_link(registry, name, place, &own, error);
		*stamp = link == NULL ? 0 : stamp_of(link);
		status = link == NULL ? error->status
				      : write_config(link, &own, registry->options->completes, config, error);
	}
	model_config_fini(&own);
	return status == STATUS_OK ? STATUS_OK : error_prefix(error, "model '%s': ", name);
}

/* Has no link before this one the same server? */
static bool
is_first(const struct remote_registry *registry, const struct link *link)
{
	const struct link *other;

	LIST_FOREACH (other, &registry->links, next) {
		if (other->server == link->server) {
			return other == link;
		}
	}
	return true;
}

static void
look(void *context)
{
	struct remote_registry *registry = context;
	const struct link *link;

	LIST_FOREACH (link, &registry->links, next) {
		if (is_first(registry, link)) {
			remote_server_look(link->server);
		}
	}
}

static uint64_t
stamp(void *context, const char *place)
{
	const struct link *link = find_link(context, place);

	return link == NULL ? 0 : stamp_of(link);
}

struct remote_models
remote_registry_models(struct remote_registry *registry)
{
	return (struct remote_models){.poll_secs = registry->options->poll_secs,
				      .complete = complete,
				      .look = look,
				      .stamp = stamp,
				      .context = registry};
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
	struct remote_server *server = remote_servers_find(lane->registry->servers, &model->config);

	for (size_t i = 0; i < lane->count; i++) {
		if (lane->entries[i].server == server) {
			return lane->entries[i].lane;
		}
	}
	lane->entries = memory_grow(lane->entries, lane->count + 1, sizeof(*lane->entries));
	lane->entries[lane->count].server = server;
	lane->entries[lane->count].lane = upstream_lane_new(server->upstream, lane->loop);
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
	registry->servers = remote_servers_new(options, purge, registry);
	LIST_INIT(&registry->links);
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
	struct link *link;

	if (registry == NULL) {
		return;
	}
	while ((link = LIST_FIRST(&registry->links)) != NULL) {
		LIST_REMOVE(link, next);
		free_link(link);
	}
	remote_servers_free(registry->servers);
	free(registry);
}
