/* A backend from opening to closing, without a server. A test of a new backend begins as a copy of this. */
#include "backends/echo/echo.h"

#include "base/unit_test.h"

#include <string.h>

static int64_t any = -1;
static struct model_tensor input = {.name = {(const uint8_t *)"x", 1}, .datatype = DATATYPE_UINT8, .dims = {1, &any}};
static struct model_tensor output = {.name = {(const uint8_t *)"y", 1}, .datatype = DATATYPE_UINT8, .dims = {1, &any}};
static const struct model_config config = {.inputs = &input, .input_count = 1, .outputs = &output, .output_count = 1};

static uint8_t room[16];
static size_t given;

static enum status
allocate(struct backend_run *run, const struct backend_output *outputs, uint8_t **data, struct error *error)
{
	(void)run;
	(void)error;
	assert_int_equal(outputs[0].datatype, DATATYPE_UINT8);
	assert_true(outputs[0].length <= sizeof(room));
	given = outputs[0].length;
	data[0] = room;
	return STATUS_OK;
}

static enum status
run_on(const struct parameter *parameters, size_t count, struct error *error)
{
	const struct backend_ops *ops = &backend_echo_ops;
	const int64_t shape[] = {5};
	const struct tensor tensor = {.name = bytes_text("x"),
				      .datatype = DATATYPE_UINT8,
				      .rank = 1,
				      .shape = shape,
				      .data = bytes_text("hello")};
	struct backend_run run = {.config = &config,
				  .inputs = &tensor,
				  .input_count = 1,
				  .parameters = parameters,
				  .parameter_count = count,
				  .allocate = allocate};
	struct backend_model *model = ops->open(NULL, &config, error);
	enum status status;

	assert_non_null(model);
	status = ops->run(model, &run, error);
	ops->close(model);
	return status;
}

static void
test_inputs_come_back(void **state)
{
	struct error error;

	(void)state;
	assert_int_equal(run_on(NULL, 0, &error), STATUS_OK);
	assert_bytes(bytes_make(room, given), "hello");
}

/* Two rows, perhaps of two requests: each output row is made of its own input row. */
static void
test_rows(void **state)
{
	const int64_t shape[] = {2, 3};
	const struct tensor tensor = {.name = bytes_text("x"),
				      .datatype = DATATYPE_UINT8,
				      .rank = 2,
				      .shape = shape,
				      .data = bytes_text("abcdef")};
	struct backend_run run = {
		.config = &config, .inputs = &tensor, .input_count = 1, .batch = 2, .allocate = allocate};
	struct error error;
	struct backend_model *model = backend_echo_ops.open(NULL, &config, &error);

	(void)state;
	assert_int_equal(backend_echo_ops.run(model, &run, &error), STATUS_OK);
	assert_bytes(bytes_make(room, 3), "abc");
	assert_bytes(bytes_make(room + 3, 3), "def");
	backend_echo_ops.close(model);
}

static void
test_a_run_that_fails(void **state)
{
	const struct parameter fail = {
		.name = bytes_text("fail"), .kind = PARAMETER_TEXT, .text = bytes_text("no such luck")};
	struct error error;

	(void)state;
	assert_int_equal(run_on(&fail, 1, &error), STATUS_INTERNAL);
	assert_string_equal(error.text, "no such luck");
}

static void
test_a_config_that_it_does_not_take(void **state)
{
	struct model_config other = config;
	struct error error;

	(void)state;
	other.output_count = 0;
	assert_null(backend_echo_ops.open(NULL, &other, &error));
	assert_int_equal(error.status, STATUS_INVALID_ARGUMENT);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inputs_come_back),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_a_run_that_fails),
		cmocka_unit_test(test_a_config_that_it_does_not_take),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
