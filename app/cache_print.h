/* The forms in which `hippocamp cache` prints a server's report. Control characters in it are shown as '?'. */
#ifndef HIPPOCAMP_APP_CACHE_PRINT_H
#define HIPPOCAMP_APP_CACHE_PRINT_H

#include "wire/cache_report.h"

#include <stdio.h>

/* Padded with blanks to `width` bytes. */
void cache_print_text(struct bytes text, size_t width, FILE *out);

/* A line for each model. */
void cache_print_models(const struct cache_report *report, FILE *out);

/* The store, its figures and its settings. */
void cache_print_store(const struct cache_report *report, FILE *out);

#endif
