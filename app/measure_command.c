#include "app/measure_command.h"

#include "app/measure_compare.h"
#include "app/measure_session.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "measure/summary.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)16 << 20)
#define FEW_INPUTS UINT64_C(1000000000)

static int
fail(const char *text)
{
	(void)fprintf(stderr, "hippocamp measure: %s\n", text);
	return 1;
}

static void
print(struct buf *text)
{
	(void)fwrite(text->at, 1, text->length, stdout);
	(void)fflush(stdout);
	buf_fini(text);
}

/* --- Levels --- */

/* A line on the terminal, which the next one replaces. */
static void
on_progress(void *context, unsigned window, const struct load_window *so_far)
{
	const struct measure_settings *settings = context;
	double seconds = (double)(clock_now_ns() - so_far->begun_ns) / 1e9;
	uint64_t answers = so_far->latency.count;

	if (settings->profile.requests > 0) {
		(void)fprintf(stderr, "\r[%" PRIu64 "/%" PRIu64 "] %.0f s, %.0f requests/s\033[K", answers,
			      settings->profile.requests, seconds, (double)answers / seconds);
	} else {
		(void)fprintf(stderr, "\r[window %u of at most %u] %.0f s, %.0f requests/s\033[K", window,
			      settings->profile.trials, seconds, (double)answers / seconds);
	}
}

static void
end_progress(const struct measure_session *session)
{
	if (session->settings.profile.progress != NULL) {
		(void)fputs("\r\033[K", stderr);
	}
}

static struct summary_style
style_of(const struct measure_session *session)
{
	return (struct summary_style){.batch = session->form.batch,
				      .percentile = session->settings.profile.percentile,
				      .is_cached = session->target.is_cached,
				      .has_statistics = session->target.has_statistics};
}

static enum status
measure_level(struct measure_session *session, double level, struct error *error)
{
	const struct measure_settings *settings = &session->settings;
	const struct load_options load = {.concurrency = settings->has_rates ? 0 : (unsigned)level,
					  .rate = level,
					  .is_poisson = settings->is_poisson,
					  .limit = settings->profile.requests,
					  .popularity = settings->popularity,
					  .replay = session->replay,
					  .is_timed = session->is_timed};
	const struct summary_style style = style_of(session);
	struct measurement *measurement;
	struct buf text;
	enum status status;

	session->measurements = memory_grow(session->measurements, session->count + 1, sizeof(*session->measurements));
	measurement = &session->measurements[session->count];
	status = profile_run(&session->target, &session->form, &load, &settings->profile,
			     &session->interruption.is_stopped, measurement, error);
	end_progress(session);
	if (status != STATUS_OK) {
		return error_prefix(error, "model '%s' at %s: ", settings->model, settings->url);
	}
	session->count++;
	buf_init(&text, TEXT_MAX);
	summary_print(measurement, &style, &text);
	print(&text);
	return STATUS_OK;
}

static bool
is_too_slow(const struct measure_session *session)
{
	double threshold_ms = session->settings.latency_threshold_ms;
	const struct measurement *last = &session->measurements[session->count - 1];

	return threshold_ms > 0 &&
	       window_latency(&last->window, session->settings.profile.percentile) > threshold_ms * 1e6;
}

static enum status
measure_levels(struct measure_session *session, struct error *error)
{
	const struct measure_range *range = &session->settings.range;

	for (double level = range->start; range->end == 0 || level <= range->end; level += range->step) {
		if (measure_level(session, level, error) != STATUS_OK) {
			return error->status;
		}
		if (session->interruption.is_stopped || is_too_slow(session)) {
			break;
		}
	}
	return STATUS_OK;
}

/* --- Output --- */

static void
write_replay(const struct measure_session *session, struct buf *out)
{
	buf_format(out, "  Inputs: of %zu recorded look-ups, %zu different ones%s\n", replay_count(session->replay),
		   replay_distinct(session->replay), session->is_timed ? ", at their times" : "");
	if (session->recorded_share < 1) {
		buf_format(out,
			   "  [WARNING] %.3g %% of the questions were recorded: the others are not asked, and need no "
			   "place in the cache\n",
			   session->recorded_share * 100);
	}
	if (session->skipped > 0) {
		buf_format(out, "  [WARNING] %zu lines of the record could not be read\n", session->skipped);
	}
}

static void
print_settings(const struct measure_session *session)
{
	const struct measure_settings *settings = &session->settings;
	const struct popularity_options *popularity = &settings->popularity;
	struct buf text;

	buf_init(&text, TEXT_MAX);
	buf_format(&text, "*** Measurement Settings ***\n  Batch size: %zu\n  Service Kind: TRITON, at %s\n",
		   settings->batch, settings->url);
	buf_format(&text, "  Measurement window: %" PRIu64 " msec\n", settings->profile.interval_ns / (NS_PER_MS));
	if (settings->profile.percentile > 0) {
		buf_format(&text, "  Stabilizing using p%g latency\n", settings->profile.percentile);
	} else {
		buf_text(&text, "  Stabilizing using average latency and throughput\n");
	}
	if (session->replay != NULL) {
		write_replay(session, &text);
	} else if (popularity->distinct == 0) {
		buf_text(&text, "  Inputs: none twice\n");
	} else if (popularity->distinct == 1 && popularity->drift == 0) {
		buf_text(&text, "  Inputs: the same one in all requests\n");
	} else {
		buf_format(&text, "  Inputs: %" PRIu64 " at one time, Zipf's alpha %g, %g new ones a second\n",
			   popularity->distinct, popularity->alpha, popularity->drift);
	}
	if (popularity->distinct == 0 ? input_set_distinct(session->inputs) < FEW_INPUTS
				      : input_set_distinct(session->inputs) < popularity->distinct) {
		buf_format(&text, "  [WARNING] There are only %" PRIu64 " different inputs: then they come again\n",
			   input_set_distinct(session->inputs));
	}
	buf_byte(&text, '\n');
	print(&text);
}

static enum status
write_csv(const struct measure_session *session, struct error *error)
{
	const struct summary_style style = style_of(session);
	const char *path = session->settings.csv;
	struct buf text;
	bool is_whole;

	buf_init(&text, TEXT_MAX);
	summary_csv(session->measurements, session->count, &style, &text);
	is_whole = buf_ok(&text) && file_write(path, buf_bytes(&text), false);
	buf_fini(&text);
	return is_whole ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "-f %s: %s", path, strerror(errno));
}

static enum status
run(struct measure_session *session, struct error *error)
{
	const struct summary_style style = style_of(session);
	struct error csv_error;
	struct buf text;
	enum status status;

	print_settings(session);
	if (isatty(STDERR_FILENO)) {
		session->settings.profile.progress = on_progress;
		session->settings.profile.context = &session->settings;
	}
	status = measure_levels(session, error);
	if (session->interruption.is_stopped) {
		(void)printf("Interrupted: this is what there is\n");
	}
	if (session->count > 0) {
		buf_init(&text, TEXT_MAX);
		summary_print_list(session->measurements, session->count, &style, &text);
		print(&text);
		if (session->settings.csv != NULL && write_csv(session, &csv_error) != STATUS_OK &&
		    status == STATUS_OK) {
			*error = csv_error;
			status = error->status;
		}
	}
	return status;
}

/* Has any request failed? They are counted in the summary. */
static bool
has_failures(const struct measure_session *session)
{
	bool failed = false;

	for (size_t i = 0; i < session->count; i++) {
		failed = failed || session->measurements[i].window.failed > 0;
	}
	return failed;
}

static int
print_help(void)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	measure_options_help(&text);
	print(&text);
	return 0;
}

int
measure_command(int count, char **arguments)
{
	struct measure_session session = {.count = 0};
	struct error error;
	int code = 0;

	if (measure_options_parse(count, arguments, &session.settings, &error) != STATUS_OK) {
		code = fail(error.text);
		(void)fputs("Try 'hippocamp measure --help'.\n", stderr);
	} else if (session.settings.wants_help) {
		code = print_help();
	} else if (session.settings.compares) {
		code = measure_compare(&session.settings, count, arguments);
	} else if (measure_session_open(&session, &error) != STATUS_OK || run(&session, &error) != STATUS_OK) {
		code = fail(error.text);
	}
	if (session.interruption.is_stopped) {
		code = INTERRUPTION_STATUS;
	} else if (code == 0) {
		code = has_failures(&session);
	}
	measure_session_close(&session);
	return code;
}
