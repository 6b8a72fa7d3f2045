#include "measure/chart.h"

#include <math.h>
#include <string.h>

#define WIDTH 760
#define NAMES_WIDTH 150 /* of the groups' names */
#define FIGURES_WIDTH 150
#define BAR 18
#define GAP 14
#define TOP 64 /* the title and the legend */
#define PLOT_HEIGHT 300
#define PLOT_LEFT 80
#define PLOT_BOTTOM 56

/* Text is the reader's colour; series have colours that differ in lightness, too (Okabe and Ito, 2008). */
static const char style[] =
	"<style>text{font:13px "
	"system-ui,sans-serif;fill:#1b1f24}.title{font-weight:600;font-size:15px}.soft{fill:#57606a}"
	".axis{stroke:#8c959f;stroke-width:1}.grid{stroke:#8c959f;stroke-width:.5;stroke-dasharray:2 4}"
	".range{stroke:#1b1f24;stroke-width:1.5}"
	".s0{fill:#8c959f;stroke:#8c959f}.s1{fill:#0072b2;stroke:#0072b2}.s2{fill:#d55e00;stroke:#d55e00}"
	".s3{fill:#56b4e9;stroke:#56b4e9}.s4{fill:#009e73;stroke:#009e73}.line{fill:none;stroke-width:2.5}"
	"@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9da7b3}.range{stroke:#e6edf3}}</style>\n";
#define COLOURS 5

static void
write_text(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '<':
			buf_text(out, "&lt;");
			break;
		case '&':
			buf_text(out, "&amp;");
			break;
		case '"':
			buf_text(out, "&quot;");
			break;
		default:
			buf_byte(out, (uint8_t)*text);
			break;
		}
	}
}

static void
put_text(struct buf *out, double x, double y, const char *class, const char *anchor, const char *text)
{
	buf_format(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class, anchor);
	write_text(out, text);
	buf_text(out, "</text>\n");
}

static void
begin(struct buf *out, int height, const char *title)
{
	buf_format(out,
		   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
		   "role=\"img\" aria-label=\"",
		   WIDTH, height, WIDTH, height);
	write_text(out, title);
	buf_text(out, "\">\n");
	buf_text(out, style);
	put_text(out, 0, 18, "title", "start", title);
}

static void
put_legend(struct buf *out, const char *const *series, size_t count)
{
	double x = 0;

	for (size_t i = 0; i < count; i++) {
		if (*series[i] == '\0') {
			continue;
		}
		buf_format(out, "<rect x=\"%.1f\" y=\"32\" width=\"12\" height=\"12\" class=\"s%zu\"/>\n", x,
			   i % COLOURS);
		put_text(out, x + 18, 43, "soft", "start", series[i]);
		x += 40 + 7.5 * (double)strlen(series[i]);
	}
}

/* Three digits that count, with separators of thousands. */
static void
write_figure(struct buf *out, double value)
{
	unsigned long long whole = (unsigned long long)(value + 0.5);

	if (value < 1) {
		buf_format(out, "%.3g", value);
	} else if (value < 10) {
		buf_format(out, "%.2f", value);
	} else if (value < 100) {
		buf_format(out, "%.1f", value);
	} else if (whole < 1000) {
		buf_format(out, "%llu", whole);
	} else if (whole < 1000000) {
		buf_format(out, "%llu,%03llu", whole / 1000, whole % 1000);
	} else {
		buf_format(out, "%llu,%03llu,%03llu", whole / 1000000, whole / 1000 % 1000, whole % 1000);
	}
}

/* --- Bars --- */

static double
greatest(const double *values, size_t count)
{
	double most = 0;

	for (size_t i = 0; i < count; i++) {
		most = values[i] > most ? values[i] : most;
	}
	return most;
}

static void
put_bar(const struct bar_chart *chart, size_t index, double y, double scale, struct buf *out)
{
	double value = chart->values[index];
	double end = NAMES_WIDTH + value * scale;
	double high = NAMES_WIDTH + chart->highs[index] * scale;
	double middle = y + BAR / 2.0;

	buf_format(out, "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" class=\"s%zu\"/>\n", NAMES_WIDTH, y,
		   end - NAMES_WIDTH, BAR - 3, index % chart->series_count % COLOURS);
	buf_format(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"range\"/>\n",
		   NAMES_WIDTH + chart->lows[index] * scale, middle - 1.5, high, middle - 1.5);
	buf_format(out, "<text x=\"%.1f\" y=\"%.1f\">", (high > end ? high : end) + 6, middle + 3);
	write_figure(out, value);
	buf_format(out, " %s</text>\n", chart->unit);
}

void
chart_bars(const struct bar_chart *chart, struct buf *out)
{
	size_t count = chart->group_count * chart->series_count;
	double most = greatest(chart->highs, count);
	double scale = most > 0 ? (WIDTH - NAMES_WIDTH - FIGURES_WIDTH) / most : 0;
	double y = TOP;

	begin(out, (int)(TOP + chart->group_count * (chart->series_count * BAR + GAP)), chart->title);
	put_legend(out, chart->series, chart->series_count);
	for (size_t group = 0; group < chart->group_count; group++) {
		put_text(out, NAMES_WIDTH - 10, y + 13, "soft", "end", chart->groups[group]);
		for (size_t i = 0; i < chart->series_count; i++) {
			if (chart->values[group * chart->series_count + i] > 0) {
				put_bar(chart, group * chart->series_count + i, y, scale, out);
			}
			y += BAR;
		}
		y += GAP;
	}
	buf_text(out, "</svg>\n");
}

/* --- Lines --- */

struct axis {
	double low; /* of a logarithmic one the decimal logarithms */
	double high;
	double step;
	bool is_linear;
	double from; /* on the page */
	double to;
};

static double
place(const struct axis *axis, double value)
{
	double level = axis->is_linear ? value : log10(value);

	return axis->from + (level - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
}

/* From a power of ten below all values to one above them. Values of 0 do not count. */
static struct axis
axis_over(const double *values, size_t count, double also, double from, double to)
{
	struct axis axis = {.low = INFINITY, .high = -INFINITY, .step = 1, .from = from, .to = to};

	for (size_t i = 0; i <= count; i++) {
		double value = i == count ? also : values[i];

		if (value > 0) {
			axis.low = fmin(axis.low, floor(log10(value)));
			axis.high = fmax(axis.high, floor(log10(value)) + 1);
		}
	}
	return axis;
}

/* The value at a tick of the axis. */
static double
value_at(const struct axis *axis, double tick)
{
	return axis->is_linear ? tick : pow(10, tick);
}

static void
put_axes(const struct line_chart *chart, const struct axis *x, const struct axis *y, struct buf *out)
{
	for (double tick = x->low; tick <= x->high; tick += x->step) {
		double at = place(x, value_at(x, tick));

		buf_format(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", at, y->from,
			   at, y->to);
		buf_format(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"soft\" text-anchor=\"middle\">", at, y->from + 18);
		chart->write_x(out, value_at(x, tick));
		buf_text(out, "</text>\n");
	}
	for (double tick = y->low; tick <= y->high; tick += y->step) {
		double at = place(y, value_at(y, tick));

		buf_format(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>\n", x->from, at,
			   x->to, at);
		buf_format(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"soft\" text-anchor=\"end\">", x->from - 8, at + 4);
		chart->write_y(out, value_at(y, tick));
		buf_text(out, "</text>\n");
	}
	put_text(out, x->to, y->from + 40, "soft", "end", chart->x_name);
	put_text(out, 0, y->to - 16, "soft", "start", chart->y_name);
}

static void
put_lines(const struct line_chart *chart, const struct axis *x, const struct axis *y, struct buf *out)
{
	for (size_t i = 0; i < chart->series_count; i++) {
		buf_format(out, "<polyline class=\"line s%zu\" style=\"fill:none\" points=\"", i % COLOURS);
		for (size_t k = 0; k < chart->x_count; k++) {
			double value = chart->ys[i * chart->x_count + k];

			if (value > 0 || y->is_linear) {
				buf_format(out, "%.1f,%.1f ", place(x, chart->xs[k]), place(y, value));
			}
		}
		buf_text(out, "\"/>\n");
	}
}

void
chart_lines(const struct line_chart *chart, struct buf *out)
{
	const double bottom = TOP + 24 + PLOT_HEIGHT;
	const struct axis x = axis_over(chart->xs, chart->x_count, chart->point_x, PLOT_LEFT, WIDTH - 30);
	const struct axis y =
		chart->is_share
			? (struct axis){.high = 1, .step = 0.25, .is_linear = true, .from = bottom, .to = TOP + 24}
			: axis_over(chart->ys, chart->series_count * chart->x_count, chart->point_y, bottom, TOP + 24);

	begin(out, (int)bottom + PLOT_BOTTOM, chart->title);
	put_legend(out, chart->series, chart->series_count);
	put_axes(chart, &x, &y, out);
	put_lines(chart, &x, &y, out);
	if (chart->point != NULL && chart->point_x > 0 && chart->point_y > 0) {
		double at = place(&x, chart->point_x);
		bool is_right = at > WIDTH * 0.6;

		buf_format(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"6\" class=\"s4\"/>\n", at,
			   place(&y, chart->point_y));
		put_text(out, at + (is_right ? -12 : 12), place(&y, chart->point_y) + 4, "", is_right ? "end" : "start",
			 chart->point);
	}
	buf_text(out, "</svg>\n");
}
