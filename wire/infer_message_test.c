/* The messages of an inference over gRPC. What a library of protobuf makes of the same bytes, the fuzz target compares.
 */
#include "wire/infer_message.h"

#include "base/protobuf.h"
#include "base/unit_test.h"

struct fixture {
	struct arena arena;
	struct buf message;
	struct infer_message decoded;
	struct error error;
};

static struct fixture test;

static int
setup(void **state)
{
	(void)state;
	arena_init(&test.arena, 1 << 20);
	buf_init(&test.message, 1 << 20);
	test.error = (struct error){0};
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	arena_fini(&test.arena);
	buf_fini(&test.message);
	return 0;
}

/* --- Making messages --- */

struct part {
	uint8_t room[256];
	struct buf buf;
};

static struct buf *
begin(struct part *part)
{
	part->buf = (struct buf){.at = part->room, .capacity = sizeof(part->room), .maximum = sizeof(part->room)};
	return &part->buf;
}

static void
put(struct buf *out, uint32_t number, const struct part *part)
{
	protobuf_put_bytes(out, number, buf_bytes(&part->buf));
}

/* An input of shape [2]; `contents` NULL: none. */
static void
put_input(const char *name, const char *datatype, const struct part *contents)
{
	struct part input;

	protobuf_put_text(begin(&input), 1, bytes_text(name));
	protobuf_put_text(&input.buf, 2, bytes_text(datatype));
	protobuf_put_bytes(&input.buf, 3, bytes_make("\x02", 1));
	if (contents != NULL) {
		put(&input.buf, 5, contents);
	}
	put(&test.message, 5, &input);
}

/* A parameter whose value is the bytes of an InferParameter. */
static void
put_parameter(uint32_t map, struct buf *out, const char *name, const char *value, size_t length)
{
	struct part entry;

	protobuf_put_text(begin(&entry), 1, bytes_text(name));
	protobuf_put_bytes(&entry.buf, 2, bytes_make(value, length));
	put(out, map, &entry);
}
#define PARAMETER(name, value) put_parameter(4, &test.message, name, value, sizeof(value) - 1)

static enum status
decode(void)
{
	enum status status = infer_message_name(buf_bytes(&test.message), &test.decoded, &test.error);

	return status == STATUS_OK
		       ? infer_message_decode(buf_bytes(&test.message), &test.arena, &test.decoded, &test.error)
		       : status;
}

static void
assert_refused(enum status status, const char *text)
{
	assert_int_equal(decode(), status);
	assert_non_null(strstr(test.error.text, text));
}

/* --- Requests --- */

static void
test_a_raw_request(void **state)
{
	(void)state;
	protobuf_put_text(&test.message, 1, bytes_text("m"));
	protobuf_put_text(&test.message, 2, bytes_text("3"));
	protobuf_put_text(&test.message, 3, bytes_text("an id"));
	put_input("I", "INT32", NULL);
	protobuf_put_bytes(&test.message, 7, bytes_text("12345678"));
	protobuf_put_bytes(&test.message, 7, bytes_text("surplus"));
	assert_int_equal(decode(), STATUS_OK);
	assert_true(bytes_equal_text(test.decoded.model_name, "m"));
	assert_true(bytes_equal_text(test.decoded.model_version, "3"));
	assert_true(bytes_equal_text(test.decoded.body.id, "an id"));
	assert_int_equal(test.decoded.body.input_count, 1);
	assert_int_equal(test.decoded.body.inputs[0].datatype, DATATYPE_INT32);
	assert_int_equal(test.decoded.body.inputs[0].shape[0], 2);
	assert_true(bytes_equal_text(test.decoded.body.inputs[0].data, "12345678"));
	assert_true(test.decoded.body.inputs[0].data.at > test.message.at); /* in place */
	assert_true(test.decoded.body.inputs[0].data.at < test.message.at + test.message.length);
}

/* Each field of InferTensorContents, packed and single, becomes the tensor's own bytes. */
static void
test_typed_contents(void **state)
{
	static const struct {
		const char *datatype;
		uint32_t number;
		const char *packed;
		size_t packed_length;
		const char *data;
		size_t length;
	} cases[] = {
		{"BOOL", 1, "\x01\x00", 2, "\x01\x00", 2},
		{"INT8", 2, "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "\x01\xff", 2},
		{"INT16", 2, "\x01\x80\x02", 3, "\x01\x00\x00\x01", 4},
		{"INT32", 2, "\x01\x02", 2, "\x01\x00\x00\x00\x02\x00\x00\x00", 8},
		{"INT64", 3, "\x01\x02", 2, "\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0", 16},
		{"UINT8", 4, "\x01\xff\x01", 3, "\x01\xff", 2},
		{"UINT64", 5, "\x01\x02", 2, "\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0", 16},
		{"FP32", 6, "\0\0\x80\x3f\0\0\0\x40", 8, "\0\0\x80\x3f\0\0\0\x40", 8},
		{"FP64", 7, "\0\0\0\0\0\0\xf0\x3f", 8, "\0\0\0\0\0\0\xf0\x3f", 8},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct part contents;

		protobuf_put_bytes(begin(&contents), cases[i].number,
				   bytes_make(cases[i].packed, cases[i].packed_length));
		put_input("I", cases[i].datatype, &contents);
		assert_int_equal(decode(), STATUS_OK);
		assert_true(bytes_equal(test.decoded.body.inputs[0].data, bytes_make(cases[i].data, cases[i].length)));
		(void)teardown(state);
		(void)setup(state);
	}
}

static void
test_single_and_packed_elements_in_turns(void **state)
{
	struct part contents;

	(void)state;
	protobuf_put_tag(begin(&contents), 2, PROTOBUF_VARINT);
	protobuf_put_varint(&contents.buf, 7);
	protobuf_put_bytes(&contents.buf, 2, bytes_make("\x08", 1));
	put_input("I", "INT32", &contents);
	assert_int_equal(decode(), STATUS_OK);
	assert_true(bytes_equal(test.decoded.body.inputs[0].data, bytes_make("\x07\0\0\0\x08\0\0\0", 8)));
}

static void
test_strings(void **state)
{
	struct part contents;

	(void)state;
	protobuf_put_bytes(begin(&contents), 8, bytes_make("a\0\xff", 3));
	protobuf_put_bytes(&contents.buf, 8, bytes_make(NULL, 0));
	put_input("I", "BYTES", &contents);
	assert_int_equal(decode(), STATUS_OK);
	assert_true(bytes_equal(test.decoded.body.inputs[0].data, bytes_make("\x03\0\0\0a\0\xff\0\0\0\0", 11)));
}

/* An empty packed field has no elements, whatever it is for. */
static void
test_an_empty_field_of_another_kind(void **state)
{
	struct part contents;

	(void)state;
	protobuf_put_bytes(begin(&contents), 8, bytes_make("x", 1));
	protobuf_put_bytes(&contents.buf, 6, bytes_make(NULL, 0));
	put_input("I", "BYTES", &contents);
	assert_int_equal(decode(), STATUS_OK);
	assert_true(bytes_equal(test.decoded.body.inputs[0].data, bytes_make("\x01\0\0\0x", 5)));
}

static void
test_wrong_contents(void **state)
{
	struct part contents;

	(void)state;
	protobuf_put_bytes(begin(&contents), 6, bytes_make("\0\0\0\0", 4));
	put_input("I", "INT32", &contents);
	assert_refused(STATUS_INVALID_ARGUMENT, "of type 'FP32', expected datatype 'INT32'");
}

static void
test_two_kinds_of_contents(void **state)
{
	struct part contents;

	(void)state;
	protobuf_put_bytes(begin(&contents), 2, bytes_make("\x01", 1));
	protobuf_put_bytes(&contents.buf, 3, bytes_make("\x01", 1));
	put_input("I", "INT32", &contents);
	assert_refused(STATUS_INVALID_ARGUMENT, "binary data was already supplied");
}

static void
test_raw_and_typed(void **state)
{
	struct part contents;

	(void)state;
	protobuf_put_bytes(begin(&contents), 2, bytes_make("\x01", 1));
	put_input("I", "INT32", &contents);
	protobuf_put_bytes(&test.message, 7, bytes_text("1234"));
	assert_refused(STATUS_INVALID_ARGUMENT, "contents field must not be specified when using raw_input_contents");
}

static void
test_no_data(void **state)
{
	(void)state;
	put_input("I", "INT32", NULL);
	assert_refused(STATUS_INVALID_ARGUMENT, "unable to find data for input tensor 'I'");
}

/* A number has one kind, whichever field says it, as in JSON: else an entry would not be found by the other protocol.
 */
static void
test_parameters(void **state)
{
	const struct parameter *parameters;

	(void)state;
	PARAMETER("signed", "\x10\x05");
	PARAMETER("unsigned", "\x28\x05");
	PARAMETER("negative", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
	PARAMETER("large", "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
	PARAMETER("text", "\x1a\x01x");
	PARAMETER("yes", "\x08\x01");
	PARAMETER("half", "\x21\0\0\0\0\0\0\xe0\x3f");
	PARAMETER("text", "\x1a\x01y"); /* the last of equal keys counts */
	PARAMETER("triton_enable_empty_final_response", "\x08\x01");
	assert_int_equal(decode(), STATUS_OK);
	parameters = test.decoded.body.parameters;
	assert_int_equal(test.decoded.body.parameter_count, 7);
	assert_true(parameters[0].kind == PARAMETER_SIGNED && parameters[0].signed_number == 5);
	assert_true(parameters[1].kind == PARAMETER_SIGNED && parameters[1].signed_number == 5);
	assert_true(parameters[2].kind == PARAMETER_SIGNED && parameters[2].signed_number == -1);
	assert_true(parameters[3].kind == PARAMETER_UNSIGNED && parameters[3].unsigned_number == UINT64_MAX);
	assert_true(parameters[4].kind == PARAMETER_TEXT && bytes_equal_text(parameters[4].text, "y"));
	assert_true(parameters[5].kind == PARAMETER_BOOLEAN && parameters[5].boolean);
	assert_true(parameters[6].kind == PARAMETER_DOUBLE && parameters[6].number == 0.5);
}

static void
test_wrong_parameters(void **state)
{
	static const struct {
		const char *name;
		const char *value;
		size_t length;
		const char *text;
	} cases[] = {
		{"priority", "\x1a\x01x", 3, "'priority' parameter, expected int64_param or uint64_param."},
		{"priority", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "expected value >= 0."},
		{"timeout", "\x28\x05", 2, "'timeout' parameter, expected int64_param."},
		{"sequence_start", "\x10\x01", 2, "'sequence_start' parameter, expected bool_param."},
		{"custom", "", 0, "'custom' parameter, expected int64_param, bool_param, or string_param."},
		{"triton_other", "\x08\x01", 2, "reserved for Triton usage"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put_parameter(4, &test.message, cases[i].name, cases[i].value, cases[i].length);
		assert_refused(STATUS_INVALID_ARGUMENT, cases[i].text);
		(void)teardown(state);
		(void)setup(state);
	}
}

static void
test_outputs(void **state)
{
	struct part output;

	(void)state;
	protobuf_put_text(begin(&output), 1, bytes_text("O"));
	put_parameter(2, &output.buf, "classification", "\x10\x03", 2);
	put(&test.message, 6, &output);
	assert_int_equal(decode(), STATUS_OK);
	assert_true(bytes_equal_text(test.decoded.body.outputs[0].name, "O"));
	assert_int_equal(test.decoded.body.outputs[0].classification, 3);
}

static void
test_malformed(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} cases[] = {
		{"\x0a\x05m", 3},	 /* cut off */
		{"\x08\x01", 2},	 /* a number for a name */
		{"\x0a\x01\xff", 3},	 /* a name that is not UTF-8 */
		{"\x2a\x02\x18\x80", 4}, /* a shape cut off */
		{"\x22\x02\x0a\x05", 4}, /* a parameter cut off */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		buf_append(&test.message, bytes_make(cases[i].bytes, cases[i].length));
		assert_refused(STATUS_INTERNAL, "Unable to parse request");
		(void)teardown(state);
		(void)setup(state);
	}
}

/* Where the first raw tensor begins, as far as the beginning of a message tells. */
/* What a server behind may read otherwise than we do: see has_more. */
static void
test_what_is_not_known(void **state)
{
	static const struct {
		uint32_t number; /* of the field that is added */
		const char *bytes;
		size_t length;
		bool is_more;
	} cases[] = {
		{2, "1", 1, false},
		{3, "an id", 5, false},
		{4, "\x0a\x01p\x12\x02\x08\x01", 7, false},
		{6, "\x0a\x01O", 3, false},
		{4, "\x0a\x01p\x12\x02\x28\x01", 7, true},	   /* uint64_param */
		{4, "\x0a\x01p\x12\x04\x08\x01\x30\x01", 9, true}, /* a kind of parameter that is not known */
		{4, "\x0a\x01p\x12\x00\x12\x02\x08\x01", 9, true}, /* two values, which protobuf merges */
		{4, "\x0a\x01p\x12\x02\x08\x01\x18\x01", 9, true}, /* an unknown field of the entry */
		{6, "\x0a\x01O\x12\x00", 5, true},		   /* a parameter of an output */
		{6, "\x0a\x01O\x18\x01", 5, true},
		{7, "surplus", 7, true},
		{8, "new", 3, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		protobuf_put_text(&test.message, 1, bytes_text("m"));
		put_input("I", "INT32", NULL);
		protobuf_put_bytes(&test.message, 7, bytes_text("12345678"));
		protobuf_put_bytes(&test.message, cases[i].number, bytes_make(cases[i].bytes, cases[i].length));
		assert_int_equal(decode(), STATUS_OK);
		assert_int_equal(test.decoded.has_more, cases[i].is_more);
		(void)teardown(state);
		(void)setup(state);
	}
	PARAMETER("p", "\x08\x01");
	PARAMETER("p", "\x08\x02");
	assert_int_equal(decode(), STATUS_OK);
	assert_true(test.decoded.has_more);
}

/* Puts an input whose parameter `name` has this value, an InferParameter. */
static void
put_input_with(const char *name, struct bytes value)
{
	struct part input;
	struct part entry;

	protobuf_put_text(begin(&input), 1, bytes_text("I"));
	protobuf_put_text(&input.buf, 2, bytes_text("INT32"));
	protobuf_put_text(begin(&entry), 1, bytes_text(name));
	protobuf_put_bytes(&entry.buf, 2, value);
	put(&input.buf, 4, &entry);
	put(&test.message, 5, &input);
	protobuf_put_bytes(&test.message, 7, bytes_text("1234"));
}

static void
test_content_types(void **state)
{
	static const struct {
		const char *name;
		struct bytes value;
		const char *expected; /* NULL: it is more than we know */
	} cases[] = {
		{"content_type", {(const uint8_t *)"\x1a\x02np", 4}, "np"},
		{"content_type", {(const uint8_t *)"\x1a\x00", 2}, NULL},
		{"content_type", {(const uint8_t *)"\x10\x01", 2}, NULL}, /* a number */
		{"other", {(const uint8_t *)"\x1a\x02np", 4}, NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put_input_with(cases[i].name, cases[i].value);
		assert_int_equal(decode(), STATUS_OK);
		assert_int_equal(test.decoded.has_more, cases[i].expected == NULL);
		assert_bytes(test.decoded.body.inputs[0].content_type,
			     cases[i].expected == NULL ? "" : cases[i].expected);
		(void)teardown(state);
		(void)setup(state);
	}
}

/* Of an input: a parameter, and a field of its contents that is not known. */
static void
test_what_is_not_known_of_an_input(void **state)
{
	struct part contents;
	struct part input;

	protobuf_put_bytes(begin(&contents), 2, bytes_make("\x01\x02", 2));
	put_input("I", "INT32", &contents);
	assert_int_equal(decode(), STATUS_OK);
	assert_false(test.decoded.has_more);
	protobuf_put_bytes(&contents.buf, 9, bytes_text("x"));
	put_input("J", "INT32", &contents);
	assert_int_equal(decode(), STATUS_OK);
	assert_true(test.decoded.has_more);
	(void)teardown(state);
	(void)setup(state);
	protobuf_put_text(begin(&input), 1, bytes_text("I"));
	protobuf_put_text(&input.buf, 2, bytes_text("INT32"));
	protobuf_put_bytes(&input.buf, 4,
			   bytes_text("\x0a\x0c"
				      "content_type"));
	put(&test.message, 5, &input);
	protobuf_put_bytes(&test.message, 7, bytes_text("1234"));
	assert_int_equal(decode(), STATUS_OK);
	assert_true(test.decoded.has_more);
}

static void
test_the_alignment_point(void **state)
{
	size_t point;

	(void)state;
	protobuf_put_text(&test.message, 1, bytes_text("m"));
	put_input("I", "INT32", NULL);
	protobuf_put_tag(&test.message, 7, PROTOBUF_BYTES);
	protobuf_put_varint(&test.message, 100000);
	point = test.message.length;
	buf_text(&test.message, "the beginning of the data");
	assert_int_equal(infer_message_alignment_point(buf_bytes(&test.message)), point);
	assert_int_equal(infer_message_alignment_point(bytes_make(test.message.at, point - 3)), 0);
}

/* --- Responses --- */

static void
test_a_response(void **state)
{
	static const int64_t shape[] = {1, 300};
	struct infer_reply_output output = {.tensor = {.name = bytes_text("O"),
						       .datatype = DATATYPE_INT8,
						       .rank = 2,
						       .shape = shape,
						       .data = bytes_text("data")}};
	struct infer_message_reply reply = {.id = bytes_text("i"),
					    .model_name = bytes_text("m"),
					    .model_version = bytes_text("12"),
					    .outputs = &output,
					    .output_count = 1};
	static const char expected[] = "\x0a\x01m\x12\x02"
				       "12\x1a\x01i\x2a\x0e\x0a\x01O\x12\x04INT8\x1a\x03\x01\xac\x02\x32\x04";
	static const char typed[] = "\x0a\x01m\x12\x02"
				    "12\x1a\x01i\x2a\x24\x0a\x01O\x12\x04INT8\x1a\x03\x01\xac\x02"
				    "\x22\x14\x0a\x0c"
				    "content_type"
				    "\x12\x04\x1a\x02np\x32\x04";
	struct bytes pieces[3];
	size_t count;

	(void)state;
	assert_int_equal(infer_message_encode(&reply, &test.message, pieces, &count, &test.error), STATUS_OK);
	assert_int_equal(count, 3);
	assert_int_equal(pieces[0].length + pieces[1].length, sizeof(expected) - 1);
	assert_memory_equal(pieces[0].at, expected, sizeof(expected) - 1); /* the second piece follows it */
	assert_ptr_equal(pieces[2].at, output.tensor.data.at);		   /* uncopied */
	output.tensor.content_type = bytes_text("np");
	assert_int_equal(infer_message_encode(&reply, &test.message, pieces, &count, &test.error), STATUS_OK);
	assert_memory_equal(pieces[0].at, typed, sizeof(typed) - 1);
	output.tensor.content_type = bytes_text("");

	reply.is_stream = true;
	assert_int_equal(infer_message_encode(&reply, &test.message, pieces, &count, &test.error), STATUS_OK);
	assert_memory_equal(pieces[0].at, "\x12", 1); /* infer_response, of all that follows */
	assert_int_equal(pieces[0].at[1], pieces[0].length - 2 + pieces[1].length + pieces[2].length);
}

static void
test_an_error_in_a_stream(void **state)
{
	(void)state;
	infer_message_encode_error(bytes_text("i"), bytes_make(NULL, 0), "no", &test.message);
	assert_true(bytes_equal_text(buf_bytes(&test.message), "\x0a\x02no\x12\x03\x1a\x01i"));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_a_raw_request),
		TEST(test_typed_contents),
		TEST(test_single_and_packed_elements_in_turns),
		TEST(test_strings),
		TEST(test_an_empty_field_of_another_kind),
		TEST(test_wrong_contents),
		TEST(test_two_kinds_of_contents),
		TEST(test_raw_and_typed),
		TEST(test_no_data),
		TEST(test_parameters),
		TEST(test_wrong_parameters),
		TEST(test_outputs),
		TEST(test_malformed),
		TEST(test_what_is_not_known),
		TEST(test_what_is_not_known_of_an_input),
		TEST(test_content_types),
		TEST(test_the_alignment_point),
		TEST(test_a_response),
		TEST(test_an_error_in_a_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
