#include "caches/redis/connection/password_share.h"

#include "base/unit_test.h"

#define FRESH 1000

static void
test_one_runs_and_all_take(void **state)
{
	struct password_share *share = password_share_new();
	static char text[PASSWORD_MAX + 1];
	char failure[PASSWORD_FAILURE_SIZE];

	(void)state;
	assert_int_equal(password_share_take(share, 100, FRESH, text, failure), PASSWORD_SHARE_RUN);
	assert_int_equal(password_share_take(share, 200, FRESH, text, failure), PASSWORD_SHARE_WAIT);
	password_share_end(share, 300, "token", NULL);
	assert_int_equal(password_share_take(share, 400, FRESH, text, failure), PASSWORD_SHARE_RESULT);
	assert_string_equal(text, "token");
	assert_string_equal(failure, "");
	assert_int_equal(password_share_take(share, 299, FRESH, text, failure), PASSWORD_SHARE_RESULT);
	assert_int_equal(password_share_take(share, 1301, FRESH, text, failure), PASSWORD_SHARE_RUN);
	password_share_end(share, 1400, NULL, "it failed");
	assert_int_equal(password_share_take(share, 1500, FRESH, text, failure), PASSWORD_SHARE_RESULT);
	assert_string_equal(text, "");
	assert_string_equal(failure, "it failed");
	password_share_free(share);
}

/* If a lane goes while it runs the command, another lane may run it. */
static void
test_given_up(void **state)
{
	struct password_share *share = password_share_new();
	static char text[PASSWORD_MAX + 1];
	char failure[PASSWORD_FAILURE_SIZE];

	(void)state;
	assert_int_equal(password_share_take(share, 100, FRESH, text, failure), PASSWORD_SHARE_RUN);
	password_share_end(share, 150, "token", NULL);
	assert_int_equal(password_share_take(share, 2000, FRESH, text, failure), PASSWORD_SHARE_RUN);
	password_share_end(share, 2100, NULL, NULL);
	assert_int_equal(password_share_take(share, 160, FRESH, text, failure), PASSWORD_SHARE_RUN);
	password_share_free(share);
	password_share_free(NULL);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_runs_and_all_take),
		cmocka_unit_test(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
