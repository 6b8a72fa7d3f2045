#include "app/watch.h"

#include "app/ask.h"
#include "base/container_of.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX ((size_t)16 << 20)
#define CALLS 2
#define NOT_FOUND 404

static const char *const targets[CALLS] = {"/history", "/v2/cache"};

static void
take_history(struct watched_server *server, struct bytes body)
{
	struct error error;

	if (history_report_decode(body, WATCH_SECONDS, &server->history, &error) == STATUS_OK) {
		server->is_known = true;
		server->failure[0] = '\0';
	} else {
		(void)snprintf(server->failure, sizeof(server->failure),
			       "it tells no history: is it the port of metrics?");
	}
}

/* A server without a cache answers 404: then there are no models to tell of. */
static void
take_cache(struct watched_server *server, const struct client_call *call)
{
	struct error error;

	arena_clear(&server->arena);
	if (!call->is_ok ||
	    cache_report_decode(buf_bytes(&call->body), &server->arena, &server->cache, &error) != STATUS_OK) {
		server->cache = (struct cache_report){0};
	}
}

static void
on_done(struct client_call *call)
{
	struct watch_call *this = container_of(call, struct watch_call, call);
	struct watched_server *server = this->server;

	this->is_under_way = false;
	if (this == &server->calls[1]) {
		take_cache(server, call);
	} else if (call->is_ok) {
		take_history(server, buf_bytes(&call->body));
	} else {
		bool is_elsewhere = call->status == NOT_FOUND;

		(void)snprintf(server->failure, sizeof(server->failure), "%s",
			       is_elsewhere ? "it has no such page: is it the port of metrics?" : call->why);
	}
	client_call_fini(call);
}

static enum status
open_server(struct watch *watch, struct watched_server *server, const char *url, struct error *error)
{
	char *whole;

	server->url = url;
	arena_init(&server->arena, TEXT_MAX);
	for (size_t i = 0; i < CALLS; i++) {
		struct watch_call *call = &server->calls[i];

		call->server = server;
		buf_init(&call->head, TEXT_MAX);
		call->call.keeps_body = true;
		call->call.body_max = TEXT_MAX;
		call->call.done = on_done;
	}
	whole = ask_url(url);
	if (!upstream_url_is_http(whole)) {
		free(whole);
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "'%s': give the address of the metrics port, HOST:8002", url);
	}
	server->client = client_new(watch->loop, whole, &(struct tls_client_options){.prefix = "tls"}, error);
	free(whole);
	if (server->client == NULL) {
		return error->status;
	}
	for (size_t i = 0; i < CALLS; i++) {
		struct watch_call *call = &server->calls[i];

		buf_format(&call->head, "GET %.*s%s HTTP/1.1\r\nHost: %.*s\r\n\r\n",
			   BYTES_ARGS(client_path(server->client)), targets[i],
			   BYTES_ARGS(client_host(server->client)));
		call->call.head = buf_bytes(&call->head);
	}
	return STATUS_OK;
}

enum status
watch_init(struct watch *watch, struct loop *loop, const char *const *urls, size_t count, struct error *error)
{
	enum status status = STATUS_OK;

	*watch = (struct watch){.loop = loop, .servers = memory_array(count + 1, sizeof(*watch->servers))};
	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		watch->count++;
		status = open_server(watch, &watch->servers[i], urls[i], error);
	}
	return status;
}

void
watch_fini(struct watch *watch)
{
	watch_give_up(watch);
	for (size_t i = 0; i < watch->count; i++) {
		struct watched_server *server = &watch->servers[i];

		for (size_t k = 0; k < CALLS; k++) {
			client_call_free(&server->calls[k].call);
			buf_fini(&server->calls[k].head);
		}
		client_free(server->client);
		arena_fini(&server->arena);
	}
	free(watch->servers);
}

void
watch_ask(struct watch *watch)
{
	for (size_t i = 0; i < watch->count; i++) {
		for (size_t k = 0; k < CALLS; k++) {
			struct watch_call *call = &watch->servers[i].calls[k];

			if (!call->is_under_way) {
				call->is_under_way = true;
				client_start(watch->servers[i].client, &call->call);
			}
		}
	}
}

bool
watch_is_complete(const struct watch *watch)
{
	bool complete = true;

	for (size_t i = 0; i < watch->count; i++) {
		complete = complete && !watch->servers[i].calls[0].is_under_way &&
			   !watch->servers[i].calls[1].is_under_way;
	}
	return complete;
}

void
watch_give_up(struct watch *watch)
{
	for (size_t i = 0; i < watch->count; i++) {
		for (size_t k = 0; k < CALLS; k++) {
			struct watch_call *call = &watch->servers[i].calls[k];

			if (call->is_under_way) {
				call->is_under_way = false;
				client_cancel(&call->call);
				client_call_fini(&call->call);
				(void)snprintf(call->server->failure, sizeof(call->server->failure),
					       "it does not answer");
			}
		}
	}
}
