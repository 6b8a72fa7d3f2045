/* What this process may use of its machine. Any thread. */
#ifndef HIPPOCAMP_BASE_MACHINE_H
#define HIPPOCAMP_BASE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Processors: those that are on and in the calling thread's affinity mask (sched_getaffinity), as a cpuset sets it, but
 * no more than the time that the control groups grant, rounded up; at least 1.
 */
size_t machine_processors(void);

/* Bytes of memory: what the machine has, or the control groups grant if that is less. */
uint64_t machine_memory(void);

/*
 * What the control groups of this process grant, the narrowest of it and those above it: version 2 (cpu.max,
 * memory.max; Linux's Documentation/admin-guide/cgroup-v2.rst) or 1 (cpu.cfs_quota_us, memory.limit_in_bytes). 0: no
 * bound.
 */
struct machine_grant {
	size_t processors; /* rounded up */
	uint64_t memory;   /* bytes */
};

/* `root` stands before /proc and /sys: "" but in tests. */
struct machine_grant machine_grant_read(const char *root);

#endif
