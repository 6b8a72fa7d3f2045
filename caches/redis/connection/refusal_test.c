#include "caches/redis/connection/refusal.h"

#include "base/unit_test.h"

static void
test_words(void **state)
{
	static const struct {
		const char *text;
		enum redis_refusal refusal;
	} cases[] = {
		{"OOM command not allowed when used memory > 'maxmemory'.", REDIS_REFUSAL_OOM},
		{"READONLY You can't write against a read only replica.", REDIS_REFUSAL_READONLY},
		{"LOADING Redis is loading the dataset in memory", REDIS_REFUSAL_LOADING},
		{"LOADING Valkey is loading the dataset in memory", REDIS_REFUSAL_LOADING},
		{"BUSY Redis is busy running a script.", REDIS_REFUSAL_BUSY},
		{"MISCONF Errors writing to the AOF file: No space left on device", REDIS_REFUSAL_MISCONF},
		{"CLUSTERDOWN Hash slot not served", REDIS_REFUSAL_UNSERVED},
		{"MASTERDOWN Link with MASTER is down", REDIS_REFUSAL_MASTERDOWN},
		{"NOREPLICAS Not enough good replicas to write.", REDIS_REFUSAL_NOREPLICAS},
		{"ERR max number of clients reached", REDIS_REFUSAL_MAXCLIENTS},
		{"ERR max number of clients + cluster connections reached", REDIS_REFUSAL_MAXCLIENTS},
		{"NOAUTH Authentication required.", REDIS_REFUSAL_NOAUTH},
		{"WRONGPASS invalid username-password pair or user is disabled.", REDIS_REFUSAL_WRONGPASS},
		{"NOPERM No permissions to access a key", REDIS_REFUSAL_NOPERM},
		{"MOVED 3999 127.0.0.1:6381", REDIS_REFUSAL_MOVED},
		{"ASK 3999 127.0.0.1:6381", REDIS_REFUSAL_ASK},
		{"TRYAGAIN Multiple keys request during rehashing of slot", REDIS_REFUSAL_TRYAGAIN},
		{"DENIED Running in protected mode", REDIS_REFUSAL_DENIED},
		{"OOM", REDIS_REFUSAL_OOM},
		{"", REDIS_REFUSAL_OTHER},
		{" OOM", REDIS_REFUSAL_OTHER},
		{"oom command", REDIS_REFUSAL_OTHER},
		{"OO", REDIS_REFUSAL_OTHER},
		{"OOMs", REDIS_REFUSAL_OTHER},
		{"BUSYKEY Target key name already exists.", REDIS_REFUSAL_OTHER},
		{"ERR OOM", REDIS_REFUSAL_OTHER},
		{"ERR max number of things", REDIS_REFUSAL_OTHER},
		{"ERR unknown command 'READONLY'", REDIS_REFUSAL_OTHER},
		{"CROSSSLOT Keys in request don't hash to the same slot", REDIS_REFUSAL_OTHER},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(redis_refusal_of(bytes_text(cases[i].text)), cases[i].refusal);
	}
	assert_int_equal(redis_refusal_of(bytes_make(NULL, 0)), REDIS_REFUSAL_OTHER);
	assert_int_equal(redis_refusal_of(bytes_make("OOM\0 x", 6)), REDIS_REFUSAL_OTHER);
}

/* Every kind has a label of its own that is valid in Prometheus. */
static void
test_names(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < REDIS_REFUSAL_COUNT; i++) {
		const char *name = redis_refusal_name((enum redis_refusal)i);

		assert_non_null(name);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		for (unsigned int j = 0; j < i; j++) {
			assert_string_not_equal(name, redis_refusal_name((enum redis_refusal)j));
		}
	}
	assert_string_equal(redis_refusal_name(REDIS_REFUSAL_OOM), "oom");
	assert_string_equal(redis_refusal_name(REDIS_REFUSAL_MAXCLIENTS), "max_clients");
}

static void
test_of_node(void **state)
{
	static const bool of_node[REDIS_REFUSAL_COUNT] = {
		[REDIS_REFUSAL_LOADING] = true,	   [REDIS_REFUSAL_BUSY] = true,
		[REDIS_REFUSAL_MASTERDOWN] = true, [REDIS_REFUSAL_CLUSTERDOWN] = true,
		[REDIS_REFUSAL_MAXCLIENTS] = true, [REDIS_REFUSAL_NOAUTH] = true,
		[REDIS_REFUSAL_WRONGPASS] = true,  [REDIS_REFUSAL_DENIED] = true,
	};

	(void)state;
	for (unsigned int i = 0; i < REDIS_REFUSAL_COUNT; i++) {
		assert_int_equal(redis_refusal_of_node((enum redis_refusal)i), of_node[i]);
	}
}

static void
test_remedies(void **state)
{
	(void)state;
	assert_string_equal(redis_refusal_remedy(REDIS_REFUSAL_OOM),
			    "raise maxmemory, or choose an eviction policy such as volatile-lru");
	assert_non_null(redis_refusal_remedy(REDIS_REFUSAL_NOAUTH));
	assert_null(redis_refusal_remedy(REDIS_REFUSAL_LOADING));
	assert_null(redis_refusal_remedy(REDIS_REFUSAL_OTHER));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_of_node),
		cmocka_unit_test(test_remedies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
