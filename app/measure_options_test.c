#include "app/measure_options.h"

#include "base/unit_test.h"

#define MOST 32

static enum status
parse(const char *line, struct measure_settings *settings, struct error *error)
{
	static char copy[512];
	static char *arguments[MOST + 2];
	char *rest = copy;
	int count = 0;

	assert_true(strlen(line) < sizeof(copy));
	(void)strcpy(copy, line);
	arguments[0] = "measure";
	while (rest != NULL && *rest != '\0') {
		arguments[++count] = strsep(&rest, " ");
	}
	arguments[count + 1] = NULL;
	return measure_options_parse(count, arguments + 1, settings, error);
}

static void
test_presets(void **state)
{
	struct measure_settings settings;
	struct error error;

	(void)state;
	assert_int_equal(parse("-m simple", &settings, &error), STATUS_OK);
	assert_string_equal(settings.model, "simple");
	assert_string_equal(settings.url, "http://localhost:8000");
	assert_int_equal(settings.protocol, MEASURE_HTTP);
	assert_int_equal(settings.batch, 1);
	assert_false(settings.has_rates);
	assert_true(settings.range.start == 1 && settings.range.end == 1);
	assert_int_equal(settings.profile.trials, 10);
	assert_int_equal(settings.popularity.distinct, 1);
	measure_options_fini(&settings);
}

static void
test_perf_analyzers_forms(void **state)
{
	struct measure_settings settings;
	struct error error;

	(void)state;
	assert_int_equal(parse("-m simple -u h:9 -i grpc -b 4 --request-rate-range=10:30:10 -p2000 -s 5 -r 3 "
			       "--shape A:3 --input-data zero --percentile=95",
			       &settings, &error),
			 STATUS_OK);
	assert_string_equal(settings.url, "grpc://h:9");
	assert_int_equal(settings.protocol, MEASURE_GRPC);
	assert_int_equal(settings.batch, 4);
	assert_true(settings.has_rates && settings.range.end == 30 && settings.range.step == 10);
	assert_int_equal(settings.profile.interval_ns, UINT64_C(2000000000));
	assert_int_equal(settings.inputs.shape_count, 1);
	assert_true(settings.inputs.zero && settings.inputs.file_count == 0);
	measure_options_fini(&settings);
	assert_int_equal(parse("-m simple -a --sync --max-threads 4 -v -i grpc", &settings, &error), STATUS_OK);
	assert_string_equal(settings.url, "grpc://localhost:8001");
	measure_options_fini(&settings);
	assert_int_equal(parse("-m simple -u https://h:9/p -H X:1", &settings, &error), STATUS_OK);
	assert_string_equal(settings.url, "https://h:9/p");
	assert_bytes(buf_bytes(&settings.fields), "X:1\r\n");
	measure_options_fini(&settings);
}

static void
test_what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *line;
		const char *text;
	} cases[] = {
		{"", "no model is given: -m NAME"},
		{"-m", "'-m' needs a value"},
		{"-m simple --zpif 1", "unknown argument '--zpif'"},
		{"-m simple more", "unknown argument 'more'"},
		{"-m simple -b 0", "-b 0: give a number of inferences"},
		{"-m simple -b 1.5", "-b 1.5: give"},
		{"-m simple -i tcp", "-i tcp: give http or grpc"},
		{"-m simple -i grpc -u http://h", "-i grpc does not go with -u http://h"},
		{"-m simple -i grpc --input-tensor-format json", "is for HTTP"},
		{"-m simple --concurrency-range 0", "--concurrency-range 0: give"},
		{"-m simple --concurrency-range 1.5", "whole numbers"},
		{"-m simple --concurrency-range 4:2", "--concurrency-range 4:2: give"},
		{"-m simple --concurrency-range 1:2:0", "--concurrency-range 1:2:0: give"},
		{"-m simple --concurrency-range 1:2:3:4", "give START"},
		{"-m simple --concurrency-range 1:0", "ends at --latency-threshold"},
		{"-m simple --request-rate-range nan", "--request-rate-range nan: give"},
		{"-m simple --percentile 0.5", "a number from 1 to 100"},
		{"-m simple --distinct 99999999999", "--distinct 99999999999: give"},
		{"-m simple --distinct 0 --zipf 1", "give a --distinct above 0"},
		{"-m simple -H X", "-H X: give NAME:VALUE"},
		{"-m simple -H X(:1", "give NAME:VALUE"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct measure_settings settings;
		struct error error;

		assert_int_not_equal(parse(cases[i].line, &settings, &error), STATUS_OK);
		if (strstr(error.text, cases[i].text) == NULL) {
			fail_msg("%s: %s", cases[i].line, error.text);
		}
		measure_options_fini(&settings);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_presets),
		cmocka_unit_test(test_perf_analyzers_forms),
		cmocka_unit_test(test_what_is_wrong_is_named),
	};

	return cmocka_run_group_tests_name("measure options", tests, NULL, NULL);
}
