#include "inference/cache/key.h"

#include "base/unit_test.h"

/* A question: everything that its key depends on. */
struct question {
	const char *secret;
	const char *name_space;
	const char *model;
	int64_t version;
	uint8_t weights;
	enum key_granularity granularity;
	uint64_t row_losses;
	struct tensor inputs[2];
	size_t input_count;
	const char *content_type; /* of the first input; NULL: the model knows none */
	struct parameter parameters[2];
	size_t parameter_count;
};

static const int64_t shape_4[] = {1, 4};
static const int64_t shape_22[] = {2, 2};
static const int64_t shape_3[] = {1, 3};
static const int64_t shape_5[] = {1, 5};

#define TENSOR(tensor_name, type, tensor_shape, text)                                                                  \
	{                                                                                                              \
		.name = {(const uint8_t *)(tensor_name), sizeof(tensor_name) - 1}, .datatype = (type), .rank = 2,      \
		.shape = (tensor_shape), .data = {                                                                     \
			(const uint8_t *)(text),                                                                       \
			sizeof(text) - 1                                                                               \
		}                                                                                                      \
	}
#define NUMBER(parameter_name, value)                                                                                  \
	{                                                                                                              \
		.name = {(const uint8_t *)(parameter_name), sizeof(parameter_name) - 1}, .kind = PARAMETER_SIGNED,     \
		.signed_number = (value)                                                                               \
	}

#define BASE                                                                                                           \
	.secret = "s", .name_space = "", .model = "m", .version = 1, .weights = 1, .input_count = 2,                   \
	.inputs = {TENSOR("A", DATATYPE_UINT8, shape_4, "abcd"), TENSOR("B", DATATYPE_UINT8, shape_4, "efgh")}

static struct digest_value
key_of(const struct question *question, enum keyed_hash_kind kind)
{
	struct tensor first = question->inputs[0];
	const struct tensor *inputs[3] = {&first, NULL, &question->inputs[1]};
	struct digest_value fingerprint = {.length = 32};
	struct keyed_hash_key hash_key;
	struct keyed_hash *hash;
	struct key_question asked;
	struct digest_value key;
	struct buf prefix;
	struct buf scratch;

	memset(fingerprint.bytes, 0, 31);
	fingerprint.bytes[31] = question->weights;
	buf_init(&prefix, 1000);
	buf_init(&scratch, 1 << 20);
	keyed_hash_derive(&hash_key, bytes_text(question->secret), "test");
	hash = keyed_hash_new(kind, &hash_key);
	assert_true(key_write_prefix(&prefix, kind, bytes_text(question->name_space), bytes_text(question->model),
				     question->version, &fingerprint));
	first.content_type = bytes_text(question->content_type == NULL ? "np" : question->content_type);
	asked = (struct key_question){
		.has_content_types = question->content_type != NULL,
		.prefix = buf_bytes(&prefix),
		.granularity = question->granularity,
		.row_losses = question->row_losses,
		.inputs = inputs,
		.input_count = question->input_count == 2 ? 3 : 1,
		.parameters = question->parameters,
		.parameter_count = question->parameter_count,
	};
	assert_true(key_make(hash, &asked, &scratch, &key));
	buf_fini(&prefix);
	buf_fini(&scratch);
	keyed_hash_free(hash);
	return key;
}

/* The cases override some fields of BASE. */
#pragma GCC diagnostic ignored "-Woverride-init"

/* Each differs from all others in something that may change an answer; no two may share a key. */
static const struct question different[] = {
	{BASE},
	{BASE, .secret = "t"},
	{BASE, .name_space = "n"},
	{BASE, .model = "n"},
	{BASE, .version = 2},
	{BASE, .weights = 2},
	{BASE, .granularity = KEY_OF_ROW},
	{BASE, .row_losses = 1},
	{BASE, .granularity = KEY_OF_ROW, .row_losses = 1},
	{BASE, .inputs = {TENSOR("A", DATATYPE_UINT8, shape_22, "abcd"), TENSOR("B", DATATYPE_UINT8, shape_4, "efgh")}},
	{BASE, .inputs = {TENSOR("A", DATATYPE_INT8, shape_4, "abcd"), TENSOR("B", DATATYPE_UINT8, shape_4, "efgh")}},
	{BASE, .inputs = {TENSOR("A", DATATYPE_UINT8, shape_4, "abce"), TENSOR("B", DATATYPE_UINT8, shape_4, "efgh")}},
	{BASE, .inputs = {TENSOR("A", DATATYPE_UINT8, shape_3, "abc"), TENSOR("B", DATATYPE_UINT8, shape_5, "defgh")}},
	{BASE, .inputs = {TENSOR("A", DATATYPE_UINT8, shape_4, "efgh"), TENSOR("B", DATATYPE_UINT8, shape_4, "abcd")}},
	{BASE, .inputs = {TENSOR("A", DATATYPE_UINT8, shape_4, "abcd"), TENSOR("C", DATATYPE_UINT8, shape_4, "efgh")}},
	{BASE, .input_count = 1},
	{BASE, .content_type = ""},
	{BASE, .content_type = "np"},
	{BASE, .content_type = "str"},
	{BASE, .parameters = {NUMBER("t", 1)}, .parameter_count = 1},
	{BASE, .parameters = {NUMBER("t", 2)}, .parameter_count = 1},
	{BASE, .parameters = {NUMBER("u", 1)}, .parameter_count = 1},
	{BASE, .parameters = {NUMBER("t", 1), NUMBER("u", 1)}, .parameter_count = 2},
	{BASE,
	 .parameters = {{.name = {(const uint8_t *)"t", 1}, .kind = PARAMETER_TEXT, .text = {(const uint8_t *)"1", 1}}},
	 .parameter_count = 1},
	{BASE, .parameters = {{.name = {(const uint8_t *)"t", 1}, .kind = PARAMETER_BOOLEAN, .boolean = true}},
	 .parameter_count = 1},
};

#define COUNT (sizeof(different) / sizeof(*different))

static void
test_matrix(void **state)
{
	(void)state;
	for (int kind = KEYED_HASH_GHASH; kind <= KEYED_HASH_SHA256; kind++) {
		struct digest_value keys[COUNT];

		for (size_t i = 0; i < COUNT; i++) {
			keys[i] = key_of(&different[i], (enum keyed_hash_kind)kind);
			for (size_t k = 0; k < i; k++) {
				if (memcmp(&keys[i], &keys[k], sizeof(keys[i])) == 0) {
					fail_msg("questions %zu and %zu share a key", k, i);
				}
			}
		}
	}
}

static void
test_what_does_not_matter(void **state)
{
	struct question base = {BASE, .parameters = {NUMBER("t", 1), NUMBER("u", 2)}, .parameter_count = 2};
	struct question turned = {BASE, .parameters = {NUMBER("u", 2), NUMBER("t", 1)}, .parameter_count = 2};
	struct question plain = {BASE};
	struct question handled = {BASE, .parameters = {NUMBER("priority", 3), NUMBER("timeout", 4)},
				   .parameter_count = 2};
	struct digest_value a = key_of(&base, KEYED_HASH_GHASH);
	struct digest_value b = key_of(&turned, KEYED_HASH_GHASH);

	(void)state;
	assert_memory_equal(&a, &b, sizeof(a));
	a = key_of(&plain, KEYED_HASH_GHASH);
	b = key_of(&handled, KEYED_HASH_GHASH);
	assert_memory_equal(&a, &b, sizeof(a));
}

/* Small tensors are gathered, large ones streamed: the boundary must not show. */
static void
test_large_inputs(void **state)
{
	static uint8_t data[4096];
	struct digest_value last = {0};

	(void)state;
	for (size_t length = 1000; length < 1050; length++) {
		struct question question = {BASE};
		struct digest_value key;

		question.inputs[1].data = bytes_make(data, length);
		key = key_of(&question, KEYED_HASH_GHASH);
		assert_memory_not_equal(&key, &last, sizeof(key));
		last = key;
		data[0] ^= 1;
		key = key_of(&question, KEYED_HASH_GHASH);
		assert_memory_not_equal(&key, &last, sizeof(key));
		data[0] ^= 1;
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matrix),
		cmocka_unit_test(test_what_does_not_matter),
		cmocka_unit_test(test_large_inputs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
