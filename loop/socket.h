/*
 * Listening and connected TCP sockets, non-blocking, read and written by readv and writev.
 */
#ifndef HIPPOCAMP_LOOP_SOCKET_H
#define HIPPOCAMP_LOOP_SOCKET_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* "unix:/run/hippocamp.sock": the path of a Unix socket; NULL: it is no such address. */
const char *socket_unix_path(const char *address);

/*
 * A listening socket on address:port with SO_REUSEPORT, so that each loop can have its own. `address` is a numeric
 * address or a name. A Unix socket has no
 * port, and one listener, which `socket_share` gives to others; what a process that is gone has left of it is removed.
 * Returns the descriptor or -1.
 */
int socket_listen(const char *address, uint16_t port, struct error *error);

/* Fails with Triton's text if somebody listens there already (SO_REUSEPORT alone would share the port silently). */
enum status socket_check_free(const char *address, uint16_t port, struct error *error);

/* Another descriptor of the same listener, or -1. */
int socket_share(int listener, struct error *error);

/* The next waiting connection (non-blocking, TCP_NODELAY), or -1 with errno. */
int socket_accept(int listener);

/* Does the socket's own address reach this machine only (127.0.0.0/8, ::1, a Unix socket)? */
bool socket_is_loopback(int fd);

/* The port that the kernel gave, for port 0. */
uint16_t socket_port(int fd);

#endif
