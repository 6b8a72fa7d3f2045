/*
 * The signals that the kernel sends a thread for a fault of its own. They have to reach whoever reports crashes, so
 * no thread blocks them.
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

/* For threads that take no signals: all but these. */
void fault_set_others(sigset_t *others);

#endif
