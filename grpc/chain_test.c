/* What a connection is about to write: segments, their merging, and who keeps their memory. */
#include "grpc/chain.h"

#include "base/unit_test.h"
#include "grpc/output.h"

static uint8_t lent[CHAIN_BUFFER];
static unsigned released;

static void
on_released(struct grpc_output *output)
{
	(void)output;
	released++;
}

static struct grpc_output
new_output(void)
{
	return (struct grpc_output){.references = 1, .released = on_released};
}

static int
setup(void **state)
{
	(void)state;
	released = 0;
	memset(lent, 0, sizeof(lent));
	return 0;
}

static void
assert_chain(const struct chain *chain, const char *expected)
{
	struct iovec iov[CHAIN_SEGMENTS];
	int count = chain_gather(chain, iov);
	char text[256] = "";
	size_t length = 0;

	for (int i = 0; i < count; i++) {
		memcpy(text + length, iov[i].iov_base, iov[i].iov_len);
		length += iov[i].iov_len;
	}
	text[length] = '\0';
	assert_string_equal(text, expected);
}

/* Copies that follow each other are one segment. */
static void
test_copies(void **state)
{
	struct chain chain = {0};

	(void)state;
	chain_start(&chain, lent);
	assert_true(chain_is_empty(&chain));
	chain_copy(&chain, bytes_text("one"));
	chain_copy(&chain, bytes_text(""));
	chain_copy(&chain, bytes_text("two"));
	assert_int_equal(chain.count, 1);
	assert_chain(&chain, "onetwo");
	chain_fini(&chain);
	assert_true(chain_is_empty(&chain));
}

static void
test_references(void **state)
{
	struct grpc_output output = new_output();
	struct chain chain = {0};

	(void)state;
	chain_start(&chain, lent);
	chain_copy(&chain, bytes_text("a"));
	chain_refer(&chain, bytes_text("BB"), &output);
	chain_copy(&chain, bytes_text("c"));
	chain_refer(&chain, bytes_text("DD"), &output);
	assert_int_equal(chain.count, 4);
	assert_chain(&chain, "aBBcDD");
	output_unref(&output); /* of the call's queue */
	chain_advance(&chain, 2);
	assert_chain(&chain, "BcDD");
	chain_advance(&chain, 3);
	assert_int_equal(released, 0);
	assert_chain(&chain, "D");
	chain_advance(&chain, 1);
	assert_int_equal(released, 1);
	assert_true(chain_is_empty(&chain));
	assert_null(chain.buffer);
}

static void
test_an_end_before_all_is_written(void **state)
{
	struct grpc_output output = new_output();
	struct chain chain = {0};

	(void)state;
	chain_start(&chain, lent);
	chain_refer(&chain, bytes_text("x"), &output);
	chain_refer(&chain, bytes_text("y"), &output);
	chain_advance(&chain, 1);
	output_unref(&output);
	assert_int_equal(released, 0);
	chain_fini(&chain);
	assert_int_equal(released, 1);
}

/* What is left survives the lent buffer, which is used for something else next. */
static void
test_keeping(void **state)
{
	struct grpc_output output = new_output();
	struct chain chain = {0};

	(void)state;
	chain_start(&chain, lent);
	chain_copy(&chain, bytes_text("begin-"));
	chain_refer(&chain, bytes_text("middle"), &output);
	chain_copy(&chain, bytes_text("-end"));
	chain_advance(&chain, 3);
	assert_true(chain_keep(&chain));
	memset(lent, '#', sizeof(lent));
	assert_chain(&chain, "in-middle-end");
	assert_true(chain_keep(&chain)); /* it is the chain's own already */
	chain_advance(&chain, 13);
	assert_null(chain.buffer);
	output_unref(&output);
	assert_int_equal(released, 1);
}

static void
test_keeping_nothing(void **state)
{
	struct chain chain = {0};

	(void)state;
	chain_start(&chain, lent);
	assert_true(chain_keep(&chain));
	assert_false(chain.is_own);
	chain_fini(&chain);
}

static void
test_room(void **state)
{
	struct grpc_output output = new_output();
	struct chain chain = {0};

	(void)state;
	chain_start(&chain, lent);
	assert_true(chain_has_room(&chain, CHAIN_BUFFER, CHAIN_SEGMENTS));
	assert_false(chain_has_room(&chain, CHAIN_BUFFER + 1, 1));
	assert_false(chain_has_room(&chain, 1, CHAIN_SEGMENTS + 1));
	chain_copy(&chain, bytes_text("1234"));
	assert_true(chain_has_room(&chain, CHAIN_BUFFER - 4, CHAIN_SEGMENTS - 1));
	assert_false(chain_has_room(&chain, CHAIN_BUFFER - 3, 1));
	for (size_t i = 1; i < CHAIN_SEGMENTS; i++) {
		chain_refer(&chain, bytes_text("x"), &output);
	}
	assert_true(chain_has_room(&chain, 1, 0));
	assert_false(chain_has_room(&chain, 1, 1));
	chain_fini(&chain);
	output_unref(&output);
	assert_int_equal(released, 1);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_copies, setup),
		cmocka_unit_test_setup(test_references, setup),
		cmocka_unit_test_setup(test_an_end_before_all_is_written, setup),
		cmocka_unit_test_setup(test_keeping, setup),
		cmocka_unit_test_setup(test_keeping_nothing, setup),
		cmocka_unit_test_setup(test_room, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
