#include "app/measure_options.h"

#include "app/arguments.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX ((size_t)64 * 1024)
#define CONCURRENCY_MAX 10000
#define RATE_MAX 10000000
#define BATCH_MAX 1000000
#define STRING_MAX (1 << 24)
#define ROUNDS_MIN 3 /* fewer tell nothing of the noise */

/* Options without a short form. */
enum {
	OPTION_CONCURRENCY = 256,
	OPTION_RATE,
	OPTION_DISTRIBUTION,
	OPTION_PERCENTILE,
	OPTION_SHAPE,
	OPTION_INPUT_DATA,
	OPTION_STRING_LENGTH,
	OPTION_TENSOR_FORMAT,
	OPTION_DISTINCT,
	OPTION_ZIPF,
	OPTION_DRIFT,
	OPTION_SEED,
	OPTION_REPLAY,
	OPTION_TLS_CACERT,
	OPTION_TLS_CERT,
	OPTION_TLS_KEY,
	OPTION_COMPARE,
	OPTION_REQUEST_COUNT,
	OPTION_REPOSITORY,
	OPTION_CACHE_CONFIG,
	OPTION_REDIS_SERVER,
	OPTION_TRITON,
	OPTION_ROUNDS,
	OPTION_OUTPUT,
	OPTION_IGNORED,
};

static const struct argument_option options[] = {
	{"model-name", 'm', "NAME", "the model"},
	{"model-version", 'x', "VERSION", "its version; else the server chooses"},
	{"url", 'u', "URL",
	 "the server: HOST:PORT, http://…, https://…, unix:/PATH, grpc://… or grpcs://… (localhost:8000, over gRPC "
	 "localhost:8001)"},
	{"protocol", 'i', "http|grpc", "for a URL without a scheme (http)"},
	{"batch-size", 'b', "N", "inferences in a request (1)"},
	{"concurrency-range", OPTION_CONCURRENCY, "START:END:STEP", "requests at a time (1)"},
	{"request-rate-range", OPTION_RATE, "START:END:STEP",
	 "requests a second, sent when they are due: latency counts from then"},
	{"request-distribution", OPTION_DISTRIBUTION, "constant|poisson", "the times of these (constant)"},
	{"latency-threshold", 'l', "MS", "end the range where latency exceeds this"},
	{"input-data", OPTION_INPUT_DATA, "random|zero|PATH",
	 "what is asked: made, or from .json (perf_analyzer's form), .npz, .npy, or a folder with a file for each "
	 "input; may be repeated (random)"},
	{"shape", OPTION_SHAPE, "NAME:DIM,DIM", "of an input with dimensions of any size; may be repeated"},
	{"string-length", OPTION_STRING_LENGTH, "N", "of the strings that are made (128)"},
	{"input-tensor-format", OPTION_TENSOR_FORMAT, "binary|json", "of tensors over HTTP, both ways (binary)"},
	{"distinct", OPTION_DISTINCT, "N",
	 "how many different inputs are asked for at one time; 0: none twice (1; with files all of them)"},
	{"zipf", OPTION_ZIPF, "ALPHA", "their popularity: the k-th has a weight of 1/k^ALPHA; 0: all alike (0)"},
	{"drift", OPTION_DRIFT, "N", "new inputs a second, which are then the most popular (0)"},
	{"seed", OPTION_SEED, "N",
	 "the same one gives the same inputs and draws (1; but with --distinct 0 other inputs each time)"},
	{"replay", OPTION_REPLAY, "FILE",
	 "ask what a server was asked: a record of hippocamp serve --record, at its times, or as fast or as often as "
	 "--concurrency-range or --request-rate-range say; may be repeated, once for each server of a fleet"},
	{"percentile", OPTION_PERCENTILE, "N", "the latency that must become stable (the mean)"},
	{"measurement-interval", 'p', "MS", "the length of a window (5000)"},
	{"stability-percentage", 's', "N", "how much three windows in succession may differ (10)"},
	{"max-trials", 'r', "N", "windows at most (10)"},
	{"request-count", OPTION_REQUEST_COUNT, "N", "send so many requests at each level, in place of windows"},
	{"latency-report-file", 'f', "FILE", "write a CSV file"},
	{"header", 'H', "NAME:VALUE", "a header field for HTTP; may be repeated"},
	{"tls-cacert", OPTION_TLS_CACERT, "FILE", "PEM: authorities of the server's certificate (the system's)"},
	{"tls-cert", OPTION_TLS_CERT, "FILE", "PEM: our own certificate"},
	{"tls-key", OPTION_TLS_KEY, "FILE", "PEM: its key"},
	{"compare", OPTION_COMPARE, NULL,
	 "instead: start servers with the model, without a cache and with each, load them in turns, and write a report "
	 "(--distinct 1000 --zipf 0.9 --concurrency-range 1:8 -p 1000 unless they are given)"},
	{"model-repository", OPTION_REPOSITORY, "DIR", "where --compare finds the model; nothing in it is changed"},
	{"cache-config", OPTION_CACHE_CONFIG, "NAME,KEY=VALUE",
	 "of --compare: options of its caches 'local' and 'redis', as those of hippocamp serve; may be repeated"},
	{"redis-server", OPTION_REDIS_SERVER, "PROGRAM",
	 "what --compare starts where no Redis is named by --cache-config=redis,host=HOST (redis-server)"},
	{"tritonserver", OPTION_TRITON, "PROGRAM", "is compared as well, where there is one (tritonserver)"},
	{"rounds", OPTION_ROUNDS, "N", "of --compare: how often each is measured, 3 to 100 (6)"},
	{"output", OPTION_OUTPUT, "DIR", "of --compare: where the report goes (.)"},
	{"help", 'h', NULL, "this text"},
	{"async", 'a', NULL, NULL},
	{"sync", OPTION_IGNORED, NULL, NULL},
	{"verbose", 'v', NULL, NULL},
	{"max-threads", OPTION_IGNORED, "N", NULL},
};

/* --- Values --- */

static enum status
refuse(const char *option, const char *value, const char *wanted, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "%s %s: give %s", option, value, wanted);
}

static bool
read_number(const char *text, double least, double most, double *number)
{
	char *end;

	*number = strtod(text, &end);
	return end != text && *end == '\0' && *number >= least && *number <= most;
}

static bool
read_whole(const char *text, double least, double most, double *number)
{
	return read_number(text, least, most, number) && *number == floor(*number);
}

/* Reads START[:END[:STEP]]. Without END it is a single level. */
static bool
read_range(const char *text, double most, struct measure_range *range)
{
	double values[3] = {1, 1, 1};
	char copy[128];
	char *rest = copy;
	size_t count = 0;

	if (strlen(text) >= sizeof(copy)) {
		return false;
	}
	(void)strcpy(copy, text);
	for (char *part; (part = strsep(&rest, ":")) != NULL; count++) {
		if (count == 3 || !read_number(part, 0, most, &values[count])) {
			return false;
		}
	}
	*range = (struct measure_range){values[0], count == 1 ? values[0] : values[1], values[2]};
	return range->start > 0 && range->step > 0 && (range->end == 0 || range->end >= range->start);
}

static bool
is_whole_range(const struct measure_range *range)
{
	return range->start == floor(range->start) && range->end == floor(range->end) &&
	       range->step == floor(range->step);
}

/* A field's name consists of token characters (RFC 9110 section 5.6.2), its value of no control characters. */
static bool
add_field(struct buf *fields, const char *text)
{
	const char *colon = strchr(text, ':');
	size_t length = colon == NULL ? 0 : (size_t)(colon - text);

	if (length == 0 || strcspn(text, " \t\"(),/;<=>?@[\\]{}") < length || strpbrk(text, "\r\n") != NULL) {
		return false;
	}
	buf_text(fields, text);
	buf_text(fields, "\r\n");
	return buf_ok(fields);
}

static void
append(const char *const **list, size_t *count, const char *value)
{
	const char **grown = memory_grow((void *)*list, *count + 1, sizeof(*grown));

	grown[(*count)++] = value;
	*list = grown;
}

static void
set_input_data(struct input_options *inputs, const char *value)
{
	if (strcmp(value, "zero") == 0 || strcmp(value, "random") == 0) {
		inputs->zero = *value == 'z';
	} else {
		append(&inputs->files, &inputs->file_count, value);
	}
}

/* --- Options --- */

static enum status
set_level(struct measure_settings *settings, int code, const char *value, struct error *error)
{
	bool has_rates = code == OPTION_RATE;

	settings->has_rates = settings->has_rates || has_rates;
	settings->has_range = settings->has_range || !has_rates;
	if (!read_range(value, has_rates ? RATE_MAX : CONCURRENCY_MAX, &settings->range) ||
	    (!has_rates && !is_whole_range(&settings->range))) {
		return refuse(has_rates ? "--request-rate-range" : "--concurrency-range", value,
			      has_rates ? "START, START:END or START:END:STEP, up to 10000000 a second"
					: "START, START:END or START:END:STEP, whole numbers up to 10000",
			      error);
	}
	return STATUS_OK;
}

/* Options whose value is a number. */
static enum status
set_number(struct measure_settings *settings, int code, const char *value, struct error *error)
{
	double number;

	switch (code) {
	case 'b':
		settings->batch = read_whole(value, 1, BATCH_MAX, &number) ? (size_t)number : 0;
		return settings->batch > 0 ? STATUS_OK : refuse("-b", value, "a number of inferences", error);
	case 'l':
		return read_number(value, 0, 1e9, &settings->latency_threshold_ms)
			       ? STATUS_OK
			       : refuse("--latency-threshold", value, "a number of milliseconds", error);
	case 'p':
		if (!read_whole(value, 1, 1e9, &number)) {
			return refuse("--measurement-interval", value, "a number of milliseconds", error);
		}
		settings->has_interval = true;
		settings->profile.interval_ns = (uint64_t)number * NS_PER_MS;
		return STATUS_OK;
	case 's':
		if (!read_number(value, 0, 1000, &number)) {
			return refuse("--stability-percentage", value, "a percentage", error);
		}
		settings->profile.stability = number / 100;
		return STATUS_OK;
	case 'r':
		if (!read_whole(value, 1, 1e6, &number)) {
			return refuse("--max-trials", value, "a number of windows", error);
		}
		settings->profile.trials = (unsigned)number;
		return STATUS_OK;
	case OPTION_PERCENTILE:
		return read_number(value, 1, 100, &settings->profile.percentile)
			       ? STATUS_OK
			       : refuse("--percentile", value, "a number from 1 to 100", error);
	case OPTION_STRING_LENGTH:
		if (!read_whole(value, 0, STRING_MAX, &number)) {
			return refuse("--string-length", value, "a number of bytes, 16777216 at most", error);
		}
		settings->inputs.string_length = (size_t)number;
		return STATUS_OK;
	case OPTION_DISTINCT:
		if (!read_whole(value, 0, (double)POPULARITY_MAX, &number)) {
			return refuse("--distinct", value, "a number of inputs, 10000000 at most; 0: none twice",
				      error);
		}
		settings->has_distinct = true;
		settings->popularity.distinct = (uint64_t)number;
		return STATUS_OK;
	case OPTION_REQUEST_COUNT:
		if (!read_whole(value, 1, 1e12, &number)) {
			return refuse("--request-count", value, "a number of requests", error);
		}
		settings->profile.requests = (uint64_t)number;
		return STATUS_OK;
	case OPTION_ROUNDS:
		if (!read_whole(value, ROUNDS_MIN, ESTIMATE_VALUES_MAX, &number)) {
			return refuse("--rounds", value, "a number from 3 to 100", error);
		}
		settings->has_rounds = true;
		settings->rounds = (size_t)number;
		return STATUS_OK;
	case OPTION_ZIPF:
		settings->has_alpha = true;
		return read_number(value, 0, 10, &settings->popularity.alpha)
			       ? STATUS_OK
			       : refuse("--zipf", value, "an exponent from 0 to 10", error);
	case OPTION_DRIFT:
		return read_number(value, 0, 1e9, &settings->popularity.drift)
			       ? STATUS_OK
			       : refuse("--drift", value, "a number of inputs a second", error);
	default: /* OPTION_SEED */
		if (!read_whole(value, 0, 9e15, &number)) {
			return refuse("--seed", value, "a whole number", error);
		}
		settings->has_seed = true;
		settings->popularity.seed = settings->inputs.seed = (uint64_t)number;
		return STATUS_OK;
	}
}

static enum status
choose(const char *option, const char *value, const char *no, const char *yes, bool *chosen, struct error *error)
{
	*chosen = strcmp(value, yes) == 0;
	return *chosen || strcmp(value, no) == 0
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT, "%s %s: give %s or %s", option, value, no, yes);
}

static enum status
set_option(void *context, int code, const char *value, struct error *error)
{
	struct measure_settings *settings = context;

	switch (code) {
	case 'h':
		settings->wants_help = true;
		return STATUS_OK;
	case 'm':
		settings->model = value;
		return STATUS_OK;
	case 'x':
		settings->version = value;
		return STATUS_OK;
	case 'u':
		settings->given_url = value;
		return STATUS_OK;
	case 'f':
		settings->csv = value;
		return STATUS_OK;
	case 'i':
		return choose("-i", value, "http", "grpc", &settings->has_grpc, error);
	case 'H':
		return add_field(&settings->fields, value) ? STATUS_OK : refuse("-H", value, "NAME:VALUE", error);
	case OPTION_CONCURRENCY:
	case OPTION_RATE:
		return set_level(settings, code, value, error);
	case OPTION_DISTRIBUTION:
		return choose("--request-distribution", value, "constant", "poisson", &settings->is_poisson, error);
	case OPTION_TENSOR_FORMAT:
		return choose("--input-tensor-format", value, "binary", "json", &settings->is_json, error);
	case OPTION_SHAPE:
		append(&settings->inputs.shapes, &settings->inputs.shape_count, value);
		return STATUS_OK;
	case OPTION_INPUT_DATA:
		set_input_data(&settings->inputs, value);
		return STATUS_OK;
	case OPTION_REPLAY:
		append(&settings->records, &settings->record_count, value);
		return STATUS_OK;
	case OPTION_COMPARE:
		settings->compares = true;
		return STATUS_OK;
	case OPTION_REPOSITORY:
		settings->repository = value;
		return STATUS_OK;
	case OPTION_CACHE_CONFIG:
		append(&settings->caches, &settings->cache_count, value);
		return STATUS_OK;
	case OPTION_REDIS_SERVER:
		settings->redis_server = value;
		return STATUS_OK;
	case OPTION_TRITON:
		settings->triton = value;
		return STATUS_OK;
	case OPTION_OUTPUT:
		settings->output = value;
		return STATUS_OK;
	case OPTION_TLS_CACERT:
		settings->tls.cacert = value;
		return STATUS_OK;
	case OPTION_TLS_CERT:
		settings->tls.cert = value;
		return STATUS_OK;
	case OPTION_TLS_KEY:
		settings->tls.key = value;
		return STATUS_OK;
	case 'a':
	case 'v':
	case OPTION_IGNORED:
		return STATUS_OK;
	default:
		return set_number(settings, code, value, error);
	}
}

/* --- The whole --- */

static void
preset(struct measure_settings *settings)
{
	*settings = (struct measure_settings){
		.version = "",
		.batch = 1,
		.range = {1, 1, 1},
		.profile = {.interval_ns = 5 * NS_PER_S, .trials = 10, .stability = 0.1},
		.popularity = {.distinct = 1, .seed = 1},
		.inputs = {.string_length = 128, .seed = 1},
		.tls = {.prefix = "tls"},
		.redis_server = "redis-server",
		.triton = "tritonserver",
		.rounds = 6,
		.output = ".",
	};
	buf_init(&settings->fields, FIELDS_MAX);
}

static enum status
check_comparison(struct measure_settings *settings, struct error *error)
{
	if (settings->repository == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--compare needs a --model-repository");
	}
	if (settings->given_url != NULL || settings->has_rates || settings->csv != NULL ||
	    settings->fields.length > 0 || settings->record_count > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--compare starts its own servers and has its own report: it takes no -u, -H, -f, "
				 "--replay and --request-rate-range");
	}
	for (size_t i = 0; i < settings->cache_count; i++) {
		if (strncmp(settings->caches[i], "local,", 6) != 0 && strncmp(settings->caches[i], "redis,", 6) != 0) {
			return refuse("--cache-config", settings->caches[i], "local,KEY=VALUE or redis,KEY=VALUE",
				      error);
		}
	}
	if (settings->range.end == 0) {
		return refuse("--concurrency-range", "START:0", "two levels for --compare, such as 1:8", error);
	}
	return STATUS_OK;
}

/* What is usual for a comparison, where the user says nothing else. */
static void
preset_comparison(struct measure_settings *settings)
{
	settings->protocol = settings->has_grpc ? MEASURE_GRPC : MEASURE_HTTP;
	if (!settings->has_distinct) {
		settings->popularity.distinct = 1000;
	}
	if (!settings->has_alpha) {
		settings->popularity.alpha = 0.9;
	}
	if (!settings->has_range) {
		settings->range = (struct measure_range){1, 8, 7};
	}
	if (!settings->has_interval) {
		settings->profile.interval_ns = NS_PER_S;
	}
}

/* With a scheme and, where the user gives neither of them, the usual port. */
static char *
make_url(const struct measure_settings *settings, bool has_scheme)
{
	const char *url = settings->given_url == NULL ? "localhost" : settings->given_url;
	const char *bracket = strrchr(url, ']'); /* of an address of IPv6 */
	bool has_port = strchr(bracket == NULL ? url : bracket, ':') != NULL;

	if (has_scheme) {
		return memory_text(url);
	}
	return memory_format("%s://%s%s", settings->has_grpc ? "grpc" : "http", url,
			     has_port		  ? ""
			     : settings->has_grpc ? ":8001"
						  : ":8000");
}

/* Options that mean nothing together. */
static enum status
check_together(const struct measure_settings *settings, struct error *error)
{
	if (settings->has_rates && settings->has_range) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--concurrency-range and --request-rate-range are two kinds of load: give one");
	}
	if (settings->is_poisson && !settings->has_rates) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--request-distribution is of --request-rate-range: give one");
	}
	if (settings->popularity.alpha > 0 && settings->popularity.distinct == 1 && settings->inputs.file_count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--zipf is of several inputs: give --distinct");
	}
	if (settings->record_count > 0 &&
	    (settings->has_distinct || settings->popularity.alpha > 0 || settings->popularity.drift > 0)) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"--replay says which inputs are popular: it goes without --distinct, --zipf and --drift");
	}
	if (settings->record_count > 0 && settings->range.start != settings->range.end) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--replay fills the cache, so that a second level would measure another one: give a "
				 "single level");
	}
	if (settings->has_rounds && !settings->compares) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--rounds is of --compare");
	}
	return STATUS_OK;
}

static enum status
check(struct measure_settings *settings, struct error *error)
{
	const char *url = settings->given_url;
	bool has_scheme = url != NULL && (strstr(url, "://") != NULL || strncmp(url, "unix:", 5) == 0);

	if (settings->model == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "no model is given: -m NAME");
	}
	if (settings->compares) {
		preset_comparison(settings);
		return check_comparison(settings, error);
	}
	if (check_together(settings, error) != STATUS_OK) {
		return error->status;
	}
	if (settings->repository != NULL || settings->cache_count > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--model-repository and --cache-config are of --compare");
	}
	if (settings->range.end == 0 && settings->latency_threshold_ms == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "a range whose end is 0 ends at --latency-threshold: give one");
	}
	settings->url = make_url(settings, has_scheme);
	if (has_scheme && settings->has_grpc && strncmp(url, "grpc", 4) != 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "-i grpc does not go with -u %s: give grpc://HOST:PORT or grpcs://HOST:PORT", url);
	}
	settings->protocol = strncmp(settings->url, "grpc", 4) == 0 ? MEASURE_GRPC : MEASURE_HTTP;
	if (settings->is_json && settings->protocol == MEASURE_GRPC) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--input-tensor-format json is for HTTP");
	}
	if (settings->popularity.distinct == 0 && (settings->popularity.drift > 0 || settings->popularity.alpha > 0)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--zipf and --drift tell of inputs that come again: give a --distinct above 0");
	}
	return STATUS_OK;
}

static const struct argument_table table = {.options = options, .count = sizeof(options) / sizeof(*options)};

enum status
measure_options_parse(int count, char **arguments, struct measure_settings *settings, struct error *error)
{
	preset(settings);
	if (arguments_read(table, count, arguments, set_option, settings, error) != STATUS_OK) {
		return error->status;
	}
	return settings->wants_help ? STATUS_OK : check(settings, error);
}

void
measure_options_fini(struct measure_settings *settings)
{
	free(settings->url);
	free((void *)settings->inputs.files);
	free((void *)settings->inputs.shapes);
	free((void *)settings->caches);
	free((void *)settings->records);
	buf_fini(&settings->fields);
}

void
measure_options_help(struct buf *out)
{
	buf_text(out, "usage: hippocamp measure -m NAME [OPTION]...\n\n"
		      "Sends requests to a server of the KServe v2 protocol, and tells throughput and latency.\n\n");
	arguments_help(table, out);
	buf_text(out, "\nOptions that perf_analyzer has, too, mean the same there; -a, --async, --sync, -v and "
		      "--max-threads have no effect.\n");
}
