/*
 * cache_conformance LIB [KEY=VALUE...]: checks a plug-in for Triton's cache interface, outside of any server, with the
 * configuration that --cache-config NAME,KEY=VALUE... would give. Exit status: 0 if all required checks pass, 1 if one
 * fails, 2 if the plug-in cannot be tried.
 */
#include "tools/conformance/checks.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_S 120 /* for one check, even under a memory checker */

static int
usage(void)
{
	(void)fprintf(stderr, "usage: cache_conformance LIB [KEY=VALUE...]\n"
			      "LIB is a libtritoncache_NAME.so; each KEY=VALUE is what --cache-config NAME,KEY=VALUE "
			      "would say.\n");
	return 2;
}

/* Runs a check in the child process and writes what is wrong to the pipe `output`; nothing if the check passes. */
static void
try_check(const struct check *check, const char *path, const char *json, int output)
{
	struct subject subject;
	const char *wrong = subject_load(&subject, path);

	if (wrong == NULL) {
		wrong = check->run(&subject, json);
	}
	if (wrong != NULL && write(output, wrong, strlen(wrong)) < 0) {
		_exit(1);
	}
	exit(0); /* not _exit, so that a memory checker reports */
}

/* Reads to the end of the pipe. False: not within LIMIT_S. */
static bool
read_all(int input, char *text, size_t size)
{
	uint64_t end = clock_now_ns() + LIMIT_S * NS_PER_S;
	size_t length = 0;

	text[0] = '\0';
	while (clock_now_ns() < end) {
		struct pollfd poll_fd = {.fd = input, .events = POLLIN};
		ssize_t got;

		if (poll(&poll_fd, 1, 100) <= 0) {
			continue;
		}
		got = read(input, text + length, size - 1 - length);
		if (got <= 0) {
			return true;
		}
		length += (size_t)got;
		text[length] = '\0';
	}
	return false;
}

/* Fills in what is wrong, or "". False: the check could not run. */
static bool
run_check(const struct check *check, const char *path, const char *json, char *text, size_t size)
{
	int status = 0;
	int ends[2];
	pid_t child;
	bool in_time;

	if (pipe(ends) != 0 || (child = fork()) < 0) {
		perror("cache_conformance");
		return false;
	}
	if (child == 0) {
		(void)close(ends[0]);
		try_check(check, path, json, ends[1]);
	}
	(void)close(ends[1]);
	in_time = read_all(ends[0], text, size);
	(void)close(ends[0]);
	if (!in_time) {
		(void)kill(child, SIGKILL);
	}
	(void)waitpid(child, &status, 0);
	if (!in_time) {
		(void)snprintf(text, size, "it hangs: not done after %d s", LIMIT_S);
	} else if (WIFSIGNALED(status)) {
		(void)snprintf(text, size, "it crashes: %s", strsignal(WTERMSIG(status)));
	} else if (text[0] == '\0' && WEXITSTATUS(status) != 0) {
		(void)snprintf(text, size, "it ended the process with exit status %d", WEXITSTATUS(status));
	}
	return true;
}

/* Run first: a library that cannot be loaded, or that refuses the configuration, would fail every check. */
static const char *
preflight(struct subject *subject, const char *json)
{
	const char *wrong = subject_initialize(subject, json);

	return wrong == NULL ? subject_finalize(subject) : wrong;
}

int
main(int argc, char **argv)
{
	const struct check first = {"it starts", true, preflight};
	unsigned counts[3] = {0}; /* checks passed, failed, that gave advice */
	char wrong[2048];
	struct buf json;

	if (argc < 2 || argv[1][0] == '-' || !configuration_of(&json, argv + 2, argc - 2)) {
		return usage();
	}
	log_configure(&(struct log_settings){.error = true, .warning = true}); /* the plug-in may say why */
	host_open_stub();
	if (!run_check(&first, argv[1], (const char *)json.at, wrong, sizeof(wrong)) || wrong[0] != '\0') {
		(void)fprintf(stderr, "cache_conformance: '%s' cannot be tried: %s\n", argv[1], wrong);
		return 2;
	}
	for (size_t i = 0; i < check_count; i++) {
		(void)fflush(stdout);
		if (!run_check(&checks[i], argv[1], (const char *)json.at, wrong, sizeof(wrong))) {
			return 2;
		}
		if (wrong[0] == '\0') {
			(void)printf("ok      %s\n", checks[i].name);
		} else {
			(void)printf("%s  %s\n        %s\n", checks[i].required ? "FAILED" : "advice", checks[i].name,
				     wrong);
		}
		counts[wrong[0] == '\0' ? 0 : checks[i].required ? 1 : 2]++;
	}
	(void)printf("of %zu checks %u passed and %u failed; %u gave advice\n", check_count, counts[0], counts[1],
		     counts[2]);
	buf_fini(&json);
	return counts[1] == 0 ? 0 : 1;
}
