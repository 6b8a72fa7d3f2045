#include "measure/process.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_NS (UINT64_C(10) * NS_PER_S)
#define LOOK_US 5000
#define WORDS_MAX 4096
#define EXEC_FAILED 127

struct process {
	pid_t pid;
	char *log;
	bool has_ended;
};

/* Within the new process. Nothing but calls that are allowed after fork. */
__attribute__((noreturn)) static void
run(const char *const *arguments, char *const *environment, int log, pid_t parent)
{
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) {
		_exit(EXEC_FAILED); /* it has ended meanwhile */
	}
	(void)setsid(); /* Ctrl-C is for the parent alone, which ends this one in its turn */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)dup2(log, STDOUT_FILENO);
	(void)dup2(log, STDERR_FILENO);
	(void)execvpe(arguments[0], (char *const *)arguments, environment);
	_exit(EXEC_FAILED);
}

/* Ours, with another TMPDIR. The caller frees the list. */
static char **
make_environment(char *temporary)
{
	size_t count = 0;
	char **environment;

	while (environ[count] != NULL) {
		count++;
	}
	environment = memory_array(count + 2, sizeof(*environment));
	environment[0] = temporary;
	for (size_t i = 0, next = 1; i < count; i++) {
		if (strncmp(environ[i], "TMPDIR=", strlen("TMPDIR=")) != 0) {
			environment[next++] = environ[i];
		}
	}
	return environment;
}

static pid_t
start(const char *const *arguments, const char *folder, int log)
{
	char *temporary = memory_format("TMPDIR=%s", folder);
	char **environment = make_environment(temporary);
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		run(arguments, environment, log, parent);
	}
	free(environment);
	free(temporary);
	return pid;
}

struct process *
process_start(const char *const *arguments, const char *folder, const char *log, struct error *error)
{
	struct process *process = memory_new(sizeof(*process));
	int fd;

	process->log = memory_format("%s/%s", folder, log);
	fd = open(process->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	process->pid = fd < 0 ? -1 : start(arguments, folder, fd);
	if (process->pid < 0) {
		(void)error_set(error, STATUS_UNAVAILABLE, "%s cannot be started: %s: %s", arguments[0], process->log,
				strerror(errno));
		free(process->log);
		free(process);
		process = NULL;
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return process;
}

bool
process_is_running(struct process *process)
{
	process->has_ended = process->has_ended || waitpid(process->pid, NULL, WNOHANG) == process->pid;
	return !process->has_ended;
}

void
process_stop(struct process *process)
{
	uint64_t until_ns = clock_now_ns() + STOP_NS;

	if (process == NULL) {
		return;
	}
	if (process_is_running(process)) {
		(void)kill(process->pid, SIGTERM);
	}
	while (process_is_running(process) && clock_now_ns() < until_ns) {
		(void)usleep(LOOK_US);
	}
	if (!process->has_ended) {
		(void)kill(-process->pid, SIGKILL); /* and what it has started */
		(void)waitpid(process->pid, NULL, 0);
	}
	free(process->log);
	free(process);
}

/* A warning or an error, as servers with glog's format of lines write them. */
static bool
is_problem(const char *line)
{
	return (*line == 'W' || *line == 'E' || *line == 'F') && line[1] >= '0' && line[1] <= '9';
}

void
process_last_words(const struct process *process, char *text, size_t size)
{
	char words[WORDS_MAX + 1];
	FILE *file = fopen(process->log, "re");
	size_t length = 0;
	bool is_told = false;
	char *rest;

	text[0] = '\0';
	if (file == NULL) {
		return;
	}
	if (fseek(file, -WORDS_MAX, SEEK_END) != 0) { /* it is shorter */
		rewind(file);
	}
	length = fread(words, 1, WORDS_MAX, file);
	(void)fclose(file);
	words[length] = '\0';
	for (char *line = strtok_r(words, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		if (is_problem(line) || !is_told) {
			is_told = is_problem(line);
			(void)snprintf(text, size, "%s", line);
		}
	}
}

enum status
process_free_ports(uint16_t *ports, size_t count, struct error *error)
{
	int *sockets = memory_array(count, sizeof(*sockets));
	bool ok = true;

	for (size_t i = 0; i < count; i++) { /* all are held until the last one is chosen */
		struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t length = sizeof(address);

		sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ok = ok && sockets[i] >= 0 && bind(sockets[i], (struct sockaddr *)&address, length) == 0 &&
		     getsockname(sockets[i], (struct sockaddr *)&address, &length) == 0;
		ports[i] = ntohs(address.sin_port);
	}
	for (size_t i = 0; i < count; i++) {
		if (sockets[i] >= 0) {
			(void)close(sockets[i]);
		}
	}
	free(sockets);
	return ok ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "no free ports on 127.0.0.1");
}
