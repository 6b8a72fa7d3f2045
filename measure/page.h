/* A page of text, tables and charts, as Markdown or HTML. Room-private. */
#ifndef HIPPOCAMP_MEASURE_PAGE_H
#define HIPPOCAMP_MEASURE_PAGE_H

#include "base/buf.h"

struct page {
	bool is_html;
	struct buf *out;
};

/* The page's begin and end. All texts are plain: what HTML would understand is written so that it does not. */
void page_begin(struct page *page, const char *title);
void page_end(struct page *page);

void page_heading(struct page *page, const char *text);
void page_paragraph(struct page *page, struct bytes text);
void page_code(struct page *page, const char *text);
void page_chart(struct page *page, const char *file, const char *title, const struct buf *svg);

/* A table is its head and its rows, each cell by cell; the first column is text, the others are figures. */
void page_table(struct page *page, const char *const *head, size_t columns);
void page_row(struct page *page);
void page_cell(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
void page_row_end(struct page *page);
void page_table_end(struct page *page);

#endif
