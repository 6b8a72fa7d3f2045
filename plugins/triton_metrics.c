#include "plugins/triton_metrics.h"

#include "plugins/triton.h"

#include <stdlib.h>
#include <sys/queue.h>

#define LABELS_MAX 4

/* A sample of a family, by its labels. */
struct figure {
	char *labels; /* names and values, each after a byte of value 1 */
	TRITONSERVER_Metric *metric;
	double told;
	bool current; /* emitted since triton_metrics_begin */
	SLIST_ENTRY(figure) list;
};

struct figure_family {
	char *name;
	TRITONSERVER_MetricKind kind;
	TRITONSERVER_MetricFamily *family; /* NULL: the host refused it, which was logged */
	SLIST_HEAD(, figure) figures;
	SLIST_ENTRY(figure_family) list;
};

struct triton_metrics {
	struct metric_sink sink;
	SLIST_HEAD(, figure_family) families;
};

/* --- Families --- */

static struct figure_family *
find_family(struct triton_metrics *figures, const char *name)
{
	struct figure_family *family;

	SLIST_FOREACH (family, &figures->families, list) {
		if (strcmp(family->name, name) == 0) {
			break;
		}
	}
	return family;
}

static void
make_in_host(struct figure_family *family, const char *help)
{
	TRITONSERVER_Error *error =
		triton.TRITONSERVER_MetricFamilyNew(&family->family, family->kind, family->name, help);

	if (error != NULL) {
		triton_log(LOG_WARNING, triton.TRITONSERVER_ErrorMessage(error));
		triton.TRITONSERVER_ErrorDelete(error);
		family->family = NULL;
	}
}

static void
tell_family(void *context, const char *name, const char *type, const char *help)
{
	struct triton_metrics *figures = context;
	struct figure_family *family;

	if (find_family(figures, name) != NULL) {
		return;
	}
	family = calloc(1, sizeof(*family));
	if (family != NULL) {
		family->name = strdup(name);
	}
	if (family == NULL || family->name == NULL) {
		free(family);
		return;
	}
	family->kind = strcmp(type, "counter") == 0 ? TRITONSERVER_METRIC_KIND_COUNTER : TRITONSERVER_METRIC_KIND_GAUGE;
	SLIST_INIT(&family->figures);
	make_in_host(family, help);
	SLIST_INSERT_HEAD(&figures->families, family, list);
}

/* --- Samples --- */

static char *
text_of(const struct metric_label *labels, size_t count)
{
	struct buf text;

	buf_init(&text, 1 << 16);
	for (size_t i = 0; i < count; i++) {
		buf_byte(&text, 1);
		buf_text(&text, labels[i].name);
		buf_byte(&text, 1);
		buf_append(&text, labels[i].value);
	}
	buf_byte(&text, '\0');
	if (!buf_ok(&text)) {
		buf_fini(&text);
		return NULL;
	}
	return (char *)text.at; /* from malloc */
}

static TRITONSERVER_Metric *
new_metric(struct figure_family *family, const struct metric_label *labels, size_t count)
{
	const TRITONSERVER_Parameter *parameters[LABELS_MAX] = {0};
	TRITONSERVER_Metric *metric = NULL;
	bool good = true;

	for (size_t i = 0; i < count; i++) {
		char *value = strndup((const char *)labels[i].value.at, labels[i].value.length);

		parameters[i] = value == NULL ? NULL
					      : triton.TRITONSERVER_ParameterNew(labels[i].name,
										 TRITONSERVER_PARAMETER_STRING, value);
		good = good && parameters[i] != NULL;
		free(value);
	}
	good = good && triton_succeeded(triton.TRITONSERVER_MetricNew(&metric, family->family, parameters, count));
	for (size_t i = 0; i < count; i++) {
		if (parameters[i] != NULL) {
			triton.TRITONSERVER_ParameterDelete((TRITONSERVER_Parameter *)parameters[i]);
		}
	}
	return good ? metric : NULL;
}

static void
free_figure(struct figure *figure)
{
	if (figure->metric != NULL) { /* NULL: it could not be made */
		(void)triton_succeeded(triton.TRITONSERVER_MetricDelete(figure->metric));
	}
	free(figure->labels);
	free(figure);
}

static struct figure *
find_figure(struct figure_family *family, const struct metric_label *labels, size_t count)
{
	char *text = text_of(labels, count);
	struct figure *figure;

	if (text == NULL) {
		return NULL;
	}
	SLIST_FOREACH (figure, &family->figures, list) {
		if (strcmp(figure->labels, text) == 0) {
			free(text);
			return figure;
		}
	}
	figure = calloc(1, sizeof(*figure));
	if (figure == NULL) {
		free(text);
		return NULL;
	}
	figure->labels = text;
	figure->metric = new_metric(family, labels, count);
	if (figure->metric == NULL) { /* tried again the next time */
		free_figure(figure);
		return NULL;
	}
	SLIST_INSERT_HEAD(&family->figures, figure, list);
	return figure;
}

/* A counter can only be added to. */
static void
tell_sample(void *context, const char *name, const struct metric_label *labels, size_t count, double value)
{
	struct figure_family *family = find_family(context, name);
	struct figure *figure = family == NULL || family->family == NULL || count > LABELS_MAX
					? NULL
					: find_figure(family, labels, count);

	if (figure == NULL) {
		return;
	}
	figure->current = true;
	if (family->kind == TRITONSERVER_METRIC_KIND_GAUGE) {
		(void)triton_succeeded(triton.TRITONSERVER_MetricSet(figure->metric, value));
	} else if (value > figure->told) {
		(void)triton_succeeded(triton.TRITONSERVER_MetricIncrement(figure->metric, value - figure->told));
		figure->told = value;
	}
}

/* --- Rounds --- */

const struct metric_sink *
triton_metrics_begin(struct triton_metrics *figures)
{
	struct figure_family *family;
	struct figure *figure;

	SLIST_FOREACH (family, &figures->families, list) {
		SLIST_FOREACH (figure, &family->figures, list) {
			figure->current = false;
		}
	}
	return &figures->sink;
}

static void
forget_old(struct figure_family *family)
{
	struct figure *figure = SLIST_FIRST(&family->figures);

	while (figure != NULL) {
		struct figure *next = SLIST_NEXT(figure, list);

		if (!figure->current) {
			SLIST_REMOVE(&family->figures, figure, figure, list);
			free_figure(figure);
		}
		figure = next;
	}
}

void
triton_metrics_end(struct triton_metrics *figures)
{
	struct figure_family *family;

	SLIST_FOREACH (family, &figures->families, list) {
		forget_old(family);
	}
}

/* --- Creating and freeing --- */

struct triton_metrics *
triton_metrics_new(void)
{
	struct triton_metrics *figures = triton.has_metrics ? calloc(1, sizeof(*figures)) : NULL;

	if (figures != NULL) {
		SLIST_INIT(&figures->families);
		figures->sink = (struct metric_sink){.context = figures, .family = tell_family, .sample = tell_sample};
	}
	return figures;
}

static void
free_family(struct figure_family *family)
{
	struct figure *figure;

	while ((figure = SLIST_FIRST(&family->figures)) != NULL) {
		SLIST_REMOVE_HEAD(&family->figures, list);
		free_figure(figure);
	}
	if (family->family != NULL) {
		(void)triton_succeeded(triton.TRITONSERVER_MetricFamilyDelete(family->family));
	}
	free(family->name);
	free(family);
}

void
triton_metrics_free(struct triton_metrics *figures)
{
	struct figure_family *family;

	if (figures == NULL) {
		return;
	}
	while ((family = SLIST_FIRST(&figures->families)) != NULL) {
		SLIST_REMOVE_HEAD(&figures->families, list);
		free_family(family);
	}
	free(figures);
}
