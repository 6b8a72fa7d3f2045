#include "caches/redis/connection.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <valkey/async.h>

#define BACKOFF_FIRST_MS 50U
#define BACKOFF_MAX_MS 1000U
#define SECRET_HEX_LENGTH 64
#define SECRET_CHECK_NS UINT64_C(5000000000)
#define UNREAD_MAX ((size_t)513 << 20) /* Redis's longest string, and its frame */

enum connection_state { CONNECTION_IDLE, CONNECTION_RESOLVING, CONNECTION_OPENING, CONNECTION_READY };

struct pending_command {
	TAILQ_ENTRY(pending_command) queue;
	struct redis_connection *connection;
	uint64_t sent_ns;
	redis_reply_fn done;
	void *argument;
};

struct redis_connection {
	struct redis_connection_options options;
	enum connection_state state;
	bool abandoned; /* freed by its owner while a name is being resolved */
	valkeyAsyncContext *valkey;
	void *watch;
	unsigned events;
	void *timer;	      /* back-off, or the deadline of opening, or the check for silence */
	uint64_t progress_ns; /* when bytes came last */
	uint64_t backoff_ms;
	unsigned attempts;		       /* which of several addresses is next */
	TAILQ_HEAD(, pending_command) pending; /* oldest first */
	char failure[384];
	char announced[384]; /* the failure that was logged last; empty while all is well */
	bool was_ready;
	bool secret_offered;
	bool secret_known;
	uint8_t secret[SECRET_HEX_LENGTH / 2];
	uint64_t secret_checked_ns;
	bool proved; /* a command was answered since it became ready */
};

static void start(struct redis_connection *connection);

static void __attribute__((format(printf, 2, 3)))
set_failure(struct redis_connection *connection, const char *format, ...)
{
	va_list args;

	if (connection->failure[0] == '\0') {
		va_start(args, format);
		(void)vsnprintf(connection->failure, sizeof(connection->failure), format, args);
		va_end(args);
	}
}

static void __attribute__((format(printf, 3, 4)))
announce(struct redis_connection *connection, enum log_level level, const char *format, ...)
{
	char text[1024];
	va_list args;

	if (connection->options.announces) {
		va_start(args, format);
		(void)vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		connection->options.host->log(level, text);
	}
}

/* One line when the reason changes, not one for each attempt. */
static void
announce_failure(struct redis_connection *connection)
{
	const struct redis_settings *settings = connection->options.settings;

	if (strcmp(connection->announced, connection->failure) != 0) {
		memcpy(connection->announced, connection->failure, sizeof(connection->announced));
		announce(connection, LOG_WARNING,
			 "cache 'redis': cannot use %s:%lld: %s; requests are served without it and it is tried again",
			 settings->host, (long long)settings->port, connection->failure);
	}
}

static void
retry_later(struct redis_connection *connection)
{
	uint32_t random;
	uint64_t jitter;

	announce_failure(connection);
	connection->failure[0] = '\0';
	connection->state = CONNECTION_IDLE;
	random_bytes(&random, sizeof(random));
	jitter = random % (connection->backoff_ms / 2 + 1);
	connection->options.host->timer_set(connection->timer, connection->backoff_ms / 2 + 1 + jitter);
	connection->backoff_ms =
		connection->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : connection->backoff_ms * 2;
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

static void
add_write(void *argument)
{
	struct redis_connection *connection = argument;

	update_watch(connection, connection->events | CACHE_WRITE);
}

static void
remove_write(void *argument)
{
	struct redis_connection *connection = argument;

	update_watch(connection, connection->events & ~CACHE_WRITE);
}

/* The one place where a connection ends, whatever ended it; its callbacks have all been called. */
static void
on_cleanup(void *argument)
{
	struct redis_connection *connection = argument;
	bool was_ready = connection->state == CONNECTION_READY;

	connection->options.host->watch_free(connection->watch);
	connection->watch = NULL;
	connection->events = 0;
	if (connection->valkey != NULL && connection->valkey->err != 0) {
		set_failure(connection, "%s", connection->valkey->errstr);
	}
	set_failure(connection, "connection closed");
	connection->valkey = NULL;
	connection->state = CONNECTION_IDLE;
	if (connection->abandoned) {
		return;
	}
	if (was_ready) {
		connection->options.lost(connection->options.context);
	}
	retry_later(connection);
}

/* What has been read and is no whole reply yet must belong to a command, and have an end. */
static void
check_unread(struct redis_connection *connection)
{
	const valkeyReader *reader = connection->valkey->c.reader;
	size_t unread = reader->len - reader->pos;

	if (unread > UNREAD_MAX || (unread > 0 && TAILQ_EMPTY(&connection->pending))) {
		redis_connection_reset(connection, "the server sends what it was not asked for");
	}
}

static void
on_events(void *argument, unsigned events)
{
	struct redis_connection *connection = argument;
	valkeyAsyncContext *valkey = connection->valkey;

	if ((events & CACHE_READ) != 0 && valkey != NULL) {
		connection->progress_ns = clock_now_ns();
		valkeyAsyncHandleRead(valkey);
		if (connection->valkey == valkey) {
			check_unread(connection);
		}
	}
	/* Reading may have ended the connection. */
	if ((events & CACHE_WRITE) != 0 && valkey != NULL && connection->valkey == valkey) {
		valkeyAsyncHandleWrite(valkey);
	}
}

static void
give_up(struct redis_connection *connection)
{
	if (connection->valkey != NULL) {
		valkeyAsyncFree(connection->valkey); /* at once, or after the callback that we are in */
	}
}

/* --- Commands --- */

/* Only now is the connection known to be good: the back-off starts anew, and a failure that was announced is over. */
static void
prove(struct redis_connection *connection)
{
	const struct redis_settings *settings = connection->options.settings;

	connection->proved = true;
	connection->backoff_ms = BACKOFF_FIRST_MS;
	if (connection->announced[0] != '\0') {
		connection->announced[0] = '\0';
		announce(connection, LOG_INFO, "cache 'redis': %s:%lld answers again", settings->host,
			 (long long)settings->port);
	}
}

static void
on_reply(valkeyAsyncContext *valkey, void *reply, void *argument)
{
	struct pending_command *command = argument;
	struct redis_connection *connection = command->connection;

	(void)valkey;
	TAILQ_REMOVE(&connection->pending, command, queue);
	if (reply != NULL && connection->state == CONNECTION_READY && !connection->proved) {
		prove(connection);
	}
	command->done(connection->options.context, reply, command->argument);
	free(command);
}

static bool
send_command(struct redis_connection *connection, struct bytes text, redis_reply_fn done, void *argument)
{
	struct pending_command *command = connection->valkey == NULL ? NULL : malloc(sizeof(*command));

	if (command == NULL) {
		return false;
	}
	*command = (struct pending_command){
		.connection = connection, .sent_ns = clock_now_ns(), .done = done, .argument = argument};
	if (valkeyAsyncFormattedCommand(connection->valkey, on_reply, command, (const char *)text.at, text.length) !=
	    VALKEY_OK) {
		free(command);
		return false;
	}
	TAILQ_INSERT_TAIL(&connection->pending, command, queue);
	return true;
}

void
redis_connection_reset(struct redis_connection *connection, const char *why)
{
	if (connection->valkey != NULL) {
		set_failure(connection, "%s", why);
		give_up(connection);
	}
}

static uint64_t
waited_ms(const struct redis_connection *connection)
{
	const struct pending_command *oldest = TAILQ_FIRST(&connection->pending);

	return oldest == NULL ? 0 : (clock_now_ns() - oldest->sent_ns) / 1000000U;
}

/* How long an answer has been due without a byte of any: a large one may take its time. */
static uint64_t
silent_ms(const struct redis_connection *connection)
{
	const struct pending_command *oldest = TAILQ_FIRST(&connection->pending);
	uint64_t since = 0;

	if (oldest != NULL) {
		since = oldest->sent_ns > connection->progress_ns ? oldest->sent_ns : connection->progress_ns;
	}
	return oldest == NULL ? 0 : (clock_now_ns() - since) / 1000000U;
}

bool
redis_connection_usable(const struct redis_connection *connection)
{
	return connection->state == CONNECTION_READY &&
	       waited_ms(connection) <= (uint64_t)connection->options.settings->wait_timeout_ms;
}

bool
redis_connection_send(struct redis_connection *connection, struct bytes command, redis_reply_fn done, void *argument)
{
	return connection->state == CONNECTION_READY && send_command(connection, command, done, argument);
}

/* --- Logging in --- */

static void
send_words(struct redis_connection *connection, redis_reply_fn done, size_t count, const char *const *words)
{
	struct buf text;

	buf_init(&text, 65536);
	buf_format(&text, "*%zu\r\n", count);
	for (size_t i = 0; i < count; i++) {
		buf_format(&text, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
	}
	if (!buf_ok(&text) || !send_command(connection, buf_bytes(&text), done, connection)) {
		set_failure(connection, "cannot log in: no memory or a value that is too long");
		give_up(connection);
	}
	buf_fini(&text);
}

#define SEND(connection, done, ...)                                                                                    \
	send_words((connection), (done), sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                       \
		   (const char *[]){__VA_ARGS__})

static const char login_remedy[] =
	"check 'user' and 'password', or TRITONCACHE_REDIS_USERNAME and TRITONCACHE_REDIS_PASSWORD";

static void on_last_step(void *context, const struct redis_reply *reply, void *argument);
static void on_checked_secret(void *context, const struct redis_reply *reply, void *argument);

static void
on_ignored(void *context, const struct redis_reply *reply, void *argument)
{
	(void)context;
	(void)reply;
	(void)argument;
}

/* The reply to a step of logging in: anything but an error lets the next one count. */
static bool
step_failed(struct redis_connection *connection, const struct redis_reply *reply, const char *step, const char *remedy)
{
	if (reply == NULL) {
		return true;
	}
	if (reply->base.type != VALKEY_REPLY_ERROR) {
		return false;
	}
	if (strncmp(reply->base.str, "NOAUTH", strlen("NOAUTH")) == 0) {
		remedy = login_remedy;
	}
	set_failure(connection, "%s was refused (%s): %s", step, reply->base.str, remedy);
	give_up(connection);
	return true;
}

static void
on_authenticated(void *context, const struct redis_reply *reply, void *argument)
{
	(void)context;
	(void)step_failed(argument, reply, "logging in", login_remedy);
}

static void
on_selected(void *context, const struct redis_reply *reply, void *argument)
{
	(void)context;
	(void)step_failed(argument, reply, "selecting the database", "check 'db'");
}

static void
on_stored_secret(void *context, const struct redis_reply *reply, void *argument)
{
	(void)context;
	(void)step_failed(argument, reply, "keeping the key secret",
			  "the user needs GET and SET on keys that begin with 'key_prefix', or give 'key_secret'");
}

static void
become_ready(struct redis_connection *connection, struct bytes secret)
{
	const struct redis_settings *settings = connection->options.settings;

	connection->state = CONNECTION_READY;
	connection->proved = false;
	if (!connection->was_ready) {
		connection->was_ready = true;
		connection->announced[0] = '\0';
		announce(connection, LOG_INFO, "cache 'redis': connected to %s:%lld, database %lld", settings->host,
			 (long long)settings->port, (long long)settings->db);
	}
	connection->options.host->timer_set(connection->timer, (uint64_t)settings->socket_timeout_ms);
	connection->options.ready(connection->options.context, secret);
}

static void
secret_key(const struct redis_connection *connection, char *key, size_t size)
{
	(void)snprintf(key, size, "%s:key_secret", connection->options.settings->key_prefix);
}

/*
 * There is no secret yet: offers one, and asks again, since another server may have been first. Asked before it is
 * offered, because a Redis that is full or read-only can still be read from.
 */
static void
offer_secret(struct redis_connection *connection, redis_reply_fn next)
{
	char hex[SECRET_HEX_LENGTH + 1];
	char key[512];

	/* What was shared before is put back where it is gone: evicted, or flushed. */
	if (!connection->secret_known) {
		random_bytes(connection->secret, sizeof(connection->secret));
	}
	hex_text(bytes_make(connection->secret, sizeof(connection->secret)), hex);
	secret_key(connection, key, sizeof(key));
	connection->secret_offered = true;
	SEND(connection, next == on_checked_secret ? on_ignored : on_stored_secret, "SET", key, hex, "NX");
	SEND(connection, next, "GET", key);
}

static int
hex_value(char digit)
{
	return digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool
read_secret(const struct redis_reply *reply, uint8_t *secret)
{
	if (reply->base.type != VALKEY_REPLY_STRING || reply->base.len != SECRET_HEX_LENGTH) {
		return false;
	}
	for (size_t i = 0; i < SECRET_HEX_LENGTH / 2; i++) {
		int high = hex_value(reply->base.str[2 * i]);
		int low = hex_value(reply->base.str[2 * i + 1]);

		if (high < 0 || low < 0) {
			return false;
		}
		secret[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Another server's secret in the place of ours: keys are made under that one from now on, as everybody else's are. */
static void
on_checked_secret(void *context, const struct redis_reply *reply, void *argument)
{
	struct redis_connection *connection = argument;
	uint8_t secret[SECRET_HEX_LENGTH / 2];

	if (reply != NULL && read_secret(reply, secret) && memcmp(secret, connection->secret, sizeof(secret)) != 0) {
		memcpy(connection->secret, secret, sizeof(secret));
		announce(connection, LOG_WARNING,
			 "cache 'redis': the key secret in Redis has changed; entries made under the old one are not "
			 "found any more");
		connection->options.secret_changed(context, bytes_make(secret, sizeof(secret)));
	}
}

static void
on_last_step(void *context, const struct redis_reply *reply, void *argument)
{
	struct redis_connection *connection = argument;
	uint8_t secret[SECRET_HEX_LENGTH / 2];

	(void)context;
	if (step_failed(connection, reply, "the first command", "check the user's permissions")) {
		return;
	}
	if (!connection->options.secret_wanted) {
		become_ready(connection, bytes_make(NULL, 0));
		return;
	}
	if (reply->base.type == VALKEY_REPLY_NIL && !connection->secret_offered) {
		offer_secret(connection, on_last_step);
		return;
	}
	if (!read_secret(reply, secret)) {
		set_failure(connection,
			    "'%s:key_secret' holds no secret of ours: delete that key, or give another 'key_prefix'",
			    connection->options.settings->key_prefix);
		give_up(connection);
		return;
	}
	memcpy(connection->secret, secret, sizeof(secret));
	connection->secret_known = true;
	connection->secret_checked_ns = clock_now_ns();
	become_ready(connection, bytes_make(secret, sizeof(secret)));
}

/* All steps go out in one pipeline; the last reply decides, unless an earlier one refused. */
static void
log_in(struct redis_connection *connection)
{
	const struct redis_settings *settings = connection->options.settings;
	char db[24];
	char key[512];

	if (settings->password != NULL && *settings->password != '\0') {
		if (settings->user != NULL && *settings->user != '\0') {
			SEND(connection, on_authenticated, "AUTH", settings->user, settings->password);
		} else {
			SEND(connection, on_authenticated, "AUTH", settings->password);
		}
	}
	SEND(connection, on_ignored, "CLIENT", "SETNAME", "hippocamp");
	if (settings->db != 0) {
		(void)snprintf(db, sizeof(db), "%lld", (long long)settings->db);
		SEND(connection, on_selected, "SELECT", db);
	}
	if (!connection->options.secret_wanted) {
		SEND(connection, on_last_step, "PING");
		return;
	}
	connection->secret_offered = false;
	secret_key(connection, key, sizeof(key));
	SEND(connection, on_last_step, "GET", key);
}

/* --- Connecting --- */

static void
on_connected(valkeyAsyncContext *valkey, int status)
{
	struct redis_connection *connection = valkey->data;

	if (status == VALKEY_OK) {
		log_in(connection);
	}
}

static void
open_address(struct redis_connection *connection, const char *address, uint16_t port)
{
	const struct cache_host *host = connection->options.host;
	valkeyOptions options = {0};
	valkeyAsyncContext *valkey;

	VALKEY_OPTIONS_SET_TCP(&options, address, port);
	valkey = valkeyAsyncConnectWithOptions(&options);
	if (valkey == NULL || valkey->err != 0) {
		set_failure(connection, "%s", valkey == NULL ? "no memory" : valkey->errstr);
		if (valkey != NULL) {
			valkeyAsyncFree(valkey);
		}
		retry_later(connection);
		return;
	}
	connection->valkey = valkey;
	connection->state = CONNECTION_OPENING;
	connection->watch = host->watch_new(host->context, valkey->c.fd, on_events, connection);
	valkey->data = connection;
	valkey->c.reader->fn = &redis_reply_functions;
	valkey->ev.data = connection;
	valkey->ev.addRead = add_read;
	valkey->ev.delRead = remove_read;
	valkey->ev.addWrite = add_write;
	valkey->ev.delWrite = remove_write;
	valkey->ev.cleanup = on_cleanup;
	(void)valkeyAsyncSetConnectCallback(valkey, on_connected); /* asks for writability, the sign of connection */
	host->timer_set(connection->timer, (uint64_t)connection->options.settings->connect_timeout_ms);
}

static void
on_resolved(void *argument, const struct sockaddr *address, socklen_t length, const char *failure)
{
	struct redis_connection *connection = argument;
	char text[INET6_ADDRSTRLEN] = "";

	(void)length;
	if (connection->abandoned) {
		free(connection);
		return;
	}
	if (address == NULL) {
		set_failure(connection, "cannot resolve the host name: %s", failure);
		retry_later(connection);
		return;
	}
	if (address->sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof(text));
	} else {
		(void)inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof(text));
	}
	open_address(connection, text, (uint16_t)connection->options.settings->port);
}

static void
start(struct redis_connection *connection)
{
	const struct cache_host *host = connection->options.host;

	connection->state = CONNECTION_RESOLVING;
	host->resolve(host->context, connection->options.settings->host, (uint16_t)connection->options.settings->port,
		      connection->attempts++, on_resolved, connection);
}

static void
check_secret(struct redis_connection *connection)
{
	uint64_t now = clock_now_ns();

	if (connection->options.secret_wanted && now - connection->secret_checked_ns > SECRET_CHECK_NS) {
		connection->secret_checked_ns = now;
		offer_secret(connection, on_checked_secret);
	}
}

static void
on_timer(void *argument)
{
	struct redis_connection *connection = argument;
	uint64_t limit = (uint64_t)connection->options.settings->socket_timeout_ms;
	uint64_t silent;

	switch (connection->state) {
	case CONNECTION_IDLE:
		start(connection);
		break;
	case CONNECTION_RESOLVING:
		break;
	case CONNECTION_OPENING:
		set_failure(connection, "no answer within connect_timeout (%lld ms)",
			    (long long)connection->options.settings->connect_timeout_ms);
		give_up(connection);
		break;
	case CONNECTION_READY:
		check_secret(connection);
		silent = silent_ms(connection);
		if (silent >= limit) {
			set_failure(connection, "no answer within socket_timeout (%llu ms)", (unsigned long long)limit);
			give_up(connection);
		} else {
			connection->options.host->timer_set(connection->timer, limit - silent);
		}
		break;
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
	connection->backoff_ms = BACKOFF_FIRST_MS;
	TAILQ_INIT(&connection->pending);
	connection->timer = options->host->timer_new(options->host->context, on_timer, connection);
	start(connection);
	return connection;
}

void
redis_connection_free(struct redis_connection *connection)
{
	bool resolving = connection->state == CONNECTION_RESOLVING;

	connection->abandoned = true;
	give_up(connection);
	connection->options.host->timer_free(connection->timer);
	if (!resolving) {
		free(connection);
	}
}
