/* The command line of `hippocamp measure`. */
#ifndef HIPPOCAMP_APP_MEASURE_OPTIONS_H
#define HIPPOCAMP_APP_MEASURE_OPTIONS_H

#include "base/status.h"
#include "loop/tls_client.h"
#include "measure/estimate.h"
#include "measure/input.h"
#include "measure/load.h"
#include "measure/profile.h"
#include "measure/request.h"

/* START:END:STEP. END 0: until the latency threshold is exceeded. */
struct measure_range {
	double start;
	double end;
	double step;
};

struct measure_settings {
	bool wants_help;
	const char *model;
	const char *version; /* "": the server chooses */
	const char *given_url;
	char *url;     /* with a scheme */
	bool has_grpc; /* -i grpc */
	enum measure_protocol protocol;
	size_t batch;
	bool is_json;
	bool has_rates; /* `range` is of request rates, not of concurrency */
	bool is_poisson;
	struct measure_range range;
	double latency_threshold_ms; /* 0: none */
	struct profile_options profile;
	struct popularity_options popularity;
	bool has_distinct;	    /* --distinct is given */
	bool has_seed;		    /* --seed is given */
	bool has_rounds;	    /* --rounds is given */
	bool has_alpha;		    /* --zipf is given */
	const char *const *records; /* of --replay */
	size_t record_count;
	struct input_options inputs;
	struct tls_client_options tls;
	struct buf fields; /* of HTTP, each with CRLF */
	const char *csv;   /* NULL: no file */

	/* Of --compare. */
	bool compares;
	bool has_range; /* --concurrency-range is given; so the next one */
	bool has_interval;
	const char *repository;
	const char *const *caches; /* "redis,KEY=VALUE" */
	size_t cache_count;
	const char *redis_server; /* programs */
	const char *triton;
	size_t rounds;
	const char *output; /* a folder */
};

/* `arguments` begin behind "measure" and outlive the settings. Call measure_options_fini in either case. */
enum status measure_options_parse(int count, char **arguments, struct measure_settings *settings, struct error *error);
void measure_options_fini(struct measure_settings *settings);

void measure_options_help(struct buf *out);

#endif
