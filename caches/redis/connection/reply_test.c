#include "caches/redis/connection/reply.h"

#include "base/unit_test.h"

/* Parses `text`, fed a byte at a time. Returns NULL if the reader refuses it. */
static struct redis_reply *
read_reply(const char *text, size_t length)
{
	valkeyReader *reader = valkeyReaderCreateWithFunctions(&redis_reply_functions);
	void *reply = NULL;

	for (size_t i = 0; i < length && reply == NULL; i++) {
		if (valkeyReaderFeed(reader, text + i, 1) != VALKEY_OK ||
		    valkeyReaderGetReply(reader, &reply) != VALKEY_OK) {
			reply = NULL;
			break;
		}
	}
	valkeyReaderFree(reader);
	return reply;
}

#define READ(text) read_reply((text), sizeof(text) - 1)

static void
test_values(void **state)
{
	struct redis_reply *reply = READ("$5\r\na\0b\r\n\r\n");

	(void)state;
	assert_int_equal(reply->base.type, VALKEY_REPLY_STRING);
	assert_int_equal(reply->blob->length, 5);
	assert_memory_equal(reply->blob->data, "a\0b\r\n", 5);
	redis_reply_functions.freeObject(reply);
	reply = READ("$0\r\n\r\n");
	assert_int_equal(reply->base.type, VALKEY_REPLY_STRING);
	assert_int_equal(reply->blob->length, 0);
	redis_reply_functions.freeObject(reply);
}

/* No form of nil is a string: a look-up must not take it for a value. */
static void
test_nothing(void **state)
{
	static const char *const nils[] = {"$-1\r\n", "*-1\r\n", "_\r\n"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct redis_reply *reply = read_reply(nils[i], strlen(nils[i]));

		assert_int_equal(reply->base.type, VALKEY_REPLY_NIL);
		assert_null(reply->blob);
		redis_reply_functions.freeObject(reply);
	}
}

static void
test_others(void **state)
{
	struct redis_reply *reply = READ("-OOM full\r\n");

	(void)state;
	assert_int_equal(reply->base.type, VALKEY_REPLY_ERROR);
	assert_string_equal(reply->base.str, "OOM full");
	redis_reply_functions.freeObject(reply);
	reply = READ(":42\r\n");
	assert_int_equal(reply->base.type, VALKEY_REPLY_INTEGER);
	assert_int_equal(reply->base.integer, 42);
	redis_reply_functions.freeObject(reply);
	reply = READ("*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n#t\r\n");
	assert_int_equal(reply->base.elements, 3);
	assert_int_equal(reply->base.element[1]->elements, 2);
	redis_reply_functions.freeObject(reply);
}

static void
test_refused(void **state)
{
	static const char *const texts[] = {"*100000\r\n", "garbage\r\n", "$-2\r\n", "$99999999999999999999\r\n",
					    "*2\r\n$1\r\na\r\n*5000\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_null(read_reply(texts[i], strlen(texts[i])));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
