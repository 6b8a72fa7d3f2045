#include "app/cache_config.h"

#include "base/unit_test.h"

#define CONFIGS_MAX 4

/* Opens the cache that these --cache-config say; `directory` and `bytes` are the two older options, or NULL and -1. */
static enum status
open_with(const char *const *configs, const char *directory, int64_t bytes, struct response_cache **cache,
	  struct error *error)
{
	const char *given[CONFIGS_MAX];
	struct serve_settings settings = {.cache_configs = {.items = given},
					  .cache_directory = (char *)directory,
					  .response_cache_byte_size = bytes};

	while (settings.cache_configs.count < CONFIGS_MAX && configs[settings.cache_configs.count] != NULL) {
		given[settings.cache_configs.count] = configs[settings.cache_configs.count];
		settings.cache_configs.count++;
	}
	return cache_config_open(&settings, cache, error);
}

#define OPEN(cache, error, ...) open_with((const char *const[CONFIGS_MAX]){__VA_ARGS__}, NULL, -1, (cache), (error))

static void
assert_says(const struct error *error, const char *text)
{
	if (strstr(error->text, text) == NULL) {
		fail_msg("'%s' is not in: %s", text, error->text);
	}
}

static void
test_what_is_opened(void **state)
{
	struct cache_statistics statistics;
	struct response_cache *cache;
	struct error error;

	(void)state;
	assert_int_equal(OPEN(&cache, &error, NULL), STATUS_OK);
	assert_string_equal(cache->ops->name, "local");
	cache->ops->statistics(cache->store, &statistics);
	assert_int_equal(statistics.capacity_bytes, 64 << 20);
	response_cache_close(cache);
	assert_int_equal(open_with((const char *const[CONFIGS_MAX]){NULL}, NULL, 1000000, &cache, &error), STATUS_OK);
	cache->ops->statistics(cache->store, &statistics);
	assert_int_equal(statistics.capacity_bytes, 1000000);
	response_cache_close(cache);
	assert_int_equal(OPEN(&cache, &error, "none"), STATUS_OK);
	assert_null(cache);
	assert_int_equal(OPEN(&cache, &error, "null"), STATUS_OK);
	assert_string_equal(cache->ops->name, "null");
	response_cache_close(cache);
	assert_int_equal(OPEN(&cache, &error, "local,size=1MB", "local,ttl=1h"), STATUS_OK);
	assert_int_equal(cache->settings.policy.ttl_s, 3600);
	response_cache_close(cache);
}

/* local and redis together, in either order, are tiered; what both have in common is said with either. */
static void
test_tiers(void **state)
{
	struct response_cache *cache;
	struct error error;

	(void)state;
	assert_int_equal(OPEN(&cache, &error, "redis,host=x", "local,size=1MB", "local,ttl=5", "redis,ttl=5"),
			 STATUS_OK);
	assert_string_equal(cache->ops->name, "tiered");
	assert_int_equal(cache->settings.policy.ttl_s, 5);
	response_cache_close(cache);
	assert_int_equal(OPEN(&cache, &error, "tiered,redis.host=x", "tiered,local.size=1MB"), STATUS_OK);
	assert_string_equal(cache->ops->name, "tiered");
	response_cache_close(cache);
}

static void
test_refusals(void **state)
{
	static const struct {
		const char *configs[CONFIGS_MAX];
		const char *texts[4];
	} cases[] = {
		{{"local,size=1MB", "null"}, {"multiple cache configurations ('local' and 'null')"}},
		{{"tiered,redis.host=x", "redis,host=x"}, {"multiple cache configurations ('tiered' and 'redis')"}},
		{{"local,size=1MB", "redis,host=x", "null"}, {"multiple cache configurations"}},
		{{"local,ttl=5", "redis,host=x", "redis,ttl=6"}, {"'ttl'", "once"}},
		{{"local,sise=1MB", "redis,host=x"}, {"'local.sise'", "did you mean 'local.size'"}},
		{{"tiered,local.sise=1MB"}, {"'local.sise'", "did you mean 'local.size'", "redis.host", "ttl"}},
		{{"tiered,size=1MB"}, {"cache 'tiered' has no option 'size'", "local.size"}},
		{{"tiered,local.ttl=5"}, {"'local.ttl'"}},
		{{"tiered,local.size=big", "tiered,redis.host=x"}, {"'big'", "local.size"}},
		{{"tiered,promotion_window=0", "tiered,redis.host=x"}, {"'0'", "promotion_window"}},
		{{"tiered,local.size=1MB"}, {"tiered", "redis.", "host"}},
		{{"local,sise=1MB"}, {"'sise'", "'size'", "ttl", "namespace"}},
		{{"redis,host=x", "redis,pasword=1"}, {"'pasword'", "'password'", "wait_timeout"}},
		{{"lokal,size=1MB"},
		 {"unable to find 'libtritoncache_lokal.so' for cache. Searched: ", "tiered, local"}},
		{{"local,size=big"}, {"'big'", "size"}},
		{{"local,size=-1"}, {"'-1'", "size"}},
		{{"local,ttl=1 fortnight"}, {"a duration such as"}},
		{{"local,lookup_timeout=soon"}, {"expected auto or a duration such as 30, 30s or 1h"}},
		{{"local,coalesce=shared"}, {"coalesce=shared needs a store that servers share"}},
		{{"redis,port=1"}, {"host"}},
		{{"redis,host=x", "redis,port=nonexistent"}, {"'nonexistent'", "port"}},
		{{"local,size"}, {"local,size=64MB"}},
		{{"size=64MB"}, {"NAME,KEY=VALUE, as in local,size=64MB"}},
		{{",size=1"}, {"--cache-config"}},
		{{"local,=1"}, {"--cache-config"}},
		{{"none", "none,size=1"}, {"--cache-config none takes no options"}},
	};
	struct response_cache *cache;
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_not_equal(open_with(cases[i].configs, NULL, -1, &cache, &error), STATUS_OK);
		assert_null(cache);
		for (size_t k = 0; k < 4 && cases[i].texts[k] != NULL; k++) {
			assert_says(&error, cases[i].texts[k]);
		}
	}
	assert_int_not_equal(
		open_with((const char *const[CONFIGS_MAX]){"lokal"}, "/nowhere/caches", -1, &cache, &error), STATUS_OK);
	assert_says(&error, "Searched: /nowhere/caches");
}

static void
test_secrets_are_not_told(void **state)
{
	struct response_cache *cache;
	struct error error;

	(void)state;
	assert_int_not_equal(OPEN(&cache, &error, "redis,host=x", "redis,password=hush", "redis,nope=1"), STATUS_OK);
	assert_null(strstr(error.text, "hush"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_opened),
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_secrets_are_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
