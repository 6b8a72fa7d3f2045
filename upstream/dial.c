#include "upstream/dial.h"

#include "base/memory.h"
#include "loop/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define ALPN_HTTP2 "\x02h2" /* RFC 7301 section 3.1, RFC 9113 section 3.2 */

struct dial {
	struct loop_mail mail; /* first; for a Unix socket, which has no name to resolve */
	const struct dial_options *options;
	dial_fn done; /* NULL: cancelled; a name that is being resolved keeps the dial */
	void *argument;
};

static void
finish(struct dial *dial, int fd, SSL *ssl, const char *failure)
{
	dial_fn done = dial->done;
	void *argument = dial->argument;

	free(dial);
	done(argument, fd, ssl, failure);
}

static void
connect_to(struct dial *dial, const struct sockaddr *address, socklen_t length)
{
	const struct upstream_url *url = dial->options->url;
	int fd = socket_connect(address, length);
	SSL *ssl = NULL;

	if (fd >= 0 && url->tls) {
		ssl = tls_client_connect(dial->options->tls, url->host, url->grpc ? ALPN_HTTP2 : NULL);
		if (ssl == NULL) { /* nothing may be sent in the clear */
			(void)close(fd);
			fd = -1;
			errno = ENOMEM;
		}
	}
	finish(dial, fd, ssl, fd < 0 ? strerror(errno) : NULL);
}

static void
on_resolved(void *argument, const struct sockaddr *address, socklen_t length, const char *failure)
{
	struct dial *dial = argument;

	if (dial->done == NULL) {
		free(dial);
	} else if (failure != NULL) {
		finish(dial, -1, NULL, failure);
	} else {
		connect_to(dial, address, length);
	}
}

static void
on_mail(struct loop_mail *mail)
{
	struct dial *dial = (struct dial *)mail;
	struct sockaddr_un address;
	bool fits = dial->done != NULL && socket_unix_address(dial->options->url->socket, &address);

	on_resolved(dial, (struct sockaddr *)&address, sizeof(address), fits ? NULL : "the path is too long");
}

struct dial *
dial_start(struct loop *loop, const struct dial_options *options, unsigned attempt, dial_fn done, void *argument)
{
	const struct upstream_url *url = options->url;
	struct dial *dial = memory_new(sizeof(*dial));

	*dial = (struct dial){.mail = {.deliver = on_mail}, .options = options, .done = done, .argument = argument};
	if (url->socket != NULL) {
		loop_post(loop, &dial->mail);
	} else {
		loop_resolve(loop, url->host, url->port, attempt, on_resolved, dial);
	}
	return dial;
}

void
dial_cancel(struct dial *dial)
{
	dial->done = NULL;
}

int
dial_outcome(int fd)
{
	int failure = 0;
	socklen_t length = sizeof(failure);

	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
	return failure;
}
