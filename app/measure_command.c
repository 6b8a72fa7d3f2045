#include "app/measure_command.h"

#include "app/interruption.h"
#include "app/measure_compare.h"
#include "app/measure_options.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "measure/summary.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX ((size_t)16 << 20)
#define FEW_INPUTS UINT64_C(1000000000)
#define FIRST_SHIFT 20 /* so many requests fit into a millisecond */

struct session {
	struct measure_settings settings;
	struct loop *loop;
	struct target target;
	struct input_set *inputs;
	struct request_form form;
	struct interruption interruption;
	struct measurement *measurements;
	size_t count;
};

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

/* --- The session --- */

static enum status
check_batch(struct session *session, struct error *error)
{
	int32_t most = session->target.config.max_batch_size;

	if (session->settings.batch > 1 && most == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "-b %zu: model '%s' takes no batches (max_batch_size 0)", session->settings.batch,
				 session->settings.model);
	}
	if (most > 0 && session->settings.batch > (size_t)most) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "-b %zu: model '%s' has a max_batch_size of %d",
				 session->settings.batch, session->settings.model, most);
	}
	session->form.batch = most == 0 ? 0 : session->settings.batch;
	return STATUS_OK;
}

static enum status
make_inputs(struct session *session, struct error *error)
{
	struct measure_settings *settings = &session->settings;
	struct input_options *inputs = &settings->inputs;

	if (settings->popularity.distinct == 0 && !settings->has_seed) {
		settings->popularity.first = clock_wall_ms()
					     << FIRST_SHIFT; /* what an earlier run has asked may be cached */
	}
	inputs->distinct = settings->popularity.drift > 0 || settings->popularity.distinct == 0
				   ? UINT64_MAX
				   : settings->popularity.distinct;
	session->inputs = input_set_new(&session->target.config, inputs, error);
	if (session->inputs == NULL) {
		return error->status;
	}
	if (inputs->file_count > 0 && !settings->has_distinct) {
		settings->popularity.distinct = input_set_distinct(session->inputs);
	}
	return STATUS_OK;
}

static bool
can_write(const char *path)
{
	FILE *file = fopen(path, "ae");

	return file != NULL && fclose(file) == 0;
}

static enum status
open_session(struct session *session, struct error *error)
{
	struct measure_settings *settings = &session->settings;

	log_configure(&(struct log_settings){0}); /* what is wrong is said here */
	(void)signal(SIGPIPE, SIG_IGN);
	session->loop = loop_new(error);
	if (settings->csv != NULL && !can_write(settings->csv)) { /* rather now than after the measurement */
		return error_set(error, STATUS_UNAVAILABLE, "-f %s: %s", settings->csv, strerror(errno));
	}
	if (session->loop == NULL || interruption_watch(&session->interruption, session->loop, error) != STATUS_OK) {
		return error->status;
	}
	session->target.client = client_new(session->loop, settings->url, &settings->tls, error);
	if (session->target.client == NULL) {
		return error->status;
	}
	session->target.loop = session->loop;
	session->target.name = bytes_text(settings->model);
	session->target.version = bytes_text(settings->version);
	if (target_open(&session->target, error) != STATUS_OK) {
		return error_prefix(error, "model '%s' at %s: ", settings->model, settings->url);
	}
	if (check_batch(session, error) != STATUS_OK || make_inputs(session, error) != STATUS_OK) {
		return error->status;
	}
	session->form.protocol = settings->protocol;
	session->form.model_name = session->target.name;
	session->form.model_version = session->target.version;
	session->form.is_json = settings->is_json;
	session->form.inputs = session->inputs;
	session->form.host = client_host(session->target.client);
	session->form.path = client_path(session->target.client);
	session->form.fields = buf_bytes(&settings->fields);
	return STATUS_OK;
}

static void
close_session(struct session *session)
{
	target_close(&session->target);
	client_free(session->target.client);
	input_set_free(session->inputs);
	interruption_end(&session->interruption);
	if (session->loop != NULL) {
		loop_free(session->loop);
	}
	free(session->measurements);
	measure_options_fini(&session->settings);
}

/* --- Levels --- */

static struct summary_style
style_of(const struct session *session)
{
	return (struct summary_style){.batch = session->form.batch,
				      .percentile = session->settings.profile.percentile,
				      .is_cached = session->target.is_cached,
				      .has_statistics = session->target.has_statistics};
}

static enum status
measure_level(struct session *session, double level, struct error *error)
{
	const struct measure_settings *settings = &session->settings;
	const struct load_options load = {.concurrency = settings->has_rates ? 0 : (unsigned)level,
					  .rate = level,
					  .is_poisson = settings->is_poisson,
					  .popularity = settings->popularity};
	const struct summary_style style = style_of(session);
	struct measurement *measurement;
	struct buf text;

	session->measurements = memory_grow(session->measurements, session->count + 1, sizeof(*session->measurements));
	measurement = &session->measurements[session->count];
	if (profile_run(&session->target, &session->form, &load, &settings->profile, &session->interruption.is_stopped,
			measurement, error) != STATUS_OK) {
		return error_prefix(error, "model '%s' at %s: ", settings->model, settings->url);
	}
	session->count++;
	buf_init(&text, TEXT_MAX);
	summary_print(measurement, &style, &text);
	print(&text);
	return STATUS_OK;
}

static bool
is_too_slow(const struct session *session)
{
	double threshold_ms = session->settings.latency_threshold_ms;
	const struct measurement *last = &session->measurements[session->count - 1];

	return threshold_ms > 0 &&
	       window_latency(&last->window, session->settings.profile.percentile) > threshold_ms * 1e6;
}

static enum status
measure_levels(struct session *session, struct error *error)
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
print_settings(const struct session *session)
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
	if (popularity->distinct == 0) {
		buf_text(&text, "  Inputs: none twice\n");
	} else {
		buf_format(&text, "  Inputs: %" PRIu64 " at one time, Zipf's alpha %g, %g new ones a second\n",
			   popularity->distinct, popularity->alpha, popularity->drift);
	}
	if (popularity->distinct == 0 && input_set_distinct(session->inputs) < FEW_INPUTS) {
		buf_format(&text, "  [WARNING] There are only %" PRIu64 " different inputs: then they come again\n",
			   input_set_distinct(session->inputs));
	}
	buf_byte(&text, '\n');
	print(&text);
}

static enum status
write_csv(const struct session *session, struct error *error)
{
	const struct summary_style style = style_of(session);
	const char *path = session->settings.csv;
	FILE *file = fopen(path, "we");
	struct buf text;
	bool is_whole;

	if (file == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "-f %s: %s", path, strerror(errno));
	}
	buf_init(&text, TEXT_MAX);
	summary_csv(session->measurements, session->count, &style, &text);
	is_whole = buf_ok(&text) && fwrite(text.at, 1, text.length, file) == text.length;
	is_whole = fclose(file) == 0 && is_whole;
	buf_fini(&text);
	return is_whole ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "-f %s cannot be written", path);
}

static enum status
run(struct session *session, struct error *error)
{
	const struct summary_style style = style_of(session);
	struct error csv_error;
	struct buf text;
	enum status status;

	print_settings(session);
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
has_failures(const struct session *session)
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
	struct session session = {.count = 0};
	struct error error;
	int code = 0;

	if (measure_options_parse(count, arguments, &session.settings, &error) != STATUS_OK) {
		code = fail(error.text);
		(void)fputs("Try 'hippocamp measure --help'.\n", stderr);
	} else if (session.settings.wants_help) {
		code = print_help();
	} else if (session.settings.compares) {
		code = measure_compare(&session.settings, count, arguments);
	} else if (open_session(&session, &error) != STATUS_OK || run(&session, &error) != STATUS_OK) {
		code = fail(error.text);
	}
	if (session.interruption.is_stopped) {
		code = INTERRUPTION_STATUS;
	} else if (code == 0) {
		code = has_failures(&session);
	}
	close_session(&session);
	return code;
}
