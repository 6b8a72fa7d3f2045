#include "server/connection_internal.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#define SEND_TOGETHER 2048

const char *
connection_reason_phrase(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Not Allowed";
	case 408:
		return "Request Timeout";
	case 413:
		return "Content Too Large";
	case 431:
		return "Request Header Fields Too Large";
	case 502:
		return "Bad Gateway";
	case 504:
		return "Gateway Timeout";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 500:
		return "Internal Server Error";
	default: /* of a server behind; the phrase means nothing (RFC 9112 section 4) */
		return "";
	}
}

void
connection_begin_reply(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;
	struct buf head = {.at = (uint8_t *)connection->head_text,
			   .capacity = sizeof(connection->head_text),
			   .maximum = sizeof(connection->head_text)};
	size_t length = 0;

	for (size_t i = 0; i < exchange->piece_count; i++) {
		length += exchange->pieces[i].length;
	}
	buf_text(&head, "HTTP/1.1 ");
	buf_unsigned(&head, (uint64_t)exchange->status);
	buf_byte(&head, ' ');
	buf_text(&head, connection_reason_phrase(exchange->status));
	buf_text(&head, "\r\nContent-Type: ");
	buf_text(&head, exchange->content_type);
	buf_text(&head, "\r\n");
	buf_append(&head, exchange->extra_headers);
	if (connection->close_after) {
		buf_text(&head, "Connection: close\r\n");
	} else if (exchange->head.version_1_0) {
		buf_text(&head, "Connection: keep-alive\r\n");
	}
	buf_text(&head, "Content-Length: ");
	buf_unsigned(&head, length);
	buf_text(&head, "\r\n\r\n");
	assert(buf_ok(&head));			   /* all parts are short */
	if (exchange->head.method == HTTP1_HEAD) { /* the length without the body (RFC 9110 section 9.3.2) */
		exchange->piece_count = 0;
		length = 0;
	}
	connection->head_out = buf_bytes(&head);
	connection->written = 0;
	connection->total = head.length + length;
}

/* Copies a small reply into one buffer, which costs less than a writev of several pieces. */
static ssize_t
write_some(struct connection *connection)
{
	struct iovec iov[TRANSPORT_PIECES];
	int count = transport_gather(connection->head_out, connection->exchange.pieces,
				     connection->exchange.piece_count, connection->written, iov);
	uint8_t together[SEND_TOGETHER];
	size_t length = 0;

	if (connection->total - connection->written > sizeof(together)) {
		return transport_write(&connection->transport, iov, count);
	}
	for (int i = 0; i < count; i++) {
		memcpy(together + length, iov[i].iov_base, iov[i].iov_len);
		length += iov[i].iov_len;
	}
	return transport_send(&connection->transport, together, length);
}

bool
connection_write(struct connection *connection)
{
	while (connection->written < connection->total) {
		ssize_t put = write_some(connection);

		if (put >= 0) {
			connection->written += (size_t)put;
		} else if (errno != EINTR) {
			return errno == EAGAIN;
		}
	}
	return true;
}

void
connection_send_continue(struct connection *connection)
{
	static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const struct http1_head *head = &connection->exchange.head;

	if (!head->version_1_0 && bytes_equal_nocase(http1_header(head, "expect"), "100-continue")) {
		ssize_t put = transport_send(&connection->transport, interim, sizeof(interim) - 1);
		bool in_part =
			put > 0 || (put < 0 && connection->port->tls != NULL); /* TLS keeps what it cannot send */

		/* A client that gets nothing sends the body anyway; half an interim reply would corrupt the stream. */
		if (in_part && (size_t)put != sizeof(interim) - 1) {
			(void)shutdown(connection->transport.fd, SHUT_RDWR);
		}
	}
}
