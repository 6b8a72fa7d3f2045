#include "server/access.h"
#include "server/handlers.h"

#define GET (HTTP1_GET | HTTP1_HEAD)
#define POST HTTP1_POST

/*
 * A route's pattern is a list of segments: a word matches itself, "*" a model's name, "#" a version (digits), "?" any
 * other name. The first match wins, so "/v2/models/stats" never names a model "stats".
 */
struct route {
	const char *pattern;
	unsigned methods;
	exchange_handler handler;
	bool (*admit)(struct exchange *exchange); /* see exchange.h; admit_no_body where POST is not accepted */
};

static const struct route http_routes[] = {
	{"v2/models/*/infer", POST, handle_infer, admit_infer},
	{"v2/models/*/versions/#/infer", POST, handle_infer, admit_infer},
	{"v2/health/live", GET, handle_live, NULL},
	{"v2/health/ready", GET, handle_ready, NULL},
	{"v2", GET, handle_server_metadata, NULL},
	{"v2/models/stats", GET, handle_all_statistics, NULL},
	{"v2/models/*", GET, handle_model_metadata, NULL},
	{"v2/models/*/versions/#", GET, handle_model_metadata, NULL},
	{"v2/models/*/ready", GET, handle_model_ready, NULL},
	{"v2/models/*/versions/#/ready", GET, handle_model_ready, NULL},
	{"v2/models/*/config", GET, handle_model_config, NULL},
	{"v2/models/*/versions/#/config", GET, handle_model_config, NULL},
	{"v2/models/*/stats", GET, handle_model_statistics, NULL},
	{"v2/models/*/versions/#/stats", GET, handle_model_statistics, NULL},
	{"v2/cache", GET, handle_cache, NULL},
	{"v2/cache/purge", POST, handle_purge, access_cache_admin},
	{"v2/models/*/trace/setting", GET | POST, handle_trace_settings, NULL},
	{"v2/trace/setting", GET | POST, handle_trace_settings, NULL},
	{"v2/logging", GET | POST, handle_log_settings, NULL},
	{"v2/repository/index", POST, handle_index, NULL},
	{"v2/repository/models/*/load", POST, handle_load, admit_model_control},
	{"v2/repository/models/*/unload", POST, handle_unload, admit_model_control},
	{"v2/repository/?/index", POST, handle_index, NULL},
	{"v2/repository/?/models/*/load", POST, handle_named_repository, NULL},
	{"v2/repository/?/models/*/unload", POST, handle_named_repository, NULL},
	{"v2/systemsharedmemory/status", GET, handle_shared_memory_status, NULL},
	{"v2/systemsharedmemory/region/?/status", GET, handle_system_region_status, NULL},
	{"v2/systemsharedmemory/region/?/register", POST, handle_shared_memory_register, NULL},
	{"v2/systemsharedmemory/unregister", POST, handle_shared_memory_unregister, NULL},
	{"v2/systemsharedmemory/region/?/unregister", POST, handle_shared_memory_unregister, NULL},
	{"v2/cudasharedmemory/status", GET, handle_shared_memory_status, NULL},
	{"v2/cudasharedmemory/region/?/status", GET, handle_cuda_region_status, NULL},
	{"v2/cudasharedmemory/region/?/register", POST, handle_cuda_shared_memory_register, NULL},
	{"v2/cudasharedmemory/unregister", POST, handle_shared_memory_unregister, NULL},
	{"v2/cudasharedmemory/region/?/unregister", POST, handle_shared_memory_unregister, NULL},
};

static const struct route metrics_routes[] = {
	{"metrics", GET, handle_metrics, NULL},
	{"v2/cache", GET, handle_cache, NULL},
	{"v2/cache/purge", POST, handle_purge, access_cache_admin},
};

static const struct route page_routes[] = {
	{"page.css", GET, handle_live_page_style, NULL},
	{"page.js", GET, handle_live_page_script, NULL},
	{"history", GET, handle_history, NULL},
};

/* In front of another server: what we answer ourselves. All other requests pass through. */
static const struct route front_routes[] = {
	{"v2/health/ready", GET, handle_front_ready, NULL},
	{"v2/models/*/infer", POST, handle_front_infer, NULL},
	{"v2/models/*/versions/#/infer", POST, handle_front_infer, NULL},
	{"v2/models/stats", GET, handle_front_statistics, NULL},
	{"v2/models/*/stats", GET, handle_front_statistics, NULL},
	{"v2/models/*/versions/#/stats", GET, handle_front_statistics, NULL},
	{"v2/health/live", GET, handle_live, NULL},
	{"v2/cache", GET, handle_cache, NULL},
	{"v2/cache/purge", POST, handle_purge, access_cache_admin},
};

static void
handle_unknown(struct exchange *exchange)
{
	reply_http_error(exchange, 404, "Not Found");
}

/* Triton's metrics port answers any other path with an empty 200. */
static void
handle_nothing(struct exchange *exchange)
{
	reply_bare(exchange, true, "text/plain");
}

/* Answers without the body, on which the answer does not depend. */
static bool
admit_no_body(struct exchange *exchange)
{
	exchange->handler(exchange);
	return false;
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
		wanted = bytes_take_until(&rest, '/');
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

/* Undoes percent-encoding: names may hold any character. */
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
		path->segments[path->count++] = decode_segment(exchange, bytes_take_until(&text, '/'));
	}
	return true;
}

static const struct route *
find_route(const struct route *routes, size_t count, struct exchange *exchange)
{
	struct path *path = arena_get(&exchange->arena, sizeof(*path));

	exchange->path = path;
	if (path == NULL || !split(exchange, exchange->head.path, path)) {
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		path->model = path->version = path->rest = bytes_make(NULL, 0); /* left by the previous pattern */
		if (match(routes[i].pattern, path)) {
			return &routes[i];
		}
	}
	return NULL;
}

static void
take_route(struct exchange *exchange, const struct route *route, exchange_handler otherwise)
{
	exchange->admit = admit_no_body;
	exchange->takes_tensors = false;
	exchange->takes_parts = NULL;
	exchange->body_limit = exchange->options->max_input_bytes;
	exchange->methods = GET | POST;
	if (route == NULL) {
		exchange->handler = bytes_equal_text(exchange->head.path, "*") ? reply_options : otherwise;
		return;
	}
	exchange->methods = route->methods;
	if (exchange->head.method == HTTP1_OPTIONS) {
		exchange->handler = reply_options;
	} else if ((route->methods & exchange->head.method) == 0) {
		exchange->handler = reply_wrong_method;
	} else {
		exchange->handler = route->handler;
		exchange->takes_tensors = route->handler == handle_infer;
		if (route->handler != handle_infer && route->handler != handle_load &&
		    exchange->body_limit > EXCHANGE_LONG) {
			exchange->body_limit = EXCHANGE_LONG; /* these bodies are short and decoded on the loop */
		}
		if ((route->methods & POST) != 0) {
			exchange->admit = route->admit;
		}
	}
}

/* The server behind decides which methods a path has, and what is too large for it. */
static void
pass_through(struct exchange *exchange, exchange_handler handler)
{
	exchange->admit = NULL;
	exchange->takes_tensors = false;
	exchange->takes_parts = handler == handle_pass		? pass_takes_parts
				: handler == handle_front_infer ? front_infer_takes_parts
								: NULL;
	exchange->body_limit = SIZE_MAX;
	exchange->methods = GET | POST;
	exchange->handler = handler;
}

static bool
is_ours(const struct route *route)
{
	return route->handler == handle_live || route->handler == handle_cache || route->handler == handle_purge;
}

/*
 * Could a server take this for a request to load or unload a model? Also in spellings that we do not route, with more
 * slashes, say.
 */
static bool
resembles_control(struct exchange *exchange)
{
	struct bytes rest = decode_segment(exchange, exchange->head.path);
	struct bytes last = {0};
	bool of_repository = false;
	bool climbs = false;

	while (rest.length > 0) {
		struct bytes segment = bytes_take_until(&rest, '/');

		segment = bytes_take_until(&segment, ';'); /* parameters of a segment (RFC 3986 section 3.3) */
		if (segment.length > 0 && !bytes_equal_text(segment, ".")) {
			last = segment;
			of_repository = of_repository || bytes_equal_text(segment, "repository");
			climbs = climbs || bytes_equal_text(segment, "..");
		}
	}
	return exchange->head.method == POST && of_repository &&
	       (climbs || bytes_equal_text(last, "load") || bytes_equal_text(last, "unload"));
}

void
front_route(struct exchange *exchange)
{
	const struct route *route = find_route(front_routes, sizeof(front_routes) / sizeof(*front_routes), exchange);

	if (route != NULL && is_ours(route)) {
		take_route(exchange, route, handle_unknown);
	} else {
		bool known = route != NULL && (route->methods & exchange->head.method) != 0;
		exchange_handler other = resembles_control(exchange) ? handle_control : handle_pass;

		pass_through(exchange, known ? route->handler : other);
	}
}

/* The live page, and what it asks for. */
static const struct route *
find_page_route(struct exchange *exchange)
{
	static const struct route root = {"", GET, handle_live_page, NULL};

	return bytes_equal_text(exchange->head.path, "/")
		       ? &root
		       : find_route(page_routes, sizeof(page_routes) / sizeof(*page_routes), exchange);
}

/* Where everybody may see the cache, so may browsers: on the port that they know, too. */
void
http_route(struct exchange *exchange)
{
	const struct route *route = find_route(http_routes, sizeof(http_routes) / sizeof(*http_routes), exchange);

	if (route == NULL && exchange->port->cache_admin == CACHE_ADMIN_OPEN) {
		route = find_page_route(exchange);
	}
	take_route(exchange, route, handle_unknown);
}

void
metrics_route(struct exchange *exchange)
{
	const struct route *route =
		find_route(metrics_routes, sizeof(metrics_routes) / sizeof(*metrics_routes), exchange);

	take_route(exchange, route == NULL ? find_page_route(exchange) : route, handle_nothing);
}
