#include "measure/comparison.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/memory.h"
#include "base/protobuf.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECKED 16	       /* inputs whose answers are compared */
#define LEAST_ANSWERS 10       /* in a window, however long one takes */
#define WARM_SHARE 10	       /* of a window, before it */
#define PROBE_SHARE 4	       /* a probe's window is a fourth of the others */
#define RESPONSE_RAW_OUTPUTS 6 /* the field of ModelInferResponse */

static const size_t probe_sizes[PROBE_SIZES] = {256, 8192, 131072, 2097152};

/* What a comparison uses while it runs. */
struct runner {
	struct comparison *comparison;
	struct loop *loop;
	struct workspace *workspace;
	struct variant variants[VARIANTS];
	struct input_set *inputs; /* of the model */
	struct input_set *probes[PROBE_SIZES];
	size_t hits[VARIANTS]; /* among the answers that were compared */
	uint64_t next_new;     /* the number of the next input that nobody was asked for */
	uint64_t runs;
	comparison_progress_fn progress;
	void *context;
	size_t done;
	size_t all;
	struct error *error;
};

const char *
workload_name(const struct comparison *comparison, enum workload workload)
{
	static const char *const names[WORKLOADS] = {
		[WORKLOAD_REPEATED] = "the same request",
		[WORKLOAD_POPULAR] = "popular requests",
		[WORKLOAD_NEW] = "new requests",
	};

	return workload == WORKLOAD_NEW && comparison->new_is_known ? "all inputs in turn" : names[workload];
}

/* --- Forms --- */

static struct request_form
form_of(const struct runner *runner, const struct variant *variant, const struct input_set *inputs)
{
	const struct comparison_options *options = &runner->comparison->options;

	return (struct request_form){
		.protocol = options->variants.protocol,
		.model_name = variant->target.name,
		.batch = variant->target.config.max_batch_size == 0 ? 0 : options->batch,
		.inputs = inputs,
		.host = client_host(variant->target.client),
		.path = client_path(variant->target.client),
	};
}

static struct request_form
probe_form(const struct runner *runner, const struct variant *variant, size_t size)
{
	struct request_form form = form_of(runner, variant, runner->probes[size]);

	form.model_name = variant->probe.name;
	form.batch = 0;
	return form;
}

/* --- Setting up --- */

static bool
is_stopped(const struct runner *runner)
{
	return *runner->comparison->options.stopped;
}

static void
report_progress(struct runner *runner, const char *what)
{
	runner->progress(runner->context, runner->done, runner->all, what);
}

static enum status
check_batch(struct runner *runner)
{
	const struct comparison_options *options = &runner->comparison->options;
	int32_t most = runner->variants[VARIANT_NONE].target.config.max_batch_size;

	if (options->batch > 1 && (int64_t)options->batch > most) {
		return error_set(runner->error, STATUS_INVALID_ARGUMENT,
				 "-b %zu: model '%s' has a max_batch_size of %d", options->batch,
				 options->variants.model, most);
	}
	return STATUS_OK;
}

static enum status
make_probe(struct runner *runner, size_t index)
{
	const struct comparison *comparison = runner->comparison;
	char *text = memory_format("{\"data\":[{\"" PROBE_INPUT "\":[%zu]}]}",
				   comparison->probe_sizes[index] / PROBE_ELEMENT_SIZE);
	char *name = memory_format("probe%zu.json", index);
	char *path = workspace_write(runner->workspace, name, text, runner->error);
	const struct input_options options = {.files = (const char *const *)&path, .file_count = 1};

	if (path != NULL) {
		runner->probes[index] =
			input_set_new(&runner->variants[VARIANT_NONE].probe.config, &options, runner->error);
	}
	free(text);
	free(name);
	free(path);
	return runner->probes[index] == NULL ? runner->error->status : STATUS_OK;
}

static enum status
make_inputs(struct runner *runner)
{
	struct comparison *comparison = runner->comparison;
	struct input_options options = comparison->options.inputs;

	options.distinct = UINT64_MAX;
	runner->inputs = input_set_new(&runner->variants[VARIANT_NONE].target.config, &options, runner->error);
	if (runner->inputs == NULL) {
		return runner->error->status;
	}
	if (input_set_distinct(runner->inputs) < comparison->options.popularity.distinct) {
		comparison->options.popularity.distinct = input_set_distinct(runner->inputs);
	}
	/* Those below are asked for before: by check_answers, and as popular ones. */
	runner->next_new = CHECKED + comparison->options.popularity.distinct;
	for (size_t i = 0; i < PROBE_SIZES; i++) {
		comparison->probe_sizes[i] = probe_sizes[i];
		if (make_probe(runner, i) != STATUS_OK) {
			return runner->error->status;
		}
	}
	return STATUS_OK;
}

/*
 * Starts a variant that is possible here. What fails is for the user to mend, such as an option of a cache; but Triton
 * may lack the backend of the model, and is left out.
 */
static enum status
start_variant(struct runner *runner, enum variant_kind kind)
{
	struct comparison *comparison = runner->comparison;
	const struct variant_options *options = &comparison->options.variants;
	struct error why = {0};

	if (variant_is_possible(kind, options, &why)) {
		char *what = memory_format("starting %s", variant_name(kind));

		report_progress(runner, what);
		free(what);
		comparison->has[kind] = variant_start(&runner->variants[kind], kind, runner->workspace, options,
						      runner->loop, &why) == STATUS_OK;
		if (!comparison->has[kind] && kind < VARIANT_TRITON_NONE) {
			*runner->error = why;
			return why.status;
		}
	}
	if (!comparison->has[kind]) {
		(void)snprintf(comparison->why_not[kind], sizeof(comparison->why_not[kind]), "%s", why.text);
		variant_stop(&runner->variants[kind]);
	}
	return STATUS_OK;
}

static enum status
start_variants(struct runner *runner)
{
	enum status status = start_variant(runner, VARIANT_NONE);

	if (status == STATUS_OK) { /* which tells what the model's inputs are */
		status = check_batch(runner);
	}
	if (status == STATUS_OK) {
		status = make_inputs(runner);
	}
	for (enum variant_kind kind = VARIANT_NONE + 1; kind < VARIANTS && status == STATUS_OK && !is_stopped(runner);
	     kind++) {
		status = start_variant(runner, kind);
	}
	return status;
}

/* --- Answers --- */

static void
digest_answer(const struct client_call *call, enum measure_protocol protocol, struct digest *digest,
	      struct digest_value *value)
{
	struct bytes rest = buf_bytes(&call->body);
	struct protobuf_field field;

	if (protocol == MEASURE_HTTP) {
		digest_add(digest, bytes_skip(rest, call->json_length <= rest.length ? call->json_length : 0));
	} else if (rest.length > 5) {
		rest = bytes_skip(rest, 5);
		while (protobuf_next(&rest, &field) == PROTOBUF_FIELD) {
			if (field.number == RESPONSE_RAW_OUTPUTS && field.type == PROTOBUF_BYTES) {
				digest_add(digest, field.bytes);
			}
		}
	}
	digest_end(digest, value);
}

/* Asks one question of a variant. */
static enum status
ask(struct runner *runner, struct variant *variant, uint64_t number, struct digest *digest, struct digest_value *value)
{
	const struct request_form form = form_of(runner, variant, runner->inputs);
	struct client_call call = {.method = bytes_text("/inference.GRPCInferenceService/ModelInfer")};
	uint64_t *numbers = memory_array(form.batch + 1, sizeof(*numbers));
	struct request request;
	enum status status;

	for (size_t i = 0; i < form.batch + 1; i++) {
		numbers[i] = number;
	}
	request_init(&request, &form);
	status = request_make(&request, numbers, runner->error);
	if (status == STATUS_OK) {
		call.head = request.head;
		call.pieces = request.pieces;
		call.piece_count = request.piece_count;
		status = client_ask(runner->loop, variant->target.client, &call, runner->error);
	}
	if (status == STATUS_OK) {
		runner->comparison->answer_bytes = (double)call.received;
		runner->comparison->request_bytes = 0;
		for (size_t i = 0; i < request.piece_count; i++) {
			runner->comparison->request_bytes += (double)request.pieces[i].length;
		}
		runner->hits[variant->kind] += call.cache == CLIENT_CACHE_HIT;
		digest_answer(&call, form.protocol, digest, value);
	} else {
		(void)error_prefix(runner->error, "%s: ", variant_name(variant->kind));
	}
	client_call_free(&call);
	request_fini(&request);
	free(numbers);
	return status;
}

/* Does every variant answer this input as the first one did, when it is new there and when it is known? */
static enum status
check_answer(struct runner *runner, uint64_t number, struct digest *digest)
{
	struct digest_value first = {.length = 0};
	bool differs = false;

	for (enum variant_kind kind = 0; kind < VARIANTS; kind++) {
		for (int again = 0; again < 2 && runner->comparison->has[kind]; again++) {
			struct digest_value value;

			if (ask(runner, &runner->variants[kind], number, digest, &value) != STATUS_OK) {
				return runner->error->status;
			}
			first = first.length == 0 ? value : first;
			differs = differs || memcmp(value.bytes, first.bytes, sizeof(value.bytes)) != 0;
		}
	}
	runner->comparison->checked++;
	runner->comparison->different += differs;
	return STATUS_OK;
}

/* A cache that has not answered what it was asked twice is none: its server cannot be reached, say. */
static void
leave_out_idle_caches(struct runner *runner)
{
	struct comparison *comparison = runner->comparison;

	for (enum variant_kind kind = VARIANT_LOCAL; kind <= VARIANT_REDIS; kind++) {
		struct variant *variant = &runner->variants[kind];
		char words[512];

		if (!comparison->has[kind] || runner->hits[kind] > 0) {
			continue;
		}
		process_last_words(variant->process, words, sizeof(words));
		(void)snprintf(
			comparison->why_not[kind], sizeof(comparison->why_not[kind]),
			"it answered none of %zu questions that were asked twice; the last words of its server: %s",
			comparison->checked, words);
		comparison->has[kind] = false;
		variant_stop(variant);
	}
}

static enum status
check_answers(struct runner *runner)
{
	struct digest *digest = digest_new();
	enum status status = STATUS_OK;

	memory_check(digest != NULL);
	report_progress(runner, "comparing their answers");
	for (uint64_t i = 0; i < CHECKED && status == STATUS_OK && !is_stopped(runner); i++) {
		status = check_answer(runner, i, digest);
	}
	digest_free(digest);
	if (status == STATUS_OK && !is_stopped(runner)) {
		leave_out_idle_caches(runner);
	}
	return status;
}

/* --- Rounds --- */

static struct load_options
load_of(struct runner *runner, enum workload workload, unsigned concurrency)
{
	const struct comparison_options *options = &runner->comparison->options;
	struct load_options load = {.concurrency = concurrency, .least = LEAST_ANSWERS};

	switch (workload) {
	case WORKLOAD_REPEATED:
		load.popularity = (struct popularity_options){.distinct = 1};
		break;
	case WORKLOAD_POPULAR:
		load.popularity = options->popularity;
		break;
	case WORKLOAD_NEW:
		load.popularity = (struct popularity_options){.first = runner->next_new};
		break;
	}
	load.popularity.seed = options->popularity.seed + ++runner->runs;
	return load;
}

/* Requests until what is repeated is known, then a window. `before`: statistics as it begins, if they are wanted. */
static enum status
run_load(struct runner *runner, struct load *load, uint64_t ns, struct model_statistics *before,
	 struct load_window *window)
{
	const bool *stopped = runner->comparison->options.stopped;
	enum status status = load_run(load, ns / WARM_SHARE, stopped, window, runner->error);

	if (status == STATUS_OK && before != NULL) {
		status = target_statistics(&runner->variants[VARIANT_NONE].target, before, runner->error);
	}
	if (status == STATUS_OK) {
		status = load_run(load, ns, stopped, window, runner->error);
	}
	if (status == STATUS_OK && window->latency.count == 0 && !*stopped) {
		status = error_set(runner->error, STATUS_UNAVAILABLE, "no request was answered within %llu ms: %s",
				   (unsigned long long)((window->ended_ns - window->begun_ns) / NS_PER_MS),

				   window->failed > 0 ? window->why : "give a longer --measurement-interval");
	}
	return status;
}

/*
 * One window of one load, over new connections: which of the server's threads gets a connection changes the figures, so
 * that each round should be another draw.
 */
static enum status
measure(struct runner *runner, const struct variant *variant, const struct request_form *form,
	const struct load_options *options, uint64_t ns, struct model_statistics *before, struct load_window *window)
{
	struct client *client = client_new(runner->loop, variant->url, &(struct tls_client_options){0}, runner->error);
	struct load *load = client == NULL ? NULL : load_new(runner->loop, client, form, options, runner->error);
	enum status status = load == NULL ? runner->error->status : run_load(runner, load, ns, before, window);

	if (load != NULL && options->popularity.distinct == 0) {
		runner->next_new += load_inputs(load);
		runner->comparison->new_is_known =
			runner->comparison->new_is_known || runner->next_new > input_set_distinct(runner->inputs);
	}
	load_free(load);
	client_free(client);
	return status == STATUS_OK ? status : error_prefix(runner->error, "%s: ", variant_name(variant->kind));
}

/* What the model itself takes is told by the first variant, which runs it for each request, one at a time. */
static bool
tells_cost(enum variant_kind kind, enum workload workload, size_t level)
{
	return kind == VARIANT_NONE && workload == WORKLOAD_NEW && level == 0;
}

static enum status
read_cost(struct runner *runner, const struct model_statistics *before, size_t round)
{
	struct model_statistics now;
	struct model_statistics between;
	double cost = 0;

	if (target_statistics(&runner->variants[VARIANT_NONE].target, &now, runner->error) != STATUS_OK) {
		return runner->error->status;
	}
	between = model_statistics_between(before, &now);
	for (enum statistics_kind kind = STATISTICS_COMPUTE_INPUT; kind <= STATISTICS_COMPUTE_OUTPUT; kind++) {
		const struct statistics_duration *duration = &between.durations[kind];

		cost += duration->count == 0 ? 0 : (double)duration->ns / (double)duration->count;
	}
	runner->comparison->computes[round] = cost;
	return STATUS_OK;
}

static enum status
measure_cell(struct runner *runner, enum variant_kind kind, enum workload workload, size_t level, size_t round)
{
	struct comparison *comparison = runner->comparison;
	struct cell *cell = &comparison->cells[kind][workload][level];
	struct variant *variant = &runner->variants[kind];
	const struct request_form form = form_of(runner, variant, runner->inputs);
	const struct load_options load = load_of(runner, workload, comparison->options.levels[level]);
	struct load_window *window = memory_new(sizeof(*window));
	struct model_statistics before = {0};
	bool tells = tells_cost(kind, workload, level);
	enum status status =
		measure(runner, variant, &form, &load, comparison->options.window_ns, tells ? &before : NULL, window);

	if (status == STATUS_OK && tells) {
		status = read_cost(runner, &before, round);
	}
	if (status == STATUS_OK) {
		cell->throughputs[round] = (double)window->latency.count * 1e9 /
					   (double)(window->ended_ns - window->begun_ns) *
					   (double)(form.batch == 0 ? 1 : form.batch);
		cell->means[round] = latencies_mean(&window->latency);
		cell->medians[round] = latencies_percentile(&window->latency, 50);
		cell->p99s[round] = latencies_percentile(&window->latency, 99);
		cell->failed += window->failed;
		cell->hits += window->hits.count;
		cell->told += window->hits.count + window->misses.count;
		runner->done++;
		report_progress(runner, variant_name(kind));
	}
	free(window);
	return status;
}

static enum status
measure_probe(struct runner *runner, enum variant_kind kind, size_t size, size_t round)
{
	struct comparison *comparison = runner->comparison;
	struct variant *variant = &runner->variants[kind];
	const struct request_form form = probe_form(runner, variant, size);
	const struct load_options load = {.concurrency = 1, .popularity = {.distinct = 1}, .least = LEAST_ANSWERS};
	struct load_window *window = memory_new(sizeof(*window));
	enum status status =
		measure(runner, variant, &form, &load, comparison->options.window_ns / PROBE_SHARE, NULL, window);

	if (status == STATUS_OK) {
		comparison->probes[kind][size][round] = latencies_percentile(&window->latency, 50);
		runner->done++;
		report_progress(runner, "hits by size");
	}
	free(window);
	return status;
}

static bool
has_probe(const struct runner *runner, enum variant_kind kind)
{
	return runner->comparison->has[kind] && (kind == VARIANT_LOCAL || kind == VARIANT_REDIS);
}

static enum status
measure_round(struct runner *runner, size_t round)
{
	enum status status = STATUS_OK;

	for (enum workload workload = 0; workload < WORKLOADS; workload++) {
		for (size_t level = 0; level < runner->comparison->options.level_count; level++) {
			for (enum variant_kind kind = 0; kind < VARIANTS && !is_stopped(runner); kind++) {
				if (status == STATUS_OK && runner->comparison->has[kind]) {
					status = measure_cell(runner, kind, workload, level, round);
				}
			}
		}
	}
	for (size_t size = 0; size < PROBE_SIZES; size++) {
		for (enum variant_kind kind = 0; kind < VARIANTS && !is_stopped(runner); kind++) {
			if (status == STATUS_OK && has_probe(runner, kind)) {
				status = measure_probe(runner, kind, size, round);
			}
		}
	}
	return status;
}

static size_t
count_steps(const struct runner *runner)
{
	size_t all = 0;

	for (enum variant_kind kind = 0; kind < VARIANTS; kind++) {
		all += runner->comparison->has[kind] ? WORKLOADS * runner->comparison->options.level_count : 0;
		all += has_probe(runner, kind) ? PROBE_SIZES : 0;
	}
	return all * runner->comparison->options.rounds;
}

static enum status
measure_rounds(struct runner *runner)
{
	struct comparison *comparison = runner->comparison;
	enum status status = STATUS_OK;

	runner->all = count_steps(runner);
	for (size_t round = 0; round < comparison->options.rounds && status == STATUS_OK && !is_stopped(runner);
	     round++) {
		status = measure_round(runner, round);
		comparison->rounds += status == STATUS_OK && !is_stopped(runner);
	}
	if (status == STATUS_OK && comparison->rounds == 0) {
		status = error_set(runner->error, STATUS_CANCELLED, "interrupted before the first round was complete");
	}
	return status;
}

enum status
comparison_run(struct comparison *comparison, struct loop *loop, comparison_progress_fn progress, void *context,
	       struct error *error)
{
	struct runner runner = {
		.comparison = comparison, .loop = loop, .progress = progress, .context = context, .error = error};
	enum status status;

	runner.workspace = workspace_new(comparison->options.repository, comparison->options.variants.model, error);
	status = runner.workspace == NULL ? error->status : start_variants(&runner);
	if (status == STATUS_OK) {
		status = check_answers(&runner);
	}
	if (status == STATUS_OK) {
		status = measure_rounds(&runner);
	}
	for (enum variant_kind kind = 0; kind < VARIANTS; kind++) {
		variant_stop(&runner.variants[kind]);
	}
	for (size_t i = 0; i < PROBE_SIZES; i++) {
		input_set_free(runner.probes[i]);
	}
	input_set_free(runner.inputs);
	workspace_free(runner.workspace);
	return status;
}

/* --- What follows --- */

/* The share of hits, each of which saves so much, that makes up for misses that cost so much. */
static double
share_for(double cost, double saved)
{
	cost = cost > 0 ? cost : 0;
	return saved > 0 ? cost / (cost + saved) : 2;
}

double
comparison_latency(const struct comparison *comparison, enum variant_kind kind, enum workload workload)
{
	return estimate_of(comparison->cells[kind][workload][0].means, comparison->rounds).median;
}

struct estimate
comparison_break_even(const struct comparison *comparison, enum variant_kind kind)
{
	double saved = comparison_latency(comparison, VARIANT_NONE, WORKLOAD_REPEATED) -
		       comparison_latency(comparison, kind, WORKLOAD_REPEATED);
	struct estimate cost =
		estimate_difference(comparison->cells[kind][WORKLOAD_NEW][0].means,
				    comparison->cells[VARIANT_NONE][WORKLOAD_NEW][0].means, comparison->rounds);

	return (struct estimate){.median = share_for(cost.median, saved),
				 .low = share_for(cost.low, saved),
				 .high = share_for(cost.high, saved),
				 .confidence = cost.confidence};
}
