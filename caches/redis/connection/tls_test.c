#include "caches/redis/connection/tls.h"

#include "base/identity_fixture.h"
#include "base/unit_test.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <valkey/async.h>

/* --- Certificates --- */

#define NAMES "DNS:redis.test,IP:127.0.0.1"

static struct identity authority;
static struct identity other_authority;
static struct identity server;	/* for redis.test and 127.0.0.1 */
static struct identity expired; /* the same, but expired */
static struct identity client;

/* --- Files --- */

static char folder[] = "/tmp/tls_test.XXXXXX";
static const char *const names[] = {"ca.pem",	  "other.pem",	"client.pem", "client.key",
				    "server.key", "locked.key", "text",	      NULL};
static char paths[8][64];

enum { CA, OTHER, CLIENT_CERTIFICATE, CLIENT_KEY, SERVER_KEY, LOCKED_KEY, TEXT, MISSING };

static void
write_files(void)
{
	FILE *text;

	for (int i = CA; i <= MISSING; i++) {
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, i == MISSING ? "missing" : names[i]);
	}
	identity_write_certificate(&authority, paths[CA]);
	identity_write_certificate(&other_authority, paths[OTHER]);
	identity_write_certificate(&client, paths[CLIENT_CERTIFICATE]);
	identity_write_key(&client, NULL, paths[CLIENT_KEY]);
	identity_write_key(&server, NULL, paths[SERVER_KEY]);
	identity_write_key(&client, "secret", paths[LOCKED_KEY]);
	text = fopen(paths[TEXT], "w");
	assert_non_null(text);
	(void)fputs("no PEM\n", text);
	assert_int_equal(fclose(text), 0);
}

/* --- A connection and its server, both on this thread --- */

struct pair {
	valkeyAsyncContext *valkey; /* NULL: gone */
	struct redis_tls_connection tls;
	bool reads;
	bool writes;
	unsigned rescued; /* times that writability was only asked for by redis_tls_wants_write */
	unsigned replies;
	char failure[REDIS_TLS_FAILURE_SIZE];
	int fd; /* the server's */
	SSL *server;
	size_t received;
};

static void
add_read(void *argument)
{
	((struct pair *)argument)->reads = true;
}

static void
remove_read(void *argument)
{
	((struct pair *)argument)->reads = false;
}

static void
add_write(void *argument)
{
	((struct pair *)argument)->writes = true;
}

static void
remove_write(void *argument)
{
	((struct pair *)argument)->writes = false;
}

static void
on_cleanup(void *argument)
{
	struct pair *pair = argument;

	redis_tls_failure(&pair->tls, pair->failure, sizeof(pair->failure));
	assert_int_equal(ERR_peek_error(), 0);
	redis_tls_end(&pair->tls);
	pair->valkey = NULL;
}

static void
on_reply(valkeyAsyncContext *valkey, void *reply, void *argument)
{
	struct pair *pair = argument;

	(void)valkey;
	pair->replies += reply != NULL;
}

static SSL_CTX *
server_context(const struct identity *identity)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	assert_int_equal(SSL_CTX_use_certificate(context, identity->certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, identity->key), 1);
	(void)SSL_CTX_set_session_id_context(context, (const unsigned char *)"test", 4);
	return context;
}

/* libvalkey gets a socket that is connected already. */
static void
open_pair(struct pair *pair, SSL_CTX *context)
{
	valkeyOptions options = {.type = VALKEY_CONN_USERFD};
	int fds[2];

	*pair = (struct pair){0};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	options.endpoint.fd = fds[0];
	pair->fd = fds[1];
	if (context != NULL) {
		pair->server = SSL_new(context);
		SSL_set_fd(pair->server, pair->fd);
		SSL_set_accept_state(pair->server);
	}
	pair->valkey = valkeyAsyncConnectWithOptions(&options);
	assert_non_null(pair->valkey);
	pair->valkey->c.flags |= VALKEY_CONNECTED;
	pair->valkey->ev.data = pair;
	pair->valkey->ev.addRead = add_read;
	pair->valkey->ev.delRead = remove_read;
	pair->valkey->ev.addWrite = add_write;
	pair->valkey->ev.delWrite = remove_write;
	pair->valkey->ev.cleanup = on_cleanup;
}

static void
close_pair(struct pair *pair)
{
	if (pair->valkey != NULL) {
		valkeyAsyncFree(pair->valkey);
	}
	SSL_free(pair->server);
	(void)close(pair->fd);
}

/* Answers a PING that ends what was read; the tests send nothing else that ends so. */
static void
serve(struct pair *pair)
{
	char bytes[16384];
	int got;

	while ((got = SSL_read(pair->server, bytes, sizeof(bytes))) > 0) {
		pair->received += (size_t)got;
		if (got >= 6 && memcmp(bytes + got - 6, "PING\r\n", 6) == 0) {
			assert_int_equal(SSL_write(pair->server, "+PONG\r\n", 7), 7);
		}
	}
	ERR_clear_error();
}

static void
turn_client(struct pair *pair)
{
	bool wanted = redis_tls_wants_write(&pair->tls);
	struct pollfd polled = {.fd = pair->valkey->c.fd};

	pair->rescued += wanted && !pair->writes;
	polled.events = (short)((pair->reads ? POLLIN : 0) | (pair->writes || wanted ? POLLOUT : 0));
	(void)poll(&polled, 1, 0);
	if (pair->reads && (polled.revents & (POLLIN | POLLHUP)) != 0) {
		valkeyAsyncHandleRead(pair->valkey);
	}
	if (pair->valkey != NULL && (polled.revents & POLLOUT) != 0) {
		valkeyAsyncHandleWrite(pair->valkey);
	}
}

/* Runs until there are `replies`, the connection is gone, or nothing comes any more. */
static void
run(struct pair *pair, unsigned replies)
{
	for (unsigned i = 0; i < 2000 && pair->valkey != NULL && pair->replies < replies; i++) {
		turn_client(pair);
		if (pair->server != NULL) {
			serve(pair);
		}
	}
}

static void
start(struct pair *pair, struct redis_tls *tls, const char *host, struct redis_tls_session *session)
{
	if (redis_tls_start(&pair->tls, tls, pair->valkey, host, session)) {
		assert_int_equal(valkeyAsyncCommand(pair->valkey, on_reply, pair, "PING"), VALKEY_OK);
		run(pair, 1);
	} else {
		valkeyAsyncFree(pair->valkey);
	}
}

static struct redis_tls *
new_tls(const struct redis_tls_options *options)
{
	struct error error = {0};
	struct redis_tls *tls = redis_tls_new(options, &error);

	assert_string_equal(error.text, "");
	assert_non_null(tls);
	return tls;
}

static void
assert_names(const char *text, const char *part)
{
	if (strstr(text, part) == NULL) {
		fail_msg("'%s' does not say '%s'", text, part);
	}
}

/* Connects. `failure` NULL: that succeeds; else it fails with a text that contains `failure`. */
static void
check(SSL_CTX *context, const struct redis_tls_options *options, const char *host, const char *failure)
{
	struct redis_tls *tls = new_tls(options);
	struct pair pair;

	open_pair(&pair, context);
	start(&pair, tls, host, NULL);
	if (failure == NULL) {
		assert_string_equal(pair.failure, "");
		assert_int_equal(pair.replies, 1);
	} else {
		assert_null(pair.valkey);
		assert_int_equal(pair.replies, 0);
		assert_names(pair.failure, failure);
	}
	close_pair(&pair);
	redis_tls_free(tls);
}

#define OPTIONS(...) (&(struct redis_tls_options){__VA_ARGS__})

/* --- Tests --- */

static void
test_chain_and_name(void **state)
{
	SSL_CTX *context = server_context(&server);

	(void)state;
	check(context, OPTIONS(.cacert = paths[CA]), "redis.test", NULL);
	check(context, OPTIONS(.cacert = paths[CA]), "redis.test.", NULL);
	check(context, OPTIONS(.cacert = paths[OTHER]), "redis.test", "'cacert'");
	check(context, OPTIONS(.sni = ""), "redis.test", "not trusted"); /* the system's authorities */
	check(context, OPTIONS(.cacert = paths[CA]), "127.0.0.1", NULL);
	check(context, OPTIONS(.cacert = paths[CA]), "127.0.0.2", "not for '127.0.0.2'");
	check(context, OPTIONS(.cacert = paths[CA]), "other.test", "not for 'other.test'");
	check(context, OPTIONS(.cacert = paths[CA]), "other.test", "tls_verify=ca");
	check(context, OPTIONS(.cacert = paths[CA], .sni = "redis.test"), "other.test", NULL);
	check(context, OPTIONS(.cacert = paths[CA], .sni = "other.test"), "redis.test", "not for 'other.test'");
	check(context, OPTIONS(.cacert = paths[CA], .verify = REDIS_TLS_CA), "other.test", NULL);
	check(context, OPTIONS(.cacert = paths[OTHER], .verify = REDIS_TLS_CA), "redis.test", "not trusted");
	check(context, OPTIONS(.cacert = paths[OTHER], .verify = REDIS_TLS_NONE), "other.test", NULL);
	SSL_CTX_free(context);
}

static void
test_expired(void **state)
{
	SSL_CTX *context = server_context(&expired);

	(void)state;
	check(context, OPTIONS(.cacert = paths[CA]), "redis.test", "certificate has expired");
	SSL_CTX_free(context);
}

static void
test_client_certificate(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct redis_tls_options with = {
		.cacert = paths[CA], .cert = paths[CLIENT_CERTIFICATE], .key = paths[CLIENT_KEY]};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *context = server_context(&server);

		SSL_CTX_set_max_proto_version(context, versions[i]);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		SSL_CTX_load_verify_file(context, paths[CA]);
		check(context, &with, "redis.test", NULL);
		check(context, OPTIONS(.cacert = paths[CA]), "redis.test", "'cert' and 'key'");
		SSL_CTX_free(context);
		context = server_context(&server);
		SSL_CTX_set_max_proto_version(context, versions[i]);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		SSL_CTX_load_verify_file(context, paths[OTHER]);
		check(context, &with, "redis.test", "check 'cert'");
		SSL_CTX_free(context);
	}
}

static void
test_old_versions_are_refused(void **state)
{
	SSL_CTX *context = server_context(&server);

	(void)state;
	SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0");
	SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
	check(context, OPTIONS(.cacert = paths[CA]), "redis.test", "no TLS 1.2 or newer");
	SSL_CTX_free(context);
}

/* redis_tls_start sees bytes that arrived before TLS began. */
static void
test_plain_server(void **state)
{
	struct redis_tls *tls = new_tls(OPTIONS(.cacert = paths[CA]));
	struct pair pair;

	(void)state;
	open_pair(&pair, NULL);
	assert_int_equal(write(pair.fd, "-DENIED no\r\n", 12), 12);
	start(&pair, tls, "redis.test", NULL);
	assert_null(pair.valkey);
	assert_names(pair.failure, "does not speak TLS here");
	close_pair(&pair);
	open_pair(&pair, NULL);
	start(&pair, tls, "redis.test", NULL);
	assert_int_equal(shutdown(pair.fd, SHUT_WR), 0);
	run(&pair, 1);
	assert_null(pair.valkey);
	assert_names(pair.failure, "before TLS was agreed on");
	close_pair(&pair);
	redis_tls_free(tls);
}

/* A connection that breaks after the handshake is not reported as a failure of TLS. */
static void
test_later_end(void **state)
{
	SSL_CTX *context = server_context(&server);
	struct redis_tls *tls = new_tls(OPTIONS(.cacert = paths[CA]));
	struct pair pair;

	(void)state;
	open_pair(&pair, context);
	start(&pair, tls, "redis.test", NULL);
	assert_int_equal(pair.replies, 1);
	assert_int_equal(shutdown(pair.fd, SHUT_WR), 0);
	run(&pair, 2);
	assert_null(pair.valkey);
	assert_string_equal(pair.failure, "");
	close_pair(&pair);
	redis_tls_free(tls);
	SSL_CTX_free(context);
}

static bool
is_resumed(SSL_CTX *context, struct redis_tls *tls, const char *host, struct redis_tls_session *session)
{
	struct pair pair;
	bool resumed;

	open_pair(&pair, context);
	start(&pair, tls, host, session);
	assert_int_equal(pair.replies, 1);
	resumed = SSL_session_reused(pair.server) == 1;
	close_pair(&pair);
	return resumed;
}

static void
test_sessions(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct redis_tls *tls = new_tls(OPTIONS(.cacert = paths[CA]));

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *context = server_context(&server);
		struct redis_tls_session *session = redis_tls_session_new();

		SSL_CTX_set_max_proto_version(context, versions[i]);
		assert_false(is_resumed(context, tls, "redis.test", session));
		assert_true(is_resumed(context, tls, "redis.test", session));
		assert_true(is_resumed(context, tls, "redis.test", session));
		assert_false(is_resumed(context, tls, "redis.test", NULL));
		assert_false(is_resumed(context, tls, "127.0.0.1", session));
		assert_true(is_resumed(context, tls, "127.0.0.1", session));
		redis_tls_session_free(session);
		SSL_CTX_free(context);
	}
	redis_tls_free(tls);
	redis_tls_free(NULL);
	redis_tls_session_free(NULL);
}

/* The server's name is sent, but never an address. */
static void
test_sni(void **state)
{
	static const char *const hosts[] = {"redis.test", "127.0.0.1"};
	SSL_CTX *context = server_context(&server);
	struct redis_tls *tls = new_tls(OPTIONS(.cacert = paths[CA]));

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct pair pair;
		const char *name;

		open_pair(&pair, context);
		start(&pair, tls, hosts[i], NULL);
		name = SSL_get_servername(pair.server, TLSEXT_NAMETYPE_host_name);
		assert_string_equal(name == NULL ? "" : name, i == 0 ? "redis.test" : "");
		close_pair(&pair);
	}
	redis_tls_free(tls);
	SSL_CTX_free(context);
}

/* After a read that found no whole record, a write has no room: libvalkey would wait for bytes only. */
static void
test_large_write_goes_on(void **state)
{
	size_t size = 4U << 20;
	char *value = calloc(1, size + 1);
	SSL_CTX *context = server_context(&server);
	struct redis_tls *tls = new_tls(OPTIONS(.cacert = paths[CA]));
	struct pair pair;

	(void)state;
	memset(value, 'x', size);
	open_pair(&pair, context);
	start(&pair, tls, "redis.test", NULL);
	assert_int_equal(SSL_key_update(pair.server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	assert_int_equal(SSL_do_handshake(pair.server), 1);
	turn_client(&pair);
	assert_int_equal(valkeyAsyncCommand(pair.valkey, on_reply, &pair, "SET a %b", value, size), VALKEY_OK);
	assert_int_equal(valkeyAsyncCommand(pair.valkey, on_reply, &pair, "PING"), VALKEY_OK);
	run(&pair, 2);
	assert_true(pair.rescued > 0);
	assert_true(pair.received > size);
	assert_int_equal(pair.replies, 2);
	close_pair(&pair);
	redis_tls_free(tls);
	SSL_CTX_free(context);
	free(value);
}

static void
test_long_names(void **state)
{
	char name[300];
	struct error error;

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	check(NULL, OPTIONS(.cacert = paths[CA]), name, "too long");
	assert_null(redis_tls_new(OPTIONS(.sni = name), &error));
	assert_names(error.text, "sni");
}

static void
test_bad_options(void **state)
{
	const struct {
		struct redis_tls_options options;
		const char *parts[3];
	} cases[] = {
		{{.cert = paths[CLIENT_CERTIFICATE]}, {"'cert' is given without 'key'", "", ""}},
		{{.key = paths[CLIENT_KEY]}, {"'key' is given without 'cert'", "", ""}},
		{{.cert = paths[MISSING], .key = paths[CLIENT_KEY]}, {"cert '", "/missing'", "No such file"}},
		{{.cert = paths[CLIENT_CERTIFICATE], .key = paths[MISSING]}, {"key '", "/missing'", "No such file"}},
		{{.cert = paths[TEXT], .key = paths[CLIENT_KEY]}, {"cert '", "/text'", "no certificate"}},
		{{.cert = paths[CLIENT_CERTIFICATE], .key = paths[TEXT]}, {"key '", "/text'", "no private key"}},
		{{.cert = paths[CLIENT_CERTIFICATE], .key = paths[LOCKED_KEY]},
		 {"key '", "/locked.key'", "without a password"}},
		{{.cert = paths[CLIENT_CERTIFICATE], .key = paths[SERVER_KEY]},
		 {"/server.key'", "does not belong to", "/client.pem'"}},
		{{.cacert = paths[MISSING]}, {"cacert '", "/missing'", "No such file"}},
		{{.cacert = paths[TEXT]}, {"cacert '", "/text'", "no certificate"}},
		{{.cacert = folder}, {"cacert '", folder, "no certificate"}},
		{{.cacert_dir = paths[MISSING]}, {"cacert_dir '", "/missing'", "No such file"}},
		{{.cacert_dir = paths[CA]}, {"cacert_dir '", "/ca.pem'", "no folder"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct error error = {0};

		assert_null(redis_tls_new(&cases[i].options, &error));
		for (size_t j = 0; j < 3; j++) {
			assert_names(error.text, cases[i].parts[j]);
		}
		assert_int_equal(ERR_peek_error(), 0);
	}
	redis_tls_free(new_tls(OPTIONS(.cacert_dir = folder, .cert = "", .key = "")));
}

static int
set_up(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	if (mkdtemp(folder) == NULL) {
		return -1;
	}
	authority = identity_new("authority", NULL, NULL, 10 * IDENTITY_DAY);
	other_authority = identity_new("other authority", NULL, NULL, 10 * IDENTITY_DAY);
	server = identity_new("server", &authority, NAMES, 5 * IDENTITY_DAY);
	expired = identity_new("expired", &authority, NAMES, -5 * IDENTITY_DAY);
	client = identity_new("client", &authority, NAMES, 5 * IDENTITY_DAY);
	write_files();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	for (int i = CA; i < MISSING; i++) {
		(void)unlink(paths[i]);
	}
	identity_free(&authority);
	identity_free(&other_authority);
	identity_free(&server);
	identity_free(&expired);
	identity_free(&client);
	return rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain_and_name),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_client_certificate),
		cmocka_unit_test(test_old_versions_are_refused),
		cmocka_unit_test(test_plain_server),
		cmocka_unit_test(test_later_end),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_sni),
		cmocka_unit_test(test_large_write_goes_on),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_bad_options),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
