#include "caches/redis/connection/connection.h"

#include "base/clock.h"
#include "caches/redis/connection/bulk_reader.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <valkey/async.h>

#define REPLY_MAX ((size_t)513 << 20) /* Redis's longest string, and its frame */
#define STRING_MAX (512LL << 20)
#define PUSH_MAX ((size_t)16 << 20)
#define READS_MAX 16 /* per event, of one connection */
#define LINE_MAX_LENGTH ((size_t)65536)

enum connection_state { CONNECTION_NEW, CONNECTION_RESOLVING, CONNECTION_OPENING, CONNECTION_READY };

struct redis_connection {
	struct redis_connection_options options;
	enum connection_state state;
	bool abandoned;	 /* its owner has freed it */
	bool ended;	 /* libvalkey no longer refers to it */
	unsigned inside; /* calls of libvalkey in progress, after which this struct is used */
	struct redis_credentials_wish wish;
	struct redis_login *login;
	valkeyAsyncContext *valkey;
	struct redis_tls_connection tls;
	struct redis_bulk_reader bulk_reader;
	void *watch;
	unsigned events;
	void *timer;	      /* the deadline of opening, or the check for silence */
	uint64_t progress_ns; /* when bytes last came, or were last taken by the server */
	bool heard;	      /* a reply came */
	bool blocked;	      /* the last write had no room for all */
	int kept;	      /* bytes in the socket's send queue, when last asked */
	bool resp3;
	TAILQ_HEAD(, redis_request) pending; /* oldest first */
	TAILQ_ENTRY(redis_connection) corked;
	bool due;	/* in the cork's list */
	bool due_alone; /* no other command was in flight */
	char failure[512];
	struct sockaddr_storage resolved;
};

/* --- The end --- */

static void
set_failure(struct redis_connection *connection, const char *format, va_list args)
{
	if (connection->failure[0] == '\0') {
		(void)vsnprintf(connection->failure, sizeof(connection->failure), format, args);
	}
}

static void
free_timer(struct redis_connection *connection)
{
	if (connection->timer != NULL) {
		connection->options.host->timer_free(connection->timer);
		connection->timer = NULL;
	}
}

/* Reports the end to the owner and frees the connection, to which nothing else refers. */
static void
finish(struct redis_connection *connection)
{
	free_timer(connection);
	redis_login_free(connection->login);
	if (!connection->abandoned) {
		connection->options.lost(connection->options.context, connection->failure);
	}
	free(connection);
}

static void
end(struct redis_connection *connection)
{
	connection->ended = true;
	if (connection->inside == 0) {
		finish(connection);
	}
}

/* Ends the connection, whatever its state; it may be freed afterwards. */
static void
give_up(struct redis_connection *connection)
{
	switch (connection->state) {
	case CONNECTION_NEW:
		end(connection);
		break;
	case CONNECTION_RESOLVING:
		break; /* on_resolved ends it */
	case CONNECTION_OPENING:
	case CONNECTION_READY:
		if (connection->valkey != NULL) {
			valkeyAsyncFree(connection->valkey); /* at once, or after the callback that we are in */
		}
		break;
	}
}

void
redis_connection_fail(struct redis_connection *connection, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set_failure(connection, format, args);
	va_end(args);
	give_up(connection);
}

void
redis_connection_free(struct redis_connection *connection)
{
	connection->abandoned = true;
	free_timer(connection);
	give_up(connection);
}

/* --- libvalkey's hooks --- */

static void
update_watch(struct redis_connection *connection, unsigned events)
{
	if (connection->watch != NULL && events != connection->events) {
		connection->events = events;
		connection->options.host->watch_set(connection->watch, events);
	}
}

static void
add_read(void *argument)
{
	struct redis_connection *connection = argument;

	update_watch(connection, connection->events | CACHE_READ);
}

static void
remove_read(void *argument)
{
	struct redis_connection *connection = argument;

	update_watch(connection, connection->events & ~CACHE_READ);
}

/* Commands are written when the socket is writable, or sooner: see struct redis_cork. */
static void
add_write(void *argument)
{
	struct redis_connection *connection = argument;
	struct redis_cork *cork = connection->options.cork;

	if (connection->state != CONNECTION_READY || cork->held == 0) {
		update_watch(connection, connection->events | CACHE_WRITE);
	} else if (!connection->due) {
		connection->due = true;
		connection->due_alone = TAILQ_EMPTY(&connection->pending);
		TAILQ_INSERT_TAIL(&cork->due, connection, corked);
	}
}

static void
remove_write(void *argument)
{
	struct redis_connection *connection = argument;

	update_watch(connection, connection->events & ~CACHE_WRITE);
}

static void
leave_cork(struct redis_connection *connection)
{
	if (connection->due) {
		connection->due = false;
		TAILQ_REMOVE(&connection->options.cork->due, connection, corked);
	}
}

/* A write error is left for libvalkey to find when the socket is next writable. */
static void
write_now(struct redis_connection *connection)
{
	int done = 0;

	if (connection->options.tls != NULL || valkeyBufferWrite(&connection->valkey->c, &done) != VALKEY_OK ||
	    done == 0) {
		update_watch(connection, connection->events | CACHE_WRITE);
	}
	connection->kept = 0; /* the send queue is not known now */
}

void
redis_cork_release(struct redis_cork *cork)
{
	struct redis_connection *connection;

	if (--cork->held > 0) {
		return;
	}
	while ((connection = TAILQ_FIRST(&cork->due)) != NULL) {
		leave_cork(connection);
		if (connection->due_alone || cork->answers) {
			write_now(connection);
		} else {
			update_watch(connection, connection->events | CACHE_WRITE);
		}
	}
	cork->answers = false;
}

/* Advice if a server closed the connection, or timed out, before any reply: it may expect TLS, or not support it. */
static const char *
remedy_of_silence(const struct redis_connection *connection)
{
	if (connection->heard || connection->valkey == NULL || (connection->valkey->c.flags & VALKEY_CONNECTED) == 0) {
		return "";
	}
	return connection->options.tls == NULL ? " (if it expects TLS, set tls_enabled=true)"
					       : " (if it expects no TLS, set tls_enabled=false)";
}

/* The one place where an open connection ends, whatever the cause; its requests have all been answered. */
static void
on_cleanup(void *argument)
{
	struct redis_connection *connection = argument;
	const char *reason = connection->valkey == NULL ? "" : connection->valkey->errstr;

	leave_cork(connection);
	if (connection->wish.waiting) {
		redis_credentials_forget(connection->options.credentials, &connection->wish);
	}
	connection->options.host->watch_free(connection->watch);
	connection->watch = NULL;
	if (connection->failure[0] == '\0') {
		redis_tls_failure(&connection->tls, connection->failure, sizeof(connection->failure));
	}
	if (connection->failure[0] == '\0') {
		(void)snprintf(connection->failure, sizeof(connection->failure), "%s%s",
			       *reason == '\0' ? "connection closed" : reason,
			       connection->options.tls == NULL ? remedy_of_silence(connection) : "");
	}
	redis_tls_end(&connection->tls);
	if (connection->valkey != NULL) {
		redis_bulk_reader_end(&connection->bulk_reader, &connection->valkey->c);
	}
	connection->valkey = NULL;
	end(connection);
}

/*
 * Whether an incomplete reply can still end. A line must end within LINE_MAX_LENGTH; behind a whole line comes a
 * string, whose length Redis limits. Otherwise the reader would keep the bytes and search them again and again.
 */
static bool
may_end(const char *unread, size_t length)
{
	size_t searched = length < LINE_MAX_LENGTH ? length : LINE_MAX_LENGTH;

	if (memchr(unread, '\n', searched) == NULL) {
		return searched == length;
	}
	return strtoll(unread, NULL, 10) <= STRING_MAX;
}

/* An incomplete reply must belong to a command or be a push, and must be able to end. */
static void
check_unread(struct redis_connection *connection)
{
	const valkeyReader *reader = connection->valkey->c.reader;
	size_t unread = reader->len - reader->pos;
	bool pushes = connection->resp3 || connection->options.sentinel;
	size_t limit = !TAILQ_EMPTY(&connection->pending) ? REPLY_MAX : pushes ? PUSH_MAX : 0;

	if (unread > limit) {
		redis_connection_fail(connection, "the server sends what it was not asked for");
	} else if (unread > 0 && !may_end(reader->buf + reader->pos, unread)) {
		redis_connection_fail(connection, "the server sends a reply without an end");
	}
}

/*
 * Enclose calls of libvalkey: their callbacks may end the connection, and the commands that these send are written
 * together at the end.
 */
static void
enter_valkey(struct redis_connection *connection)
{
	connection->inside++;
	connection->options.cork->held++;
	connection->options.cork->answers = true;
}

static void
leave_valkey(struct redis_connection *connection)
{
	redis_cork_release(connection->options.cork);
	if (--connection->inside == 0 && connection->ended) {
		finish(connection);
	}
}

/* Reads what has arrived, but not for so long that other connections have to wait. */
static void
handle_read(struct redis_connection *connection)
{
	bool more = true;

	for (int i = 0; more && connection->valkey != NULL; i++) {
		connection->bulk_reader.more = false;
		connection->bulk_reader.wanted = !TAILQ_EMPTY(&connection->pending);
		valkeyAsyncHandleRead(connection->valkey);
		if (connection->valkey != NULL) {
			check_unread(connection);
		}
		more = (connection->bulk_reader.more && i + 1 < READS_MAX) || redis_tls_holds(&connection->tls);
	}
}

/* Whether the send queue has become shorter since the last call: the server is taking bytes. */
static bool
drains(struct redis_connection *connection)
{
	int kept = connection->kept;

	if (connection->valkey == NULL || ioctl(connection->valkey->c.fd, SIOCOUTQ, &connection->kept) != 0) {
		return false;
	}
	return connection->kept < kept;
}

/* If the last write had no room, there is some now: the server takes bytes, however slowly. */
static void
handle_write(struct redis_connection *connection)
{
	if (connection->blocked) {
		connection->progress_ns = clock_now_ns();
	}
	valkeyAsyncHandleWrite(connection->valkey);
	connection->blocked = (connection->events & CACHE_WRITE) != 0;
	(void)drains(connection); /* updates `kept` */
}

static void
on_events(void *argument, unsigned events)
{
	struct redis_connection *connection = argument;

	enter_valkey(connection);
	if ((events & CACHE_READ) != 0 && connection->valkey != NULL) {
		connection->progress_ns = clock_now_ns(); /* bytes have come, which catching up does not know */
		handle_read(connection);
	}
	/* Reading may have ended the connection. */
	if ((events & CACHE_WRITE) != 0 && connection->valkey != NULL) {
		handle_write(connection);
	}
	if (connection->valkey != NULL && redis_tls_wants_write(&connection->tls)) {
		update_watch(connection, connection->events | CACHE_WRITE);
	}
	leave_valkey(connection);
}

void
redis_connection_catch_up(struct redis_connection *connection)
{
	if (connection->valkey != NULL && connection->state == CONNECTION_READY && !TAILQ_EMPTY(&connection->pending)) {
		enter_valkey(connection);
		handle_read(connection);
		leave_valkey(connection);
	}
}

/* --- Commands --- */

static void
on_reply(valkeyAsyncContext *valkey, void *reply, void *argument)
{
	struct redis_request *request = argument;

	(void)valkey;
	TAILQ_REMOVE(&request->connection->pending, request, queue);
	request->connection->heard = request->connection->heard || reply != NULL;
	request->done(request, reply);
}

bool
redis_connection_send(struct redis_connection *connection, struct redis_request *request, struct bytes text)
{
	if (connection->valkey == NULL ||
	    valkeyAsyncFormattedCommand(connection->valkey, on_reply, request, (const char *)text.at, text.length) !=
		    VALKEY_OK) {
		return false;
	}
	request->connection = connection;
	request->sent_ns = clock_now_ns();
	TAILQ_INSERT_TAIL(&connection->pending, request, queue);
	return true;
}

static void
on_push(valkeyAsyncContext *valkey, void *reply)
{
	struct redis_connection *connection = valkey->data;

	if (connection->options.pushed != NULL && !connection->abandoned) {
		connection->options.pushed(connection->options.context, reply);
	}
}

static void
on_message(valkeyAsyncContext *valkey, void *reply, void *argument)
{
	(void)argument;
	if (reply != NULL) {
		on_push(valkey, reply);
	}
}

bool
redis_connection_subscribe(struct redis_connection *connection, const char *channel)
{
	return connection->valkey != NULL &&
	       valkeyAsyncCommand(connection->valkey, on_message, NULL, "SUBSCRIBE %s", channel) == VALKEY_OK;
}

uint64_t
redis_connection_waited_ms(const struct redis_connection *connection)
{
	const struct redis_request *oldest = TAILQ_FIRST(&connection->pending);

	return oldest == NULL ? 0 : (clock_now_ns() - oldest->sent_ns) / NS_PER_MS;
}

/* How long an answer has been due without any byte coming: a large one may take its time. */
static uint64_t
silent_ms(const struct redis_connection *connection)
{
	const struct redis_request *oldest = TAILQ_FIRST(&connection->pending);
	uint64_t since = 0;

	if (oldest != NULL) {
		since = oldest->sent_ns > connection->progress_ns ? oldest->sent_ns : connection->progress_ns;
	}
	return oldest == NULL ? 0 : (clock_now_ns() - since) / NS_PER_MS;
}

/* --- Opening --- */

static void
on_login_failed(struct redis_connection *connection, const char *why)
{
	redis_connection_fail(connection, "%s", why);
}

static void
on_logged_in(struct redis_connection *connection, const struct redis_greeting *greeting)
{
	connection->state = CONNECTION_READY;
	connection->resp3 = greeting->resp3;
	connection->options.host->timer_set(connection->timer,
					    (uint64_t)connection->options.settings->socket_timeout_ms);
	connection->options.ready(connection->options.context, greeting);
}

/* The password is obtained only once the server is connected, since that may be expensive. */
static void
on_credentials(void *argument, const char *user, const char *password, const char *failure)
{
	struct redis_connection *connection = argument;

	if (password == NULL) {
		redis_connection_fail(connection, "%s", failure);
	} else if (!redis_login_credentials(connection->login, user, password)) {
		redis_connection_fail(connection, "no memory");
	} else {
		connection->options.host->timer_set(connection->timer,
						    (uint64_t)connection->options.settings->connect_timeout_ms);
		redis_login_start(connection->login);
	}
}

static void
get_credentials(struct redis_connection *connection)
{
	const struct redis_settings *settings = connection->options.settings;

	if (connection->options.sentinel) {
		on_credentials(connection, settings->sentinel_user,
			       settings->sentinel_password == NULL ? "" : settings->sentinel_password, NULL);
		return;
	}
	/* Obtaining the password has a time-out of its own, of the same length. */
	connection->options.host->timer_set(connection->timer, 2 * (uint64_t)settings->connect_timeout_ms);
	connection->wish.done = on_credentials;
	connection->wish.argument = connection;
	redis_credentials_get(connection->options.credentials, &connection->wish);
}

static void
on_connected(valkeyAsyncContext *valkey, int status)
{
	struct redis_connection *connection = valkey->data;

	if (status != VALKEY_OK) {
		return;
	}
	if (connection->options.tls != NULL &&
	    !redis_tls_start(&connection->tls, connection->options.tls, valkey, connection->options.address.host,
			     connection->options.session)) {
		give_up(connection);
		return;
	}
	redis_bulk_reader_begin(&connection->bulk_reader, &valkey->c);
	get_credentials(connection);
}

/* Connects to what is no socket: that fails at once, but the library's table of transports is there. */
static void
prepare(void)
{
	valkeyOptions options = {.options = VALKEY_OPT_NONBLOCK};

	VALKEY_OPTIONS_SET_UNIX(&options, "/");
	valkeyFree(valkeyConnectWithOptions(&options));
}

void
redis_connection_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, prepare);
}

static valkeyAsyncContext *
connect_to(const struct redis_connection *connection)
{
	const struct redis_address *address = &connection->options.address;
	const void *resolved = &connection->resolved;
	char text[INET6_ADDRSTRLEN] = "";
	valkeyOptions options = {0};

	if (redis_address_is_path(address)) {
		VALKEY_OPTIONS_SET_UNIX(&options, address->host);
		return valkeyAsyncConnectWithOptions(&options);
	}
	if (connection->resolved.ss_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)resolved)->sin6_addr, text, sizeof(text));
	} else {
		(void)inet_ntop(AF_INET, &((const struct sockaddr_in *)resolved)->sin_addr, text, sizeof(text));
	}
	VALKEY_OPTIONS_SET_TCP(&options, text, address->port);
	return valkeyAsyncConnectWithOptions(&options);
}

static void
open_connection(struct redis_connection *connection)
{
	const struct cache_host *host = connection->options.host;
	valkeyAsyncContext *valkey = connect_to(connection);

	if (valkey == NULL || valkey->err != 0) {
		(void)snprintf(connection->failure, sizeof(connection->failure), "%s",
			       valkey == NULL ? "no memory" : valkey->errstr);
		if (valkey != NULL) {
			valkeyAsyncFree(valkey);
		}
		end(connection);
		return;
	}
	(void)fcntl(valkey->c.fd, F_SETFD, FD_CLOEXEC); /* the process may start others */
	connection->state = CONNECTION_OPENING;
	connection->valkey = valkey;
	connection->watch = host->watch_new(host->context, valkey->c.fd, on_events, connection);
	valkey->data = connection;
	valkey->c.reader->fn = &redis_reply_functions;
	valkey->ev.data = connection;
	valkey->ev.addRead = add_read;
	valkey->ev.delRead = remove_read;
	valkey->ev.addWrite = add_write;
	valkey->ev.delWrite = remove_write;
	valkey->ev.cleanup = on_cleanup;
	(void)valkeyAsyncSetPushCallback(valkey, on_push);
	(void)valkeyAsyncSetConnectCallback(valkey, on_connected); /* watches for writability: connected */
}

static void
on_resolved(void *argument, const struct sockaddr *address, socklen_t length, const char *failure)
{
	struct redis_connection *connection = argument;

	if (connection->abandoned) {
		end(connection);
	} else if (address == NULL || length > sizeof(connection->resolved)) {
		(void)snprintf(connection->failure, sizeof(connection->failure), "cannot resolve the host name: %s",
			       failure == NULL ? "an unknown kind of address" : failure);
		end(connection);
	} else {
		memcpy(&connection->resolved, address, length);
		open_connection(connection);
	}
}

static void
start(struct redis_connection *connection)
{
	const struct cache_host *host = connection->options.host;
	const struct redis_address *address = &connection->options.address;

	if (redis_address_is_path(address)) {
		open_connection(connection);
	} else {
		host->resolve(host->context, address->host, address->port, connection->options.attempt, on_resolved,
			      connection);
	}
}

/* Resolving cannot be cancelled: tells the owner now and leaves the rest to on_resolved. */
static void
leave_resolving(struct redis_connection *connection)
{
	char why[128];

	(void)snprintf(
		why, sizeof(why),
		"cannot resolve the host name: no answer within connect_timeout (%lld ms); check the name servers",
		(long long)connection->options.settings->connect_timeout_ms);
	free_timer(connection);
	connection->abandoned = true;
	connection->options.lost(connection->options.context, why);
}

static void
on_timer(void *argument)
{
	struct redis_connection *connection = argument;
	const struct redis_settings *settings = connection->options.settings;
	uint64_t limit = (uint64_t)settings->socket_timeout_ms;
	uint64_t silent;

	if (connection->state == CONNECTION_NEW) {
		connection->state = CONNECTION_RESOLVING;
		connection->options.host->timer_set(connection->timer, (uint64_t)settings->connect_timeout_ms);
		start(connection);
	} else if (connection->state == CONNECTION_RESOLVING) {
		leave_resolving(connection);
	} else if (connection->wish.waiting) {
		redis_connection_fail(connection, "the password was not obtained in time");
	} else if (connection->state != CONNECTION_READY) {
		redis_connection_fail(connection, "no answer within connect_timeout (%lld ms)%s",
				      (long long)settings->connect_timeout_ms, remedy_of_silence(connection));
	} else if (drains(connection)) {
		connection->progress_ns = clock_now_ns();
		connection->options.host->timer_set(connection->timer, limit);
	} else if ((silent = silent_ms(connection)) >= limit) {
		redis_connection_fail(connection, "no answer within socket_timeout (%llu ms)",
				      (unsigned long long)limit);
	} else {
		connection->options.host->timer_set(connection->timer, limit - silent);
	}
}

struct redis_connection *
redis_connection_new(const struct redis_connection_options *options)
{
	struct redis_connection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL) {
		return NULL;
	}
	connection->options = *options;
	connection->login = redis_login_new(&(struct redis_login_options){
		.settings = options->settings,
		.sentinel = options->sentinel,
		.read_only = options->read_only,
		.plain = options->plain,
		.refusals = options->refusals,
		.connection = connection,
		.send = redis_connection_send,
		.done = on_logged_in,
		.failed = on_login_failed,
	});
	if (connection->login == NULL) {
		free(connection);
		return NULL;
	}
	TAILQ_INIT(&connection->pending);
	connection->timer = options->host->timer_new(options->host->context, on_timer, connection);
	options->host->timer_set(connection->timer,
				 0); /* on_timer starts it, so that nothing calls back before this returns */
	return connection;
}
