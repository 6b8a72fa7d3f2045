/* The processors and memory that this process may use. Any thread. */
#ifndef HIPPOCAMP_BASE_MACHINE_H
#define HIPPOCAMP_BASE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Returns the number of online processors in the calling thread's affinity mask (sched_getaffinity), which a cpuset
 * restricts, or the CPU quota of the control groups, rounded up, if that is less. At least 1.
 */
size_t machine_processors(void);

/* Returns the bytes of memory of the machine, or the limit of the control groups if that is less. */
uint64_t machine_memory(void);

/*
 * The lowest limits of this process's control groups and their ancestors: version 2 (cpu.max, memory.max; Linux's
 * Documentation/admin-guide/cgroup-v2.rst) or 1 (cpu.cfs_quota_us, memory.limit_in_bytes). 0: no limit.
 */
struct machine_grant {
	size_t processors; /* rounded up */
	uint64_t memory;   /* bytes */
};

/* `root` is prefixed to /proc and /sys; "" except in tests. */
struct machine_grant machine_grant_read(const char *root);

#endif
