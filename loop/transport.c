#include "loop/transport.h"

#include "loop/loop.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define RECORD_SIZE ((size_t)16 * 1024) /* the largest that TLS has */

static void
use_tls(struct transport *transport, SSL *ssl)
{
	transport->ssl = ssl;
	if (ssl == NULL || SSL_set_fd(ssl, transport->fd) != 1) {
		/* No memory: the connection must end before a byte goes over it in the clear. */
		SSL_free(ssl);
		transport->ssl = NULL;
		(void)shutdown(transport->fd, SHUT_RDWR);
	}
}

void
transport_init(struct transport *transport, int fd, struct tls_server *tls)
{
	*transport = (struct transport){.fd = fd};
	if (tls != NULL) {
		use_tls(transport, tls_server_accept(tls));
	}
}

void
transport_init_client(struct transport *transport, int fd, SSL *ssl)
{
	*transport = (struct transport){.fd = fd};
	if (ssl != NULL) {
		use_tls(transport, ssl);
	}
}

/* SSL_is_init_finished does not tell: it is false again after an alert, and for new keys. */
bool
transport_greets(const struct transport *transport)
{
	char finished[EVP_MAX_MD_SIZE];

	return transport->ssl != NULL && SSL_get_peer_finished(transport->ssl, finished, sizeof(finished)) == 0;
}

static void
notify_close(struct transport *transport)
{
	if (!transport->is_cut) {
		ERR_clear_error();
		(void)SSL_shutdown(
			transport->ssl); /* fails before the end of the handshake, which has nothing to close */
		ERR_clear_error();
		transport->is_cut = true;
	}
}

void
transport_shutdown(struct transport *transport)
{
	if (transport->ssl != NULL) {
		notify_close(transport);
	}
	(void)shutdown(transport->fd, SHUT_WR);
}

void
transport_close(struct transport *transport)
{
	if (transport->ssl != NULL) {
		notify_close(transport);
		SSL_free(transport->ssl);
	}
	(void)close(transport->fd);
}

static void
fail(struct transport *transport)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		reason = X509_verify_cert_error_string(SSL_get_verify_result(transport->ssl));
	}
	if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) {
		reason = "what the peer says is no TLS";
	}
	transport->failure = reason == NULL ? "no reason given" : reason;
	ERR_clear_error();
}

/* Turns what OpenSSL did not do into what recv returns. `other`: the event that the caller does not wait for itself. */
static ssize_t
explain(struct transport *transport, int result, unsigned other)
{
	int system_error = errno;

	switch (SSL_get_error(transport->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		transport->wants |= other & LOOP_READ;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		transport->wants |= other & LOOP_WRITE;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		transport->is_cut = true;
		errno = system_error == 0 ? ECONNRESET : system_error;
		return -1;
	default:
		transport->is_cut = true;
		fail(transport);
		errno = EPROTO;
		return -1;
	}
}

ssize_t
transport_read_tls(struct transport *transport, void *at, size_t length)
{
	size_t got = 0;
	int result;

	ERR_clear_error();
	errno = 0;
	result = SSL_read_ex(transport->ssl, at, length, &got);
	transport->wants &= ~LOOP_WRITE;
	transport->pending = result == 1 && SSL_has_pending(transport->ssl) == 1;
	return result == 1 ? (ssize_t)got : explain(transport, result, LOOP_WRITE);
}

ssize_t
transport_send_tls(struct transport *transport, const void *at, size_t length)
{
	size_t put = 0;
	ssize_t outcome;
	int result;

	if (length == 0) {
		return 0;
	}
	ERR_clear_error();
	errno = 0;
	result = SSL_write_ex(transport->ssl, at, length < RECORD_SIZE ? length : RECORD_SIZE, &put);
	transport->wants &= ~LOOP_READ;
	transport->is_cut = result != 1;
	if (result == 1) { /* the handshake, if it ended now, may have read more than its own */
		transport->pending = SSL_has_pending(transport->ssl) == 1;
		return (ssize_t)put;
	}
	outcome = explain(transport, result, LOOP_READ);
	if (outcome == 0) { /* the peer left during the handshake */
		errno = EPIPE;
	}
	return -1;
}

/* Copies small pieces into one record. */
ssize_t
transport_write_tls(struct transport *transport, const struct iovec *iov, int count)
{
	uint8_t record[RECORD_SIZE];
	size_t length = 0;

	if (count > 0 && iov[0].iov_len >= RECORD_SIZE) {
		return transport_send_tls(transport, iov[0].iov_base, RECORD_SIZE);
	}
	for (int i = 0; i < count && length < RECORD_SIZE; i++) {
		size_t room = RECORD_SIZE - length;
		size_t taken = iov[i].iov_len < room ? iov[i].iov_len : room;

		if (taken > 0) {
			memcpy(record + length, iov[i].iov_base, taken);
			length += taken;
		}
	}
	return transport_send_tls(transport, record, length);
}

int
transport_gather(struct bytes head, const struct bytes *body, size_t body_count, size_t skip,
		 struct iovec iov[TRANSPORT_PIECES])
{
	int count = 0;

	for (size_t i = 0; i <= body_count && count < TRANSPORT_PIECES; i++) {
		struct bytes piece = i == 0 ? head : body[i - 1];

		if (skip >= piece.length) {
			skip -= piece.length;
			continue;
		}
		piece = bytes_skip(piece, skip);
		skip = 0;
		iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)piece.at, .iov_len = piece.length};
	}
	return count;
}

/* writev raises SIGPIPE. */
ssize_t
transport_write_plain(const struct transport *transport, const struct iovec *iov, int count)
{
	struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};

	return sendmsg(transport->fd, &message, MSG_NOSIGNAL);
}
