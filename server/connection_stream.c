/* Replies that come in parts. */
#include "base/memory.h"
#include "server/connection_internal.h"

#include <errno.h>
#include <stdio.h>

#define BACKLOG_MAX ((size_t)1 << 30)
#define BACKLOG_KEPT ((size_t)64 * 1024)
#define BACKLOG_FULL ((size_t)256 * 1024)
#define PIECES_MAX 3

/* Drops what has been sent. */
static void
shrink(struct connection *connection)
{
	if (connection->stream.backlog.capacity > BACKLOG_KEPT) {
		buf_fini(&connection->stream.backlog);
		buf_init(&connection->stream.backlog, BACKLOG_MAX);
	}
	buf_clear(&connection->stream.backlog);
	connection->stream.flushed = 0;
	connection->stream.is_held = false;
}

bool
connection_stream_flush(struct connection *connection)
{
	connection->stream.is_held = false;
	while (connection_has_backlog(connection)) {
		struct bytes rest = bytes_skip(buf_bytes(&connection->stream.backlog), connection->stream.flushed);
		ssize_t put = transport_send(&connection->transport, rest.at, rest.length);

		if (put >= 0) {
			connection->stream.flushed += (size_t)put;
			connection->active_tick = connection->lane->ticks;
		} else if (errno != EINTR) {
			return errno == EAGAIN;
		}
	}
	shrink(connection);
	return true;
}

/* Removes the first `count` bytes. */
static void
advance_iov(struct iovec **iov, int *pieces, size_t count)
{
	while (*pieces > 0 && count >= (*iov)->iov_len) {
		count -= (*iov)->iov_len;
		++*iov;
		--*pieces;
	}
	if (*pieces > 0) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + count;
		(*iov)->iov_len -= count;
	}
}

/* Sends a head that waits, and the pieces behind it, in one. */
static bool
push_held(struct connection *connection, struct iovec **iov, int *pieces)
{
	struct bytes head = bytes_skip(buf_bytes(&connection->stream.backlog), connection->stream.flushed);
	struct iovec all[1 + PIECES_MAX] = {{.iov_base = (void *)(uintptr_t)head.at, .iov_len = head.length}};
	ssize_t put;

	connection->stream.is_held = false;
	memcpy(all + 1, *iov, (size_t)*pieces * sizeof(**iov));
	do {
		put = transport_write(&connection->transport, all, *pieces + 1);
	} while (put < 0 && errno == EINTR);
	if (put < 0) {
		connection->stream.is_broken = errno != EAGAIN;
		return false;
	}
	connection->active_tick = connection->lane->ticks;
	if ((size_t)put < head.length) {
		connection->stream.flushed += (size_t)put;
		return false;
	}
	shrink(connection);
	advance_iov(iov, pieces, (size_t)put - head.length);
	return true;
}

/* Sends pieces, PIECES_MAX at most, behind the backlog; what the socket does not take is copied into it. */
static void
push(struct connection *connection, struct iovec *iov, int pieces)
{
	bool blocked =
		connection->stream.is_held ? !push_held(connection, &iov, &pieces) : connection_has_backlog(connection);

	while (pieces > 0 && !blocked && !connection->stream.is_broken) {
		ssize_t put = transport_write(&connection->transport, iov, pieces);

		if (put >= 0) {
			advance_iov(&iov, &pieces, (size_t)put);
			connection->active_tick = connection->lane->ticks;
		} else if (errno == EAGAIN) {
			blocked = true;
		} else if (errno != EINTR) {
			connection->stream.is_broken = true;
		}
	}
	for (int i = 0; i < pieces && !connection->stream.is_broken; i++) {
		buf_append(&connection->stream.backlog, bytes_make(iov[i].iov_base, iov[i].iov_len));
	}
	connection->stream.is_broken = connection->stream.is_broken || !buf_ok(&connection->stream.backlog);
}

static void
push_text(struct connection *connection, const char *text, size_t length)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = length};

	push(connection, &iov, 1);
}

void
connection_stream_head(struct connection *connection, int status, struct bytes fields, bool has_length)
{
	const struct exchange *exchange = &connection->exchange;
	bool old = exchange->head.version_1_0;
	struct buf head;

	connection->stream.chunked =
		!has_length && !old && exchange->head.method != HTTP1_HEAD && status != 204 && status != 304;
	connection->stream.until_close = !has_length && old;
	connection->close_after = connection->close_after || connection->stream.until_close;
	if (connection->is_incomplete) { /* the rest of the request may not be read */
		connection->close_after = true;
		connection->linger_after = true;
	}
	connection->stream.is_broken = false;
	connection->stream.is_complete = false;
	buf_init(&head, BACKLOG_MAX);
	buf_format(&head, "HTTP/1.1 %d %s\r\n", status, connection_reason_phrase(status));
	buf_append(&head, fields);
	if (connection->stream.chunked) {
		buf_text(&head, "Transfer-Encoding: chunked\r\n");
	}
	if (connection->close_after) {
		buf_text(&head, "Connection: close\r\n");
	} else if (old) {
		buf_text(&head, "Connection: keep-alive\r\n");
	}
	buf_text(&head, "\r\n");
	buf_append(&connection->stream.backlog, buf_bytes(&head));
	connection->stream.is_broken = !buf_ok(&head) || !buf_ok(&connection->stream.backlog);
	connection->stream.is_held = true;
	buf_fini(&head);
}

bool
connection_stream_part(struct connection *connection, struct bytes part)
{
	char size[24];
	struct iovec iov[3] = {{.iov_base = size}, {.iov_base = (void *)(uintptr_t)part.at, .iov_len = part.length}};

	if (connection->stream.chunked) {
		iov[0].iov_len = (size_t)snprintf(size, sizeof(size), "%zx\r\n", part.length);
		iov[2] = (struct iovec){.iov_base = (void *)(uintptr_t) "\r\n", .iov_len = 2};
		push(connection, iov, 3);
	} else {
		push(connection, iov + 1, 1);
	}
	return connection->stream.backlog.length - connection->stream.flushed < BACKLOG_FULL;
}

/* Makes the end look like none, so that the peer cannot take what it got for the whole reply. */
static void
cut(struct connection *connection)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (connection->stream.until_close) {
		(void)setsockopt(connection->transport.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		connection->transport.is_cut = true; /* close_notify would say that it is whole */
	}
	connection->close_after = true;
	connection->linger_after = !connection->stream.until_close; /* replies before it are not to be lost */
	shrink(connection);
}

void
connection_stream_tail(struct connection *connection, bool complete)
{
	if (!complete || connection->stream.is_broken) {
		cut(connection);
	} else if (connection->stream.chunked) {
		push_text(connection, "0\r\n\r\n", 5);
	} else if (connection->stream.is_held && !connection_stream_flush(connection)) {
		cut(connection);
	}
	connection->stream.is_complete = true;
}
