/*
 * The signals of a thread's own faults (an invalid access, abort(), …). No thread may block them: the crash handler
 * reports them.
 */
#ifndef HIPPOCAMP_BASE_FAULT_H
#define HIPPOCAMP_BASE_FAULT_H

#include <signal.h>
#include <stddef.h>

struct fault {
	int signal;
	const char *name;
};

#define FAULT_COUNT 6
extern const struct fault faults[FAULT_COUNT];

/* All signals but the faults: the mask of threads that handle none. */
void fault_set_others(sigset_t *others);

#endif
