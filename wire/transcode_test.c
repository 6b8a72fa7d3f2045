#include "wire/transcode.h"

#include "base/unit_test.h"
#include "wire/infer_message.h"
#include "wire/service_message.h"

#include <stdio.h>
#include <stdlib.h>

#define SERVICE "/inference.GRPCInferenceService/"

struct fixture {
	struct http1_parser *parser;
	struct http1_head head;
	struct transcoding transcoding;
	struct buf message; /* without its prefix */
	struct error error;
};

static int
set_up(void **state)
{
	struct fixture *this = calloc(1, sizeof(*this));

	this->parser = http1_new();
	transcoding_init(&this->transcoding, 1 << 20);
	buf_init(&this->message, 1 << 20);
	*state = this;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *this = *state;

	http1_free(this->parser);
	transcoding_fini(&this->transcoding);
	buf_fini(&this->message);
	free(this);
	return 0;
}

/* `line` is that of the request; `fields` are lines, too. Valid until the next one. */
static enum status
request(struct fixture *this, const char *line, const char *fields, struct bytes body)
{
	static char text[1024];
	struct buf all;
	enum status status;
	size_t used;

	(void)snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: h\r\n%s\r\n", line, fields);
	assert_int_equal(http1_feed_head(this->parser, bytes_text(text), 0, &this->head, &used), HTTP1_DONE);
	transcoding_fini(&this->transcoding);
	transcoding_init(&this->transcoding, 1 << 20);
	status = transcode_request(&this->transcoding, &this->head, body, &this->error);
	buf_clear(&this->message);
	if (status != STATUS_OK) {
		return status;
	}
	buf_init(&all, 1 << 20);
	for (size_t i = 0; i < this->transcoding.piece_count; i++) {
		buf_append(&all, this->transcoding.pieces[i]);
	}
	assert_true(all.length >= 5 && all.at[0] == 0);
	assert_int_equal((size_t)all.at[3] << 8 | all.at[4], all.length - 5);
	buf_append(&this->message, bytes_skip(buf_bytes(&all), 5));
	buf_fini(&all);
	return status;
}

static void
check_endpoint(struct fixture *this, const char *line, const char *method, const char *name, const char *version)
{
	struct name_request read;

	assert_int_equal(request(this, line, "", bytes_text("")), STATUS_OK);
	assert_string_equal(this->transcoding.method, method);
	assert_int_equal(name_request_decode(buf_bytes(&this->message), &read, &this->error), STATUS_OK);
	assert_bytes(read.name, name);
	assert_bytes(read.version, version);
}

static void
test_endpoints(void **state)
{
	struct fixture *this = *state;

	check_endpoint(this, "GET /v2", SERVICE "ServerMetadata", "", "");
	check_endpoint(this, "GET /v2/health/live", SERVICE "ServerLive", "", "");
	check_endpoint(this, "HEAD /v2/health/ready", SERVICE "ServerReady", "", "");
	check_endpoint(this, "GET /v2/models/m", SERVICE "ModelMetadata", "m", "");
	check_endpoint(this, "GET /v2/models/a%2Fb/versions/3", SERVICE "ModelMetadata", "a/b", "3");
	check_endpoint(this, "GET /v2/models/m/ready", SERVICE "ModelReady", "m", "");
	check_endpoint(this, "GET /v2/models/m/versions/3/config", SERVICE "ModelConfig", "m", "3");
	check_endpoint(this, "GET /v2/models/stats", SERVICE "ModelStatistics", "", "");
	check_endpoint(this, "GET /v2/models/stats/stats", SERVICE "ModelStatistics", "stats", "");
	check_endpoint(this, "POST /v2/repository/index", SERVICE "RepositoryIndex", "", "");
	check_endpoint(this, "POST /v2/repository/models/index", SERVICE "RepositoryIndex", "models", "");
}

static void
test_what_grpc_lacks(void **state)
{
	static const char *const lines[] = {
		"POST /v2/models/m/generate",  "GET /metrics", "GET /v2/", "GET /v2/models/", "GET /",
		"GET /v2/models/m/versions/3/"};
	struct fixture *this = *state;

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		assert_int_equal(request(this, lines[i], "", bytes_text("")), STATUS_UNSUPPORTED);
		assert_int_equal(this->error.http, 0);
	}
	assert_int_equal(request(this, "GET /v2/models/m/infer", "", bytes_text("")), STATUS_UNSUPPORTED);
	assert_int_equal(this->error.http, 405);
}

static void
test_model_control(void **state)
{
	struct fixture *this = *state;
	struct model_control_request read;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	assert_int_equal(request(this, "POST /v2/repository/models/m/load", "",
				 bytes_text("{\"parameters\":{\"config\":\"{}\",\"file:1/x\":\"aGk=\"}}")),
			 STATUS_OK);
	assert_string_equal(this->transcoding.method, SERVICE "RepositoryModelLoad");
	assert_int_equal(load_request_decode(buf_bytes(&this->message), &arena, &read, &this->error), STATUS_OK);
	assert_bytes(read.model_name, "m");
	assert_bytes(read.body.config, "{}");
	assert_int_equal(read.body.file_count, 1);
	assert_bytes(read.body.files[0].path, "1/x");
	assert_bytes(read.body.files[0].content, "hi");
	assert_int_equal(request(this, "POST /v2/repository/r/models/m/unload", "",
				 bytes_text("{\"parameters\":{\"unload_dependents\":true}}")),
			 STATUS_OK);
	assert_int_equal(unload_request_decode(buf_bytes(&this->message), &read, &this->error), STATUS_OK);
	assert_bytes(read.repository_name, "r");
	assert_true(read.unload_dependents);
	assert_int_equal(request(this, "POST /v2/repository/models/m/unload", "", bytes_text("")), STATUS_OK);
	assert_int_equal(unload_request_decode(buf_bytes(&this->message), &read, &this->error), STATUS_OK);
	assert_false(read.unload_dependents);
	arena_fini(&arena);
}

#define INFER "POST /v2/models/m/versions/3/infer"
#define JSON_INPUT                                                                                                     \
	"{\"id\":\"7\",\"parameters\":{\"word\":\"w\"},\"inputs\":[{\"name\":\"X\",\"shape\":[2],\"datatype\":"        \
	"\"INT32\",\"parameters\":{\"content_type\":\"np\"},\"data\":[1,2]}],\"outputs\":[{\"name\":\"Y\"},"           \
	"{\"name\":\"Z\",\"parameters\":{\"classification\":3}}]}"

static void
test_an_inference(void **state)
{
	const int32_t expected[] = {1, 2};
	struct fixture *this = *state;
	struct infer_message read;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	assert_int_equal(request(this, INFER, "", bytes_text(JSON_INPUT)), STATUS_OK);
	assert_string_equal(this->transcoding.method, SERVICE "ModelInfer");
	assert_int_equal(infer_message_name(buf_bytes(&this->message), &read, &this->error), STATUS_OK);
	assert_int_equal(infer_message_decode(buf_bytes(&this->message), &arena, &read, &this->error), STATUS_OK);
	assert_bytes(read.model_name, "m");
	assert_bytes(read.model_version, "3");
	assert_bytes(read.body.id, "7");
	assert_int_equal(read.body.parameter_count, 1);
	assert_bytes(read.body.parameters[0].text, "w");
	assert_int_equal(read.body.input_count, 1);
	assert_bytes(read.body.inputs[0].content_type, "np");
	assert_true(bytes_equal(read.body.inputs[0].data, bytes_make(expected, sizeof(expected))));
	assert_int_equal(read.body.output_count, 2);
	assert_int_equal(read.body.outputs[1].classification, 3);
	arena_fini(&arena);
}

static void
test_a_binary_inference(void **state)
{
	static const char json[] = "{\"inputs\":[{\"name\":\"X\",\"shape\":[4],\"datatype\":\"UINT8\",\"parameters\":"
				   "{\"binary_data_size\":4}}]}";
	struct fixture *this = *state;
	char body[sizeof(json) + 4];
	char fields[64];

	memcpy(body, json, sizeof(json) - 1);
	memcpy(body + sizeof(json) - 1, "abcd", 4);
	(void)snprintf(fields, sizeof(fields), "Inference-Header-Content-Length: %zu\r\n", sizeof(json) - 1);
	assert_int_equal(request(this, INFER, fields, bytes_make(body, sizeof(json) - 1 + 4)), STATUS_OK);
	assert_int_equal(this->transcoding.piece_count, 3);
	assert_bytes(this->transcoding.pieces[2], "abcd");
	assert_ptr_equal(this->transcoding.pieces[2].at, body + sizeof(json) - 1); /* not copied */
}

/* What cannot be told is refused, and never left out. */
static void
test_members_that_are_not_known(void **state)
{
	static const char *const bodies[] = {
		"{\"inputs\":[],\"more\":1}",
		"{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"UINT8\",\"data\":[1],\"parameters\":"
		"{\"shared_memory_offset\":4}}]}",
		"{\"inputs\":[],\"outputs\":[{\"name\":\"Y\",\"parameters\":{\"shared_memory_region\":\"r\"}}]}",
		"{\"inputs\":[],\"parameters\":{\"a\":1,\"a\":2}}",
	};
	struct fixture *this = *state;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		assert_int_equal(request(this, INFER, "", bytes_text(bodies[i])), STATUS_UNSUPPORTED);
	}
	assert_int_equal(request(this, INFER, "Inference-Header-Content-Length: 0\r\n", bytes_text("raw")),
			 STATUS_UNSUPPORTED);
	assert_int_equal(request(this, INFER, "Content-Encoding: br\r\n", bytes_text("x")), STATUS_UNSUPPORTED);
	assert_int_equal(request(this, INFER "?a=1", "", bytes_text("{\"inputs\":[]}")), STATUS_UNSUPPORTED);
}

static void
test_requests_that_others_may_read_otherwise(void **state)
{
	static const char *const bodies[] = {
		"{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"UINT8\",\"data\":[300]}]}",
		"{\"inputs\":[],\"parameters\":{\"a\":99999999999999999999}}",
	};
	struct fixture *this = *state;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		assert_int_equal(request(this, INFER, "", bytes_text(bodies[i])), STATUS_INVALID_ARGUMENT);
	}
	assert_int_equal(request(this, INFER, "Inference-Header-Content-Length: 9\r\n", bytes_text("x")),
			 STATUS_INVALID_ARGUMENT);
	assert_int_equal(request(this, INFER,
				 "Inference-Header-Content-Length: 13\r\nInference-Header-Content-Length: 13\r\n",
				 bytes_text("{\"inputs\":[]}")),
			 STATUS_INVALID_ARGUMENT);
}

/* --- Responses --- */

static void
check_response(struct fixture *this, struct bytes message, const char *expected)
{
	struct transcoded response;

	assert_int_equal(transcode_response(&this->transcoding, message, &response, &this->error), STATUS_OK);
	assert_int_equal(response.status, 200);
	assert_int_equal(response.length, strlen(expected));
	assert_int_equal(response.piece_count, 1);
	assert_bytes(response.pieces[0], expected);
}

/* Those of HTTP for the same purpose. */
static void
test_documents(void **state)
{
	static const char index[] =
		"{\"models\":[{\"name\":\"m\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"}]}";
	struct fixture *this = *state;
	struct buf message;

	buf_init(&message, 1 << 20);
	assert_int_equal(request(this, "POST /v2/repository/index", "", bytes_text("")), STATUS_OK);
	assert_int_equal(service_message_encode(MESSAGE_REPOSITORY_INDEX, bytes_text(index), &message, &this->error),
			 STATUS_OK);
	check_response(this, buf_bytes(&message),
		       "[{\"name\":\"m\",\"version\":\"1\",\"state\":\"READY\"}]");
	check_response(this, bytes_text(""), "[]");
	buf_fini(&message);
}

static void
test_flags(void **state)
{
	struct fixture *this = *state;
	struct transcoded response;

	assert_int_equal(request(this, "GET /v2/models/m/ready", "", bytes_text("")), STATUS_OK);
	assert_int_equal(transcode_response(&this->transcoding, bytes_text("\x08\x01"), &response, &this->error),
			 STATUS_OK);
	assert_int_equal(response.status, 200);
	assert_int_equal(transcode_response(&this->transcoding, bytes_text(""), &response, &this->error), STATUS_OK);
	assert_int_equal(response.status, 400);
	assert_int_equal(response.length, 0);
	assert_int_equal(transcode_response(&this->transcoding, bytes_text("\x08"), &response, &this->error),
			 STATUS_INTERNAL);
}

/* A response with two outputs of two bytes each, Y and Z. */
static void
make_response(struct buf *out, enum datatype datatype)
{
	const int64_t shape[] = {2};
	const struct infer_reply_output outputs[] = {
		{.tensor = {bytes_text("Y"), datatype, 1, shape, bytes_text("\x01\x02"), bytes_text("np")}},
		{.tensor = {bytes_text("Z"), DATATYPE_UINT8, 1, shape, bytes_text("\x03\x04"), bytes_text("")}},
	};
	const struct infer_message_reply reply = {.id = bytes_text("7"),
						  .model_name = bytes_text("m"),
						  .model_version = bytes_text("3"),
						  .cache_status = bytes_text("s"),
						  .outputs = outputs,
						  .output_count = 2};
	struct bytes pieces[5];
	struct error error;
	struct buf text;
	size_t count;

	buf_init(&text, 1 << 20);
	assert_int_equal(infer_message_encode(&reply, &text, pieces, &count, &error), STATUS_OK);
	for (size_t i = 0; i < count; i++) {
		buf_append(out, pieces[i]);
	}
	buf_fini(&text);
}

#define HEAD                                                                                                           \
	"{\"id\":\"7\",\"model_name\":\"m\",\"model_version\":\"3\",\"parameters\":{\"cache_status\":\"s\"},"          \
	"\"outputs\":["

static void
test_an_answer(void **state)
{
	static const char json[] =
		HEAD "{\"name\":\"Y\",\"datatype\":\"UINT8\",\"shape\":[2],\"parameters\":{\"content_type\":\"np\"},"
		     "\"data\":[1,2]},{\"name\":\"Z\",\"datatype\":\"UINT8\",\"shape\":[2],\"data\":[3,4]}]}";
	struct fixture *this = *state;
	struct buf message;

	buf_init(&message, 1 << 20);
	make_response(&message, DATATYPE_UINT8);
	assert_int_equal(request(this, INFER, "", bytes_text("{\"inputs\":[]}")), STATUS_OK);
	check_response(this, buf_bytes(&message), json);
	buf_fini(&message);
}

static void
test_a_binary_answer(void **state)
{
	static const char json[] =
		HEAD "{\"name\":\"Y\",\"datatype\":\"UINT8\",\"shape\":[2],\"parameters\":{\"binary_data_size\":2,"
		     "\"content_type\":\"np\"}},{\"name\":\"Z\",\"datatype\":\"UINT8\",\"shape\":[2],\"data\":[3,4]}]}";
	struct fixture *this = *state;
	struct transcoded response;
	struct buf message;

	buf_init(&message, 1 << 20);
	make_response(&message, DATATYPE_UINT8);
	assert_int_equal(request(this, INFER, "",
				 bytes_text("{\"inputs\":[],\"outputs\":[{\"name\":\"Y\",\"parameters\":"
					    "{\"binary_data\":true}},{\"name\":\"Z\"}]}")),
			 STATUS_OK);
	assert_int_equal(transcode_response(&this->transcoding, buf_bytes(&message), &response, &this->error),
			 STATUS_OK);
	assert_true(response.is_binary);
	assert_int_equal(response.piece_count, 2);
	assert_bytes(response.pieces[0], json);
	assert_int_equal(response.json_length, sizeof(json) - 1);
	assert_bytes(response.pieces[1], "\x01\x02");
	assert_int_equal(response.length, sizeof(json) - 1 + 2);
	buf_fini(&message);
}

/* JSON has no NaN. */
static void
test_a_parameter_that_json_lacks(void **state)
{
	static const uint8_t message[] = {0x22, 14, 0x0a, 1, 'a', 0x12, 9, 0x21, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f};
	struct fixture *this = *state;
	struct transcoded response;

	assert_int_equal(request(this, INFER, "", bytes_text("{\"inputs\":[]}")), STATUS_OK);
	assert_int_equal(
		transcode_response(&this->transcoding, bytes_make(message, sizeof(message)), &response, &this->error),
		STATUS_UNSUPPORTED);
}

/* Data that do not have their shape's bytes would be read past their end, or be taken for others. */
static void
test_answers_that_cannot_be(void **state)
{
	struct fixture *this = *state;
	struct transcoded response;
	struct buf message;

	buf_init(&message, 1 << 20);
	make_response(&message, DATATYPE_BYTES);
	assert_int_equal(request(this, INFER, "", bytes_text("{\"inputs\":[]}")), STATUS_OK);
	assert_int_equal(transcode_response(&this->transcoding, buf_bytes(&message), &response, &this->error),
			 STATUS_INTERNAL);
	buf_clear(&message);
	make_response(&message, DATATYPE_UINT8);
	for (size_t length = 0; length < message.length; length++) { /* no cut is taken for the whole */
		if (transcode_response(&this->transcoding, bytes_make(message.at, length), &response, &this->error) ==
		    STATUS_OK) {
			assert_true(response.length < sizeof(HEAD) + 150);
		}
	}
	buf_fini(&message);
}

static void
test_failures(void **state)
{
	struct fixture *this = *state;
	struct transcoded response;

	assert_int_equal(request(this, INFER, "", bytes_text("{\"inputs\":[]}")), STATUS_OK);
	transcode_failure(&this->transcoding, 404, bytes_text("no \"m\""), &response);
	assert_int_equal(response.status, 404);
	assert_bytes(response.pieces[0], "{\"error\":\"no \\\"m\\\"\"}");
	transcode_failure(&this->transcoding, 500, bytes_text("\xc3\xa4"), &response);
	assert_bytes(response.pieces[0], "{\"error\":\"\xc3\xa4\"}");
	transcode_failure(&this->transcoding, 500, bytes_text("a\xc3"), &response);
	assert_bytes(response.pieces[0], "{\"error\":\"a?\"}");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_endpoints),
		TEST(test_what_grpc_lacks),
		TEST(test_model_control),
		TEST(test_an_inference),
		TEST(test_a_binary_inference),
		TEST(test_members_that_are_not_known),
		TEST(test_requests_that_others_may_read_otherwise),
		TEST(test_documents),
		TEST(test_flags),
		TEST(test_an_answer),
		TEST(test_a_binary_answer),
		TEST(test_a_parameter_that_json_lacks),
		TEST(test_answers_that_cannot_be),
		TEST(test_failures),
	};

	return cmocka_run_group_tests_name("transcode", tests, NULL, NULL);
}
