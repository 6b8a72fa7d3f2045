#include "measure/page.h"

#include <stdarg.h>
#include <stdio.h>

static const char style[] =
	"<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem "
	"auto;padding:0 "
	"1rem}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}th,td{padding:.3rem .8rem;"
	"text-align:right;white-space:nowrap;border-bottom:1px solid "
	"#8c959f55}th:first-child,td:first-child{text-align:left}"
	"pre{padding:.8rem;background:#8c959f22;overflow-x:auto}svg{max-width:100%;height:auto;margin:1rem 0}"
	".table{overflow-x:auto;font-size:14px}</style>\n";

/* Text for HTML; Markdown gets it as it is. */
static void
write_text(struct page *page, struct bytes text)
{
	for (size_t i = 0; i < text.length; i++) {
		uint8_t byte = text.at[i];

		if (page->is_html && byte == '<') {
			buf_text(page->out, "&lt;");
		} else if (page->is_html && byte == '&') {
			buf_text(page->out, "&amp;");
		} else {
			buf_byte(page->out, byte);
		}
	}
}

static void
write_element(struct page *page, const char *tag, const char *mark, struct bytes text)
{
	if (page->is_html) {
		buf_format(page->out, "<%s>", tag);
	} else {
		buf_text(page->out, mark);
	}
	write_text(page, text);
	if (page->is_html) {
		buf_format(page->out, "</%s>\n", tag);
	} else {
		buf_text(page->out, "\n\n");
	}
}

void
page_begin(struct page *page, const char *title)
{
	if (page->is_html) {
		buf_text(page->out,
			 "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
			 "content=\"width=device-width\">\n");
		write_element(page, "title", "", bytes_text(title));
		buf_text(page->out, style);
		buf_text(page->out, "</head><body>\n");
	}
	write_element(page, "h1", "# ", bytes_text(title));
}

void
page_end(struct page *page)
{
	if (page->is_html) {
		buf_text(page->out, "</body></html>\n");
	}
}

void
page_heading(struct page *page, const char *text)
{
	write_element(page, "h2", "## ", bytes_text(text));
}

void
page_paragraph(struct page *page, struct bytes text)
{
	write_element(page, "p", "", text);
}

void
page_code(struct page *page, const char *text)
{
	write_element(page, "pre", "    ", bytes_text(text));
}

void
page_chart(struct page *page, const char *file, const char *title, const struct buf *svg)
{
	if (page->is_html) {
		buf_append(page->out, buf_bytes(svg));
	} else {
		buf_format(page->out, "![%s](%s)\n\n", title, file);
	}
}

/* --- Tables --- */

void
page_table(struct page *page, const char *const *head, size_t columns)
{
	buf_text(page->out, page->is_html ? "<div class=\"table\"><table><tr>" : "|");
	for (size_t i = 0; i < columns; i++) {
		buf_text(page->out, page->is_html ? "<th>" : " ");
		write_text(page, bytes_text(head[i]));
		buf_text(page->out, page->is_html ? "</th>" : " |");
	}
	if (page->is_html) {
		buf_text(page->out, "</tr>\n");
		return;
	}
	buf_text(page->out, "\n|");
	for (size_t i = 0; i < columns; i++) {
		buf_text(page->out, i == 0 ? "---|" : "---:|");
	}
	buf_byte(page->out, '\n');
}

void
page_row(struct page *page)
{
	buf_text(page->out, page->is_html ? "<tr>" : "|");
}

void
page_cell(struct page *page, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	buf_text(page->out, page->is_html ? "<td>" : " ");
	write_text(page, bytes_text(text));
	buf_text(page->out, page->is_html ? "</td>" : " |");
}

void
page_row_end(struct page *page)
{
	buf_text(page->out, page->is_html ? "</tr>\n" : "\n");
}

void
page_table_end(struct page *page)
{
	buf_text(page->out, page->is_html ? "</table></div>\n" : "\n");
}
