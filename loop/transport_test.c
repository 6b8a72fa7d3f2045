/* Both ends of a connection on one thread: a transport, and an OpenSSL client whose bytes the test carries. */
#include "loop/transport.h"

#include "base/identity_fixture.h"
#include "base/unit_test.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGE ((size_t)2 << 20)
#define RECORD ((size_t)16 * 1024)
#define CHAIN 60 /* certificates that fill a socket's buffer */

/* --- Certificates --- */

static struct identity authority;
static struct identity stranger; /* another authority */
static struct identity server;
static struct identity renewed; /* the next one of the server */
static struct identity client;
static struct identity unknown; /* a client of the stranger's */

static char folder[] = "/tmp/transport_test.XXXXXX";
static char cert[64];
static char key[64];
static char root[64];
static char other[64]; /* written by single tests */

static struct tls_options options;

static void
write_server(const struct identity *identity)
{
	identity_write_certificate(identity, cert);
	identity_write_key(identity, NULL, key);
}

static int
set_up(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	if (mkdtemp(folder) == NULL) {
		return -1;
	}
	(void)snprintf(cert, sizeof(cert), "%s/cert", folder);
	(void)snprintf(key, sizeof(key), "%s/key", folder);
	(void)snprintf(root, sizeof(root), "%s/root", folder);
	(void)snprintf(other, sizeof(other), "%s/other", folder);
	authority = identity_new("authority", NULL, NULL, 10 * IDENTITY_DAY);
	stranger = identity_new("stranger", NULL, NULL, 10 * IDENTITY_DAY);
	server = identity_new("server", &authority, "DNS:server.test", 5 * IDENTITY_DAY);
	renewed = identity_new("renewed", &authority, "DNS:server.test", 5 * IDENTITY_DAY);
	client = identity_new("client", &authority, "DNS:client.test", 5 * IDENTITY_DAY);
	unknown = identity_new("unknown", &stranger, "DNS:client.test", 5 * IDENTITY_DAY);
	identity_write_certificate(&authority, root);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	identity_free(&authority);
	identity_free(&stranger);
	identity_free(&server);
	identity_free(&renewed);
	identity_free(&client);
	identity_free(&unknown);
	(void)unlink(cert);
	(void)unlink(key);
	(void)unlink(root);
	(void)unlink(other);
	return rmdir(folder);
}

static int
set_up_test(void **state)
{
	(void)state;
	options = (struct tls_options){
		.service = "http", .protocol = "http/1.1", .use_ssl = true, .cert = cert, .key = key, .root = root};
	write_server(&server);
	return 0;
}

static struct tls_server *
new_server(void)
{
	struct error error = {0};
	struct tls_server *tls = tls_server_new(&options, &error);

	assert_string_equal(error.text, "");
	assert_non_null(tls);
	return tls;
}

/* --- A connection --- */

struct pair {
	struct transport transport;
	int fd; /* the client's */
	SSL_CTX *context;
	SSL *client;	 /* reads and writes memory; NULL: the client is plain */
	size_t step;	 /* bytes that are carried at a time */
	bool alerted;	 /* the client failed */
	int alert_error; /* the reason, OpenSSL's */
};

static void
open_plain(struct pair *pair)
{
	int size = 1; /* the kernel makes it some kilobytes */
	int fds[2];

	*pair = (struct pair){.step = 1U << 16};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	pair->fd = fds[1];
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	transport_init(&pair->transport, fds[0], NULL);
}

static void
open_pair(struct pair *pair, struct tls_server *tls)
{
	int fd;

	open_plain(pair);
	fd = pair->transport.fd;
	transport_init(&pair->transport, fd, tls);
	pair->context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_verify(pair->context, SSL_VERIFY_PEER, NULL);
	assert_int_equal(SSL_CTX_load_verify_file(pair->context, root), 1);
	pair->client = SSL_new(pair->context);
	SSL_set_connect_state(pair->client);
	SSL_set_bio(pair->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
}

static void
close_pair(struct pair *pair)
{
	assert_int_equal(ERR_peek_error(), 0);
	if (pair->transport.fd >= 0) {
		transport_close(&pair->transport);
	}
	SSL_free(pair->client);
	SSL_CTX_free(pair->context);
	(void)close(pair->fd);
}

/* Carries up to `step` bytes each way. */
static void
carry(struct pair *pair)
{
	BIO *out = SSL_get_wbio(pair->client);
	char *waiting;
	long there = BIO_get_mem_data(out, &waiting);
	size_t length = (size_t)there < pair->step ? (size_t)there : pair->step;
	uint8_t bytes[1 << 16];
	ssize_t moved = length == 0 ? 0 : send(pair->fd, waiting, length, MSG_NOSIGNAL);

	if (moved > 0) {
		assert_int_equal(BIO_read(out, bytes, (int)moved), moved);
	}
	moved = recv(pair->fd, bytes, pair->step, 0);
	if (moved > 0) {
		assert_int_equal(BIO_write(SSL_get_rbio(pair->client), bytes, (int)moved), moved);
	} else if (moved == 0) {
		BIO_set_mem_eof_return(SSL_get_rbio(pair->client), 0);
	}
}

/* Returns the bytes, 0 at the end that the server announced, -1 otherwise. */
static int
client_read(struct pair *pair, void *at, size_t length)
{
	int got = SSL_read(pair->client, at, (int)length);
	int why = SSL_get_error(pair->client, got);

	if (got <= 0 && (why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL)) {
		pair->alerted = true;
		pair->alert_error = ERR_GET_REASON(ERR_peek_last_error());
	}
	ERR_clear_error();
	return got > 0 ? got : why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* Runs the handshake. Returns what the transport's last read did, with errno. */
static ssize_t
greet(struct pair *pair)
{
	uint8_t byte;
	ssize_t got = -1;

	for (int i = 0; i < 20000; i++) {
		int failure;

		if (!pair->alerted) {
			(void)client_read(pair, &byte, 1);
		}
		carry(pair);
		got = transport_read(&pair->transport, &byte, 1);
		failure = errno;
		if (got >= 0 || failure != EAGAIN ||
		    (!transport_greets(&pair->transport) && SSL_is_init_finished(pair->client))) {
			carry(pair);
			(void)client_read(pair, &byte, 1);
			errno = failure;
			break;
		}
	}
	return got;
}

static void
assert_greets(struct pair *pair)
{
	assert_int_equal(greet(pair), -1);
	assert_int_equal(errno, EAGAIN);
	assert_false(transport_greets(&pair->transport));
	assert_false(pair->alerted);
}

/* The client says "ping" and gets "pong". */
static void
assert_talks(struct pair *pair)
{
	const struct iovec pong[] = {{.iov_base = "po", .iov_len = 2}, {NULL, 0}, {.iov_base = "ng", .iov_len = 2}};
	uint8_t bytes[8];

	assert_int_equal(SSL_write(pair->client, "ping", 4), 4);
	carry(pair);
	assert_int_equal(transport_read(&pair->transport, bytes, sizeof(bytes)), 4);
	assert_memory_equal(bytes, "ping", 4);
	assert_int_equal(transport_write(&pair->transport, pong, 3), 4);
	carry(pair);
	assert_int_equal(client_read(pair, bytes, sizeof(bytes)), 4); /* in one record */
	assert_memory_equal(bytes, "pong", 4);
}

/* --- Plain --- */

static void
test_plain(void **state)
{
	static uint8_t zeros[1 << 16];
	const struct iovec pieces[] = {{.iov_base = "a", .iov_len = 1}, {.iov_base = "bc", .iov_len = 2}};
	struct pair pair;
	char bytes[4];

	(void)state;
	(void)signal(SIGPIPE, SIG_DFL);
	open_plain(&pair);
	assert_int_equal(transport_read(&pair.transport, bytes, sizeof(bytes)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(transport_write(&pair.transport, pieces, 2), 3);
	assert_int_equal(transport_send(&pair.transport, "d", 1), 1);
	assert_int_equal(read(pair.fd, bytes, 4), 4);
	assert_memory_equal(bytes, "abcd", 4);
	while (transport_send(&pair.transport, zeros, sizeof(zeros)) > 0) {
	}
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(transport_events(&pair.transport, 0), 0);
	assert_false(transport_pending(&pair.transport) || transport_greets(&pair.transport));
	(void)shutdown(pair.fd, SHUT_WR);
	assert_int_equal(transport_read(&pair.transport, bytes, sizeof(bytes)), 0);
	(void)shutdown(pair.fd, SHUT_RD);
	assert_int_equal(transport_write(&pair.transport, pieces, 2), -1);
	assert_int_equal(errno, EPIPE);
	close_pair(&pair);
	(void)signal(SIGPIPE, SIG_IGN);
}

/* --- The handshake --- */

static void
test_handshake_by_bits(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct tls_server *tls = new_server();

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct pair pair;

		open_pair(&pair, tls);
		SSL_set_max_proto_version(pair.client, versions[i]);
		pair.step = 1;
		assert_true(transport_greets(&pair.transport));
		assert_greets(&pair);
		pair.step = RECORD;
		assert_talks(&pair);
		close_pair(&pair);
	}
	tls_server_free(tls);
}

/* A server that writes first sees what the client says together with the end of its handshake. */
static void
test_bytes_behind_the_handshake_of_a_write(void **state)
{
	struct tls_server *tls = new_server();
	struct pair pair;
	uint8_t bytes[8];

	(void)state;
	open_pair(&pair, tls);
	while (!SSL_is_init_finished(pair.client)) {
		carry(&pair);
		assert_int_equal(transport_send(&pair.transport, "hi", 2), -1);
		assert_int_equal(errno, EAGAIN);
		carry(&pair);
		(void)client_read(&pair, bytes, 1);
	}
	assert_int_equal(SSL_write(pair.client, "ping", 4), 4);
	carry(&pair);
	assert_int_equal(transport_send(&pair.transport, "hi", 2), 2);
	assert_true(transport_pending(&pair.transport));
	assert_int_equal(transport_read(&pair.transport, bytes, sizeof(bytes)), 4);
	assert_memory_equal(bytes, "ping", 4);
	assert_false(transport_pending(&pair.transport));
	close_pair(&pair);
	tls_server_free(tls);
}

static void
test_old_versions_are_refused(void **state)
{
	struct tls_server *tls = new_server();
	struct pair pair;

	(void)state;
	open_pair(&pair, tls);
	SSL_set_cipher_list(pair.client, "ALL:@SECLEVEL=0");
	SSL_set_min_proto_version(pair.client, TLS1_VERSION);
	SSL_set_max_proto_version(pair.client, TLS1_1_VERSION);
	assert_int_equal(greet(&pair), -1);
	assert_int_equal(errno, EPROTO);
	assert_string_equal(pair.transport.failure, "unsupported protocol");
	close_pair(&pair);
	tls_server_free(tls);
}

/* The server's certificates do not fit into the socket: a read waits for room to write. */
static void
test_long_chain(void **state)
{
	FILE *file;
	struct tls_server *tls;
	struct pair pair;
	uint8_t byte;

	(void)state;
	identity_write_certificate(&authority, other);
	file = fopen(cert, "a");
	for (int i = 0; i < CHAIN; i++) {
		FILE *link = fopen(other, "r");
		char text[4096];
		size_t length = fread(text, 1, sizeof(text), link);

		assert_int_equal(fwrite(text, 1, length, file), length);
		(void)fclose(link);
	}
	assert_int_equal(fclose(file), 0);
	tls = new_server();
	open_pair(&pair, tls);
	assert_int_equal(client_read(&pair, &byte, 1), -1);
	while (transport_events(&pair.transport, 0) == 0) {
		long left = BIO_pending(SSL_get_wbio(pair.client));
		uint8_t hello[4096];

		if (left > 0) {
			assert_int_equal(BIO_read(SSL_get_wbio(pair.client), hello, sizeof(hello)), left);
			assert_int_equal(write(pair.fd, hello, (size_t)left), left);
		}
		assert_int_equal(transport_read(&pair.transport, &byte, 1), -1);
		assert_int_equal(errno, EAGAIN);
	}
	assert_int_equal(transport_events(&pair.transport, 0), LOOP_WRITE);
	assert_greets(&pair);
	assert_int_equal(transport_events(&pair.transport, 0), 0);
	assert_talks(&pair);
	close_pair(&pair);
	tls_server_free(tls);
}

/* A server that speaks first, as one of HTTP/2 does, has to read first. */
static void
test_write_before_the_handshake(void **state)
{
	struct tls_server *tls = new_server();
	struct pair pair;
	uint8_t bytes[8];

	(void)state;
	open_pair(&pair, tls);
	assert_int_equal(transport_send(&pair.transport, "hello", 5), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(transport_events(&pair.transport, 0), LOOP_READ);
	for (int i = 0; i < 10 && transport_send(&pair.transport, "hello", 5) < 0; i++) {
		assert_int_equal(client_read(&pair, bytes, sizeof(bytes)), -1);
		carry(&pair);
	}
	assert_int_equal(transport_events(&pair.transport, 0), 0);
	carry(&pair);
	assert_int_equal(client_read(&pair, bytes, sizeof(bytes)), 5);
	close_pair(&pair);
	open_pair(&pair, tls);
	(void)close(pair.fd);
	pair.fd = -1;
	assert_int_equal(transport_send(&pair.transport, "hello", 5), -1);
	assert_int_equal(errno, EPIPE);
	close_pair(&pair);
	tls_server_free(tls);
}

static void
test_no_tls_at_all(void **state)
{
	static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\0\1\2\3\4\5\6\7", "", "\x16\3\1"};
	static const size_t lengths[] = {28, 8, 0, 3};
	struct tls_server *tls = new_server();

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct pair pair;
		uint8_t byte;

		open_plain(&pair);
		transport_init(&pair.transport, pair.transport.fd, tls);
		assert_int_equal(write(pair.fd, texts[i], lengths[i]), lengths[i]);
		(void)shutdown(pair.fd, SHUT_WR);
		if (i < 2) {
			assert_int_equal(transport_read(&pair.transport, &byte, 1), -1);
			assert_int_equal(errno, EPROTO);
			assert_non_null(pair.transport.failure);
		} else { /* it left before it had said enough */
			assert_int_equal(transport_read(&pair.transport, &byte, 1), 0);
		}
		assert_true(transport_greets(&pair.transport));
		close_pair(&pair);
	}
	tls_server_free(tls);
}

static void
test_protocols(void **state)
{
	static const struct {
		const char *offer; /* ALPN's form */
		const char *selected;
	} cases[] = {
		{"\2h2\10http/1.1", "http/1.1"}, {"\10http/1.1", "http/1.1"}, {"", ""}, {"\2h2", NULL},
		{"\10http/1.0", NULL},		 {"\7http/1.", NULL},
	};
	struct tls_server *tls = new_server();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const unsigned char *selected = NULL;
		unsigned length = 0;
		struct pair pair;

		open_pair(&pair, tls);
		SSL_set_alpn_protos(pair.client, (const unsigned char *)cases[i].offer,
				    (unsigned)strlen(cases[i].offer));
		if (cases[i].selected == NULL) {
			assert_int_equal(greet(&pair), -1);
			assert_int_equal(errno, EPROTO);
			assert_int_equal(pair.alert_error, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
		} else {
			assert_greets(&pair);
			SSL_get0_alpn_selected(pair.client, &selected, &length);
			assert_int_equal(length, strlen(cases[i].selected));
			assert_memory_equal(selected == NULL ? (const unsigned char *)"" : selected, cases[i].selected,
					    length);
		}
		close_pair(&pair);
	}
	tls_server_free(tls);
}

/* --- Clients with certificates --- */

static void
present(struct pair *pair, const struct identity *identity)
{
	assert_int_equal(SSL_use_certificate(pair->client, identity->certificate), 1);
	assert_int_equal(SSL_use_PrivateKey(pair->client, identity->key), 1);
}

static void
test_mutual(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	const struct {
		const struct identity *identity;
		const char *failure;
	} cases[] = {
		{&client, NULL},
		{NULL, "peer did not return a certificate"},
		{&unknown, "unable to get local issuer certificate"},
	};
	struct tls_server *tls;

	(void)state;
	options.mutual = true;
	tls = new_server();
	for (size_t i = 0; i < 6; i++) {
		struct pair pair;

		open_pair(&pair, tls);
		SSL_set_max_proto_version(pair.client, versions[i % 2]);
		if (cases[i / 2].identity != NULL) {
			present(&pair, cases[i / 2].identity);
		}
		if (cases[i / 2].failure == NULL) {
			assert_greets(&pair);
			assert_talks(&pair);
		} else {
			while (greet(&pair) < 0 && errno == EAGAIN) {
			}
			assert_int_equal(errno, EPROTO);
			assert_string_equal(pair.transport.failure, cases[i / 2].failure);
			assert_true(pair.alerted);
		}
		close_pair(&pair);
	}
	tls_server_free(tls);
}

/* Authorities without `mutual`: nobody is asked. */
static void
test_not_mutual(void **state)
{
	struct tls_server *tls = new_server();
	struct pair pair;

	(void)state;
	open_pair(&pair, tls);
	present(&pair, &unknown);
	assert_greets(&pair);
	close_pair(&pair);
	tls_server_free(tls);
}

/* --- Bytes --- */

static uint8_t
letter(size_t at)
{
	return (uint8_t)(at * 7 + at / 1000);
}

static void
assert_letters(const uint8_t *bytes, size_t length, size_t at)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != letter(at + i)) {
			fail_msg("byte %zu is wrong", at + i);
		}
	}
}

/* Writes from `sent` on, in pieces of growing length; returns what went. */
static size_t
write_letters(struct pair *pair, const uint8_t *letters, size_t sent)
{
	struct iovec pieces[8];
	size_t at = sent;
	ssize_t put;
	int count = 0;

	for (size_t length = 3; count < 8 && at < LARGE; length *= 9) {
		size_t taken = length < LARGE - at ? length : LARGE - at;

		pieces[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)(letters + at), .iov_len = taken};
		at += taken;
	}
	put = transport_write(&pair->transport, pieces, count);
	assert_true(put > 0 || errno == EAGAIN);
	return put > 0 ? (size_t)put : 0;
}

/* Both ends send at the same time, and each reads little at a time; keys change on the way. */
static void
test_large_both_ways(void **state)
{
	struct tls_server *tls = new_server();
	uint8_t *letters = malloc(LARGE);
	size_t sent[2] = {0};
	size_t got[2] = {0};
	struct pair pair;

	(void)state;
	for (size_t i = 0; i < LARGE; i++) {
		letters[i] = letter(i);
	}
	open_pair(&pair, tls);
	assert_greets(&pair);
	pair.step = 1000;
	while (got[0] < LARGE || got[1] < LARGE) {
		uint8_t bytes[5000];
		ssize_t read;

		if (sent[0] < LARGE) {
			sent[0] += write_letters(&pair, letters, sent[0]);
		}
		if (sent[1] < LARGE && BIO_pending(SSL_get_wbio(pair.client)) < 100000) {
			assert_int_equal(SSL_write(pair.client, letters + sent[1], 1 << 16), 1 << 16);
			sent[1] += 1 << 16;
			assert_int_equal(SSL_key_update(pair.client, SSL_KEY_UPDATE_REQUESTED), 1);
		}
		carry(&pair);
		read = client_read(&pair, bytes, sizeof(bytes));
		if (read > 0) {
			assert_letters(bytes, (size_t)read, got[0]);
			got[0] += (size_t)read;
		}
		read = transport_read(&pair.transport, bytes, 3000);
		assert_true(read > 0 || errno == EAGAIN);
		if (read > 0) {
			assert_letters(bytes, (size_t)read, got[1]);
			got[1] += (size_t)read;
		}
	}
	assert_int_equal(sent[0], LARGE);
	assert_int_equal(sent[1], LARGE);
	close_pair(&pair);
	free(letters);
	tls_server_free(tls);
}

static void
test_a_record_at_a_time(void **state)
{
	static uint8_t letters[2 * RECORD];
	const struct iovec large = {.iov_base = letters, .iov_len = sizeof(letters)};
	const struct iovec pieces[] = {{.iov_base = letters, .iov_len = 5}, large};
	struct tls_server *tls = new_server();
	struct pair pair;

	(void)state;
	open_pair(&pair, tls);
	assert_greets(&pair);
	assert_int_equal(setsockopt(pair.transport.fd, SOL_SOCKET, SO_SNDBUF, &(int){1 << 20}, sizeof(int)), 0);
	assert_int_equal(transport_write(&pair.transport, &large, 1), RECORD);
	assert_int_equal(transport_write(&pair.transport, pieces, 2), RECORD);
	assert_int_equal(transport_send(&pair.transport, letters, sizeof(letters)), RECORD);
	assert_int_equal(transport_send(&pair.transport, letters, 0), 0);
	close_pair(&pair);
	tls_server_free(tls);
}

/* No event tells of bytes that came together with others. */
static void
test_pending(void **state)
{
	struct tls_server *tls = new_server();
	struct pair pair;
	uint8_t bytes[4];

	(void)state;
	open_pair(&pair, tls);
	assert_greets(&pair);
	assert_false(transport_pending(&pair.transport));
	assert_int_equal(SSL_write(pair.client, "abcdef", 6), 6);
	assert_int_equal(SSL_write(pair.client, "gh", 2), 2);
	carry(&pair);
	assert_int_equal(transport_read(&pair.transport, bytes, 4), 4); /* half a record */
	assert_true(transport_pending(&pair.transport));
	assert_int_equal(transport_read(&pair.transport, bytes, 4), 2); /* a whole one follows */
	assert_true(transport_pending(&pair.transport));
	assert_int_equal(transport_read(&pair.transport, bytes, 4), 2);
	assert_false(transport_pending(&pair.transport));
	assert_memory_equal(bytes, "gh", 2);
	assert_int_equal(transport_read(&pair.transport, bytes, 4), -1);
	close_pair(&pair);
	tls_server_free(tls);
}

/* --- The end --- */

static void
test_peer_ends(void **state)
{
	struct tls_server *tls = new_server();
	uint8_t bytes[8];

	(void)state;
	for (int silent = 0; silent < 2; silent++) {
		struct pair pair;

		open_pair(&pair, tls);
		assert_greets(&pair);
		assert_int_equal(SSL_write(pair.client, "last", 4), 4);
		if (!silent) {
			assert_int_equal(SSL_shutdown(pair.client), 0);
		}
		carry(&pair);
		(void)shutdown(pair.fd, SHUT_WR);
		assert_int_equal(transport_read(&pair.transport, bytes, sizeof(bytes)), 4);
		assert_int_equal(transport_read(&pair.transport, bytes, sizeof(bytes)), 0);
		assert_int_equal(transport_read(&pair.transport, bytes, sizeof(bytes)), 0);
		assert_int_equal(transport_send(&pair.transport, "answer", 6), 6); /* it may still listen */
		carry(&pair);
		assert_int_equal(client_read(&pair, bytes, sizeof(bytes)), 6);
		close_pair(&pair);
	}
	tls_server_free(tls);
}

static void
test_peer_is_gone(void **state)
{
	struct tls_server *tls = new_server();
	struct pair pair;

	(void)state;
	open_pair(&pair, tls);
	assert_greets(&pair);
	(void)close(pair.fd);
	pair.fd = -1;
	assert_int_equal(transport_send(&pair.transport, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	assert_null(pair.transport.failure);
	close_pair(&pair);
	tls_server_free(tls);
}

/* The client can tell an answer that is complete from one that is not. */
static void
test_own_end(void **state)
{
	static uint8_t bytes[1 << 16];
	enum { CLOSED, SHUT_DOWN, CUT_OFF, ENDS };
	struct tls_server *tls = new_server();

	(void)state;
	for (int end = CLOSED; end < ENDS; end++) {
		struct pair pair;
		int got;

		open_pair(&pair, tls);
		assert_greets(&pair);
		while (end == CUT_OFF && transport_send(&pair.transport, bytes, sizeof(bytes)) > 0) {
		}
		if (end == SHUT_DOWN) {
			transport_shutdown(&pair.transport);
		} else {
			transport_close(&pair.transport);
			pair.transport.fd = -1;
		}
		do {
			carry(&pair);
			got = client_read(&pair, bytes, sizeof(bytes));
		} while (got > 0 || (got < 0 && !pair.alerted));
		assert_int_equal(got, end == CUT_OFF ? -1 : 0);
		close_pair(&pair);
	}
	tls_server_free(tls);
}

/* --- Renewal --- */

static void
assert_named(struct pair *pair, const char *expected)
{
	char name[64];

	X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(pair->client)), NID_commonName, name,
				  sizeof(name));
	assert_string_equal(name, expected);
}

static void
test_reload(void **state)
{
	struct tls_server *tls = new_server();
	struct error error = {0};
	struct pair old;
	struct pair new;

	(void)state;
	open_pair(&old, tls);
	assert_greets(&old);
	assert_false(tls_server_changed(tls));
	assert_false(tls_server_changed(tls));
	write_server(&renewed);
	assert_false(tls_server_changed(tls)); /* perhaps the key is still to come */
	assert_true(tls_server_changed(tls));
	assert_int_equal(tls_server_reload(tls, &error), STATUS_OK);
	assert_false(tls_server_changed(tls));
	open_pair(&new, tls);
	assert_greets(&new);
	assert_named(&old, "server");
	assert_named(&new, "renewed");
	assert_talks(&old);
	tls_server_free(tls);
	assert_talks(&old);
	assert_talks(&new);
	close_pair(&old);
	close_pair(&new);
}

static void
test_broken_reload(void **state)
{
	struct tls_server *tls = new_server();
	struct error error = {0};
	struct pair pair;
	int tries = 0;

	(void)state;
	(void)tls_server_changed(tls);
	identity_write_key(&renewed, NULL, key);
	assert_false(tls_server_changed(tls));
	assert_true(tls_server_changed(tls));
	assert_int_not_equal(tls_server_reload(tls, &error), STATUS_OK);
	assert_non_null(strstr(error.text, "does not belong to"));
	open_pair(&pair, tls);
	assert_greets(&pair);
	assert_named(&pair, "server");
	close_pair(&pair);
	for (int i = 0; i < 120; i++) {
		tries += tls_server_changed(tls);
	}
	assert_int_equal(tries, 2);
	identity_write_certificate(&renewed, cert);
	assert_int_equal(tls_server_reload(tls, &error), STATUS_OK);
	for (int i = 0; i < 120; i++) {
		assert_false(tls_server_changed(tls));
	}
	tls_server_free(tls);
}

/* Greets with the session of the connection before, if that left one. */
static bool
is_resumed(struct tls_server *tls, SSL_SESSION **session)
{
	struct pair pair;
	bool resumed;

	open_pair(&pair, tls);
	present(&pair, &client);
	if (*session != NULL) {
		SSL_set_session(pair.client, *session);
		SSL_SESSION_free(*session);
	}
	assert_greets(&pair);
	assert_talks(&pair);
	resumed = SSL_session_reused(pair.client) == 1;
	*session = SSL_get1_session(pair.client);
	(void)SSL_shutdown(pair.client);
	close_pair(&pair);
	return resumed;
}

/* A client that was let in before the authorities changed is asked again. */
static void
test_sessions(void **state)
{
	SSL_SESSION *session = NULL;
	struct error error = {0};
	struct tls_server *tls;

	(void)state;
	options.mutual = true;
	tls = new_server();
	assert_false(is_resumed(tls, &session));
	assert_true(is_resumed(tls, &session));
	assert_int_equal(tls_server_reload(tls, &error), STATUS_OK);
	assert_false(is_resumed(tls, &session));
	SSL_SESSION_free(session);
	tls_server_free(tls);
}

/* --- Files --- */

#define OPTIONS(...)                                                                                                   \
	{                                                                                                              \
		.service = "grpc", .protocol = "h2", __VA_ARGS__                                                       \
	}

static void
test_bad_files(void **state)
{
	static char missing[] = "/no/such/file";
	const struct {
		struct tls_options options;
		const char *parts[3];
	} cases[] = {
		{OPTIONS(.key = key), {"--grpc-server-cert is not given", "", ""}},
		{OPTIONS(.cert = cert, .key = ""), {"--grpc-server-key is not given", "", ""}},
		{OPTIONS(.cert = cert, .key = key, .mutual = true), {"--grpc-root-cert is not given", "", ""}},
		{OPTIONS(.cert = missing, .key = key), {"--grpc-server-cert: '/no", "No such file", "check the path"}},
		{OPTIONS(.cert = cert, .key = missing), {"--grpc-server-key: '/no", "No such file", "check the path"}},
		{OPTIONS(.cert = cert, .key = key, .root = missing), {"--grpc-root-cert: '/no", "No such file", ""}},
		{OPTIONS(.cert = key, .key = key), {"--grpc-server-cert: '", "/key'", "holds no certificate"}},
		{OPTIONS(.cert = cert, .key = cert), {"--grpc-server-key: '", "/cert'", "holds no private key"}},
		{OPTIONS(.cert = cert, .key = other), {"/other'", "without a password", "openssl pkey"}},
		{OPTIONS(.cert = root, .key = key), {"/key'", "does not belong to --grpc-server-cert", "/root'"}},
		{OPTIONS(.cert = cert, .key = key, .root = key), {"--grpc-root-cert: '", "/key'", "no certificate"}},
		{OPTIONS(.cert = folder, .key = key), {"--grpc-server-cert: '", folder, "holds no certificate"}},
	};

	(void)state;
	identity_write_key(&server, "secret", other);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct error error = {0};

		assert_null(tls_server_new(&cases[i].options, &error));
		for (size_t j = 0; j < 3; j++) {
			if (strstr(error.text, cases[i].parts[j]) == NULL) {
				fail_msg("'%s' does not say '%s'", error.text, cases[i].parts[j]);
			}
		}
		assert_null(strchr(error.text, '\n'));
		assert_int_equal(ERR_peek_error(), 0);
	}
	tls_server_free(NULL);
}

static void
expect_gathered(size_t skip, size_t body_count, const char *const *expected, int expected_count)
{
	static const struct bytes body[] = {
		{(const uint8_t *)"bc", 2}, {NULL, 0}, {(const uint8_t *)"d", 1}, {(const uint8_t *)"ef", 2}};
	struct iovec iov[TRANSPORT_PIECES];
	int count = transport_gather(bytes_make((const uint8_t *)"a", 1), body, body_count, skip, iov);

	assert_int_equal(count, expected_count);
	for (int i = 0; i < count; i++) {
		assert_int_equal(iov[i].iov_len, strlen(expected[i]));
		assert_memory_equal(iov[i].iov_base, expected[i], iov[i].iov_len);
	}
}

static void
test_gather(void **state)
{
	(void)state;
	expect_gathered(0, 4, (const char *const[]){"a", "bc", "d", "ef"}, 4);
	expect_gathered(0, 0, (const char *const[]){"a"}, 1);
	expect_gathered(2, 4, (const char *const[]){"c", "d", "ef"}, 3);
	expect_gathered(3, 4, (const char *const[]){"d", "ef"}, 2);
	expect_gathered(5, 4, (const char *const[]){"f"}, 1);
	expect_gathered(6, 4, NULL, 0);
}

static void
test_gather_many(void **state)
{
	struct bytes body[TRANSPORT_PIECES + 1];
	struct iovec iov[TRANSPORT_PIECES];

	(void)state;
	for (size_t i = 0; i < TRANSPORT_PIECES + 1; i++) {
		body[i] = bytes_make((const uint8_t *)"x", 1);
	}
	assert_int_equal(transport_gather(body[0], body, TRANSPORT_PIECES + 1, 0, iov), TRANSPORT_PIECES);
	assert_int_equal(transport_gather(body[0], body, TRANSPORT_PIECES + 1, TRANSPORT_PIECES, iov), 2);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up_test)
	static const struct CMUnitTest tests[] = {
		TEST(test_plain),
		TEST(test_handshake_by_bits),
		TEST(test_bytes_behind_the_handshake_of_a_write),
		TEST(test_old_versions_are_refused),
		TEST(test_long_chain),
		TEST(test_write_before_the_handshake),
		TEST(test_no_tls_at_all),
		TEST(test_protocols),
		TEST(test_mutual),
		TEST(test_not_mutual),
		TEST(test_large_both_ways),
		TEST(test_a_record_at_a_time),
		TEST(test_pending),
		TEST(test_peer_ends),
		TEST(test_peer_is_gone),
		TEST(test_own_end),
		TEST(test_reload),
		TEST(test_broken_reload),
		TEST(test_sessions),
		TEST(test_bad_files),
		TEST(test_gather),
		TEST(test_gather_many),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
