#include "base/metric.h"

void
metric_family(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_format(out, "# HELP %s ", name);
	for (; *help != '\0'; help++) {
		if (*help == '\n') {
			buf_text(out, "\\n");
		} else if (*help == '\\') {
			buf_text(out, "\\\\");
		} else {
			buf_byte(out, (uint8_t)*help);
		}
	}
	buf_format(out, "\n# TYPE %s %s\n", name, type);
}

void
metric_label(struct buf *labels, const char *name, struct bytes value)
{
	if (labels->length > 0) {
		buf_byte(labels, ',');
	}
	buf_text(labels, name);
	buf_text(labels, "=\"");
	for (size_t i = 0; i < value.length; i++) {
		if (value.at[i] == '\n') {
			buf_text(labels, "\\n");
			continue;
		}
		if (value.at[i] == '"' || value.at[i] == '\\') {
			buf_byte(labels, '\\');
		}
		buf_byte(labels, value.at[i]);
	}
	buf_byte(labels, '"');
}

static void
sample_start(struct buf *out, const char *name, struct bytes labels)
{
	buf_text(out, name);
	if (labels.length > 0) {
		buf_byte(out, '{');
		buf_append(out, labels);
		buf_byte(out, '}');
	}
	buf_byte(out, ' ');
}

void
metric_sample(struct buf *out, const char *name, struct bytes labels, uint64_t value)
{
	sample_start(out, name, labels);
	buf_unsigned(out, value);
	buf_byte(out, '\n');
}

void
metric_sample_double(struct buf *out, const char *name, struct bytes labels, double value)
{
	sample_start(out, name, labels);
	buf_format(out, "%.17g\n", value);
}

/* --- The sink that prints --- */

#define LABELS_MAX 65536

static void
print_family(void *context, const char *name, const char *type, const char *help)
{
	metric_family(context, name, type, help);
}

static void
print_sample(void *context, const char *name, const struct metric_label *labels, size_t count, double value)
{
	struct buf text;

	buf_init(&text, LABELS_MAX);
	for (size_t i = 0; i < count; i++) {
		metric_label(&text, labels[i].name, labels[i].value);
	}
	metric_sample_double(context, name, buf_bytes(&text), value);
	buf_fini(&text);
}

struct metric_sink
metric_printer(struct buf *out)
{
	return (struct metric_sink){.context = out, .family = print_family, .sample = print_sample};
}
