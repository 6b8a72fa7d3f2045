#include "app/measure_session.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "simulation/trace_file.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SHIFT 20 /* so many requests fit into a millisecond */

static enum status
check_batch(struct measure_session *session, struct error *error)
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
read_records(const struct measure_settings *settings, struct trace *trace, struct error *error)
{
	trace->model = bytes_text(settings->model);
	trace->version = bytes_text(settings->version);
	for (size_t i = 0; i < settings->record_count; i++) {
		if (trace_read(trace, settings->records[i], error) != STATUS_OK) {
			return error_prefix(error, "--replay ");
		}
	}
	if (trace->count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--replay %s: no look-up of model '%s'%s%s is in it",
				 settings->records[0], settings->model, *settings->version == '\0' ? "" : ", version ",
				 settings->version);
	}
	trace_sort(trace);
	return STATUS_OK;
}

static enum status
make_replay(struct measure_session *session, struct error *error)
{
	struct trace trace = {.count = 0};
	struct replay_request *requests;

	if (read_records(&session->settings, &trace, error) != STATUS_OK) {
		trace_fini(&trace);
		return error->status;
	}
	requests = memory_array(trace.count, sizeof(*requests));
	for (size_t i = 0; i < trace.count; i++) {
		requests[i] = (struct replay_request){trace.lookups[i].key, trace.lookups[i].time_ms};
	}
	session->replay = replay_new(requests, trace.count);
	session->recorded_share = trace.share;
	session->skipped = trace.skipped;
	free(requests);
	trace_fini(&trace);
	return STATUS_OK;
}

/* The record says how many requests there are, of which inputs, and when, as far as the user does not say it. */
static enum status
set_replay(struct measure_session *session, struct error *error)
{
	struct measure_settings *settings = &session->settings;
	size_t rows = session->form.batch == 0 ? 1 : session->form.batch;
	uint64_t wanted = settings->profile.requests > 0 ? settings->profile.requests : 1;
	uint64_t requests;
	double rate;

	if (make_replay(session, error) != STATUS_OK) {
		return error->status;
	}
	requests = replay_count(session->replay) / rows;
	if (requests < wanted) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--replay: the record has %zu look-ups of model '%s', too few for %" PRIu64
				 " requests of %zu",
				 replay_count(session->replay), settings->model, wanted, rows);
	}
	if (replay_distinct(session->replay) > POPULARITY_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--replay: the record has %zu different questions, of which there may be 10000000",
				 replay_distinct(session->replay));
	}
	if (settings->profile.requests == 0) {
		settings->profile.requests = requests;
	}
	settings->popularity.distinct = replay_distinct(session->replay);
	if (!settings->has_rates && !settings->has_range) {
		rate = replay_rate(session->replay) / (double)rows;
		session->is_timed = settings->has_rates = true;
		settings->range = (struct measure_range){rate, rate, 1};
	}
	return STATUS_OK;
}

static enum status
make_inputs(struct measure_session *session, struct error *error)
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
	if (inputs->file_count > 0 && !settings->has_distinct && session->replay == NULL) {
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

enum status
measure_session_open(struct measure_session *session, struct error *error)
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
	client_stop_with(session->target.client, &session->interruption.is_stopped);
	session->target.loop = session->loop;
	session->target.name = bytes_text(settings->model);
	session->target.version = bytes_text(settings->version);
	if (target_open(&session->target, error) != STATUS_OK) {
		return error_prefix(error, "model '%s' at %s: ", settings->model, settings->url);
	}
	if (check_batch(session, error) != STATUS_OK ||
	    (settings->record_count > 0 && set_replay(session, error) != STATUS_OK) ||
	    make_inputs(session, error) != STATUS_OK) {
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

void
measure_session_close(struct measure_session *session)
{
	target_close(&session->target);
	client_free(session->target.client);
	input_set_free(session->inputs);
	replay_free(session->replay);
	interruption_end(&session->interruption);
	if (session->loop != NULL) {
		loop_free(session->loop);
	}
	free(session->measurements);
	measure_options_fini(&session->settings);
}
