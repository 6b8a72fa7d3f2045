/* `hippocamp measure --compare`: runs the caches beside each other and writes a report. */
#ifndef HIPPOCAMP_APP_MEASURE_COMPARE_H
#define HIPPOCAMP_APP_MEASURE_COMPARE_H

#include "app/measure_options.h"

/* `arguments` are those of the command line, for the report. Returns the exit status. */
int measure_compare(const struct measure_settings *settings, int count, char **arguments);

#endif
