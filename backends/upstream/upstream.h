/* The backend of models that run on another server: it stands in their configs, and runs nothing (see backend.h). */
#ifndef HIPPOCAMP_BACKENDS_UPSTREAM_UPSTREAM_H
#define HIPPOCAMP_BACKENDS_UPSTREAM_UPSTREAM_H

#include "backends/backend.h"

extern const struct backend_ops backend_upstream_ops;

#endif
