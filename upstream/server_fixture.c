#include "upstream/server_fixture.h"

#include "base/memory.h"
#include "loop/socket.h"
#include "wire/http1.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX ((size_t)8 << 20)

struct peer {
	LIST_ENTRY(peer) entry;
	struct scripted_server *server;
	struct loop_watch *watch;
	int fd;
	struct buf in;
};

struct scripted_server {
	struct loop *loop;
	struct loop_watch *watch;
	int listener;
	char *address;
	const struct scripted_step *steps;
	size_t step_count;
	size_t requests;
	size_t connections;
	struct buf last;
	LIST_HEAD(, peer) peers;
};

static void
close_peer(struct peer *peer)
{
	LIST_REMOVE(peer, entry);
	loop_watch_free(peer->watch);
	(void)close(peer->fd);
	buf_fini(&peer->in);
	free(peer);
}

static void
play(struct peer *peer)
{
	struct scripted_server *server = peer->server;
	size_t index = server->requests < server->step_count ? server->requests : server->step_count - 1;
	const struct scripted_step *step = &server->steps[index];
	size_t length = step->length > 0 || step->reply == NULL ? step->length : strlen(step->reply);
	struct linger reset = {.l_onoff = 1};

	server->requests++;
	if (step->reply != NULL) {
		ssize_t put = send(peer->fd, step->reply, length, MSG_NOSIGNAL);

		(void)put;
	}
	if (step->resets) {
		(void)setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	}
	if (step->closes || step->resets) {
		close_peer(peer);
	}
}

/* Is there a whole request? */
static bool
take_request(struct peer *peer)
{
	struct http1_parser *parser = http1_new();
	struct http1_head head;
	size_t used = 0;
	bool whole = http1_feed_head(parser, buf_bytes(&peer->in), 0, &head, &used) == HTTP1_DONE &&
		     peer->in.length >= used + head.content_length;

	if (whole) {
		buf_clear(&peer->server->last);
		buf_append(&peer->server->last, buf_bytes(&peer->in));
		buf_clear(&peer->in);
	}
	http1_free(parser);
	return whole;
}

static void
on_readable(void *argument, unsigned events)
{
	struct peer *peer = argument;
	ssize_t got = recv(peer->fd, buf_reserve(&peer->in, 65536), 65536, 0);

	(void)events;
	if (got > 0) {
		peer->in.length += (size_t)got;
		if (take_request(peer)) {
			play(peer);
		}
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		close_peer(peer);
	}
}

static void
on_listener(void *argument, unsigned events)
{
	struct scripted_server *server = argument;
	int fd = socket_accept(server->listener);
	struct peer *peer;

	(void)events;
	if (fd < 0) {
		return;
	}
	peer = memory_new(sizeof(*peer));
	peer->server = server;
	peer->fd = fd;
	buf_init(&peer->in, REQUEST_MAX);
	peer->watch = loop_watch_new(server->loop, fd, on_readable, peer);
	loop_watch_set(peer->watch, LOOP_READ);
	LIST_INSERT_HEAD(&server->peers, peer, entry);
	server->connections++;
}

struct scripted_server *
scripted_server_new(struct loop *loop, const char *path, const struct scripted_step *steps, size_t count)
{
	struct scripted_server *server = memory_new(sizeof(*server));
	struct error error;

	server->loop = loop;
	server->steps = steps;
	server->step_count = count;
	server->address = memory_format("unix:%s", path);
	server->listener = socket_listen(server->address, 0, &error);
	buf_init(&server->last, REQUEST_MAX);
	LIST_INIT(&server->peers);
	server->watch = loop_watch_new(loop, server->listener, on_listener, server);
	loop_watch_set(server->watch, LOOP_READ);
	return server;
}

void
scripted_server_hang_up(struct scripted_server *server)
{
	while (!LIST_EMPTY(&server->peers)) {
		close_peer(LIST_FIRST(&server->peers));
	}
}

void
scripted_server_free(struct scripted_server *server)
{
	scripted_server_hang_up(server);
	loop_watch_free(server->watch);
	(void)close(server->listener);
	(void)unlink(socket_unix_path(server->address));
	buf_fini(&server->last);
	free(server->address);
	free(server);
}

size_t
scripted_server_requests(const struct scripted_server *server)
{
	return server->requests;
}

size_t
scripted_server_connections(const struct scripted_server *server)
{
	return server->connections;
}

struct bytes
scripted_server_last(const struct scripted_server *server)
{
	return buf_bytes(&server->last);
}
