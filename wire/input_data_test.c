#include "wire/input_data.h"

#include "base/unit_test.h"

static int64_t fixed[] = {2};
static int64_t any[] = {-1};
static struct model_tensor inputs[] = {
	{.datatype = DATATYPE_INT32, .dims = {1, fixed}},
	{.datatype = DATATYPE_BYTES, .dims = {1, any}, .optional = true},
};

struct seen {
	size_t count;
	struct tensor tensors[4][2];
};

static void
keep(void *context, const struct tensor *tensors)
{
	struct seen *seen = context;

	memcpy(seen->tensors[seen->count++], tensors, sizeof(seen->tensors[0]));
}

static enum status
decode(const char *json, struct arena *arena, struct seen *seen, struct error *error)
{
	inputs[0].name = bytes_text("N");
	inputs[1].name = bytes_text("T");
	*seen = (struct seen){0};
	arena_init(arena, 1 << 20);
	return input_data_decode(bytes_text(json), inputs, 2, arena, keep, seen, error);
}

static void
test_forms(void **state)
{
	const int32_t numbers[] = {1, -2};
	struct arena arena;
	struct error error;
	struct seen seen;

	(void)state;
	assert_int_equal(decode("{\"data\":[{\"N\":[1,-2]},[{\"N\":{\"b64\":\"AQAAAP7///8=\"},"
				"\"T\":{\"content\":[\"a\",\"\"],\"shape\":[2]}}],"
				"{\"N\":{\"content\":{\"b64\":\"AQAAAP7///8=\"},\"shape\":[1,2]},\"timestamp\":[3]}]}",
				&arena, &seen, &error),
			 STATUS_OK);
	assert_int_equal(seen.count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_bytes(seen.tensors[i][0].name, "N");
		assert_int_equal(seen.tensors[i][0].data.length, sizeof(numbers));
		assert_memory_equal(seen.tensors[i][0].data.at, numbers, sizeof(numbers));
	}
	assert_int_equal(seen.tensors[0][1].name.length, 0);
	assert_int_equal(seen.tensors[1][1].shape[0], 2);
	assert_int_equal(seen.tensors[1][1].data.length, 9);
	assert_int_equal(seen.tensors[2][0].rank, 2);
	arena_fini(&arena);
}

static void
test_what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *json;
		const char *text;
	} cases[] = {
		{"[", "parse"},
		{"{}", "data"},
		{"{\"data\":[7]}", "entry 0 has no input 'N'"},
		{"{\"data\":[{\"N\":[1,2]},{}]}", "entry 1 has no input 'N'"},
		{"{\"data\":[{\"N\":[1]}]}", "input 'N' of entry 0: "},
		{"{\"data\":[{\"N\":[1,2147483648]}]}", "does not fit"},
		{"{\"data\":[{\"N\":{\"b64\":\"AQ==\"}}]}", "bytes of its shape"},
		{"{\"data\":[{\"N\":{\"b64\":\"?\"}}]}", "no base64"},
		{"{\"data\":[{\"N\":{\"content\":[1,2],\"shape\":[-1]}}]}", "no size"},
		{"{\"data\":[{\"N\":{\"content\":[1,2],\"shape\":2}}]}", "no list of dimensions"},
		{"{\"data\":[{\"N\":[1,2],\"T\":[\"a\"]}]}", "give a \"shape\", or --shape"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct arena arena;
		struct error error;
		struct seen seen;

		assert_int_not_equal(decode(cases[i].json, &arena, &seen, &error), STATUS_OK);
		if (strstr(error.text, cases[i].text) == NULL) {
			fail_msg("%s: %s", cases[i].json, error.text);
		}
		arena_fini(&arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_what_is_wrong_is_named)};

	return cmocka_run_group_tests_name("input_data", tests, NULL, NULL);
}
