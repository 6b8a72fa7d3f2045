#include "caches/redis/connection/settings.h"

#include "base/unit_test.h"

#include <stdio.h>
#include <stdlib.h>

#define SETTINGS(...) settings_of((const char *const[]){__VA_ARGS__, NULL})
#define REFUSED(...) refused((const char *const[]){__VA_ARGS__, NULL})

/* The longest path that a socket can have: 107 bytes. */
#define TEN "xxxxxxxxxx"
#define LONGEST_PATH "/" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "xxxxxx"

static struct error error;

static void
apply(struct redis_settings *settings, const char *text)
{
	struct bytes name = bytes_make(text, strcspn(text, "="));
	const struct option *option = option_find(redis_options, name);

	assert_non_null(option);
	assert_int_equal(option_set(option, settings, text + name.length + 1, &error), STATUS_OK);
}

static struct redis_settings *
given(const char *const *options)
{
	struct redis_settings *settings = calloc(1, sizeof(*settings));

	assert_non_null(settings);
	option_presets(redis_options, settings);
	for (size_t i = 0; options[i] != NULL; i++) {
		apply(settings, options[i]);
	}
	return settings;
}

static struct redis_settings *
settings_of(const char *const *options)
{
	struct redis_settings *settings = given(options);

	error.text[0] = '\0';
	if (redis_settings_complete(settings, &error) != STATUS_OK) {
		fail_msg("%s", error.text);
	}
	return settings;
}

/* Returns the error message, which must not contain the secret "hush". */
static const char *
refused(const char *const *options)
{
	struct redis_settings *settings = given(options);

	assert_int_equal(redis_settings_complete(settings, &error), STATUS_INVALID_ARGUMENT);
	redis_settings_free(settings);
	assert_null(strstr(error.text, "hush"));
	return error.text;
}

static void
assert_names(const char *text, const char *first, const char *second)
{
	if (strstr(text, first) == NULL || strstr(text, second) == NULL) {
		fail_msg("'%s' and '%s' are not both in: %s", first, second, text);
	}
}

static void
assert_described(struct redis_settings *settings, const char *expected)
{
	char text[256];

	redis_settings_describe(settings, text, sizeof(text));
	assert_string_equal(text, expected);
	redis_settings_free(settings);
}

/* --- Places --- */

static void
test_one_host(void **state)
{
	struct redis_settings *settings = SETTINGS("host=cache.example");

	(void)state;
	assert_int_equal(settings->topology, REDIS_AUTO);
	assert_int_equal(settings->seed_count, 1);
	assert_string_equal(settings->seeds[0].host, "cache.example");
	assert_int_equal(settings->seeds[0].port, 6379);
	assert_int_equal(settings->db, 0);
	assert_false(settings->tls);
	assert_null(settings->user);
	assert_null(settings->password);
	assert_int_equal(settings->connect_timeout_ms, 1000);
	assert_int_equal(settings->socket_timeout_ms, 1000);
	assert_int_equal(settings->wait_timeout_ms, 1000);
	assert_int_equal(settings->in_flight_bytes, 64 << 20);
	assert_int_equal(settings->compression_min_bytes, 1024);
	assert_described(settings, "redis at cache.example:6379");
	assert_described(SETTINGS("host=::1", "port=7", "cluster=false"), "redis at [::1]:7");
	settings = SETTINGS("host=a", "db=5", "wait_timeout=7", "read_from=nearest", "compression=zstd");
	assert_int_equal(settings->db, 5);
	assert_int_equal(settings->wait_timeout_ms, 7);
	assert_int_equal(settings->read_from, REDIS_READ_NEAREST);
	assert_int_equal(settings->compression, REDIS_COMPRESSION_ZSTD);
	redis_settings_free(settings);
}

static void
test_other_places(void **state)
{
	struct redis_settings *settings = SETTINGS("sentinels=a;b:2", "sentinel_master=prime");

	(void)state;
	assert_int_equal(settings->topology, REDIS_SENTINEL);
	assert_described(settings, "redis by sentinels a:26379, b:2 (prime)");
	settings = SETTINGS("host=a:1;[::1];c", "port=7", "cluster=true", "tls_enabled=1");
	assert_int_equal(settings->topology, REDIS_CLUSTER);
	assert_described(settings, "redis cluster at a:1, [::1]:7, c:7, TLS");
	settings = SETTINGS("host=a,b");
	assert_int_equal(settings->topology, REDIS_AUTO);
	assert_described(settings, "redis at a:6379, b:6379");
	settings = SETTINGS("host=a", "cluster=false");
	assert_int_equal(settings->topology, REDIS_SERVER);
	redis_settings_free(settings);
	settings = SETTINGS("host=unix:/run/redis.sock");
	assert_int_equal(settings->topology, REDIS_SERVER);
	assert_int_equal(settings->seeds[0].port, 0);
	assert_described(settings, "redis at /run/redis.sock");
	assert_described(SETTINGS("host=unix:" LONGEST_PATH), "redis at " LONGEST_PATH);
}

static void
test_description_is_cut(void **state)
{
	struct redis_settings *settings = SETTINGS("host=a;b;c");
	char text[16];

	(void)state;
	redis_settings_describe(settings, text, sizeof(text));
	assert_string_equal(text, "redis at a:6379");
	redis_settings_free(settings);
}

static void
test_bad_places(void **state)
{
	(void)state;
	assert_names(REFUSED("user=x"), "host", "url");
	assert_names(REFUSED("host=a:b"), "'a:b'", "host");
	assert_names(REFUSED("host=a;"), "'a;'", "host");
	assert_names(REFUSED("host=/run/redis.sock"), "host", "unix:/PATH");
	assert_names(REFUSED("host=redis://:hush@h"), "host", "url=");
	assert_names(REFUSED("host=u:hush@h"), "host", "url=");
	assert_names(REFUSED("host=unix:"), "host", "unix:/PATH");
	assert_names(REFUSED("host=unix:redis.sock"), "host", "absolute");
	assert_names(REFUSED("host=unix:" LONGEST_PATH "x"), "host", "107");
	assert_names(REFUSED("host=a", "port=0"), "'port'", "'0'");
	assert_names(REFUSED("host=a", "port=none"), "'port'", "'none'");
	assert_names(REFUSED("host=a", "db=-1"), "'db'", "'-1'");
	assert_names(REFUSED("host=unix:/x", "port=1"), "'host'", "'port'");
	assert_names(REFUSED("host=unix:/x", "tls_enabled=true"), "'host'", "'tls_enabled'");
	assert_names(REFUSED("host=unix:/x", "cluster=true"), "'host'", "'cluster'");
	assert_names(REFUSED("host=a;b", "cluster=false"), "'host'", "'cluster'");
	assert_names(REFUSED("sentinels=a"), "'sentinels'", "'sentinel_master'");
	assert_names(REFUSED("host=a", "sentinel_master=m"), "'sentinel_master'", "'sentinels'");
	assert_names(REFUSED("host=a", "sentinel_user=m"), "'sentinel_user'", "'user'");
	assert_names(REFUSED("host=a", "sentinel_password=hush"), "'sentinel_password'", "'password'");
	assert_names(REFUSED("sentinels=a", "sentinel_master=m", "host=b"), "'sentinels'", "'host'");
	assert_names(REFUSED("sentinels=a", "sentinel_master=m", "port=1"), "'sentinels'", "'port'");
	assert_names(REFUSED("sentinels=a", "sentinel_master=m", "cluster=true"), "'sentinels'", "'cluster'");
	assert_names(REFUSED("sentinels=a:b", "sentinel_master=m"), "'a:b'", "'sentinels'");
	assert_names(REFUSED("sentinels=a", "sentinel_master=m", "sentinel_user=u"), "'sentinel_user'",
		     "'sentinel_password'");
}

/* --- Passwords and TLS --- */

static void
test_environment(void **state)
{
	struct redis_settings *settings;

	(void)state;
	(void)setenv("TRITONCACHE_REDIS_USERNAME", "anne", 1);
	(void)setenv("TRITONCACHE_REDIS_PASSWORD", "hush", 1);
	settings = SETTINGS("host=a");
	assert_string_equal(settings->user, "anne");
	assert_string_equal(settings->password, "hush");
	redis_settings_free(settings);
	settings = SETTINGS("host=a", "user=bob", "password=other");
	assert_string_equal(settings->user, "bob");
	assert_string_equal(settings->password, "other");
	redis_settings_free(settings);
	settings = SETTINGS("url=redis://bob:other@a");
	assert_string_equal(settings->user, "bob");
	assert_string_equal(settings->password, "other");
	redis_settings_free(settings);
	settings = SETTINGS("host=a", "password_file=/f");
	assert_null(settings->password);
	redis_settings_free(settings);
	(void)unsetenv("TRITONCACHE_REDIS_USERNAME");
	(void)unsetenv("TRITONCACHE_REDIS_PASSWORD");
}

static void
test_passwords_and_tls(void **state)
{
	(void)state;
	assert_names(REFUSED("host=a", "password=hush", "password_file=/f"), "'password'", "'password_file'");
	assert_names(REFUSED("host=a", "password=hush", "password_command=/c"), "'password'", "'password_command'");
	assert_names(REFUSED("host=a", "password_file=/f", "password_command=/c"), "'password_file'",
		     "'password_command'");
	assert_names(REFUSED("host=a", "tls_enabled=maybe"), "'maybe'", "'tls_enabled'");
	assert_names(REFUSED("host=a", "cacert=/c"), "'cacert'", "tls_enabled=true");
	assert_names(REFUSED("host=a", "tls_verify=none"), "'tls_verify'", "tls_enabled=true");
	assert_names(REFUSED("url=redis://a", "sni=x"), "'sni'", "rediss://");
	assert_names(REFUSED("host=a", "tls_enabled=true", "cert=/c"), "'cert'", "'key'");
	assert_names(REFUSED("host=a", "tls_enabled=true", "key=/k"), "'key'", "'cert'");
	assert_described(SETTINGS("host=a", "tls_enabled=false", "cacert=/c"), "redis at a:6379");
	assert_described(SETTINGS("host=a", "tls_enabled=true", "cert=/c", "key=/k"), "redis at a:6379, TLS");
	assert_described(SETTINGS("url=rediss://a", "cacert=/c", "tls_enabled=true"), "redis at a:6379, TLS");
}

/* --- URLs --- */

static void
test_urls(void **state)
{
	static const struct {
		const char *url;
		const char *described;
		enum redis_topology_kind topology;
	} cases[] = {
		{"redis://a", "redis at a:6379", REDIS_AUTO},
		{"REDIS://a/", "redis at a:6379", REDIS_AUTO},
		{"valkey://a:1/2", "redis at a:1", REDIS_AUTO},
		{"rediss://[::1]:1", "redis at [::1]:1, TLS", REDIS_AUTO},
		{"valkeys://a", "redis at a:6379, TLS", REDIS_AUTO},
		{"redis://a:1,b", "redis at a:1, b:6379", REDIS_AUTO},
		{"unix:///run/a%20b.sock", "redis at /run/a b.sock", REDIS_SERVER},
		{"redis+unix://u:p@/run/a@b", "redis at /run/a@b", REDIS_SERVER},
		{"valkey+unix:///a?db=3", "redis at /a", REDIS_SERVER},
		{"redis+cluster://:p@a:1,b:2", "redis cluster at a:1, b:2", REDIS_CLUSTER},
		{"valkeys+cluster://a", "redis cluster at a:6379, TLS", REDIS_CLUSTER},
		{"redis+sentinel://a,b:2/m", "redis by sentinels a:26379, b:2 (m)", REDIS_SENTINEL},
		{"rediss+sentinel://a/m%2F/4", "redis by sentinels a:26379 (m/), TLS", REDIS_SENTINEL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct redis_url url;

		assert_int_equal(redis_url_read(cases[i].url, &url, &error), STATUS_OK);
		assert_int_equal(url.topology, cases[i].topology);
		redis_url_fini(&url);
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[128];

		(void)snprintf(text, sizeof(text), "url=%s", cases[i].url);
		assert_described(SETTINGS(text), cases[i].described);
	}
}

static void
assert_login(const char *text, const char *user, const char *password, int64_t db)
{
	struct redis_url url;

	assert_int_equal(redis_url_read(text, &url, &error), STATUS_OK);
	assert_string_equal(url.user == NULL ? "-" : url.user, user);
	assert_string_equal(url.password == NULL ? "-" : url.password, password);
	assert_int_equal(url.db, db);
	redis_url_fini(&url);
}

static void
test_logins(void **state)
{
	struct redis_url url;

	(void)state;
	assert_login("redis://h", "-", "-", -1);
	assert_login("redis://u@h/0", "u", "-", 0);
	assert_login("redis://:p@h/7", "-", "p", 7);
	assert_login("redis://u:p@h?db=2", "u", "p", 2);
	assert_login("redis://u:a:b@c@h", "u", "a:b@c", -1);
	assert_login("redis://:@h", "-", "-", -1);
	assert_login("redis://a%40b:hush%3Anot%40for%2Flogs%3F%2520+@h", "a@b", "hush:not@for/logs?%20+", -1);
	assert_login("unix://u:%2f@/run/s?db=3", "u", "/", 3);
	assert_login("redis+sentinel://u:p@h/m/9", "u", "p", 9);
	assert_int_equal(
		redis_url_read("redis+sentinel://h/m?sentinel_username=w&sentinel_password=x+%2B%26", &url, &error),
		STATUS_OK);
	assert_string_equal(url.sentinel_user, "w");
	assert_string_equal(url.sentinel_password, "x +&");
	redis_url_fini(&url);
}

static void
test_bad_urls(void **state)
{
	static const struct {
		const char *option;
		const char *said;
	} cases[] = {
		{"url=http://h", "http://"},
		{"url=hush:hush://h", "expected redis://"},
		{"url=hush@127.0.0.1", "expected redis://"},
		{"url=rediss+unix:///x", "expected redis://"},
		{"url=redis+socket:///x", "expected redis://"},
		{"url=redis://", "HOST"},
		{"url=redis://:hush@", "HOST"},
		{"url=redis://:hush@h:none", "HOST:PORT"},
		{"url=redis://:hush@h:70000", "HOST:PORT"},
		{"url=redis://:hush@h,", "HOST"},
		{"url=redis://%2Frun%2Fhush", "HOST"},
		{"url=redis://h/x", "database"},
		{"url=redis://h/1/2", "database"},
		{"url=redis://h/9999999999", "database"},
		{"url=redis://h/1?db=1", "twice"},
		{"url=redis://:hush%2@h", "%25"},
		{"url=redis://:hush%00@h", "%25"},
		{"url=redis://:hush%zz@h", "%25"},
		{"url=redis://u:hush/hush@h", "%2F"},
		{"url=redis://u:hush?hush@h", "%3F"},
		{"url=redis://u:hush#hush@h", "%23"},
		{"url=redis://h?ttl=5", "'ttl'"},
		{"url=redis://h?sentinel_password=hush", "'sentinel_password'"},
		{"url=redis+sentinel://h/m?sentinel_password=hush&sentinel_password=hush", "more than one"},
		{"url=redis+sentinel://h", "MASTER"},
		{"url=redis+sentinel://h//1", "MASTER"},
		{"url=unix://", "missing"},
		{"url=unix:///", "missing"},
		{"url=unix://run/hush", "absolute"},
		{"url=unix://" LONGEST_PATH "x", "107"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_names(REFUSED(cases[i].option), "'url'", cases[i].said);
	}
}

static void
test_url_and_options(void **state)
{
	static const char *const contradictions[][3] = {
		{"url=redis://a", "host=x", "'host'"},
		{"url=redis://a", "port=1", "'port'"},
		{"url=redis+sentinel://a/m", "sentinels=x", "'sentinels'"},
		{"url=redis+sentinel://a/m", "sentinel_master=x", "'sentinel_master'"},
		{"url=redis+sentinel://a/m?sentinel_password=hush", "sentinel_password=x", "'sentinel_password'"},
		{"url=redis+sentinel://a/m", "cluster=true", "'cluster'"},
		{"url=redis+cluster://a", "cluster=false", "'cluster'"},
		{"url=redis://a,b", "cluster=false", "'cluster'"},
		{"url=unix:///a", "cluster=true", "'cluster'"},
		{"url=redis://u@a", "user=v", "'user'"},
		{"url=redis://:hush@a", "password=hush", "'password'"},
		{"url=redis://:hush@a", "password_file=/f", "'password_file'"},
		{"url=redis://:hush@a", "password_command=/c", "'password_command'"},
		{"url=redis://a/1", "db=0", "'db'"},
		{"url=redis://a", "tls_enabled=true", "'tls_enabled'"},
		{"url=rediss://a", "tls_enabled=false", "'tls_enabled'"},
		{"url=unix:///a", "tls_enabled=true", "'tls_enabled'"},
	};
	struct redis_settings *settings = SETTINGS("url=redis://u@a", "db=4", "password=p", "cluster=true");

	(void)state;
	assert_string_equal(settings->user, "u");
	assert_string_equal(settings->password, "p");
	assert_int_equal(settings->db, 4);
	assert_described(settings, "redis cluster at a:6379");
	for (size_t i = 0; i < sizeof(contradictions) / sizeof(*contradictions); i++) {
		assert_names(REFUSED(contradictions[i][0], contradictions[i][1]), "'url'", contradictions[i][2]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_host),
		cmocka_unit_test(test_other_places),
		cmocka_unit_test(test_description_is_cut),
		cmocka_unit_test(test_bad_places),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_passwords_and_tls),
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_logins),
		cmocka_unit_test(test_bad_urls),
		cmocka_unit_test(test_url_and_options),
	};

	(void)unsetenv("TRITONCACHE_REDIS_USERNAME");
	(void)unsetenv("TRITONCACHE_REDIS_PASSWORD");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
