/* The registry of the metrics of plug-ins, which it emits to a sink. */
#include "caches/triton/host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define NAME_MAX_SHOWN 256

struct TRITONSERVER_Parameter {
	char *name;
	char *value;
};

struct TRITONSERVER_Metric {
	TRITONSERVER_MetricFamily *family;
	struct metric_label *labels; /* the metric owns names and values */
	size_t label_count;
	double value;
	TAILQ_ENTRY(TRITONSERVER_Metric) list;
};

struct TRITONSERVER_MetricFamily {
	char *name;
	char *help;
	TRITONSERVER_MetricKind kind;
	TAILQ_HEAD(, TRITONSERVER_Metric) metrics;
	TAILQ_ENTRY(TRITONSERVER_MetricFamily) list;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(, TRITONSERVER_MetricFamily) families = TAILQ_HEAD_INITIALIZER(families);

/* --- Parameters --- */

EXPORTED TRITONSERVER_Parameter *
TRITONSERVER_ParameterNew(const char *name, TRITONSERVER_ParameterType type, const void *value)
{
	TRITONSERVER_Parameter *parameter = type == TRITONSERVER_PARAMETER_STRING && name != NULL && value != NULL
						    ? calloc(1, sizeof(*parameter))
						    : NULL;

	if (parameter != NULL) {
		parameter->name = strdup(name);
		parameter->value = strdup(value);
		if (parameter->name == NULL || parameter->value == NULL) {
			TRITONSERVER_ParameterDelete(parameter);
			return NULL;
		}
	}
	return parameter;
}

EXPORTED void
TRITONSERVER_ParameterDelete(TRITONSERVER_Parameter *parameter)
{
	if (parameter != NULL) {
		free(parameter->name);
		free(parameter->value);
		free(parameter);
	}
}

/* --- Families --- */

static bool
is_taken(const char *name)
{
	const TRITONSERVER_MetricFamily *family;

	TAILQ_FOREACH (family, &families, list) {
		if (strcmp(family->name, name) == 0) {
			return true;
		}
	}
	return false;
}

/* Is it a valid name, [a-zA-Z_:][a-zA-Z0-9_:]*? Any other would break the metrics page. */
static bool
is_name(const char *name)
{
	static const char later[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";

	return name != NULL && *name != '\0' && strchr("0123456789", *name) == NULL &&
	       name[strspn(name, later)] == '\0';
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_MetricFamilyNew(TRITONSERVER_MetricFamily **family, TRITONSERVER_MetricKind kind, const char *name,
			     const char *description)
{
	TRITONSERVER_MetricFamily *new;
	bool taken;

	if (!is_name(name)) {
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, "no name for a metric family");
	}
	if (kind != TRITONSERVER_METRIC_KIND_COUNTER && kind != TRITONSERVER_METRIC_KIND_GAUGE) {
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNSUPPORTED, "only counters and gauges are supported");
	}
	new = calloc(1, sizeof(*new));
	if (new != NULL) {
		new->kind = kind;
		new->name = strdup(name);
		new->help = strdup(description);
		TAILQ_INIT(&new->metrics);
	}
	if (new == NULL || new->name == NULL || new->help == NULL) {
		abort(); /* a few bytes, at start-up */
	}
	(void)pthread_mutex_lock(&mutex);
	taken = is_taken(name);
	if (!taken) {
		TAILQ_INSERT_TAIL(&families, new, list);
	}
	(void)pthread_mutex_unlock(&mutex);
	if (taken) {
		free(new->name);
		free(new->help);
		free(new);
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_ALREADY_EXISTS,
					     "there is a metric family of that name");
	}
	*family = new;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_MetricFamilyDelete(TRITONSERVER_MetricFamily *family)
{
	bool used;

	(void)pthread_mutex_lock(&mutex);
	used = !TAILQ_EMPTY(&family->metrics);
	if (!used) {
		TAILQ_REMOVE(&families, family, list);
	}
	(void)pthread_mutex_unlock(&mutex);
	if (used) {
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "the family's metrics must be deleted first");
	}
	free(family->name);
	free(family->help);
	free(family);
	return NULL;
}

/* --- Metrics --- */

static void
free_metric(TRITONSERVER_Metric *metric)
{
	for (size_t i = 0; i < metric->label_count; i++) {
		free((char *)metric->labels[i].name);
		free((uint8_t *)metric->labels[i].value.at);
	}
	free(metric->labels);
	free(metric);
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_MetricNew(TRITONSERVER_Metric **metric, TRITONSERVER_MetricFamily *family,
		       const TRITONSERVER_Parameter **labels, uint64_t label_count)
{
	TRITONSERVER_Metric *new = calloc(1, sizeof(*new));

	if (new != NULL) {
		new->family = family;
		new->labels = calloc(label_count + 1, sizeof(*new->labels));
	}
	if (new == NULL || new->labels == NULL) {
		abort();
	}
	for (uint64_t i = 0; i < label_count; i++) {
		new->labels[new->label_count++] =
			(struct metric_label){strdup(labels[i]->name), bytes_text(strdup(labels[i]->value))};
	}
	(void)pthread_mutex_lock(&mutex);
	TAILQ_INSERT_TAIL(&family->metrics, new, list);
	(void)pthread_mutex_unlock(&mutex);
	*metric = new;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_MetricDelete(TRITONSERVER_Metric *metric)
{
	(void)pthread_mutex_lock(&mutex);
	TAILQ_REMOVE(&metric->family->metrics, metric, list);
	(void)pthread_mutex_unlock(&mutex);
	free_metric(metric);
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_GetMetricKind(TRITONSERVER_Metric *metric, TRITONSERVER_MetricKind *kind)
{
	*kind = metric->family->kind;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_MetricValue(TRITONSERVER_Metric *metric, double *value)
{
	(void)pthread_mutex_lock(&mutex);
	*value = metric->value;
	(void)pthread_mutex_unlock(&mutex);
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_MetricIncrement(TRITONSERVER_Metric *metric, double value)
{
	if (metric->family->kind == TRITONSERVER_METRIC_KIND_COUNTER && !(value >= 0)) {
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, "a counter can only grow");
	}
	(void)pthread_mutex_lock(&mutex);
	metric->value += value;
	(void)pthread_mutex_unlock(&mutex);
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_MetricSet(TRITONSERVER_Metric *metric, double value)
{
	if (metric->family->kind != TRITONSERVER_METRIC_KIND_GAUGE) {
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNSUPPORTED, "only a gauge can be set");
	}
	(void)pthread_mutex_lock(&mutex);
	metric->value = value;
	(void)pthread_mutex_unlock(&mutex);
	return NULL;
}

/* --- Output --- */

static void
tell_family(const struct metric_sink *sink, const TRITONSERVER_MetricFamily *family, const char *prefix)
{
	const TRITONSERVER_Metric *metric;
	char name[NAME_MAX_SHOWN];

	(void)snprintf(name, sizeof(name), "%s%s", prefix, family->name);
	metric_emit_family(sink, name, family->kind == TRITONSERVER_METRIC_KIND_COUNTER ? "counter" : "gauge",
			   family->help);
	TAILQ_FOREACH (metric, &family->metrics, list) {
		sink->sample(sink->context, name, metric->labels, metric->label_count, metric->value);
	}
}

void
host_metrics(const struct metric_sink *sink)
{
	static const char ours[] = "hippocamp_";
	const TRITONSERVER_MetricFamily *family;

	(void)pthread_mutex_lock(&mutex);
	TAILQ_FOREACH (family, &families, list) {
		tell_family(sink, family, strncmp(family->name, ours, sizeof(ours) - 1) == 0 ? "plugin_" : "");
	}
	(void)pthread_mutex_unlock(&mutex);
}
