#include "caches/redis/connection/credentials.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRESH_MS 1000U
#define REAP_FIRST_MS 1U
#define REAP_MAX_MS 50U
#define SHARE_MS 10U /* between looks for another lane's result */

struct redis_credentials {
	const struct cache_host *host;
	char *user;
	char *password;
	char *file;
	char *command;
	uint64_t timeout_ms;
	struct password_share *share;
	bool runs;				     /* runs the command for all lanes */
	TAILQ_HEAD(, redis_credentials_wish) wishes; /* waiting for the command */
	void *timer;				     /* the command's deadline, its exit, or the result's age */
	pid_t child;				     /* the command and its process group; 0: none runs */
	int output;				     /* what it prints; -1: closed */
	void *watch;
	uint64_t started_ns;
	uint64_t reap_ms; /* delay before the next look for its exit status */
	bool fresh;	  /* `text` or `failure` is the last result, and still counts */
	char failure[PASSWORD_FAILURE_SIZE];
	size_t length;
	char text[PASSWORD_MAX + 1]; /* one byte more than a password may have */
};

static void __attribute__((format(printf, 2, 3)))
set_failure(struct redis_credentials *credentials, const char *format, ...)
{
	va_list args;

	if (credentials->failure[0] == '\0') {
		va_start(args, format);
		(void)vsnprintf(credentials->failure, sizeof(credentials->failure), format, args);
		va_end(args);
	}
}

static void
wipe(struct redis_credentials *credentials)
{
	explicit_bzero(credentials->text, sizeof(credentials->text));
	credentials->length = 0;
	credentials->failure[0] = '\0';
	credentials->fresh = false;
}

/* Makes the first line of what was read the password, or sets the failure; `option` and `path` name the source. */
static void
complete(struct redis_credentials *credentials, const char *option, const char *path)
{
	char *text = credentials->text;
	size_t length = credentials->length;

	if (length > PASSWORD_MAX) {
		set_failure(credentials, "%s '%s' gives more than %zu bytes, which is no password", option, path,
			    PASSWORD_MAX);
		return;
	}
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '\n') {
			explicit_bzero(text + i, length - i);
			length = i;
		}
	}
	length -= length > 0 && text[length - 1] == '\r';
	text[length] = '\0';
	if (length == 0) {
		set_failure(credentials, "%s '%s' gives nothing; it must give the password", option, path);
	} else if (strlen(text) != length) {
		set_failure(credentials, "%s '%s' gives a zero byte, which no password may hold", option, path);
	}
}

/* Reads to the end, or until the text is too long. Returns 0, EAGAIN if nothing more is there yet, or another errno. */
static int
read_on(struct redis_credentials *credentials, int fd)
{
	ssize_t got;

	do {
		got = read(fd, credentials->text + credentials->length,
			   sizeof(credentials->text) - credentials->length);
		if (got > 0) {
			credentials->length += (size_t)got;
		}
	} while ((got > 0 && credentials->length <= PASSWORD_MAX) || (got < 0 && errno == EINTR));
	return got < 0 ? errno : 0;
}

static void
answer(struct redis_credentials *credentials, struct redis_credentials_wish *wish, const char *password)
{
	bool failed = credentials->failure[0] != '\0';

	wish->done(wish->argument, credentials->user, failed ? NULL : password, failed ? credentials->failure : NULL);
}

/* --- A file --- */

/* Reads regular files only: a pipe without a writer would block the thread. */
static void
read_file(struct redis_credentials *credentials)
{
	int fd = open(credentials->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat found;
	int failed = errno;

	if (fd >= 0) {
		if (fstat(fd, &found) == 0 && !S_ISREG(found.st_mode)) {
			set_failure(credentials, "password_file '%s' is no regular file", credentials->file);
		}
		failed = credentials->failure[0] == '\0' ? read_on(credentials, fd) : 0;
		(void)close(fd);
	}
	if (failed != 0) {
		set_failure(credentials, "password_file '%s' cannot be read: %s; check the path and who may read it",
			    credentials->file, strerror(failed));
	}
	if (credentials->failure[0] == '\0') {
		complete(credentials, "password_file", credentials->file);
	}
}

/* --- A command --- */

static int
prepare_spawn(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int output)
{
	sigset_t none;
	sigset_t all;
	int failed = 0;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	failed |= posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
	failed |= posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	failed |= posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	failed |= posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
	/* A process group of its own, to be killed as one. The command starts with no signal blocked or ignored. */
	failed |= posix_spawnattr_setflags(attributes,
					   POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	failed |= posix_spawnattr_setpgroup(attributes, 0);
	failed |= posix_spawnattr_setsigmask(attributes, &none);
	failed |= posix_spawnattr_setsigdefault(attributes, &all);
	return failed != 0 ? ENOMEM : 0;
}

/* Returns 0 or an errno. */
static int
spawn(char *path, int output, pid_t *child)
{
	char *arguments[] = {path, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int failed;

	if (posix_spawn_file_actions_init(&actions) != 0) {
		return ENOMEM;
	}
	if (posix_spawnattr_init(&attributes) != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return ENOMEM;
	}
	failed = prepare_spawn(&actions, &attributes, output);
	if (failed == 0) {
		failed = posix_spawn(child, path, &actions, &attributes, arguments, environ);
	}
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&actions);
	return failed;
}

static void
close_output(struct redis_credentials *credentials)
{
	if (credentials->output >= 0) {
		credentials->host->watch_free(credentials->watch);
		credentials->watch = NULL;
		(void)close(credentials->output);
		credentials->output = -1;
	}
}

/* Answers all waiting wishes; the result is kept for those that come right after. */
static void
answer_all(struct redis_credentials *credentials)
{
	struct redis_credentials_wish *wish;

	if (credentials->runs) {
		bool failed = credentials->failure[0] != '\0';

		credentials->runs = false;
		password_share_end(credentials->share, clock_now_ns(), failed ? NULL : credentials->text,
				   failed ? credentials->failure : NULL);
	}
	credentials->fresh = true;
	while ((wish = TAILQ_FIRST(&credentials->wishes)) != NULL) {
		TAILQ_REMOVE(&credentials->wishes, wish, queue);
		wish->waiting = false;
		answer(credentials, wish, credentials->text);
	}
}

static void
judge(struct redis_credentials *credentials, int status)
{
	if (WIFSIGNALED(status)) {
		set_failure(credentials, "password_command '%s' was ended by signal %d (%s)", credentials->command,
			    WTERMSIG(status), strsignal(WTERMSIG(status)));
	} else if (WEXITSTATUS(status) != 0) {
		set_failure(credentials, "password_command '%s' failed with exit status %d; run it by hand to see why",
			    credentials->command, WEXITSTATUS(status));
	}
	if (credentials->failure[0] == '\0') {
		complete(credentials, "password_command", credentials->command);
	}
}

/* Takes the exit status if the command has ended; else looks again, ever later. */
static void
reap(struct redis_credentials *credentials)
{
	int status = 0;
	pid_t ended = waitpid(credentials->child, &status, WNOHANG);

	if (ended == 0 || (ended < 0 && errno == EINTR)) {
		credentials->host->timer_set(credentials->timer, credentials->reap_ms);
		credentials->reap_ms = credentials->reap_ms * 2 > REAP_MAX_MS ? REAP_MAX_MS : credentials->reap_ms * 2;
		return;
	}
	/* If this process ignores SIGCHLD there is no status, and the output alone decides. */
	credentials->child = 0;
	if (!credentials->fresh) {
		judge(credentials, ended < 0 ? 0 : status);
		answer_all(credentials);
	}
	credentials->host->timer_set(credentials->timer, FRESH_MS);
}

static void
kill_command(struct redis_credentials *credentials)
{
	close_output(credentials);
	(void)kill(-credentials->child, SIGKILL);
}

static void
on_output(void *argument, unsigned events)
{
	struct redis_credentials *credentials = argument;
	int failed = read_on(credentials, credentials->output);

	(void)events;
	if (failed == EAGAIN) {
		return;
	}
	if (failed != 0 || credentials->length > PASSWORD_MAX) {
		if (failed != 0) {
			set_failure(credentials, "password_command '%s' cannot be read from: %s", credentials->command,
				    strerror(failed));
		} else {
			complete(credentials, "password_command", credentials->command);
		}
		kill_command(credentials);
	}
	close_output(credentials);
	reap(credentials);
}

static void obtain(struct redis_credentials *credentials);

/* At the deadline wishes are answered first: the killed process may take long to end. */
static void
on_timer(void *argument)
{
	struct redis_credentials *credentials = argument;
	uint64_t passed_ms = (clock_now_ns() - credentials->started_ns) / NS_PER_MS;

	if (credentials->child == 0) {
		if (!TAILQ_EMPTY(&credentials->wishes)) {
			obtain(credentials);
		} else {
			wipe(credentials);
		}
		return;
	}
	if (!credentials->fresh && passed_ms >= credentials->timeout_ms) {
		set_failure(credentials, "password_command '%s' did not end within %llu ms and was killed",
			    credentials->command, (unsigned long long)credentials->timeout_ms);
		kill_command(credentials);
		answer_all(credentials);
	}
	if (credentials->output < 0) {
		reap(credentials);
	} else {
		credentials->host->timer_set(credentials->timer,
					     credentials->timeout_ms - passed_ms); /* it came early */
	}
}

static int
open_pipe(int ends[2])
{
	int failed;

	if (pipe2(ends, O_CLOEXEC) != 0) {
		return errno;
	}
	if (fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0) {
		return 0;
	}
	failed = errno;
	(void)close(ends[0]);
	(void)close(ends[1]);
	return failed;
}

static void
start_command(struct redis_credentials *credentials)
{
	const struct cache_host *host = credentials->host;
	int ends[2] = {-1, -1};
	int failed = open_pipe(ends);

	wipe(credentials);
	if (failed == 0) {
		failed = spawn(credentials->command, ends[1], &credentials->child);
		(void)close(ends[1]);
		if (failed != 0) {
			credentials->child = 0;
			(void)close(ends[0]);
		}
	}
	if (failed != 0) {
		set_failure(
			credentials,
			"password_command '%s' cannot be started: %s; it is the path of a program, without arguments",
			credentials->command, strerror(failed));
		answer_all(credentials);
		host->timer_set(credentials->timer, FRESH_MS);
		return;
	}
	credentials->started_ns = clock_now_ns();
	credentials->reap_ms = REAP_FIRST_MS;
	credentials->output = ends[0];
	credentials->watch = host->watch_new(host->context, ends[0], on_output, credentials);
	host->watch_set(credentials->watch, CACHE_READ);
	host->timer_set(credentials->timer, credentials->timeout_ms);
}

/* Obtains the password from another lane's run, or by running the command. */
static void
obtain(struct redis_credentials *credentials)
{
	enum password_share_turn turn = PASSWORD_SHARE_RUN;

	if (credentials->share != NULL) {
		turn = password_share_take(credentials->share, clock_now_ns(), FRESH_MS * NS_PER_MS, credentials->text,
					   credentials->failure);
	}
	switch (turn) {
	case PASSWORD_SHARE_RUN:
		credentials->runs = credentials->share != NULL;
		start_command(credentials);
		break;
	case PASSWORD_SHARE_WAIT:
		credentials->host->timer_set(credentials->timer, SHARE_MS);
		break;
	case PASSWORD_SHARE_RESULT:
		answer_all(credentials);
		credentials->host->timer_set(credentials->timer, FRESH_MS);
		break;
	}
}

/* --- What the lane calls --- */

static bool
copy(char **to, const char *text)
{
	*to = text == NULL || *text == '\0' ? NULL : strdup(text);
	return *to != NULL || text == NULL || *text == '\0';
}

struct redis_credentials *
redis_credentials_new(const struct redis_credentials_options *options, const struct cache_host *host)
{
	struct redis_credentials *credentials = calloc(1, sizeof(*credentials));
	bool copied;

	if (credentials == NULL) {
		return NULL;
	}
	credentials->host = host;
	credentials->timeout_ms = options->timeout_ms;
	credentials->share = options->share;
	credentials->output = -1;
	TAILQ_INIT(&credentials->wishes);
	copied = copy(&credentials->user, options->user) && copy(&credentials->password, options->password) &&
		 copy(&credentials->file, options->password_file) &&
		 copy(&credentials->command, options->password_command);
	credentials->timer = copied ? host->timer_new(host->context, on_timer, credentials) : NULL;
	if (credentials->timer == NULL) {
		redis_credentials_free(credentials);
		return NULL;
	}
	return credentials;
}

/* Kills the command and waits for it, so that no zombie is left. Only a process that the kernel holds takes long. */
static void
end_command(struct redis_credentials *credentials)
{
	kill_command(credentials);
	while (waitpid(credentials->child, NULL, 0) < 0 && errno == EINTR) {
	}
	credentials->child = 0;
}

void
redis_credentials_free(struct redis_credentials *credentials)
{
	if (credentials == NULL) {
		return;
	}
	if (credentials->child != 0) {
		end_command(credentials);
	}
	if (credentials->runs) {
		password_share_end(credentials->share, clock_now_ns(), NULL, NULL);
	}
	if (credentials->timer != NULL) {
		credentials->host->timer_free(credentials->timer);
	}
	if (credentials->password != NULL) {
		explicit_bzero(credentials->password, strlen(credentials->password));
	}
	free(credentials->user);
	free(credentials->password);
	free(credentials->file);
	free(credentials->command);
	explicit_bzero(credentials, sizeof(*credentials));
	free(credentials);
}

void
redis_credentials_get(struct redis_credentials *credentials, struct redis_credentials_wish *wish)
{
	wish->waiting = false;
	if (credentials->command != NULL) {
		if (credentials->fresh) {
			answer(credentials, wish, credentials->text);
			return;
		}
		TAILQ_INSERT_TAIL(&credentials->wishes, wish, queue);
		wish->waiting = true;
		if (credentials->child == 0) {
			obtain(credentials);
		}
		return;
	}
	if (credentials->file == NULL) {
		answer(credentials, wish, credentials->password == NULL ? "" : credentials->password);
		return;
	}
	read_file(credentials);
	answer(credentials, wish, credentials->text);
	wipe(credentials);
}

void
redis_credentials_forget(struct redis_credentials *credentials, struct redis_credentials_wish *wish)
{
	if (wish->waiting) {
		TAILQ_REMOVE(&credentials->wishes, wish, queue);
		wish->waiting = false;
	}
}
