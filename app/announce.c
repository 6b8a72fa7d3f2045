#include "app/announce.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "front/follower.h"
#include "inference/models/model_table.h"
#include "loop/socket.h"
#include "upstream/grpc_upstream.h"
#include "upstream/upstream.h"

#include <inttypes.h>
#include <stdio.h>

static const char *
plural(size_t count)
{
	return count == 1 ? "" : "s";
}

struct model_lines {
	struct buf text;
	size_t count;
};

static void
add_model(void *context, const char *name, int64_t version, const char *state, const char *reason)
{
	struct model_lines *lines = context;

	(void)reason;
	buf_format(&lines->text, "%s%s", lines->count == 0 ? "" : ", ", name);
	if (state != NULL) {
		buf_format(&lines->text, " %" PRId64 " %s", version, state);
	}
	lines->count++;
}

/* Counts the model versions that are ready, and those of them that use the cache. */
static void
count_models(const struct announcement *start, size_t *ready, size_t *cached)
{
	struct repository_view view = {0};
	const struct model_table *table = repository_table(start->repository, &view);

	*ready = 0;
	*cached = 0;
	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			++*ready;
			*cached += table->entries[i].versions[k]->config.response_cache;
		}
	}
	repository_view_fini(&view);
}

/* What becomes of these was said. */
static bool
has_remote_models(const struct announcement *start)
{
	struct repository_view view = {0};
	const struct model_table *table = repository_table(start->repository, &view);
	bool found = false;

	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			found = found || model_is_remote(table->entries[i].versions[k]);
		}
	}
	repository_view_fini(&view);
	return found;
}

/* Writes "; cached: 3 of 7 models"; warns if no model is cached. */
static void
describe_caching(const struct announcement *start, char *text, size_t size)
{
	size_t ready;
	size_t cached;

	count_models(start, &ready, &cached);
	(void)snprintf(text, size, "; cached: %zu of %zu model%s", cached, ready, plural(ready));
	if (ready > 0 && cached == 0 && start->follower == NULL && !has_remote_models(start)) {
		log_warning(
			"no model takes part in the cache: say 'response_cache { enable: true }' in the config.pbtxt "
			"of "
			"those that give the same answer to the same question, or start with --cache-all-models if all "
			"do; --cache-config=none turns the cache off");
	}
}

/* Each kind of address stands for the same replicas. */
static void
warn_of_addresses(const struct announcement *start)
{
	size_t http = upstream_count(start->upstream);
	size_t grpc = start->settings->grpc_upstreams.count;

	if (start->grpc_upstream != NULL && grpc != http) {
		log_warning("%zu addresses of HTTP and %zu of gRPC: give both of each replica, or loads and calls that "
			    "pass over gRPC reach other replicas than those over HTTP",
			    http, grpc);
	}
}

/* What is different in front of another server. */
static void
say_front(const struct announcement *start)
{
	size_t replicas = upstream_count(start->upstream);
	const char *group = start->settings->upstream_group;
	size_t models;
	size_t cached;
	bool reached = follower_count(start->follower, &models, &cached);

	for (size_t i = 0; i < replicas; i++) {
		bool has_http = !upstream_is_grpc(start->upstream, i);

		log_info("in front of %s%s%s%s%s", upstream_name(start->upstream, i),
			 !has_http			? ""
			 : start->grpc_upstream != NULL ? ", for gRPC of "
							: "",
			 !has_http ? "; for what gRPC lacks, such as generate, add --upstream=http://HOST:PORT"
			 : start->grpc_upstream != NULL
				 ? grpc_upstream_name(start->grpc_upstream)
				 : "; for clients that speak gRPC, add --upstream=grpc://HOST:PORT",
			 group != NULL ? "; in group " : "", group != NULL ? group : "");
	}
	warn_of_addresses(start);
	if (!reached) {
		return;
	}
	log_info("cached of the %zu model%s behind: %zu", models, plural(models), cached);
	if (cached == 0) {
		log_warning(
			"no model behind is cached so far: have its configuration there say 'response_cache { enable: "
			"true }', or name it with --cache-models=PATTERN, if it gives the same answer to the same "
			"question");
	}
	if (start->cache != NULL && start->cache->ops->untrusted && start->settings->upstream_generation == NULL &&
	    group == NULL) {
		log_warning("what is cached outside of this process is neither shared nor found again after a restart: "
			    "name the fronts of the same servers with --upstream-group=NAME, or give "
			    "--upstream-generation=TEXT, your word for what the models' files are");
	}
}

static void
say_service(const char *name, const char *address, uint16_t port)
{
	if (socket_unix_path(address) != NULL) {
		log_info("Started %s at %s", name, address);
	} else {
		log_info("Started %s at %s:%u", name, address, port);
	}
}

void
announce_start(const struct announcement *start)
{
	const struct server_options *options = start->options;
	struct model_lines lines = {0};
	char cache[512] = "none";
	char caching[64] = "";

	if (options->allow_grpc) {
		say_service("GRPCInferenceService", options->grpc_address, server_grpc_port(start->server));
	}
	if (options->allow_http) {
		say_service("HTTPService", options->http_address, server_http_port(start->server));
	}
	if (options->allow_metrics) {
		say_service("Metrics Service", options->metrics_address, server_metrics_port(start->server));
	}
	if (start->cache != NULL) {
		start->cache->ops->describe(start->cache->store, cache, sizeof(cache));
		describe_caching(start, caching, sizeof(caching));
	}
	buf_init(&lines.text, 1 << 20);
	repository_index(start->repository, false, add_model, &lines);
	log_info("hippocamp %s is ready after %.0f ms: %zu model%s%s%.*s%s; cache: %s%s%s; %zu thread%s",
		 HIPPOCAMP_VERSION, (double)(clock_now_ns() - start->start_ns) / 1e6, lines.count, plural(lines.count),
		 lines.count == 0 ? "" : " (", (int)lines.text.length,
		 lines.text.at == NULL ? "" : (const char *)lines.text.at, lines.count == 0 ? "" : ")", cache,
		 start->cache != NULL && start->settings->cache_configs.count == 0 &&
				 start->settings->response_cache_byte_size < 0
			 ? " (the default; --cache-config=none turns it off)"
			 : "",
		 caching, start->threads, plural(start->threads));
	buf_fini(&lines.text);
	if (start->follower != NULL) {
		say_front(start);
	}
}
