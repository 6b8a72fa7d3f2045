#include "base/machine.h"

#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS "/sys/fs/cgroup"

/* Reads the first line of a file, without its newline. False: there is none. */
static bool
read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool good = file != NULL && fgets(line, (int)size, file) != NULL;

	if (file != NULL) {
		(void)fclose(file);
	}
	if (good) {
		line[strcspn(line, "\n")] = '\0';
	}
	return good;
}

/* Reads a file that holds a number of bytes. Returns 0, no limit, for "max" and for implausibly large values. */
static uint64_t
read_bytes(const char *path)
{
	char line[64];
	uint64_t bytes = 0;

	if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNu64, &bytes) != 1) {
		return 0;
	}
	return bytes > INT64_MAX / 2 ? 0 : bytes;
}

static size_t
processors_of(int64_t quota, int64_t period)
{
	return quota <= 0 || period <= 0 ? 0 : (size_t)((quota + period - 1) / period);
}

static size_t
read_cpu_max(const char *path)
{
	char line[64];
	int64_t quota;
	int64_t period;

	if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNd64 " %" SCNd64, &quota, &period) != 2) {
		return 0; /* "max 100000" */
	}
	return processors_of(quota, period);
}

static void
narrow(struct machine_grant *grant, size_t processors, uint64_t memory)
{
	if (processors > 0 && (grant->processors == 0 || processors < grant->processors)) {
		grant->processors = processors;
	}
	if (memory > 0 && (grant->memory == 0 || memory < grant->memory)) {
		grant->memory = memory;
	}
}

/* Reads the files of both versions; a missing file sets no limit. */
static void
read_group(const char *folder, struct machine_grant *grant)
{
	char path[PATH_MAX + 32];
	int64_t quota;
	int64_t period;

	(void)snprintf(path, sizeof(path), "%s/memory.max", folder);
	narrow(grant, 0, read_bytes(path));
	(void)snprintf(path, sizeof(path), "%s/memory.limit_in_bytes", folder);
	narrow(grant, 0, read_bytes(path));
	(void)snprintf(path, sizeof(path), "%s/cpu.max", folder);
	narrow(grant, read_cpu_max(path), 0);
	(void)snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder);
	quota = (int64_t)read_bytes(path); /* -1, no limit, reads as 0 */
	(void)snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
	period = (int64_t)read_bytes(path);
	narrow(grant, processors_of(quota, period), 0);
}

/* Reads a group and all its ancestors. In a container the path may be the host's, of which only the end exists.
 */
static void
read_groups(const char *mount, char *path, struct machine_grant *grant)
{
	char folder[PATH_MAX];
	char *slash;

	do {
		if (snprintf(folder, sizeof(folder), "%s%s", mount, path) < (int)sizeof(folder)) {
			read_group(folder, grant);
		}
		slash = strrchr(path, '/');
		if (slash != NULL) {
			*slash = '\0';
		}
	} while (slash != NULL);
}

/* A line of /proc/self/cgroup: "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1. */
static void
read_membership(const char *root, char *line, struct machine_grant *grant)
{
	char mount[PATH_MAX];
	char *controllers = strchr(line, ':');
	char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');

	if (path == NULL) {
		return;
	}
	controllers++;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	(void)snprintf(mount, sizeof(mount), "%s" GROUPS "%s%s", root, *controllers == '\0' ? "" : "/", controllers);
	read_groups(mount, path, grant);
}

struct machine_grant
machine_grant_read(const char *root)
{
	struct machine_grant grant = {0};
	char line[PATH_MAX];
	FILE *file;

	(void)snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
	file = fopen(line, "re");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		read_membership(root, line, &grant);
	}
	if (file != NULL) {
		(void)fclose(file);
	}
	return grant;
}

size_t
machine_processors(void)
{
	size_t granted = machine_grant_read("").processors;
	cpu_set_t usable;
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	size_t count = online < 1 ? 1 : (size_t)online; /* if a cpu_set_t is too small */

	if (sched_getaffinity(0, sizeof(usable), &usable) == 0) {
		count = (size_t)CPU_COUNT(&usable);
	}
	return granted > 0 && granted < count ? granted : count;
}

uint64_t
machine_memory(void)
{
	uint64_t granted = machine_grant_read("").memory;
	uint64_t installed = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	return granted > 0 && granted < installed ? granted : installed;
}
