/*
 * Charts as SVG (W3C, SVG 1.1), in light and dark, without scripts or outside resources.
 */
#ifndef HIPPOCAMP_MEASURE_CHART_H
#define HIPPOCAMP_MEASURE_CHART_H

#include "base/buf.h"

#define CHART_SERIES_MAX 8

/* Bars side by side: a group of them for each case, one bar for each series. Values of 0 have no bar. */
struct bar_chart {
	const char *title;
	const char *unit;
	const char *const *groups;
	size_t group_count;
	const char *const *series;
	size_t series_count;  /* CHART_SERIES_MAX at most */
	const double *values; /* group by group; and the ends of their intervals */
	const double *lows;
	const double *highs;
};
void chart_bars(const struct bar_chart *chart, struct buf *out);

/* Lines and single points over two axes: that of x is logarithmic. */
struct line_chart {
	const char *title;
	const char *x_name;
	const char *y_name;
	void (*write_x)(struct buf *out, double value); /* a label at an axis */
	void (*write_y)(struct buf *out, double value);
	const char *const *series; /* a series without a name only takes up a colour */
	size_t series_count;
	bool is_share;	  /* y goes from 0 to 1; else it is logarithmic, too */
	const double *xs; /* of all lines */
	size_t x_count;
	const double *ys;  /* line by line */
	const char *point; /* the name of the single point; NULL: none */
	double point_x;
	double point_y;
};
void chart_lines(const struct line_chart *chart, struct buf *out);

#endif
