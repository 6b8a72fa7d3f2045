/*
 * The checks of a plug-in. Each runs in a process of its own, so that a crash or hang of the plug-in fails only that
 * check.
 */
#ifndef HIPPOCAMP_TOOLS_CONFORMANCE_CHECKS_H
#define HIPPOCAMP_TOOLS_CONFORMANCE_CHECKS_H

#include "tools/conformance/subject.h"

struct check {
	const char *name;
	bool required; /* by the interface; false: advisable, because of how Triton's core uses it */
	/* Returns NULL, or what is wrong. `json` is the configuration from the command line. The library is loaded. */
	const char *(*run)(struct subject *subject, const char *json);
};

extern const struct check checks[];
extern const size_t check_count;

#endif
