#include "backends/onnxruntime/weights.h"

#include "base/protobuf.h"
#include "base/unit_test.h"

#include <stdio.h>

#define FILE_MAX 4096

/* Files in memory: "model", and "w" and "sub/w" with 64 bytes each. */
static struct buf model;
static unsigned reads;

static enum status
read_fake(struct backend_files *files, const char *name, struct backend_file *file, struct error *error)
{
	uint8_t content[64];
	struct bytes bytes = bytes_make(content, sizeof(content));

	(void)files;
	reads++;
	for (uint8_t i = 0; i < sizeof(content); i++) {
		content[i] = (uint8_t)(i + 100);
	}
	if (strcmp(name, "model") == 0) {
		bytes = buf_bytes(&model);
	} else if (strcmp(name, "w") != 0 && strcmp(name, "sub/w") != 0) {
		return error_set(error, STATUS_NOT_FOUND, "unable to find '%s'", name);
	}
	file->at = mmap(NULL, bytes.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	file->length = bytes.length;
	memcpy(file->at, bytes.at, bytes.length);
	return STATUS_OK;
}

static struct backend_files files = {.path = "/models/m/1", .read = read_fake};

/* --- Messages of onnx.proto --- */

static void
put_message(struct buf *out, uint32_t number, struct buf *inner)
{
	protobuf_put_varint(out, (uint64_t)number << 3 | PROTOBUF_BYTES);
	protobuf_put_varint(out, inner->length);
	buf_append(out, buf_bytes(inner));
	buf_clear(inner);
}

static void
put_string(struct buf *out, uint32_t number, const char *text)
{
	protobuf_put_varint(out, (uint64_t)number << 3 | PROTOBUF_BYTES);
	protobuf_put_varint(out, strlen(text));
	buf_text(out, text);
}

static void
put_number(struct buf *out, uint32_t number, uint64_t value)
{
	protobuf_put_varint(out, (uint64_t)number << 3);
	protobuf_put_varint(out, value);
}

struct wanted {
	uint64_t type; /* TensorProto.DataType: 1 FLOAT, 3 INT8, 8 STRING */
	uint64_t elements;
	const char *location;
	const char *offset;
	const char *length;
};

static void
put_tensor(struct buf *out, uint32_t number, const struct wanted *wanted)
{
	const char *pairs[][2] = {
		{"location", wanted->location}, {"offset", wanted->offset}, {"length", wanted->length}};
	struct buf tensor;
	struct buf pair;

	buf_init(&tensor, FILE_MAX);
	buf_init(&pair, FILE_MAX);
	put_number(&tensor, 1, wanted->elements);
	put_number(&tensor, 2, wanted->type);
	put_string(&tensor, 8, "weight");
	for (size_t i = 0; i < 3; i++) {
		if (pairs[i][1] != NULL) {
			put_string(&pair, 1, pairs[i][0]);
			put_string(&pair, 2, pairs[i][1]);
			put_message(&tensor, 13, &pair);
		}
	}
	put_number(&tensor, 14, 1);
	put_message(out, number, &tensor);
	buf_fini(&tensor);
	buf_fini(&pair);
}

/* A node that uses, or makes, "weight". */
static void
put_node(struct buf *graph, uint32_t field)
{
	struct buf node;

	buf_init(&node, FILE_MAX);
	put_string(&node, field, "weight");
	put_message(graph, 1, &node);
	buf_fini(&node);
}

/* The model's own initializer, or, `deep`, one in the body of an attribute of a node. */
static void
make_model(const struct wanted *wanted, bool deep)
{
	struct buf levels[4];

	for (size_t i = 0; i < 4; i++) {
		buf_init(&levels[i], FILE_MAX);
	}
	buf_clear(&model);
	put_number(&model, 1, 8); /* ir_version */
	if (deep) {
		put_tensor(&levels[3], 5, wanted);
		put_string(&levels[3], 2, "body");
		put_message(&levels[2], 6, &levels[3]);
		put_message(&levels[1], 5, &levels[2]);
		put_message(&levels[0], 1, &levels[1]);
	} else {
		put_node(&levels[0], 1);
		put_tensor(&levels[0], 5, wanted);
	}
	put_string(&levels[0], 2, "graph");
	put_message(&model, 7, &levels[0]);
	put_string(&model, 2, "producer");
	for (size_t i = 0; i < 4; i++) {
		buf_fini(&levels[i]);
	}
}

static struct weights *
open_model(const struct wanted *wanted, bool deep, struct error *error)
{
	make_model(wanted, deep);
	reads = 0;
	return weights_read(&files, "model", error);
}

static void
test_own_initializers_stay_outside(void **state)
{
	static const struct wanted wanted = {1, 4, "w", "16", "16"};
	struct error error;
	struct weights *weights = open_model(&wanted, false, &error);

	(void)state;
	assert_non_null(weights);
	assert_int_equal(reads, 2);
	assert_true(bytes_equal(weights_model(weights), buf_bytes(&model)));
	weights_free(weights);
}

/* ONNX Runtime would look for the files of such tensors in the working directory. */
static void
test_others_are_written_in(void **state)
{
	static const struct wanted wanted = {3, 7, "./sub//w", "3", NULL};
	static const uint8_t data[] = {'\x4a', 0x87, 0x80, 0x80, 0x80, 0,  103,
				       104,    105,  106,  107,	 108,  109}; /* raw_data, 7 bytes */
	struct error error;
	struct weights *weights = open_model(&wanted, true, &error);
	struct bytes made = weights_model(weights);
	struct bytes rest = made;
	struct protobuf_field field;
	size_t fields = 0;

	(void)state;
	assert_non_null(weights);
	assert_non_null(memmem(made.at, made.length, data, sizeof(data)));
	assert_null(memmem(made.at, made.length, "location", 8));
	assert_non_null(memmem(made.at, made.length, "weight", 6));
	assert_non_null(memmem(made.at, made.length, "body", 4));
	while (rest.length > 0) {
		assert_int_equal(protobuf_next(&rest, &field), PROTOBUF_FIELD);
		fields++;
	}
	assert_int_equal(fields, 3);
	weights_free(weights);
}

/* Graphs with the initializer and other things of its name, and whether it is passed to ONNX Runtime as it is. */
static void
test_what_is_handed_over(void **state)
{
	static const struct wanted wanted = {1, 4, "w", "16", "16"};
	static const struct wanted other = {1, 4, "w", "0", "16"};
	static const struct {
		bool uses;  /* a node of the graph */
		bool makes; /* the same */
		bool twice; /* another initializer */
		bool body_uses;
		bool body_makes;
		bool function_uses;
		bool handed;
	} cases[] = {
		{.handed = false},
		{.uses = true, .handed = true},
		{.body_uses = true, .handed = true},
		{.body_uses = true, .body_makes = true, .handed = false},
		{.uses = true, .body_uses = true, .body_makes = true, .handed = true},
		{.uses = true, .twice = true, .handed = false},
		{.uses = true, .makes = true, .handed = false},
		{.function_uses = true, .handed = false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct buf levels[4];
		struct weights *weights;
		struct error error;

		for (size_t k = 0; k < 4; k++) {
			buf_init(&levels[k], FILE_MAX);
		}
		buf_clear(&model);
		put_tensor(&levels[0], 5, &wanted);
		for (uint32_t field = 1; field <= 2; field++) {
			if (field == 1 ? cases[i].uses : cases[i].makes) {
				put_node(&levels[0], field);
			}
			if (field == 1 ? cases[i].body_uses : cases[i].body_makes) {
				put_node(&levels[3], field);
			}
		}
		if (cases[i].twice) {
			put_tensor(&levels[0], 5, &other);
		}
		put_message(&levels[2], 6, &levels[3]); /* attribute */
		put_message(&levels[1], 5, &levels[2]);
		put_message(&levels[0], 1, &levels[1]); /* node */
		put_message(&model, 7, &levels[0]);
		if (cases[i].function_uses) {
			put_string(&levels[1], 1, "weight");
			put_message(&levels[0], 7, &levels[1]);
			put_message(&model, 25, &levels[0]);
		}
		weights = weights_read(&files, "model", &error);
		assert_non_null(weights);
		if (bytes_equal(weights_model(weights), buf_bytes(&model)) != cases[i].handed) {
			fail_msg("case %zu", i);
		}
		weights_free(weights);
		for (size_t k = 0; k < 4; k++) {
			buf_fini(&levels[k]);
		}
	}
}

static void
test_what_is_wrong_is_said(void **state)
{
	static const struct {
		struct wanted wanted;
		const char *text;
	} cases[] = {
		{{1, 4, "nowhere", NULL, NULL}, "unable to find 'nowhere'"},
		{{1, 4, "w", "52", NULL}, "too short"},
		{{1, 4, "w", "65", NULL}, "too short"},
		{{1, 17, "w", NULL, NULL}, "too short"},
		{{1, 4, "w", "0", "15"}, "does not match"},
		{{1, 1ULL << 62, "w", NULL, NULL}, "shape"},
		{{1, UINT64_MAX, "w", NULL, NULL}, "torn"},
		{{8, 4, "w", NULL, NULL}, "type"},
		{{99, 4, "w", NULL, NULL}, "type"},
		{{1, 4, "w", "x", NULL}, "torn"},
		{{1, 4, "w", "99999999999999999999", NULL}, "torn"},
		{{1, 4, NULL, NULL, NULL}, "names no file"},
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
		struct error error;

		assert_null(open_model(&cases[i / 2].wanted, i % 2 == 1, &error));
		if (strstr(error.text, cases[i / 2].text) == NULL) {
			fail_msg("case %zu: '%s', expected '%s'", i, error.text, cases[i / 2].text);
		}
	}
}

static void
test_every_cut(void **state)
{
	static const struct wanted wanted = {1, 4, "w", "16", "16"};
	struct error error;
	size_t length;

	(void)state;
	for (int deep = 0; deep < 2; deep++) {
		make_model(&wanted, deep == 1);
		length = model.length;
		for (size_t cut = 1; cut < length; cut++) {
			struct weights *weights;

			make_model(&wanted, deep == 1);
			model.length = cut;
			weights = weights_read(&files, "model", &error);
			weights_free(weights); /* it may fail, but not crash */
		}
	}
}

static int
begin(void **state)
{
	(void)state;
	buf_init(&model, FILE_MAX);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	buf_fini(&model);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_initializers_stay_outside),
		cmocka_unit_test(test_others_are_written_in),
		cmocka_unit_test(test_what_is_handed_over),
		cmocka_unit_test(test_what_is_wrong_is_said),
		cmocka_unit_test(test_every_cut),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
