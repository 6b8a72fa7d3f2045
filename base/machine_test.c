#include "base/machine.h"

#include "base/unit_test.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
test_affinity_counts(void **state)
{
	cpu_set_t before;
	cpu_set_t one;
	size_t processor = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_in_range(machine_processors(), 1, CPU_COUNT(&before));
	while (!CPU_ISSET(processor, &before)) {
		processor++;
	}
	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(machine_processors(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static char root[] = "/tmp/machine_test.XXXXXX";

static int
make_root(void **state)
{
	(void)state;
	return mkdtemp(root) == NULL;
}

static int
remove_root(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -r '%s'", root);
	return system(command); /* NOLINT(cert-env33-c): mkdtemp made the name */
}

/* Writes a file below the root, and makes its directories. */
static void
put(const char *path, const char *text)
{
	char whole[512];
	FILE *file;

	(void)snprintf(whole, sizeof(whole), "%s/%s", root, path);
	for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(whole, 0755);
		*slash = '/';
	}
	file = fopen(whole, "we");
	assert_non_null(file);
	(void)fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void
test_version_2(void **state)
{
	struct machine_grant grant;

	(void)state;
	put("proc/self/cgroup", "0::/pods/one\n");
	put("sys/fs/cgroup/pods/one/cpu.max", "max 100000\n");
	put("sys/fs/cgroup/pods/one/memory.max", "max\n");
	grant = machine_grant_read(root);
	assert_int_equal(grant.processors, 0);
	assert_int_equal(grant.memory, 0);
	put("sys/fs/cgroup/pods/one/cpu.max", "350000 100000\n");
	put("sys/fs/cgroup/pods/one/memory.max", "1073741824\n");
	grant = machine_grant_read(root);
	assert_int_equal(grant.processors, 4);
	assert_int_equal(grant.memory, 1 << 30);
	put("sys/fs/cgroup/pods/cpu.max", "20000 100000\n"); /* an ancestor has a lower limit */
	put("sys/fs/cgroup/memory.max", "1048576\n");
	grant = machine_grant_read(root);
	assert_int_equal(grant.processors, 1);
	assert_int_equal(grant.memory, 1 << 20);
	put("proc/self/cgroup", "0::/../../outside\n"); /* in a container, whose own group is the root of the mount */
	assert_int_equal(machine_grant_read(root).memory, 1 << 20);
}

static void
test_version_1(void **state)
{
	struct machine_grant grant;

	(void)state;
	put("proc/self/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n");
	put("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
	put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
	put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	grant = machine_grant_read(root);
	assert_int_equal(grant.processors, 3);
	assert_int_equal(grant.memory, 1 << 29);
	put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
	grant = machine_grant_read(root);
	assert_int_equal(grant.processors, 0);
	assert_int_equal(grant.memory, 0);
}

static void
test_without_groups(void **state)
{
	struct machine_grant grant = machine_grant_read("/nowhere");

	(void)state;
	assert_int_equal(grant.processors, 0);
	assert_int_equal(grant.memory, 0);
	assert_true(machine_memory() > 1 << 20);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_affinity_counts),
		cmocka_unit_test(test_version_2),
		cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_without_groups),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
