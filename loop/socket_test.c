#include "loop/socket.h"

#include "base/unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[] = "/tmp/hippocamp_socket_XXXXXX";
static char address[64];
static const char *path;

static int
make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL) {
		return 1;
	}
	(void)snprintf(address, sizeof(address), "unix:%s/socket", folder);
	path = socket_unix_path(address);
	return 0;
}

static int
remove_folder(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(folder);
}

static int
connect_to(const char *to)
{
	struct sockaddr_un peer = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(peer.sun_path, to, strlen(to) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&peer, sizeof(peer)), 0);
	return fd;
}

static void
test_unix_paths(void **state)
{
	(void)state;
	assert_string_equal(socket_unix_path("unix:/run/s"), "/run/s");
	assert_null(socket_unix_path("127.0.0.1"));
	assert_null(socket_unix_path("Unix:/run/s"));
}

static void
test_what_cannot_be_listened_on(void **state)
{
	static const struct {
		const char *address;
		enum status status;
	} cases[] = {
		{"unix:", STATUS_INVALID_ARGUMENT},
		{"unix:/a/path/that/is/longer/than/the/108/bytes/that/the/kernel/takes/for/the/address/of/a/unix/"
		 "socket/for/which/see/unix(7)",
		 STATUS_INVALID_ARGUMENT},
		{"unix:/no/such/folder/socket", STATUS_UNAVAILABLE},
		{"unix:/dev/null", STATUS_INVALID_ARGUMENT}, /* a file that is no socket is never removed */
		{"300.0.0.1", STATUS_INVALID_ARGUMENT},
		{"192.0.2.1", STATUS_UNAVAILABLE}, /* an address for documents (RFC 5737): not this machine's */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct error error = {0};

		assert_int_equal(socket_listen(cases[i].address, 0, &error), -1);
		assert_int_equal(error.status, cases[i].status);
		assert_non_null(strstr(error.text, "cannot listen on"));
	}
	assert_int_equal(access("/dev/null", F_OK), 0);
}

/* The port is shared by listeners of this program, and by nobody who asks whether it is free. */
static void
test_a_port(void **state)
{
	struct error error = {0};
	int first = socket_listen("127.0.0.1", 0, &error);
	uint16_t port = socket_port(first);
	int second = socket_listen("127.0.0.1", port, &error);

	(void)state;
	assert_true(first >= 0 && second >= 0 && port != 0);
	assert_int_equal(socket_port(second), port);
	assert_true(socket_is_loopback(first));
	assert_int_equal(socket_check_free("127.0.0.1", port, &error), STATUS_UNAVAILABLE);
	assert_non_null(strstr(error.text, "already in use"));
	(void)close(first);
	(void)close(second);
	assert_int_equal(socket_check_free("127.0.0.1", port, &error), STATUS_OK);
}

static void
test_addresses_of_this_machine_only(void **state)
{
	struct error error = {0};
	int all = socket_listen("0.0.0.0", 0, &error);
	int bracketed = socket_listen("[::1]", 0, &error);

	(void)state;
	assert_false(socket_is_loopback(all));
	if (bracketed >= 0) { /* the machine has IPv6 */
		assert_true(socket_is_loopback(bracketed));
		(void)close(bracketed);
	}
	(void)close(all);
}

static void
test_a_unix_socket(void **state)
{
	struct error error = {0};
	int listener = socket_listen(address, 0, &error);
	int shared = socket_share(listener, &error);
	int client;
	int accepted;

	(void)state;
	assert_true(listener >= 0 && shared >= 0);
	assert_true(socket_is_loopback(listener));
	assert_int_equal(socket_check_free(address, 0, &error), STATUS_UNAVAILABLE);
	assert_int_equal(socket_listen(address, 0, &error), -1);
	while ((accepted = socket_accept(shared)) >= 0) { /* those who asked whether the address is taken */
		(void)close(accepted);
	}
	assert_int_equal(errno, EAGAIN);
	client = connect_to(path);
	accepted = socket_accept(shared);
	assert_true(accepted >= 0);
	assert_true((fcntl(accepted, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(accepted, F_GETFD) & FD_CLOEXEC) != 0);
	(void)close(accepted);
	(void)close(client);
	(void)close(shared);
	(void)close(listener);
}

/* What a process that is gone has left of its socket is in nobody's way. */
static void
test_a_socket_that_was_left(void **state)
{
	struct error error = {0};
	int listener;

	(void)state;
	assert_int_equal(access(path, F_OK), 0); /* of the test before */
	listener = socket_listen(address, 0, &error);
	assert_true(listener >= 0);
	(void)close(connect_to(path));
	(void)close(listener);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unix_paths),    cmocka_unit_test(test_what_cannot_be_listened_on),
		cmocka_unit_test(test_a_port),	      cmocka_unit_test(test_addresses_of_this_machine_only),
		cmocka_unit_test(test_a_unix_socket), cmocka_unit_test(test_a_socket_that_was_left),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
