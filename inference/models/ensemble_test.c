/* The graph of an ensemble's config, without models. */
#include "inference/models/ensemble.h"

#include "base/unit_test.h"

#define TENSORS_MAX 4
#define STEPS_MAX 4

static void
read_mappings(const char *letters, size_t count, struct model_mapping *mappings)
{
	for (size_t i = 0; i < count; i++) {
		mappings[i].tensor = bytes_make(&letters[i], 1);
		mappings[i].ensemble_tensor = bytes_make(&letters[i], 1);
	}
}

/* A step "ab>c" takes the tensors a and b and makes c; the model's names are the same. */
static enum status
check(const char *inputs, const char *outputs, const char *const *steps, struct error *error)
{
	struct model_tensor tensors[2][TENSORS_MAX] = {0};
	struct model_mapping mappings[2][STEPS_MAX][TENSORS_MAX] = {0};
	struct model_step list[STEPS_MAX] = {0};
	struct model_config config = {
		.name = bytes_text("e"),
		.inputs = tensors[0],
		.input_count = strlen(inputs),
		.outputs = tensors[1],
		.output_count = strlen(outputs),
		.steps = list,
	};

	for (size_t i = 0; i < config.input_count; i++) {
		tensors[0][i].name = bytes_make(&inputs[i], 1);
	}
	for (size_t i = 0; i < config.output_count; i++) {
		tensors[1][i].name = bytes_make(&outputs[i], 1);
	}
	for (; steps[config.step_count] != NULL; config.step_count++) {
		const char *text = steps[config.step_count];
		struct model_step *step = &list[config.step_count];

		step->model = bytes_text("m");
		step->inputs = mappings[0][config.step_count];
		step->input_count = strcspn(text, ">");
		step->outputs = mappings[1][config.step_count];
		step->output_count = strlen(text) - step->input_count - 1;
		read_mappings(text, step->input_count, step->inputs);
		read_mappings(text + step->input_count + 1, step->output_count, step->outputs);
	}
	return ensemble_check(&config, error);
}

#define CHECK(inputs, outputs, ...) check(inputs, outputs, (const char *const[]){__VA_ARGS__, NULL}, &error)

static void
assert_said(const struct error *error, const char *text)
{
	if (strstr(error->text, text) == NULL) {
		fail_msg("'%s' does not say '%s'", error->text, text);
	}
}

static void
test_good_graphs(void **state)
{
	struct error error;

	(void)state;
	assert_int_equal(CHECK("a", "b", "a>b"), STATUS_OK);
	assert_int_equal(CHECK("a", "c", "b>c", "a>b"), STATUS_OK);
	assert_int_equal(CHECK("a", "d", "bc>d", "a>c", "a>b"), STATUS_OK);
	assert_int_equal(CHECK("ab", "cd", "ab>cd"), STATUS_OK);
	assert_int_equal(CHECK("a", "ab", "a>b"), STATUS_OK); /* an input may be an output, too */
	assert_int_equal(CHECK("a", "bc", "a>b", "b>c"), STATUS_OK);
}

static void
test_bad_graphs(void **state)
{
	struct error error;

	(void)state;
	assert_int_equal(CHECK("ab", "c", "a>c"), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "ensemble input 'b' for ensemble 'e' is not used");
	assert_int_equal(CHECK("a", "bc", "a>b"), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "ensemble output 'c' for ensemble 'e' is not used");
	assert_int_equal(CHECK("a", "b", "ac>b"), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "'b' for ensemble 'e' is not written: at least one of its depending tensors, 'c',");
	assert_int_equal(CHECK("a", "b", "a>b", "a>c"), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "ensemble tensor 'c' is unused in ensemble 'e'");
	assert_int_equal(CHECK("a", "b", "a>b", "a>b"), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "'b' can appear in an output map only once for ensemble 'e' step 1");
	assert_int_equal(CHECK("ab", "b", "ab>b"), STATUS_INVALID_ARGUMENT); /* two sources of one tensor */
	assert_int_equal(CHECK("a", "b", "a>b", "c>d", "d>c"), STATUS_INVALID_ARGUMENT);
	assert_int_equal(CHECK("a", "b", "ac>b", "b>c"), STATUS_INVALID_ARGUMENT); /* a cycle */
}

static void
test_incomplete_steps(void **state)
{
	struct error error;

	(void)state;
	assert_int_equal(CHECK("a", "b", ">b"), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "must specify 'input_map' in step 0 of ensemble 'e'");
	assert_int_equal(CHECK("a", "b", "a>b", "a>"), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "must specify 'output_map' in step 1 of ensemble 'e'");
	assert_int_equal(check("a", "b", (const char *const[]){NULL}, &error), STATUS_INVALID_ARGUMENT);
	assert_said(&error, "must specify 'step' for ensemble 'e'");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_graphs),
		cmocka_unit_test(test_bad_graphs),
		cmocka_unit_test(test_incomplete_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
