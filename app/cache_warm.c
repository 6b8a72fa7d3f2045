#include "app/cache_warm.h"

#include "app/measure_session.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SLICE_NS UINT64_C(1000000000) /* between two looks at the progress */

static const char usage[] = "usage: hippocamp cache warm -m MODEL --input-data FILE [OPTION]...\n\n"
			    "Asks the server for each inference in the files once, so that its cache has the answers. "
			    "The options are those of\n"
			    "hippocamp measure, such as -u URL, -i grpc, --shape, --concurrency-range N, and "
			    "--request-rate-range N for not more\n"
			    "than N requests a second.\n";

static int
fail(const char *text)
{
	(void)fprintf(stderr, "hippocamp cache warm: %s\n", text);
	return 1;
}

/* What has become of all. */
struct outcome {
	uint64_t known;
	uint64_t new;
	uint64_t untold; /* the server does not say */
	uint64_t failed;
	char why[512];
};

static void
add(struct outcome *outcome, const struct load_window *window)
{
	outcome->known += window->hits.count;
	outcome->new += window->misses.count;
	outcome->untold += window->latency.count - window->hits.count - window->misses.count;
	if (outcome->failed == 0 && window->failed > 0) {
		(void)snprintf(outcome->why, sizeof(outcome->why), "%s", window->why);
	}
	outcome->failed += window->failed;
}

static uint64_t
total(const struct outcome *outcome)
{
	return outcome->known + outcome->new + outcome->untold + outcome->failed;
}

static enum status
send_all(struct measure_session *session, struct outcome *outcome, struct error *error)
{
	const struct measure_settings *settings = &session->settings;
	const uint64_t count = input_set_distinct(session->inputs);
	const struct load_options options = {.concurrency = settings->has_rates ? 0 : (unsigned)settings->range.start,
					     .rate = settings->range.start,
					     .limit = count};
	struct load_window *window = memory_new(sizeof(*window));
	struct load *load = load_new(session->loop, session->target.client, &session->form, &options, error);
	enum status status = load == NULL ? error->status : STATUS_OK;

	while (status == STATUS_OK && total(outcome) < count && !session->interruption.is_stopped) {
		status = load_run(load, SLICE_NS, &session->interruption.is_stopped, window, error);
		add(outcome, window);
		(void)fprintf(stderr, "[%" PRIu64 "/%" PRIu64 "]\n", total(outcome), count);
	}
	load_free(load);
	free(window);
	return status;
}

static enum status
check(const struct measure_settings *settings, struct error *error)
{
	if (settings->inputs.file_count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "give --input-data FILE: what is to be asked");
	}
	if (settings->compares || settings->batch > 1) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--compare and -b are not of this command");
	}
	return STATUS_OK;
}

static int
report(const struct measure_session *session, const struct outcome *outcome)
{
	(void)printf("%" PRIu64 " answers: %" PRIu64 " new in the cache, %" PRIu64 " known before",
		     total(outcome) - outcome->failed, outcome->new, outcome->known);
	if (outcome->untold > 0) {
		(void)printf(", %" PRIu64 " of which the server does not say", outcome->untold);
	}
	if (outcome->failed > 0) {
		(void)printf("; %" PRIu64 " failed, the first: %s", outcome->failed, outcome->why);
	}
	(void)printf("\n");
	if (session->interruption.is_stopped) {
		return INTERRUPTION_STATUS;
	}
	return outcome->failed > 0 ? 1 : 0;
}

int
cache_warm(int count, char **arguments)
{
	struct measure_session session = {.count = 0};
	struct outcome outcome = {0};
	struct error error;
	int code;

	if (measure_options_parse(count, arguments, &session.settings, &error) != STATUS_OK) {
		code = fail(error.text);
	} else if (session.settings.wants_help) {
		code = fputs(usage, stdout) >= 0 ? 0 : 1;
	} else if (check(&session.settings, &error) != STATUS_OK ||
		   measure_session_open(&session, &error) != STATUS_OK ||
		   send_all(&session, &outcome, &error) != STATUS_OK) {
		code = session.interruption.is_stopped ? INTERRUPTION_STATUS : fail(error.text);
	} else {
		code = report(&session, &outcome);
	}
	measure_session_close(&session);
	return code;
}
