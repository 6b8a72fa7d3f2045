/*
 * What a plug-in is tried with. Each check has a process of its own, so that one in which the plug-in crashes or hangs
 * is one that failed.
 */
#ifndef HIPPOCAMP_TOOLS_CONFORMANCE_CHECKS_H
#define HIPPOCAMP_TOOLS_CONFORMANCE_CHECKS_H

#include "tools/conformance/subject.h"

struct check {
	const char *name;
	bool required; /* by the interface; else by what Triton's core makes of it */
	/* NULL, or what is wrong. `json`: the configuration of the command line. The library is loaded. */
	const char *(*run)(struct subject *subject, const char *json);
};

extern const struct check checks[];
extern const size_t check_count;

#endif
