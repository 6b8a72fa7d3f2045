/*
 * The backend that returns each input as the output of the same position. Config parameters:
 *
 *   mode      "identity" (default) or "delay": sleep before answering
 *   delay_ms  the delay in milliseconds, unless the request gives one
 *
 * Request parameters: `delay_ms` (mode delay), and `fail`, a text with which the run fails. For tests, and for
 * measuring everything but a model. Copy it to start a backend of your own.
 */
#ifndef HIPPOCAMP_BACKENDS_ECHO_ECHO_H
#define HIPPOCAMP_BACKENDS_ECHO_ECHO_H

#include "backends/backend.h"

extern const struct backend_ops backend_echo_ops;

#endif
