#include "app/command_line.h"

#include "base/unit_test.h"

#define ARGUMENTS_MAX 6

static enum status
parse(const char *const *arguments, struct serve_settings *settings, struct error *error)
{
	char *given[ARGUMENTS_MAX];
	int count = 0;

	while (count < ARGUMENTS_MAX && arguments[count] != NULL) {
		given[count] = (char *)arguments[count];
		count++;
	}
	return command_line_parse(count, given, settings, error);
}

#define PARSE(settings, error, ...) parse((const char *const[ARGUMENTS_MAX]){__VA_ARGS__}, (settings), (error))

static void
test_defaults(void **state)
{
	struct serve_settings settings;
	struct error error;

	(void)state;
	assert_int_equal(PARSE(&settings, &error, "--model-repository=/models"), STATUS_OK);
	assert_int_equal(settings.model_repositories.count, 1);
	assert_string_equal(settings.model_repositories.items[0], "/models");
	assert_int_equal(settings.http_port, 8000);
	assert_int_equal(settings.metrics_port, 8002);
	assert_string_equal(settings.http_address, "0.0.0.0");
	assert_null(settings.metrics_address);
	assert_int_equal(settings.response_cache_byte_size, -1);
	assert_true(settings.exit_on_error && settings.strict_readiness && settings.allow_cache_control);
	assert_false(settings.cache_all_models || settings.reuse_http_port);
	command_line_fini(&settings);
}

/* As getopt_long reads them: values apart, switches without a value, beginnings of names, lists. */
static void
test_forms(void **state)
{
	struct serve_settings settings;
	struct error error;

	(void)state;
	assert_int_equal(PARSE(&settings, &error, "--model-repository", "/a", "--model-store=/b", "--log-verbose", "1",
			       "--cache-all-models"),
			 STATUS_OK);
	assert_int_equal(settings.model_repositories.count, 2);
	assert_string_equal(settings.model_repositories.items[1], "/b");
	assert_int_equal(settings.log_verbose, 1);
	assert_true(settings.cache_all_models);
	command_line_fini(&settings);
	assert_int_equal(PARSE(&settings, &error, "--model-repo=/a", "--exit-on-error", "false", "--exit-timeout=1m",
			       "--allow-cache-admin"),
			 STATUS_OK);
	assert_false(settings.exit_on_error);
	assert_int_equal(settings.exit_timeout_secs, 60);
	assert_int_equal(settings.cache_admin, 1); /* true */
	command_line_fini(&settings);
}

/* As in Triton, mutual TLS is TLS. */
static void
test_tls(void **state)
{
	struct serve_settings settings;
	struct error error;

	(void)state;
	assert_int_equal(PARSE(&settings, &error, "--model-repository=/a", "--metrics-use-ssl-mutual",
			       "--metrics-server-cert=c", "--metrics-server-key=k", "--metrics-root-cert=r"),
			 STATUS_OK);
	assert_true(settings.metrics_tls.use_ssl && settings.metrics_tls.mutual);
	assert_string_equal(settings.metrics_tls.cert, "c");
	assert_string_equal(settings.metrics_tls.key, "k");
	assert_string_equal(settings.metrics_tls.root, "r");
	assert_false(settings.http_tls.use_ssl);
	command_line_fini(&settings);
	assert_int_not_equal(PARSE(&settings, &error, "--model-repository=/a", "--http-use-ssl-mutual",
				   "--http-server-cert=c", "--http-server-key=k"),
			     STATUS_OK);
	assert_non_null(strstr(error.text, "--http-use-ssl-mutual needs --http-server-cert=FILE, "
					   "--http-server-key=FILE and --http-root-cert=FILE"));
	command_line_fini(&settings);
}

/* Each is refused, in words that name the option and the remedy. */
static void
test_refusals(void **state)
{
	static const struct {
		const char *argument;
		const char *text;
	} cases[] = {
		{"surplus", "unexpected argument 'surplus'"},
		{"-h", "unexpected argument '-h'"},
		{"--http-prt=1", "unrecognized option '--http-prt', did you mean '--http-port'?"},
		{"--model-repo-sitory=x", "did you mean '--model-repository'?"},
		{"--cache-confg=local,size=1", "did you mean '--cache-config'?"},
		{"--zebra=1", "unrecognized option '--zebra'"},
		{"--=1", "unrecognized option '--'"},
		{"--http-=1", "option '--http-' could be '--http-address' or '--http-port'"},
		{"--rate-limit=off", "'--rate-limit' is one of tritonserver's that hippocamp does not have yet"},
		{"--http-port", "option '--http-port' needs a value"},
		{"--http-port=http", "'http'"},
		{"--http-port=65536", "'65536'"},
		{"--http-port=-1", "'-1'"},
		{"--http-port=", "''"},
		{"--metrics-port=99999", "'99999'"},
		{"--threads=-1", "'-1'"},
		{"--http-max-input-size=many", "'many'"},
		{"--exit-timeout-secs=1.5", "'1.5'"},
		{"--exit-on-error=maybe", "'maybe'"},
		{"--strict-readiness=2", "'2'"},
		{"--model-control-mode=sometimes", "'sometimes'"},
		{"--log-format=xml", "'xml'"},
		{"--log-verbose=loud", "'loud'"},
		{"--repository-poll-secs=0", "'0'"},
		{"--grpc-port=8000", "--http-port and --grpc-port are both 8000"},
		{"--allow-gpu-metrics=true", "has no GPU metrics"},
		{"--metrics-port=8000", "--http-port and --metrics-port are both 8000"},
		{"--http-server-cert=c", "--http-server-cert is given without --http-use-ssl"},
		{"--metrics-server-key=k", "--metrics-server-key is given without --metrics-use-ssl"},
		{"--http-root-cert=r", "--http-root-cert is given without --http-use-ssl"},
		{"--http-use-ssl", "--http-use-ssl needs --http-server-cert=FILE and --http-server-key=FILE"},
		{"--metrics-use-ssl-mutual", "--metrics-use-ssl-mutual needs --metrics-server-cert=FILE"},
		{"--load-model=x", "--load-model is for --model-control-mode=explicit only"},
	};
	struct serve_settings settings;
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_not_equal(PARSE(&settings, &error, "--model-repository=/models", cases[i].argument),
				     STATUS_OK);
		if (strstr(error.text, cases[i].text) == NULL) {
			fail_msg("%s: %s", cases[i].argument, error.text);
		}
		assert_true(strcmp(cases[i].argument, "--zebra=1") != 0 || strstr(error.text, "did you mean") == NULL);
		command_line_fini(&settings);
	}
	assert_int_not_equal(PARSE(&settings, &error, "--http-port=1"), STATUS_OK);
	assert_non_null(strstr(error.text, "--model-repository=DIR"));
	command_line_fini(&settings);
	assert_int_not_equal(PARSE(&settings, &error, "--model-repository=/models", "--cache-config=local,size=1MB",
				   "--response-cache-byte-size=1000000"),
			     STATUS_OK);
	assert_non_null(strstr(error.text, "Incompatible flags --response-cache-byte-size and --cache-config"));
	command_line_fini(&settings);
}

/* What is wrong in a value is told with what is expected. */
static void
test_values_are_told(void **state)
{
	struct serve_settings settings;
	struct error error;

	(void)state;
	(void)PARSE(&settings, &error, "--model-repository=/models", "--http-port=http");
	assert_non_null(strstr(error.text, "http-port"));
	assert_non_null(strstr(error.text, "expected"));
	command_line_fini(&settings);
	(void)PARSE(&settings, &error, "--model-repository=/models", "--log-format=xml");
	assert_non_null(strstr(error.text, "one of"));
	command_line_fini(&settings);
}

static void
test_help(void **state)
{
	static const char *const names[] = {"--model-repository=DIR",	     "--http-port=N",
					    "--cache-config=NAME,KEY=VALUE", "--log-verbose=N",
					    "--exit-timeout-secs=s",	     "--allow-cache-admin=BOOL"};
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	command_line_help(&out);
	buf_byte(&out, '\0');
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		assert_non_null(strstr((const char *)buf_bytes(&out).at, names[i]));
	}
	buf_fini(&out);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_forms),		 cmocka_unit_test(test_tls),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_values_are_told), cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
