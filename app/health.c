#include "app/health.h"

#include "app/ask.h"

#include <stdio.h>

#define DEFAULT_URL "http://127.0.0.1:8000"
#define TIMEOUT_S 5U

static int
fail(const char *text)
{
	(void)fprintf(stderr, "hippocamp health: %s\n", text);
	return 1;
}

int
health(int count, char **arguments)
{
	const struct question question = {.url = count > 0 ? arguments[0] : DEFAULT_URL,
					  .method = "GET",
					  .target = "/v2/health/ready",
					  .timeout_s = TIMEOUT_S};
	struct answer answer;
	struct error error;
	enum status status;

	if (count > 1 || *question.url == '-') {
		return fail("usage: hippocamp health [URL] (default " DEFAULT_URL ")");
	}
	status = ask(&question, &answer, &error);
	if (status == STATUS_OK && answer.status != 200) {
		status = error_set(&error, STATUS_UNAVAILABLE, "the server is not ready (HTTP status %d)",
				   answer.status);
	}
	buf_fini(&answer.body);
	return status == STATUS_OK ? 0 : fail(error.text);
}
