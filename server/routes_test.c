/* The handler of a path and a method, and the names in the path. */
#include "server/access.h"
#include "server/handlers.h"

#include "base/unit_test.h"

#include <string.h>

struct row {
	unsigned method;
	const char *path;
	exchange_handler handler; /* NULL: that of unknown paths */
	const char *model;
	const char *version;
	const char *rest;
};

static const struct row rows[] = {
	{HTTP1_GET, "/v2", handle_server_metadata, "", "", ""},
	{HTTP1_HEAD, "/v2", handle_server_metadata, "", "", ""},
	{HTTP1_GET, "/v2/health/live", handle_live, "", "", ""},
	{HTTP1_POST, "/v2/models/m/infer", handle_infer, "m", "", ""},
	{HTTP1_POST, "/v2/models/m/versions/12/infer", handle_infer, "m", "12", ""},
	{HTTP1_POST, "/v2/models/a%2Fb%20c/infer", handle_infer, "a/b c", "", ""},
	{HTTP1_POST, "/v2/models/stats/infer", handle_infer, "stats", "", ""},
	{HTTP1_GET, "/v2/models/stats", handle_all_statistics, "", "", ""},
	{HTTP1_GET, "/v2/models/versions", handle_model_metadata, "versions", "", ""},
	{HTTP1_GET, "/v2/models/m/versions/1", handle_model_metadata, "m", "1", ""},
	{HTTP1_GET, "/v2/models/m/ready", handle_model_ready, "m", "", ""},
	{HTTP1_POST, "/v2/repository/models/m/load", handle_load, "m", "", ""},
	{HTTP1_POST, "/v2/repository/models/m/unload", handle_unload, "m", "", ""},
	{HTTP1_POST, "/v2/repository/other/models/m/load", handle_named_repository, "m", "", "other"},
	{HTTP1_POST, "/v2/repository/other/index", handle_index, "", "", "other"},
	{HTTP1_POST, "/v2/cache/purge", handle_purge, "", "", ""},
	{HTTP1_OPTIONS, "/v2/models/m/infer", reply_options, "m", "", ""},
	{HTTP1_OPTIONS, "*", reply_options, "", "", ""},
	{HTTP1_GET, "/v2/models/m/infer", reply_wrong_method, "m", "", ""},
	{HTTP1_POST, "/v2/health/live", reply_wrong_method, "", "", ""},
	{HTTP1_GET, "/", NULL, "", "", ""},
	{HTTP1_GET, "", NULL, "", "", ""},
	{HTTP1_GET, "/v2/", NULL, "", "", ""},
	{HTTP1_GET, "/v3", NULL, "", "", ""},
	{HTTP1_GET, "/v2/models//ready", NULL, "", "", ""},
	{HTTP1_POST, "/v2/models/m/versions/x/infer", NULL, "", "", ""},
	{HTTP1_POST, "/v2/models/m/versions//infer", NULL, "", "", ""},
	{HTTP1_POST, "/v2/models/m/infer/more", NULL, "", "", ""},
	{HTTP1_GET, "/v2/models/m/versions/1/ready/a/b/c/d/e/f/g/h", NULL, "", "", ""},
};

static struct server_options options = {.max_input_bytes = 1 << 20};

static struct server_port port;

static struct exchange exchange; /* of the last request */

static void
take(exchange_router route, unsigned method, const char *path)
{
	arena_fini(&exchange.arena);
	exchange = (struct exchange){.options = &options, .port = &port};
	arena_init(&exchange.arena, 1 << 16);
	exchange.head.method = method;
	exchange.head.path = bytes_text(path);
	route(&exchange);
}

static int
teardown(void **state)
{
	(void)state;
	arena_fini(&exchange.arena);
	memset(&exchange, 0, sizeof(exchange));
	return 0;
}

static void
test_paths(void **state)
{
	exchange_handler unknown;

	(void)state;
	take(http_route, HTTP1_GET, "/nothing");
	unknown = exchange.handler;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];

		take(http_route, row->method, row->path);
		if (exchange.handler != (row->handler == NULL ? unknown : row->handler)) {
			fail_msg("%s leads elsewhere", row->path);
		}
		if (row->handler != NULL && *row->path == '/') {
			const struct path *path = exchange.path;

			assert_bytes(path->model, row->model);
			assert_bytes(path->version, row->version);
			assert_bytes(path->rest, row->rest);
		}
	}
}

/* What is known before a body is read: who may send it, its limit, and whether tensors may follow the JSON. */
static void
test_bodies(void **state)
{
	(void)state;
	take(http_route, HTTP1_POST, "/v2/models/m/infer");
	assert_true(exchange.takes_tensors);
	assert_true(exchange.admit == admit_infer);
	assert_int_equal(exchange.body_limit, options.max_input_bytes);
	take(http_route, HTTP1_POST, "/v2/repository/models/m/load");
	assert_false(exchange.takes_tensors);
	assert_true(exchange.admit == admit_model_control);
	assert_int_equal(exchange.body_limit, options.max_input_bytes);
	take(http_route, HTTP1_POST, "/v2/cache/purge");
	assert_true(exchange.admit == access_cache_admin);
	assert_int_equal(exchange.body_limit, EXCHANGE_LONG);
	take(http_route, HTTP1_GET, "/v2/models/m");
	assert_non_null(exchange.admit); /* a GET is answered without its body */
}

/* On the port of HTTP only where all may see the cache; else the path is as unknown as it is to Triton. */
static void
test_the_live_page(void **state)
{
	exchange_handler unknown;

	(void)state;
	take(http_route, HTTP1_GET, "/nothing");
	unknown = exchange.handler;
	for (enum cache_admin admin = CACHE_ADMIN_CLOSED; admin <= CACHE_ADMIN_OPEN; admin++) {
		port.cache_admin = admin;
		take(http_route, HTTP1_GET, "/");
		assert_true(exchange.handler == (admin == CACHE_ADMIN_OPEN ? handle_live_page : unknown));
		take(http_route, HTTP1_GET, "/history");
		assert_true(exchange.handler == (admin == CACHE_ADMIN_OPEN ? handle_history : unknown));
	}
	port.cache_admin = CACHE_ADMIN_CLOSED;
	take(metrics_route, HTTP1_GET, "/");
	assert_true(exchange.handler == handle_live_page);
}

static void
test_the_metrics_port(void **state)
{
	exchange_handler nothing;

	(void)state;
	take(metrics_route, HTTP1_GET, "/nothing");
	nothing = exchange.handler;
	take(metrics_route, HTTP1_GET, "/metrics");
	assert_true(exchange.handler == handle_metrics);
	take(metrics_route, HTTP1_POST, "/v2/models/m/infer");
	assert_true(exchange.handler == nothing);
}

/* In front of another server only a few paths are ours; what is too large is not for us to say. */
static void
test_in_front(void **state)
{
	static const char *const passed[] = {"/v2", "/v2/models/m", "/v2/models/m/generate", "/nothing", "*"};

	(void)state;
	for (size_t i = 0; i < sizeof(passed) / sizeof(*passed); i++) {
		take(front_route, HTTP1_OTHER, passed[i]);
		assert_true(exchange.handler == handle_pass);
		assert_null(exchange.admit);
		assert_true(exchange.body_limit == SIZE_MAX);
	}
	take(front_route, HTTP1_GET, "/v2/health/live");
	assert_true(exchange.handler == handle_live);
	take(front_route, HTTP1_POST, "/v2/cache/purge");
	assert_true(exchange.handler == handle_purge);
	assert_true(exchange.admit == access_cache_admin);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_paths, teardown),
		cmocka_unit_test_teardown(test_bodies, teardown),
		cmocka_unit_test_teardown(test_the_live_page, teardown),
		cmocka_unit_test_teardown(test_the_metrics_port, teardown),
		cmocka_unit_test_teardown(test_in_front, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
