#include "server/handlers.h"

/*
 * A route is a pattern of segments: a word stands for itself, "*" for a model's name, "#" for a version (digits), "?"
 * for any other name. The first match wins, so "/v2/models/stats" is never a model called "stats".
 */
struct route {
	const char *pattern;
	enum http1_method method; /* HTTP1_OTHER: GET and POST both */
	exchange_handler handler;
};

static const struct route routes[] = {
	{"v2/models/*/infer", HTTP1_POST, handle_infer},
	{"v2/models/*/versions/#/infer", HTTP1_POST, handle_infer},
	{"v2/health/live", HTTP1_GET, handle_live},
	{"v2/health/ready", HTTP1_GET, handle_ready},
	{"v2", HTTP1_GET, handle_server_metadata},
	{"v2/models/stats", HTTP1_GET, handle_all_statistics},
	{"v2/models/*", HTTP1_GET, handle_model_metadata},
	{"v2/models/*/versions/#", HTTP1_GET, handle_model_metadata},
	{"v2/models/*/ready", HTTP1_GET, handle_model_ready},
	{"v2/models/*/versions/#/ready", HTTP1_GET, handle_model_ready},
	{"v2/models/*/config", HTTP1_GET, handle_model_config},
	{"v2/models/*/versions/#/config", HTTP1_GET, handle_model_config},
	{"v2/models/*/stats", HTTP1_GET, handle_model_statistics},
	{"v2/models/*/versions/#/stats", HTTP1_GET, handle_model_statistics},
	{"v2/cache", HTTP1_GET, handle_cache},
	{"v2/cache/purge", HTTP1_POST, handle_purge},
	{"v2/models/*/trace/setting", HTTP1_OTHER, handle_trace_settings},
	{"v2/trace/setting", HTTP1_OTHER, handle_trace_settings},
	{"v2/logging", HTTP1_OTHER, handle_log_settings},
	{"v2/repository/index", HTTP1_POST, handle_index},
	{"v2/repository/models/*/load", HTTP1_POST, handle_load},
	{"v2/repository/models/*/unload", HTTP1_POST, handle_unload},
	{"v2/repository/?/index", HTTP1_POST, handle_index},
	{"v2/repository/?/models/*/load", HTTP1_POST, handle_named_repository},
	{"v2/repository/?/models/*/unload", HTTP1_POST, handle_named_repository},
	{"v2/systemsharedmemory/status", HTTP1_GET, handle_shared_memory_status},
	{"v2/systemsharedmemory/region/?/status", HTTP1_GET, handle_shared_memory_status},
	{"v2/systemsharedmemory/region/?/register", HTTP1_POST, handle_shared_memory_register},
	{"v2/systemsharedmemory/unregister", HTTP1_POST, handle_shared_memory_unregister},
	{"v2/systemsharedmemory/region/?/unregister", HTTP1_POST, handle_shared_memory_unregister},
	{"v2/cudasharedmemory/status", HTTP1_GET, handle_shared_memory_status},
	{"v2/cudasharedmemory/region/?/status", HTTP1_GET, handle_shared_memory_status},
	{"v2/cudasharedmemory/region/?/register", HTTP1_POST, handle_cuda_shared_memory_register},
	{"v2/cudasharedmemory/unregister", HTTP1_POST, handle_shared_memory_unregister},
	{"v2/cudasharedmemory/region/?/unregister", HTTP1_POST, handle_shared_memory_unregister},
};

static void
handle_unknown(struct exchange *exchange)
{
	reply_http_error(exchange, 404, "Not Found");
}

static void
handle_wrong_method(struct exchange *exchange)
{
	reply_http_error(exchange, 405, "Method Not Allowed");
}

/* Takes what stands before the next slash off the front. */
static struct bytes
next_segment(struct bytes *path)
{
	const uint8_t *slash = path->length == 0 ? NULL : memchr(path->at, '/', path->length);
	size_t length = slash == NULL ? path->length : (size_t)(slash - path->at);
	struct bytes segment = bytes_make(path->at, length);

	*path = bytes_skip(*path, length + (slash != NULL));
	return segment;
}

static bool
is_number(struct bytes text)
{
	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9') {
			return false;
		}
	}
	return text.length > 0;
}

static bool
match(const char *pattern, struct path *path)
{
	struct bytes rest = bytes_text(pattern);

	for (size_t i = 0; i < path->count; i++) {
		struct bytes wanted;

		if (rest.length == 0) {
			return false;
		}
		wanted = next_segment(&rest);
		if (bytes_equal_text(wanted, "*") && path->segments[i].length > 0) {
			path->model = path->segments[i];
		} else if (bytes_equal_text(wanted, "#") && is_number(path->segments[i])) {
			path->version = path->segments[i];
		} else if (bytes_equal_text(wanted, "?") && path->segments[i].length > 0) {
			path->rest = path->segments[i];
		} else if (!bytes_equal(wanted, path->segments[i])) {
			return false;
		}
	}
	return rest.length == 0;
}

/* Names may hold any character; clients percent-encode them. */
static struct bytes
decode_segment(struct exchange *exchange, struct bytes segment)
{
	uint8_t *decoded;

	if (segment.length == 0 || memchr(segment.at, '%', segment.length) == NULL) {
		return segment;
	}
	decoded = arena_get(&exchange->arena, segment.length);
	return decoded == NULL ? segment : bytes_make(decoded, http1_percent_decode(segment, decoded));
}

static bool
split(struct exchange *exchange, struct bytes text, struct path *path)
{
	bool more = text.length > 0 && *text.at == '/';

	if (!more) {
		return false;
	}
	text = bytes_skip(text, 1);
	while (more) {
		if (path->count == PATH_SEGMENTS_MAX) {
			return false;
		}
		more = text.length > 0 && memchr(text.at, '/', text.length) != NULL;
		path->segments[path->count++] = decode_segment(exchange, next_segment(&text));
	}
	return true;
}

/* Those that show or change the cache, which not every client may. */
static bool
is_open(const struct exchange *exchange, exchange_handler handler)
{
	return exchange->options->allow_cache_admin || (handler != handle_cache && handler != handle_purge);
}

exchange_handler
http_route(struct exchange *exchange)
{
	struct path *path = arena_get(&exchange->arena, sizeof(*path));
	bool known = false;

	if (path == NULL || !split(exchange, exchange->head.path, path)) {
		return handle_unknown;
	}
	exchange->state = path;
	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
		path->version = bytes_make(NULL, 0);
		if (!match(routes[i].pattern, path) || !is_open(exchange, routes[i].handler)) {
			continue;
		}
		if ((routes[i].method == exchange->head.method && routes[i].method != HTTP1_OTHER) ||
		    (routes[i].method == HTTP1_OTHER &&
		     (exchange->head.method == HTTP1_GET || exchange->head.method == HTTP1_POST))) {
			return routes[i].handler;
		}
		known = true;
		break;
	}
	return known ? handle_wrong_method : handle_unknown;
}

/* Triton's metrics port answers any other path with an empty 200. */
static void
handle_nothing(struct exchange *exchange)
{
	reply_bare(exchange, true, "text/plain");
}

exchange_handler
metrics_route(struct exchange *exchange)
{
	static const struct {
		const char *path;
		enum http1_method method;
		exchange_handler handler;
	} places[] = {
		{"/metrics", HTTP1_GET, handle_metrics},
		{"/v2/cache", HTTP1_GET, handle_cache},
		{"/v2/cache/purge", HTTP1_POST, handle_purge},
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		if (bytes_equal_text(exchange->head.path, places[i].path)) {
			return exchange->head.method == places[i].method ? places[i].handler : handle_wrong_method;
		}
	}
	return handle_nothing;
}
