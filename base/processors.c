#include "base/processors.h"

#include <sched.h>
#include <unistd.h>

size_t
processors_usable(void)
{
	cpu_set_t usable;
	long count;

	if (sched_getaffinity(0, sizeof(usable), &usable) == 0) {
		return (size_t)CPU_COUNT(&usable);
	}
	count = sysconf(_SC_NPROCESSORS_ONLN); /* more than a cpu_set_t has room for */
	return count < 1 ? 1 : (size_t)count;
}
