#include "front/remote_server.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/memory.h"
#include "front/follower.h"
#include "loop/thread.h"
#include "upstream/replica.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS UINT64_C(200000000) /* while a server that is needed is not reached */

/* A model that is looked at, and what was seen of it last. Under the server's lock. */
struct watched_model {
	char *name;
	size_t holds;
	uint64_t since; /* the first look that counts; see remote_server_wait */
	bool is_there;
	bool has_number; /* of its version; else that is shown as 1 */
	bool shows_loads;
	int64_t *versions;
	size_t version_count;
	char *config;
	uint64_t stamp;
	LIST_ENTRY(watched_model) next;
};

struct remote_server {
	char *url;
	char **urls;
	struct upstream_options upstream_options;
	struct upstream *upstream;
	const struct remote_registry_options *options;
	struct follower_options follower_options;
	LIST_ENTRY(remote_server) next;

	pthread_mutex_t lock; /* of the rest */
	pthread_t thread;
	bool has_thread;
	pthread_cond_t changed;
	LIST_HEAD(, watched_model) models;
	size_t holds;		   /* of all models */
	bool is_asked;		   /* a look is to begin at once */
	uint64_t looks;		   /* begun */
	uint64_t looks_done;	   /* the number of the last one that has ended */
	struct follower *follower; /* NULL: nothing is held */
	bool stopping;
	uint64_t changes;
	char generation[GROUP_GENERATION];
	char trouble[256]; /* "": it was reached */
};

struct remote_servers {
	const struct remote_registry_options *options;
	pthread_mutex_t lock; /* of the rest */
	LIST_HEAD(, remote_server) list;
	bool stopping;
};

/* --- Looking --- */

static struct watched_model *
find_model(const struct remote_server *server, const char *name)
{
	struct watched_model *model;

	LIST_FOREACH (model, &server->models, next) {
		if (strcmp(model->name, name) == 0) {
			return model;
		}
	}
	return NULL;
}

static void
forget(struct watched_model *model)
{
	free(model->versions);
	free(model->config);
	*model = (struct watched_model){
		.name = model->name, .holds = model->holds, .since = model->since, .next = model->next};
}

static void
drop_model(struct watched_model *model)
{
	LIST_REMOVE(model, next);
	forget(model);
	free(model->name);
	free(model);
}

/* Keeps what the follower tells of a model. Returns whether it is new. */
static bool
keep_model(struct watched_model *model, const struct follower *follower, const struct model_source *source)
{
	struct watched_model seen = *model;
	struct error error;
	size_t length;
	char *place;
	bool is_new;

	seen.versions = NULL;
	seen.config = NULL;
	seen.is_there = source->find(source->context, model->name, &place, &error) == STATUS_OK;
	if (seen.is_there) {
		free(place);
	}
	(void)source->versions(source->context, model->name, &seen.versions, &seen.version_count, &error);
	(void)source->config(source->context, model->name, &seen.config, &length, &error);
	seen.has_number = follower_has_number(follower, model->name);
	seen.shows_loads = follower_shows_loads(follower, model->name);
	seen.stamp = source->stamp(source->context, model->name);
	is_new = seen.is_there != model->is_there || seen.shows_loads != model->shows_loads ||
		 seen.stamp != model->stamp;
	free(model->versions);
	free(model->config);
	*model = seen;
	return is_new;
}

/* Keeps what a look has found. Returns whether anything is new. */
static bool
keep(struct remote_server *server)
{
	struct model_source source = follower_source(server->follower);
	const char *trouble = follower_trouble(server->follower);
	const char *generation = follower_generation(server->follower);
	bool had_trouble = *server->trouble != '\0';
	bool is_new = (trouble != NULL) != had_trouble;
	struct watched_model *model;

	(void)snprintf(server->trouble, sizeof(server->trouble), "%s", trouble == NULL ? "" : trouble);
	if (strcmp(server->generation, generation) != 0) {
		server->changes += *server->generation != '\0'; /* not the first one of this follower */
		(void)snprintf(server->generation, sizeof(server->generation), "%s", generation);
		is_new = true;
	}
	LIST_FOREACH (model, &server->models, next) {
		is_new = keep_model(model, server->follower, &source) || is_new || model->since == server->looks;
	}
	return is_new;
}

static void
ask_server(const struct model_source *source)
{
	struct error error;
	char **names = NULL;
	size_t count = 0;

	(void)source->list(source->context, &names, &count, &error);
	for (size_t i = 0; i < count; i++) {
		free(names[i]);
	}
	free(names);
}

static void
want_models(struct remote_server *server)
{
	const char **names = NULL;
	struct watched_model *model;
	size_t count = 0;

	LIST_FOREACH (model, &server->models, next) {
		names = memory_grow(names, count + 1, sizeof(*names));
		names[count++] = model->name;
	}
	follower_want(server->follower, names, count);
	free(names);
}

/* With the lock held, which is let go while the server is asked. */
static void
look(struct remote_server *server)
{
	struct model_source source = follower_source(server->follower);
	bool is_new;

	server->is_asked = false;
	server->looks++;
	want_models(server);
	(void)pthread_mutex_unlock(&server->lock);
	ask_server(&source);
	(void)pthread_mutex_lock(&server->lock);
	is_new = keep(server);
	server->looks_done = server->looks;
	(void)pthread_cond_broadcast(&server->changed);
	if (!server->stopping) {
		(void)pthread_mutex_unlock(&server->lock);
		server->options->looked(server->options->context, is_new);
		(void)pthread_mutex_lock(&server->lock);
	}
}

/* While models are held. With the lock held. */
static void
watch(struct remote_server *server)
{
	uint64_t due = 0;

	while (server->holds > 0 && !server->stopping) {
		if (server->is_asked || clock_now_ns() >= due) {
			look(server);
			due = clock_now_ns() + (uint64_t)server->options->poll_secs * NS_PER_S;
		} else {
			clock_wait(&server->changed, &server->lock, due);
		}
	}
}

/* What was seen before nobody looked says nothing. */
static void
begin_watch(struct remote_server *server)
{
	struct watched_model *model;
	struct error error;

	server->follower = follower_new(&server->follower_options, &error);
	if (server->follower == NULL) {
		log_error("upstream %s cannot be looked at: %s", server->url, error.text);
		clock_wait(&server->changed, &server->lock,
			   clock_now_ns() + (uint64_t)server->options->poll_secs * NS_PER_S);
		return;
	}
	LIST_FOREACH (model, &server->models, next) {
		forget(model);
	}
	*server->generation = '\0';
	*server->trouble = '\0';
}

static void *
run(void *argument)
{
	struct remote_server *server = argument;
	struct follower *follower;

	(void)pthread_mutex_lock(&server->lock);
	while (!server->stopping) {
		if (server->holds == 0) {
			(void)pthread_cond_wait(&server->changed, &server->lock);
			continue;
		}
		begin_watch(server);
		if (server->follower != NULL) {
			watch(server);
		}
		follower = server->follower;
		server->follower = NULL;
		(void)pthread_mutex_unlock(&server->lock);
		follower_free(follower);
		(void)pthread_mutex_lock(&server->lock);
	}
	(void)pthread_mutex_unlock(&server->lock);
	return NULL;
}

/* --- Models --- */

void
remote_server_hold(struct remote_server *server, const char *name)
{
	struct watched_model *model;

	(void)pthread_mutex_lock(&server->lock);
	model = find_model(server, name);
	if (model == NULL) {
		model = memory_new(sizeof(*model));
		model->name = memory_text(name);
		model->since = server->looks + 1;
		LIST_INSERT_HEAD(&server->models, model, next);
	}
	if (server->holds++ == 0) {
		model->since = server->looks + 1;
	}
	model->holds++;
	server->is_asked = server->is_asked || model->since > server->looks;
	(void)pthread_cond_broadcast(&server->changed);
	if (!server->has_thread && !server->stopping) {
		server->has_thread = true;
		server->thread = thread_start("upstream look", run, server);
	}
	(void)pthread_mutex_unlock(&server->lock);
}

void
remote_server_release(struct remote_server *server, const char *name)
{
	struct watched_model *model;

	(void)pthread_mutex_lock(&server->lock);
	model = find_model(server, name);
	server->holds--;
	if (--model->holds == 0) {
		drop_model(model);
	}
	(void)pthread_cond_broadcast(&server->changed);
	(void)pthread_mutex_unlock(&server->lock);
}

static bool
was_looked_at(const struct remote_server *server, const struct watched_model *model)
{
	return model != NULL && server->looks_done >= model->since;
}

void
remote_server_wait(struct remote_server *server, const char *name, bool needs_it, unsigned ms)
{
	uint64_t now = clock_now_ns();
	uint64_t deadline = now + ms * NS_PER_MS;
	uint64_t due = now + RETRY_NS;
	const struct watched_model *model;

	(void)pthread_mutex_lock(&server->lock);
	for (;;) {
		now = clock_now_ns();
		model = find_model(server, name);
		if (server->stopping || now >= deadline || server->options->is_ending(server->options->context) ||
		    (was_looked_at(server, model) && (!needs_it || model->is_there || *server->trouble == '\0'))) {
			break;
		}
		if (now >= due) { /* not at the end of each look: it may be refused at once */
			server->is_asked = true;
			(void)pthread_cond_broadcast(&server->changed);
			due = now + RETRY_NS;
		}
		clock_wait(&server->changed, &server->lock, due < deadline ? due : deadline);
	}
	(void)pthread_mutex_unlock(&server->lock);
}

static void
choose_version(const struct watched_model *model, int64_t wanted, struct remote_state *state)
{
	for (size_t i = 0; i < model->version_count && model->is_there; i++) {
		if (wanted == 0 || (model->has_number && model->versions[i] == wanted)) {
			state->is_there = true;
			state->version = model->versions[i];
		}
	}
}

/* Why it is not there. `model` NULL: it was not looked at. */
static void
explain(const struct remote_server *server, const struct watched_model *model, int64_t version,
	struct remote_state *state)
{
	const char *url = server->url;

	if (*server->trouble != '\0') {
		(void)snprintf(state->why, sizeof(state->why), "upstream %s", server->trouble);
	} else if (model == NULL) {
		(void)snprintf(state->why, sizeof(state->why), "upstream %s has not answered yet", url);
	} else if (model->version_count == 0) {
		(void)snprintf(
			state->why, sizeof(state->why),
			"upstream %s has no model '%s' that is ready (the parameter 'model' gives its name there)", url,
			model->name);
	} else if (!model->is_there) {
		(void)snprintf(state->why, sizeof(state->why),
			       "upstream %s has a model '%s' whose answers cannot be cached", url, model->name);
	} else {
		(void)snprintf(state->why, sizeof(state->why),
			       "upstream %s has no version %" PRId64 " of model '%s' that is ready", url, version,
			       model->name);
	}
}

/* All but the texts that take memory. With the lock held. Returns the model if it was looked at. */
static const struct watched_model *
observe(const struct remote_server *server, const char *name, int64_t version, struct remote_state *state)
{
	const struct watched_model *model = find_model(server, name);
	uint64_t parts[5];

	*state = (struct remote_state){.changes = server->changes};
	if (!was_looked_at(server, model)) {
		return NULL;
	}
	choose_version(model, version, state);
	state->shows_loads = model->shows_loads;
	memcpy(state->generation, server->generation, sizeof(state->generation));
	parts[0] = model->stamp;
	parts[1] = state->is_there;
	parts[2] = (uint64_t)state->version;
	parts[3] = state->shows_loads;
	parts[4] = checksum64(bytes_text(state->generation));
	state->stamp = checksum64(bytes_make(parts, sizeof(parts)));
	return model;
}

void
remote_server_state(struct remote_server *server, const char *name, int64_t version, struct remote_state *state)
{
	const struct watched_model *model;

	(void)pthread_mutex_lock(&server->lock);
	model = observe(server, name, version, state);
	if (model != NULL && model->config != NULL && *model->config != '\0') {
		state->config = memory_text(model->config);
	}
	if (!state->is_there) {
		explain(server, model, version, state);
	}
	(void)pthread_mutex_unlock(&server->lock);
}

uint64_t
remote_server_stamp(struct remote_server *server, const char *name, int64_t version)
{
	struct remote_state state;

	(void)pthread_mutex_lock(&server->lock);
	(void)observe(server, name, version, &state);
	(void)pthread_mutex_unlock(&server->lock);
	return state.stamp;
}

void
remote_state_fini(struct remote_state *state)
{
	free(state->config);
}

/* --- Servers --- */

struct remote_server *
remote_servers_find(struct remote_servers *servers, const struct model_config *config)
{
	const struct model_parameter *url = model_config_parameter(config, REMOTE_URL);
	struct remote_server *server;

	(void)pthread_mutex_lock(&servers->lock);
	LIST_FOREACH (server, &servers->list, next) {
		if (url != NULL && bytes_equal_text(url->value, server->url)) {
			break;
		}
	}
	(void)pthread_mutex_unlock(&servers->lock);
	return server;
}

static void
free_server(struct remote_server *server)
{
	struct watched_model *model;

	while ((model = LIST_FIRST(&server->models)) != NULL) {
		drop_model(model);
	}
	upstream_free(server->upstream);
	for (size_t i = 0; i < server->upstream_options.url_count; i++) {
		free(server->urls[i]);
	}
	free(server->urls);
	free(server->url);
	(void)pthread_cond_destroy(&server->changed);
	(void)pthread_mutex_destroy(&server->lock);
	free(server);
}

static enum status
take_url(struct remote_server *server, struct bytes text, struct error *error)
{
	size_t count = server->upstream_options.url_count++;

	server->urls = memory_grow(server->urls, count + 1, sizeof(*server->urls));
	server->urls[count] = memory_text_of(text);
	return upstream_url_is_valid(server->urls[count])
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT,
				   "the parameter 'url' names '%s': give http://HOST:PORT, https://HOST:PORT or "
				   "unix:/PATH of a server's HTTP, or grpc://HOST:PORT or grpcs://HOST:PORT of its "
				   "gRPC, several with commas between for equal replicas",
				   server->urls[count]);
}

static enum status
split_urls(struct remote_server *server, struct error *error)
{
	const char *at = server->url;
	bool more = true;

	while (more) {
		size_t length;

		at += strspn(at, " ");
		length = strcspn(at, ",");

		if (take_url(server, bytes_make(at, length), error) != STATUS_OK) {
			return error->status;
		}
		more = at[length] == ',';
		at += length + 1;
	}
	server->upstream_options.urls = (const char *const *)server->urls;
	for (size_t i = 1; i < server->upstream_options.url_count; i++) {
		if (upstream_url_is_http(server->urls[i]) != upstream_url_is_http(server->urls[0])) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "the parameter 'url' names addresses of HTTP and of gRPC: give those of HTTP");
		}
	}
	return STATUS_OK;
}

static enum status
open_server(struct remote_server *server, struct error *error)
{
	if (split_urls(server, error) != STATUS_OK) {
		return error->status;
	}
	server->upstream_options.tls = server->options->tls;
	server->upstream_options.connect_timeout_s = server->options->connect_timeout_s;
	server->upstream = upstream_new(&server->upstream_options, error);
	server->follower_options = (struct follower_options){
		.upstream = server->upstream,
		.cache_all = true, /* our configuration says which */
		.by_name = true,
		.policy = "",
		.poll_secs = server->options->poll_secs,
	};
	return server->upstream == NULL ? error->status : STATUS_OK;
}

struct remote_server *
remote_servers_add(struct remote_servers *servers, const struct model_config *config, struct error *error)
{
	struct remote_server *server = memory_new(sizeof(*server));

	server->options = servers->options;
	server->url = memory_text_of(model_config_parameter(config, REMOTE_URL)->value);
	(void)pthread_mutex_init(&server->lock, NULL);
	(void)pthread_cond_init(&server->changed, NULL);
	LIST_INIT(&server->models);
	if (open_server(server, error) != STATUS_OK) {
		free_server(server);
		return NULL;
	}
	(void)pthread_mutex_lock(&servers->lock);
	server->stopping = servers->stopping;
	LIST_INSERT_HEAD(&servers->list, server, next);
	(void)pthread_mutex_unlock(&servers->lock);
	return server;
}

const char *
remote_server_url(const struct remote_server *server)
{
	return server->url;
}

struct upstream *
remote_server_upstream(const struct remote_server *server)
{
	return server->upstream;
}

static bool
is_held(struct remote_server *server)
{
	bool held;

	(void)pthread_mutex_lock(&server->lock);
	held = server->holds > 0;
	(void)pthread_mutex_unlock(&server->lock);
	return held;
}

void
remote_servers_metrics(struct remote_servers *servers, const struct metric_sink *sink)
{
	struct replica_set **sets = NULL;
	struct remote_server *server;
	size_t count = 0;

	(void)pthread_mutex_lock(&servers->lock);
	LIST_FOREACH (server, &servers->list, next) {
		if (is_held(server)) { /* nobody looks at others, so that nothing is known of them */
			sets = memory_grow(sets, count + 1, sizeof(*sets));
			sets[count++] = upstream_replicas(server->upstream);
		}
	}
	(void)pthread_mutex_unlock(&servers->lock);
	if (count > 0) {
		replica_metrics(sets, count, sink);
	}
	free(sets);
}

/* --- Life --- */

struct remote_servers *
remote_servers_new(const struct remote_registry_options *options)
{
	struct remote_servers *servers = memory_new(sizeof(*servers));

	servers->options = options;
	(void)pthread_mutex_init(&servers->lock, NULL);
	LIST_INIT(&servers->list);
	return servers;
}

static void
tell_to_stop(struct remote_server *server)
{
	(void)pthread_mutex_lock(&server->lock);
	server->stopping = true;
	if (server->follower != NULL) {
		follower_stop(server->follower);
	}
	(void)pthread_cond_broadcast(&server->changed);
	(void)pthread_mutex_unlock(&server->lock);
}

/* After that nobody starts it. */
static void
join(struct remote_server *server)
{
	bool has_thread;

	(void)pthread_mutex_lock(&server->lock);
	has_thread = server->has_thread;
	server->has_thread = false;
	(void)pthread_mutex_unlock(&server->lock);
	if (has_thread) {
		(void)pthread_join(server->thread, NULL);
	}
}

void
remote_servers_stop(struct remote_servers *servers)
{
	struct remote_server *server;

	(void)pthread_mutex_lock(&servers->lock);
	servers->stopping = true;
	LIST_FOREACH (server, &servers->list, next) {
		tell_to_stop(server);
	}
	LIST_FOREACH (server, &servers->list, next) {
		join(server);
	}
	(void)pthread_mutex_unlock(&servers->lock);
}

void
remote_servers_free(struct remote_servers *servers)
{
	struct remote_server *server;

	while ((server = LIST_FIRST(&servers->list)) != NULL) {
		LIST_REMOVE(server, next);
		free_server(server);
	}
	(void)pthread_mutex_destroy(&servers->lock);
	free(servers);
}
