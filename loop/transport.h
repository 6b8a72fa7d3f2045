/*
 * The bytes of one connection: plain, or over TLS. Non-blocking; belongs to its loop's thread.
 *
 * TLS needs no steps of its own: the handshake runs within transport_read and transport_write. But the two differ from
 * recv and writev in what they wait for: wait for transport_events, and on any event do again what was refused. (To
 * wait for more than TLS waits for would make the loop spin: the socket may be ready for what TLS cannot do yet.) Where
 * the caller waits for bytes, and transport_pending is true, no event comes for those that TLS has received: call
 * loop_watch_wake.
 *
 * OpenSSL writes without MSG_NOSIGNAL: a process that uses TLS ignores SIGPIPE.
 */
#ifndef HIPPOCAMP_LOOP_TRANSPORT_H
#define HIPPOCAMP_LOOP_TRANSPORT_H

#include "base/bytes.h"
#include "loop/tls_server.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* For the caller's storage. Read `fd` and `failure`; the rest is private. */
struct transport {
	int fd;
	SSL *ssl; /* NULL: plain */
	unsigned wants;
	bool pending;
	bool is_cut;	     /* close_notify was sent, would be a lie, or cannot be sent */
	const char *failure; /* why TLS failed, in OpenSSL's words; NULL: it did not */
};

/* Takes over the descriptor. `tls` NULL: plain; else it must outlive the call only. */
void transport_init(struct transport *transport, int fd, struct tls_server *tls);

/* The same for a connection that we open. Takes over `ssl`, too (see tls_client_connect); NULL: plain. */
void transport_init_client(struct transport *transport, int fd, SSL *ssl);

/*
 * Ends the connection and closes the descriptor. Tells the peer by close_notify that nothing is missing, unless TLS
 * failed or the last write was refused.
 */
void transport_close(struct transport *transport);

/*
 * Tells the peer that nothing follows, by close_notify and as shutdown(SHUT_WR) does. From then on, what the peer sends
 * is to be read from `fd`, undeciphered, and thrown away.
 */
void transport_shutdown(struct transport *transport);

/* The most pieces that transport_gather finds. */
#define TRANSPORT_PIECES 64

/*
 * Fills `iov` with what is left of a message, a head and the pieces of its body, behind its first `skip` bytes. Returns
 * how many pieces that is: at most TRANSPORT_PIECES, and 0 only where nothing is left.
 */
int transport_gather(struct bytes head, const struct bytes *body, size_t body_count, size_t skip,
		     struct iovec iov[TRANSPORT_PIECES]);

ssize_t transport_read_tls(struct transport *transport, void *at, size_t length);
ssize_t transport_send_tls(struct transport *transport, const void *at, size_t length);
ssize_t transport_write_tls(struct transport *transport, const struct iovec *iov, int count);
ssize_t transport_write_plain(const struct transport *transport, const struct iovec *iov, int count);

/*
 * As recv: returns 0 at the peer's end, and -1 with errno. EPROTO: TLS failed, `failure` tells why, and the peer is
 * told by an alert, which it may read if the connection is ended by transport_shutdown.
 */
static inline ssize_t
transport_read(struct transport *transport, void *at, size_t length)
{
	return transport->ssl == NULL ? recv(transport->fd, at, length, 0) : transport_read_tls(transport, at, length);
}

/*
 * As send and writev, but never SIGPIPE. Over TLS, one call writes one record, of at most 16 KiB, out of all pieces.
 * After EAGAIN the next call must begin with the same bytes, and have no fewer: over TLS they may be enciphered
 * already.
 */
static inline ssize_t
transport_send(struct transport *transport, const void *at, size_t length)
{
	return transport->ssl == NULL ? send(transport->fd, at, length, MSG_NOSIGNAL)
				      : transport_send_tls(transport, at, length);
}

static inline ssize_t
transport_write(struct transport *transport, const struct iovec *iov, int count)
{
	return transport->ssl == NULL ? transport_write_plain(transport, iov, count)
				      : transport_write_tls(transport, iov, count);
}

/* What to wait for: `events`, or what TLS waits for before it can go on, for its handshake or new keys. */
static inline unsigned
transport_events(const struct transport *transport, unsigned events)
{
	return transport->wants != 0 ? transport->wants : events;
}

/* May transport_read return bytes although no event tells of any? They came with those that it returned last, or with
 * the end of a handshake within transport_write. */
static inline bool
transport_pending(const struct transport *transport)
{
	return transport->pending;
}

/* Is the TLS handshake still under way? Limit its time. */
bool transport_greets(const struct transport *transport);

#endif
