/*
 * Stream sockets (TCP, Unix), non-blocking: listening, accepted, connecting. Callers read, write and close them.
 */
#ifndef HIPPOCAMP_LOOP_SOCKET_H
#define HIPPOCAMP_LOOP_SOCKET_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Returns the path in the address of a Unix socket, "unix:/run/hippocamp.sock", or NULL for other addresses. */
const char *socket_unix_path(const char *address);

/*
 * Listens on address:port, with SO_REUSEPORT so that each loop can have its own listener. `address` is a numeric
 * address, a name, or that of a Unix socket, which has no port and a single listener: share it by socket_share. Removes
 * a Unix socket that no process listens on any more. Returns the descriptor or -1.
 */
int socket_listen(const char *address, uint16_t port, struct error *error);

/* Fails with Triton's text if a process already listens there; with SO_REUSEPORT both would silently share the port. */
enum status socket_check_free(const char *address, uint16_t port, struct error *error);

/* Returns another descriptor of the same listener, or -1. */
int socket_share(int listener, struct error *error);

/* Accepts the next pending connection (non-blocking, TCP_NODELAY). Returns its descriptor, or -1 with errno. */
int socket_accept(int listener);

struct sockaddr;
struct sockaddr_un;

/*
 * Begins to connect to an address (non-blocking, TCP_NODELAY; TCP finds out within about a minute if the other machine
 * is gone). The socket becomes writable when it is connected or has failed (SO_ERROR). Returns the descriptor, or -1
 * with errno.
 */
int socket_connect(const struct sockaddr *address, unsigned length);

/* Fills the address of a Unix socket. False: the path is empty or too long. */
bool socket_unix_address(const char *path, struct sockaddr_un *address);

/* True if the socket's own address is local to this machine: 127.0.0.0/8, ::1 or a Unix socket. */
bool socket_is_loopback(int fd);

/* Returns the port, also one that the kernel chose; 0 for a Unix socket. */
uint16_t socket_port(int fd);

#endif
