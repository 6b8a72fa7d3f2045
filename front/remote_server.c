#include "front/remote_server.h"

#include "base/memory.h"
#include "upstream/replica.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct remote_servers {
	const struct remote_registry_options *options;
	void (*purge)(void *context, const struct remote_server *server, const char *model);
	void *purge_context;
	pthread_mutex_t lock; /* of the next two */
	LIST_HEAD(, remote_server) list;
	bool stopping;
};

static bool
texts_equal(const char *text, const struct model_parameter *parameter)
{
	return text == NULL ? parameter == NULL : parameter != NULL && bytes_equal_text(parameter->value, text);
}

struct remote_server *
remote_servers_find(struct remote_servers *servers, const struct model_config *config)
{
	const struct model_parameter *url = model_config_parameter(config, REMOTE_URL);
	const struct model_parameter *generation = model_config_parameter(config, REMOTE_GENERATION);
	struct remote_server *server;

	(void)pthread_mutex_lock(&servers->lock);
	LIST_FOREACH (server, &servers->list, next) {
		if (texts_equal(server->url, url) && texts_equal(server->generation, generation)) {
			break;
		}
	}
	(void)pthread_mutex_unlock(&servers->lock);
	return server;
}

static void
free_server(struct remote_server *server)
{
	follower_free(server->follower);
	upstream_free(server->upstream);
	for (size_t i = 0; i < server->upstream_options.url_count; i++) {
		free(server->urls[i]);
	}
	free(server->urls);
	free(server->generation);
	free(server->url);
	free(server);
}

static enum status
split_urls(struct remote_server *server, struct error *error)
{
	const char *at = server->url;

	for (bool more = true; more; at++) {
		size_t length = strcspn(at, ",");
		size_t count = server->upstream_options.url_count++;
		struct upstream_url url;
		bool good;

		server->urls = memory_grow(server->urls, count + 1, sizeof(*server->urls));
		server->urls[count] = memory_text_of(bytes_make(at, length));
		good = upstream_url_parse(server->urls[count], &url, error) == STATUS_OK;
		if (!good || url.grpc) {
			if (good) {
				upstream_url_fini(&url);
			}
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"the parameter 'url' names '%s': give http://HOST:PORT, https://HOST:PORT or "
				"unix:/PATH of a server's HTTP, several with commas between for equal replicas",
				server->urls[count]);
		}
		upstream_url_fini(&url);
		at += length;
		more = *at == ',';
	}
	server->upstream_options.urls = (const char *const *)server->urls;
	return STATUS_OK;
}

/* What was stored by the owner's word. */
static void
purge_model(void *context, const char *model)
{
	const struct remote_server *server = context;

	server->purge(server->purge_context, server, model);
}

static enum status
open_server(struct remote_server *server, const struct remote_registry_options *options, struct error *error)
{

	if (split_urls(server, error) != STATUS_OK) {
		return error->status;
	}
	server->upstream_options.tls = options->tls;
	server->upstream_options.connect_timeout_s = options->connect_timeout_s;
	server->upstream = upstream_new(&server->upstream_options, error);
	if (server->upstream == NULL) {
		return error->status;
	}
	server->follower_options = (struct follower_options){
		.upstream = server->upstream,
		.cache_all = true, /* our configuration says which */
		.by_name = true,
		.purge = server->generation != NULL ? purge_model : NULL,
		.purge_context = server,
		.generation = server->generation,
		.policy = "",
		.poll_secs = options->poll_secs,
	};
	server->follower = follower_new(&server->follower_options, error);
	if (server->follower == NULL) {
		return error->status;
	}
	server->source = follower_source(server->follower);
	return STATUS_OK;
}

struct remote_server *
remote_servers_add(struct remote_servers *servers, const struct model_config *config, struct error *error)
{
	const struct model_parameter *url = model_config_parameter(config, REMOTE_URL);
	const struct model_parameter *generation = model_config_parameter(config, REMOTE_GENERATION);
	struct remote_server *server = memory_new(sizeof(*server));

	server->purge = servers->purge;
	server->purge_context = servers->purge_context;
	server->url = memory_text_of(url->value);
	server->generation = generation == NULL ? NULL : memory_text_of(generation->value);
	if (open_server(server, servers->options, error) != STATUS_OK) {
		free_server(server);
		return NULL;
	}
	(void)pthread_mutex_lock(&servers->lock);
	LIST_INSERT_HEAD(&servers->list, server, next);
	if (servers->stopping) {
		follower_stop(server->follower);
	}
	(void)pthread_mutex_unlock(&servers->lock);
	return server;
}

void
remote_server_look(struct remote_server *server)
{
	struct error error;
	char **names = NULL;
	size_t count = 0;

	(void)server->source.list(server->source.context, &names, &count, &error);
	for (size_t i = 0; i < count; i++) {
		free(names[i]);
	}
	free(names);
}

void
remote_servers_metrics(struct remote_servers *servers, const struct metric_sink *sink)
{
	struct replica_set **sets = NULL;
	struct remote_server *server;
	size_t count = 0;

	(void)pthread_mutex_lock(&servers->lock);
	LIST_FOREACH (server, &servers->list, next) {
		sets = memory_grow(sets, count + 1, sizeof(*sets));
		sets[count++] = upstream_replicas(server->upstream);
	}
	(void)pthread_mutex_unlock(&servers->lock);
	if (count > 0) {
		replica_metrics(sets, count, sink);
	}
	free(sets);
}

/* --- Life --- */

struct remote_servers *
remote_servers_new(const struct remote_registry_options *options,
		   void (*purge)(void *context, const struct remote_server *server, const char *model),
		   void *purge_context)
{
	struct remote_servers *servers = memory_new(sizeof(*servers));

	servers->options = options;
	servers->purge = purge;
	servers->purge_context = purge_context;
	(void)pthread_mutex_init(&servers->lock, NULL);
	LIST_INIT(&servers->list);
	return servers;
}

void
remote_servers_stop(struct remote_servers *servers)
{
	struct remote_server *server;

	(void)pthread_mutex_lock(&servers->lock);
	servers->stopping = true;
	LIST_FOREACH (server, &servers->list, next) {
		follower_stop(server->follower);
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
