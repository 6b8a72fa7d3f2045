#include "caches/redis/connection/credentials.h"

#include "base/unit_test.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- A host with one watch and one timer --- */

static struct {
	void (*on_events)(void *argument, unsigned events);
	void *watched;
	int fd; /* -1: no watch */
	void (*on_timer)(void *argument);
	void *timed;
	uint64_t due_ns; /* 0: not set */
} host_state = {.fd = -1};

static void *
watch_new(void *context, int fd, void (*fn)(void *argument, unsigned events), void *argument)
{
	(void)context;
	assert_int_equal(host_state.fd, -1);
	host_state.fd = fd;
	host_state.on_events = fn;
	host_state.watched = argument;
	return &host_state;
}

static void
watch_set(void *watch, unsigned events)
{
	(void)watch;
	assert_int_equal(events, CACHE_READ);
}

static void
watch_free(void *watch)
{
	(void)watch;
	host_state.fd = -1;
}

static void *
timer_new(void *context, void (*fn)(void *argument), void *argument)
{
	(void)context;
	host_state.on_timer = fn;
	host_state.timed = argument;
	host_state.due_ns = 0;
	return &host_state;
}

static void
timer_set(void *timer, uint64_t after_ms)
{
	(void)timer;
	host_state.due_ns = clock_now_ns() + after_ms * NS_PER_MS;
}

static void
timer_free(void *timer)
{
	(void)timer;
	host_state.due_ns = 0;
}

static const struct cache_host host = {
	.watch_new = watch_new,
	.watch_set = watch_set,
	.watch_free = watch_free,
	.timer_new = timer_new,
	.timer_set = timer_set,
	.timer_free = timer_free,
};

static void
fire_timer(void)
{
	host_state.due_ns = 0;
	host_state.on_timer(host_state.timed);
}

/* Waits for the watch or the timer, whichever comes first. */
static void
turn(void)
{
	struct pollfd watched = {.fd = host_state.fd, .events = POLLIN};
	uint64_t now = clock_now_ns();
	uint64_t left_ms = host_state.due_ns <= now ? 0 : (host_state.due_ns - now) / NS_PER_MS + 1;

	assert_true(host_state.due_ns != 0);
	if (poll(&watched, 1, (int)left_ms) > 0) {
		host_state.on_events(host_state.watched, CACHE_READ);
	} else {
		fire_timer();
	}
}

/* --- Askers --- */

struct asker {
	struct redis_credentials_wish wish;
	unsigned answers;
	char user[64];
	char password[256];
	char failure[512];
};

static void
on_answer(void *argument, const char *user, const char *password, const char *failure)
{
	struct asker *asker = argument;

	asker->answers++;
	assert_true((password == NULL) != (failure == NULL));
	(void)snprintf(asker->user, sizeof(asker->user), "%s", user == NULL ? "(none)" : user);
	(void)snprintf(asker->password, sizeof(asker->password), "%s", password == NULL ? "(none)" : password);
	(void)snprintf(asker->failure, sizeof(asker->failure), "%s", failure == NULL ? "" : failure);
}

static void
ask(struct redis_credentials *credentials, struct asker *asker)
{
	*asker = (struct asker){.wish = {.done = on_answer, .argument = asker}};
	redis_credentials_get(credentials, &asker->wish);
}

static void
await(const struct asker *asker)
{
	while (asker->answers == 0) {
		turn();
	}
	assert_int_equal(asker->answers, 1);
}

static void
assert_names(const char *text, const char *part)
{
	if (strstr(text, part) == NULL) {
		fail_msg("'%s' does not say '%s'", text, part);
	}
}

/* --- Files of the tests --- */

static char folder[] = "/tmp/credentials_test.XXXXXX";

static const char *
path_of(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void
write_file(const char *name, const char *text, size_t length, mode_t mode)
{
	const char *path = path_of(name);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

#define FILE_WITH(text) write_file("password", (text), sizeof(text) - 1, 0600)

static struct redis_credentials *
with_file(void)
{
	return redis_credentials_new(&(struct redis_credentials_options){.user = "u",
									 .password = "no",
									 .password_file = path_of("password")},
				     &host);
}

static struct redis_credentials *
with_command(const char *script, uint64_t timeout_ms)
{
	write_file("command", script, strlen(script), 0700);
	return redis_credentials_new(
		&(struct redis_credentials_options){.password_command = path_of("command"), .timeout_ms = timeout_ms},
		&host);
}

static void
assert_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(host_state.fd, -1);
}

static long
runs(void)
{
	struct stat found;

	return stat(path_of("runs"), &found) == 0 ? (long)found.st_size : 0;
}

/* --- Tests --- */

static void
test_fixed(void **state)
{
	struct redis_credentials *credentials =
		redis_credentials_new(&(struct redis_credentials_options){.user = "u", .password = "p"}, &host);
	struct asker asker;

	(void)state;
	ask(credentials, &asker);
	assert_int_equal(asker.answers, 1);
	assert_string_equal(asker.user, "u");
	assert_string_equal(asker.password, "p");
	redis_credentials_free(credentials);
	credentials = redis_credentials_new(
		&(struct redis_credentials_options){.user = "", .password = "", .password_file = ""}, &host);
	ask(credentials, &asker);
	assert_string_equal(asker.user, "(none)");
	assert_string_equal(asker.password, "");
	redis_credentials_forget(credentials, &asker.wish);
	redis_credentials_free(credentials);
	redis_credentials_free(NULL);
}

static void
test_file(void **state)
{
	struct redis_credentials *credentials = with_file();
	struct asker asker;

	(void)state;
	FILE_WITH("one\n");
	ask(credentials, &asker);
	assert_string_equal(asker.user, "u");
	assert_string_equal(asker.password, "one");
	FILE_WITH(" two words \r\n");
	ask(credentials, &asker);
	assert_string_equal(asker.password, " two words ");
	redis_credentials_free(credentials);
}

static void
assert_file_fails(struct redis_credentials *credentials, const char *reason)
{
	struct asker asker;

	ask(credentials, &asker);
	assert_int_equal(asker.answers, 1);
	assert_string_equal(asker.password, "(none)");
	assert_names(asker.failure, "password_file '");
	assert_names(asker.failure, path_of("password"));
	assert_names(asker.failure, reason);
}

static void
test_bad_files(void **state)
{
	static char large[65537];
	struct redis_credentials *credentials = with_file();

	(void)state;
	(void)unlink(path_of("password"));
	assert_file_fails(credentials, "No such file or directory");
	FILE_WITH("\r\n\n");
	assert_file_fails(credentials, "gives nothing");
	FILE_WITH("a\0b");
	assert_file_fails(credentials, "zero byte");
	memset(large, 'x', sizeof(large));
	write_file("password", large, sizeof(large), 0600);
	assert_file_fails(credentials, "more than 65536 bytes");
	(void)unlink(path_of("password"));
	assert_int_equal(mkfifo(path_of("password"), 0600), 0);
	assert_file_fails(credentials, "no regular file");
	(void)unlink(path_of("password"));
	redis_credentials_free(credentials);
}

/* Wishes made during a run share it; those made right after use its result. */
static void
test_command_is_shared(void **state)
{
	char script[256];
	struct redis_credentials *credentials;
	struct asker askers[4];

	(void)state;
	(void)unlink(path_of("runs"));
	(void)snprintf(script, sizeof(script), "#!/bin/sh\nprintf x >>%s/runs\necho secret\ncat\n", folder);
	credentials = with_command(script, 10000);
	ask(credentials, &askers[0]);
	ask(credentials, &askers[1]);
	ask(credentials, &askers[2]);
	assert_int_equal(askers[0].answers, 0);
	redis_credentials_forget(credentials, &askers[1].wish);
	await(&askers[0]);
	assert_int_equal(askers[1].answers, 0);
	assert_int_equal(askers[2].answers, 1);
	assert_string_equal(askers[2].password, "secret");
	assert_string_equal(askers[2].user, "(none)");
	ask(credentials, &askers[3]);
	assert_int_equal(askers[3].answers, 1);
	assert_string_equal(askers[3].password, "secret");
	assert_int_equal(runs(), 1);
	fire_timer(); /* a second later */
	ask(credentials, &askers[3]);
	await(&askers[3]);
	assert_string_equal(askers[3].password, "secret");
	assert_int_equal(runs(), 2);
	redis_credentials_free(credentials);
	assert_no_child();
}

static void
assert_command_fails(const char *script, uint64_t timeout_ms, const char *reason)
{
	struct redis_credentials *credentials = with_command(script, timeout_ms);
	struct asker asker;

	ask(credentials, &asker);
	await(&asker);
	assert_string_equal(asker.password, "(none)");
	assert_names(asker.failure, "password_command '");
	assert_names(asker.failure, path_of("command"));
	assert_names(asker.failure, reason);
	assert_null(strstr(asker.failure, "secret"));
	redis_credentials_free(credentials);
	assert_no_child();
}

static void
test_bad_commands(void **state)
{
	(void)state;
	assert_command_fails("#!/bin/sh\necho secret\nexit 3\n", 10000, "exit status 3");
	assert_command_fails("#!/bin/sh\nexit 0\n", 10000, "gives nothing");
	assert_command_fails("#!/bin/sh\nexec cat /dev/zero\n", 10000, "more than 65536 bytes");
	assert_command_fails("#!/nowhere/sh\n", 10000, "No such file or directory");
	assert_command_fails("secret\n", 10000, "Exec format error");
	/* A child of the command holds the output open, and is killed with the command. */
	assert_command_fails("#!/bin/sh\necho secret\ncat /dev/zero >/dev/null &\nwait\n", 30, "within 30 ms");
	/* The command prints the password, but does not end. */
	assert_command_fails("#!/bin/sh\necho secret\nexec cat /dev/zero >/dev/null\n", 30, "within 30 ms");
}

/* The server ignores SIGPIPE and may block signals; a command must start with the defaults. */
static void
test_signals_are_default(void **state)
{
	sigset_t blocked;

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	assert_command_fails("#!/bin/sh\nkill -PIPE $$\necho secret\n", 10000, "signal 13");
	assert_command_fails("#!/bin/sh\nkill -TERM $$\necho secret\n", 10000, "signal 15");
	(void)sigprocmask(SIG_UNBLOCK, &blocked, NULL);
}

static void
test_free_ends_the_command(void **state)
{
	struct redis_credentials *credentials = with_command("#!/bin/sh\nexec cat /dev/zero >/dev/null\n", 10000);
	struct asker asker;

	(void)state;
	ask(credentials, &asker);
	redis_credentials_free(credentials);
	assert_int_equal(asker.answers, 0);
	assert_no_child();
}

/* If SIGCHLD is ignored, the output alone decides. */
static void
test_ignored_children(void **state)
{
	struct redis_credentials *credentials = with_command("#!/bin/sh\necho secret\n", 10000);
	struct asker asker;

	(void)state;
	(void)signal(SIGCHLD, SIG_IGN);
	ask(credentials, &asker);
	await(&asker);
	assert_string_equal(asker.password, "secret");
	redis_credentials_free(credentials);
	(void)signal(SIGCHLD, SIG_DFL);
}

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) == NULL;
}

static int
remove_folder(void **state)
{
	(void)state;
	(void)unlink(path_of("password"));
	(void)unlink(path_of("command"));
	(void)unlink(path_of("runs"));
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_command_is_shared),
		cmocka_unit_test(test_bad_commands),
		cmocka_unit_test(test_signals_are_default),
		cmocka_unit_test(test_free_ends_the_command),
		cmocka_unit_test(test_ignored_children),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
