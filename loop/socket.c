#include "loop/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096

/* Of connections that we open: probes of silent ones, and how long sent bytes may stay unacknowledged. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES 3
#define UNACKNOWLEDGED_MS 60000

static void
set_flag(int fd, int level, int name)
{
	int on = 1;

	(void)setsockopt(fd, level, name, &on, sizeof(on));
}

static int
open_listener(const char *address, uint16_t port, bool share, struct error *error)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found = NULL;
	size_t length = strlen(address);
	char bare[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
	char service[8];
	int failure;
	int fd;

	if (length > 2 && length - 2 < sizeof(bare) && *address == '[' && address[length - 1] == ']') {
		(void)snprintf(bare, sizeof(bare), "%.*s", (int)length - 2,
			       address + 1); /* strips the brackets of an IPv6 address */
		address = bare;
	}
	(void)snprintf(service, sizeof(service), "%u", port);
	failure = getaddrinfo(address, service, &hints, &found);
	if (failure != 0) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "cannot listen on '%s': %s", address,
				gai_strerror(failure));
		return -1;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
		if (share) {
			set_flag(fd, SOL_SOCKET, SO_REUSEPORT);
		}
	}
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
		if (errno == EADDRINUSE) {
			(void)error_set(error, STATUS_UNAVAILABLE, "Socket '%s:%u' already in use; choose another port",
					address, port);
		} else {
			(void)error_set(error, STATUS_UNAVAILABLE, "cannot listen on '%s:%u': %s", address, port,
					strerror(errno));
		}
		if (fd >= 0) {
			(void)close(fd);
		}
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

/* --- Unix sockets --- */

#define UNIX_PREFIX "unix:"

const char *
socket_unix_path(const char *address)
{
	return strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0 ? address + strlen(UNIX_PREFIX) : NULL;
}

bool
socket_unix_address(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (*path == '\0' || strlen(path) >= sizeof(address->sun_path)) {
		return false;
	}
	memcpy(address->sun_path, path, strlen(path) + 1);
	return true;
}

static enum status
unix_address(const char *path, struct sockaddr_un *address, struct error *error)
{
	return socket_unix_address(path, address)
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT,
				   "cannot listen on 'unix:%s': the path must have 1 to %zu bytes", path,
				   sizeof(address->sun_path) - 1);
}

/* Fails if a process listens at `path`; removes a socket at which none listens any more. */
static enum status
clear_unix(const char *path, struct error *error)
{
	struct sockaddr_un address;
	struct stat found;
	int fd;
	bool taken;

	if (unix_address(path, &address, error) != STATUS_OK) {
		return error->status;
	}
	if (lstat(path, &found) != 0) {
		return STATUS_OK;
	}
	if (!S_ISSOCK(found.st_mode)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "cannot listen on 'unix:%s': there is a file of that name", path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	taken = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno != ECONNREFUSED;
	if (fd >= 0) {
		(void)close(fd);
	}
	if (taken) {
		return error_set(error, STATUS_UNAVAILABLE, "Socket 'unix:%s' already in use; choose another path",
				 path);
	}
	(void)unlink(path);
	return STATUS_OK;
}

static int
listen_unix(const char *path, struct error *error)
{
	struct sockaddr_un address;
	int fd;

	if (clear_unix(path, error) != STATUS_OK || unix_address(path, &address, error) != STATUS_OK) {
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, BACKLOG) != 0) {
		(void)error_set(error, STATUS_UNAVAILABLE, "cannot listen on 'unix:%s': %s", path, strerror(errno));
		if (fd >= 0) {
			(void)close(fd);
		}
		return -1;
	}
	return fd;
}

/* --- TCP and Unix sockets --- */

int
socket_share(int listener, struct error *error)
{
	int fd = fcntl(listener, F_DUPFD_CLOEXEC, 0);

	if (fd < 0) {
		(void)error_set(error, STATUS_UNAVAILABLE, "cannot share a listening socket: %s", strerror(errno));
	}
	return fd;
}

int
socket_listen(const char *address, uint16_t port, struct error *error)
{
	if (socket_unix_path(address) != NULL) {
		return listen_unix(socket_unix_path(address), error);
	}
	return open_listener(address, port, true, error);
}

enum status
socket_check_free(const char *address, uint16_t port, struct error *error)
{
	int fd;

	if (socket_unix_path(address) != NULL) {
		return clear_unix(socket_unix_path(address), error);
	}
	fd = open_listener(address, port, false, error);
	if (fd < 0) {
		return error->status;
	}
	(void)close(fd);
	return STATUS_OK;
}

int
socket_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	}
	return fd;
}

static void
set_number(int fd, int level, int name, int value)
{
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

int
socket_connect(const struct sockaddr *address, unsigned length)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		return -1;
	}
	if (address->sa_family != AF_UNIX) {
		set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
		set_flag(fd, SOL_SOCKET, SO_KEEPALIVE);
		set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
		set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
		set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
		set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS);
	}
	if (connect(fd, address, length) != 0 && errno != EINPROGRESS) {
		int failure = errno;

		(void)close(fd);
		errno = failure;
		return -1;
	}
	return fd;
}

bool
socket_is_loopback(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);
	const struct in6_addr *six = &((struct sockaddr_in6 *)&address)->sin6_addr;

	if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
		return false;
	}
	if (address.ss_family == AF_UNIX) {
		return true;
	}
	if (address.ss_family == AF_INET) {
		return ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24 == 127;
	}
	return address.ss_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127));
}

uint16_t
socket_port(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 || address.ss_family == AF_UNIX) {
		return 0;
	}
	return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
						   : ((struct sockaddr_in *)&address)->sin_port);
}
