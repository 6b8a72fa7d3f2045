/* How many processors this process may use. */
#ifndef HIPPOCAMP_BASE_PROCESSORS_H
#define HIPPOCAMP_BASE_PROCESSORS_H

#include <stddef.h>

/* Those that are on and in the calling thread's affinity mask (sched_getaffinity), as a cpuset sets it; at least 1. */
size_t processors_usable(void);

#endif
