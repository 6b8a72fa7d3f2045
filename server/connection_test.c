/* A connection over a socket pair: reads, replies, refusals and time limits. The test advances the clock. */
#include "server/connection.h"

#include "base/identity_fixture.h"
#include "base/unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUDGET 300000

struct test {
	struct server_options options;
	struct budget budget;
	struct offload *offload;
	struct server_port port;
	struct server_lane lane;
	int client;
	int handled;
	size_t body; /* length of the last body handled */
	bool admits;
	bool admits_parts;
	size_t more; /* bytes that the handler of a part was told of */
	int lost;
	char host[16];
	struct exchange *kept; /* the exchange to answer later */
};

static struct test *test; /* global, as the router takes no argument */

static void
answer(struct exchange *exchange)
{
	test->handled++;
	test->body = exchange->body.length;
	reply_bare(exchange, true, "text/plain");
}

static void
move(struct exchange *exchange)
{
	test->handled++;
	exchange->body_block = blob_copy(exchange->body);
	exchange->body = blob_bytes(exchange->body_block);
	reply_bare(exchange, true, "text/plain");
}

static void
keep(struct exchange *exchange)
{
	test->kept = exchange;
}

static void
take_more(struct exchange *exchange, size_t count)
{
	(void)exchange;
	test->more += count;
}

static void
lose(struct exchange *exchange)
{
	test->lost++;
	test->kept = NULL;
	reply_http_error(exchange, exchange->lost.status == 0 ? 502 : exchange->lost.status, "lost");
}

static void
keep_part(struct exchange *exchange)
{
	test->handled++;
	test->kept = exchange;
	exchange->more = take_more;
	exchange->gone = lose;
}

static bool
takes_parts(struct exchange *exchange)
{
	(void)exchange;
	return test->admits_parts;
}

static bool
admit(struct exchange *exchange)
{
	if (!test->admits) {
		reply_http_error(exchange, 404, "nobody is here");
	}
	return test->admits;
}

static void
route(struct exchange *exchange)
{
	exchange->handler = bytes_equal_text(exchange->head.path, "/later")   ? keep
			    : bytes_equal_text(exchange->head.path, "/moves") ? move
			    : bytes_equal_text(exchange->head.path, "/parts") ? keep_part
									      : answer;
	(void)snprintf(test->host, sizeof(test->host), "%.*s", BYTES_ARGS(exchange->head.host));
	exchange->admit = admit;
	exchange->takes_tensors = true;
	exchange->takes_parts = exchange->handler == keep_part ? takes_parts : NULL;
	exchange->body_limit = test->options.max_input_bytes;
}

static int
setup(void **state)
{
	struct error error;
	int ends[2];

	(void)state;
	test = calloc(1, sizeof(*test));
	test->admits = true;
	test->admits_parts = true;
	test->options = (struct server_options){.max_input_bytes = 50000, .max_inflight_bytes = BUDGET};
	budget_init(&test->budget, BUDGET);
	test->offload = offload_new(1);
	test->port = (struct server_port){.route = route, .address = "localhost"};
	test->lane = (struct server_lane){
		.options = &test->options, .budget = &test->budget, .offload = test->offload, .loop = loop_new(&error)};
	TAILQ_INIT(&test->lane.connections);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	test->client = ends[1];
	connection_new(&test->lane, ends[0], &test->port);
	return 0;
}

static struct connection *
connection(void)
{
	return TAILQ_FIRST(&test->lane.connections);
}

static void
stop(struct server_lane *lane)
{
	loop_stop(lane->loop);
}

static void
on_turn_over(void *argument)
{
	stop(argument);
}

/* Runs the loop for a millisecond. */
static void
turn(void)
{
	struct loop_timer *timer = loop_timer_new(test->lane.loop, on_turn_over, &test->lane);

	loop_timer_set(timer, 1);
	loop_run(test->lane.loop);
	loop_timer_free(timer);
}

static void
send_all(const void *data, size_t length)
{
	const char *at = data;

	while (length > 0 && connection() != NULL) {
		ssize_t put = write(test->client, at, length);

		if (put > 0) {
			at += put;
			length -= (size_t)put;
		}
		turn();
	}
}

static void
say(const char *text)
{
	send_all(text, strlen(text));
	turn();
}

/* The bytes received from the server; "": none. */
static const char *
hear(void)
{
	static char text[65536];
	ssize_t got = read(test->client, text, sizeof(text) - 1);

	text[got < 0 ? 0 : got] = '\0';
	return text;
}

static void
assert_heard(const char *part)
{
	const char *text = hear();

	if (strstr(text, part) == NULL) {
		fail_msg("'%s' does not say '%s'", text, part);
	}
}

/* Advances the clock, sweeping the connection each second as a lane does. */
static void
pass(unsigned seconds)
{
	for (unsigned i = 0; i < seconds && connection() != NULL; i++) {
		test->lane.ticks++;
		connection_sweep(connection());
	}
	turn();
}

static int
teardown(void **state)
{
	(void)state;
	(void)close(test->client);
	turn();
	if (connection() != NULL) {
		pass(1000);
	}
	assert_null(connection());
	assert_int_equal(test->budget.used, 0);
	assert_true(test->lane.incomplete_bodies == 0 || test->lane.incomplete_bodies == 64);
	loop_free(test->lane.loop);
	offload_free(test->offload);
	free(test);
	return 0;
}

#define HEAD(fields) "POST /x HTTP/1.1\r\nHost: h\r\n" fields "\r\n"

static void
test_in_turn(void **state)
{
	(void)state;
	say(HEAD("Content-Length: 2\r\n") "ab" HEAD("Content-Length: 0\r\n"));
	assert_int_equal(test->handled, 2);
	assert_heard("HTTP/1.1 200 OK");
}

/* A body larger than the buffer is charged to the budget until it is answered. */
static void
test_large_body(void **state)
{
	static uint8_t body[40000];

	(void)state;
	say(HEAD("Content-Length: 40000\r\n"));
	send_all(body, 20000);
	assert_int_equal(test->budget.used, 20000);
	send_all(body, 20000);
	turn();
	assert_int_equal(test->body, sizeof(body));
	assert_int_equal(test->budget.used, 0);
	say(HEAD("Transfer-Encoding: chunked\r\n") "7530\r\n");
	send_all(body, 0x7530);
	say("\r\n0\r\n\r\n");
	assert_int_equal(test->body, 0x7530);
}

static void
test_not_worth_reading(void **state)
{
	(void)state;
	test->admits = false;
	say(HEAD("Content-Length: 40000\r\n"));
	assert_heard("404");
	assert_int_equal(test->handled, 0);
	send_all("more of it", 10); /* thrown away */
	assert_int_equal(test->budget.used, 0);
}

static void
test_limits(void **state)
{
	(void)state;
	say(HEAD("Content-Length: 50001\r\n"));
	assert_heard("400");
}

static void
test_larger_than_the_budget(void **state)
{
	(void)state;
	say(HEAD("Inference-Header-Content-Length: 2\r\nContent-Length: 300001\r\n"));
	assert_heard("413");
}

static void
test_over_budget(void **state)
{
	static uint8_t body[30000];

	(void)state;
	assert_true(budget_take(&test->budget, 290000));
	say(HEAD("Content-Length: 30000\r\n"));
	send_all(body, sizeof(body));
	assert_heard("503");
	budget_give(&test->budget, 290000);
	assert_int_equal(test->budget.used, 0);
}

static void
test_a_head_that_comes_by_bits(void **state)
{
	(void)state;
	say("POST /x HTTP/1.1\r\n");
	for (int i = 0; i < 59; i++) {
		pass(1);
		say("A: b\r\n"); /* never silent for long */
	}
	assert_string_equal(hear(), "");
	pass(2);
	assert_heard("408");
}

static void
test_a_body_that_comes_by_bits(void **state)
{
	char bits[4096] = {0};
	unsigned seconds = 0;

	(void)state;
	say(HEAD("Content-Length: 50000\r\n"));
	while (strstr(hear(), "408") == NULL && seconds < 100) {
		send_all(bits, 64);
		pass(1);
		seconds++;
	}
	assert_in_range(seconds, 61, 62);
}

/* A body that arrives steadily is never too slow. */
static void
test_a_long_body(void **state)
{
	static char bits[5000];

	(void)state;
	test->options.max_input_bytes = BUDGET;
	say(HEAD("Content-Length: 100000\r\n"));
	for (int i = 0; i < 19; i++) {
		send_all(bits, sizeof(bits));
		pass(4);
		assert_string_equal(hear(), "");
	}
	send_all(bits, sizeof(bits));
	turn();
	assert_int_equal(test->handled, 1);
}

/* The same body is too slow once it holds more than half of the budget. */
static void
test_a_long_body_where_memory_is_scarce(void **state)
{
	static char bits[5000];
	unsigned pieces = 0;

	(void)state;
	test->options.max_input_bytes = BUDGET;
	say(HEAD("Content-Length: 200000\r\n"));
	while (strstr(hear(), "408") == NULL && pieces < 100) {
		send_all(bits, sizeof(bits));
		pass(1);
		pieces++;
	}
	assert_int_equal(pieces, 31); /* 155,000 bytes, more than half of the budget */
}

#define PARTS(length) "POST /parts HTTP/1.1\r\nHost: h\r\nContent-Length: " length "\r\n\r\n"

static void
test_a_body_in_parts(void **state)
{
	static uint8_t body[40000];

	(void)state;
	memset(body, 7, sizeof(body));
	say(PARTS("40000"));
	assert_int_equal(test->handled, 1);
	assert_int_equal(test->kept->missing, 40000);
	assert_int_equal(test->kept->body.length, 40000);
	send_all(body, 15000);
	assert_int_equal(test->more, 15000);
	assert_int_equal(test->kept->missing, 25000);
	assert_int_equal(test->budget.used, 15000);
	assert_memory_equal(test->kept->body.at, body, 15000);
	send_all(body, 25000);
	assert_int_equal(test->kept->missing, 0);
	assert_memory_equal(test->kept->body.at, body, 40000);
	pass(1000); /* the handler has time */
	reply_bare(test->kept, true, "text/plain");
	turn();
	assert_heard("HTTP/1.1 200 OK");
	assert_int_equal(test->budget.used, 0);
	say(HEAD("Content-Length: 2\r\n") "ab");
	assert_heard("HTTP/1.1 200 OK");
	assert_int_equal(test->lost, 0);
}

/* Sends a body in halves to a handler that gets it only when it is whole. */
static void
expect_it_to_get_the_whole_body(void)
{
	static uint8_t half[20000];

	say(PARTS("40000"));
	send_all(half, sizeof(half));
	assert_int_equal(test->handled, 0);
	send_all(half, sizeof(half));
	turn();
	assert_int_equal(test->handled, 1);
	assert_int_equal(test->kept->missing, 0);
}

static void
test_a_handler_that_wants_the_whole_body(void **state)
{
	(void)state;
	test->admits_parts = false;
	expect_it_to_get_the_whole_body();
	reply_bare(test->kept, true, "text/plain");
}

static void
test_a_reply_before_the_whole_body(void **state)
{
	static uint8_t body[20000];

	(void)state;
	say(PARTS("40000"));
	send_all(body, sizeof(body));
	reply_bare(test->kept, true, "text/plain");
	turn();
	assert_heard("Connection: close");
	assert_int_equal(test->budget.used, 0);
	send_all(body, 100); /* thrown away, until the time for that is over */
	assert_int_equal(test->more, sizeof(body));
	pass(30);
	assert_non_null(connection());
	pass(1);
	assert_null(connection());
}

/* Whoever sends all that was announced before it reads has the time for that, and no more. */
static void
test_the_rest_of_a_long_body(void **state)
{
	static uint8_t part[64 * 1024];

	(void)state;
	say("POST /parts HTTP/1.1\r\nHost: h\r\nInference-Header-Content-Length: 2\r\nContent-Length: 262144\r\n\r\n");
	reply_bare(test->kept, true, "text/plain");
	turn();
	for (int i = 0; i < 4; i++) {
		pass(8);
		assert_non_null(connection());
		send_all(part, sizeof(part));
	}
	assert_heard("HTTP/1.1 200 OK");
	pass(1);
	assert_non_null(connection()); /* 33 seconds */
	pass(6);
	assert_null(connection());
}

/* Few may occupy the handlers with parts. */
static void
test_a_body_beside_many_incomplete_ones(void **state)
{
	(void)state;
	test->lane.incomplete_bodies = 64;
	expect_it_to_get_the_whole_body();
	assert_int_equal(test->lane.incomplete_bodies, 64);
	reply_bare(test->kept, true, "text/plain");
}

static void
test_parts_that_do_not_come(void **state)
{
	static uint8_t body[20000];

	(void)state;
	say(PARTS("40000"));
	send_all(body, sizeof(body));
	pass(60);
	assert_int_equal(test->lost, 0);
	pass(1);
	assert_int_equal(test->lost, 1);
	assert_heard("408");
	assert_int_equal(test->budget.used, 0);
}

static void
test_parts_over_the_budget(void **state)
{
	static uint8_t body[30000];

	(void)state;
	assert_true(budget_take(&test->budget, 290000));
	say(PARTS("30000"));
	send_all(body, sizeof(body));
	assert_int_equal(test->lost, 1);
	assert_heard("503");
	budget_give(&test->budget, 290000);
	assert_int_equal(test->budget.used, 0);
}

static void
test_a_sender_of_parts_that_leaves(void **state)
{
	(void)state;
	say(PARTS("30000"));
	send_all("some", 4);
	(void)close(test->client);
	turn();
	turn();
	assert_int_equal(test->lost, 1);
	assert_null(connection());
}

/* A body in the buffer is skipped after the reply, even if its handler has put a block in its place. */
static void
test_a_body_that_moves(void **state)
{
	(void)state;
	say("POST /moves HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" HEAD("Content-Length: 0\r\n"));
	assert_int_equal(test->handled, 2);
	assert_heard("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK");
}

/* A head that leaves little room for chunks makes the buffer move, and with it all views into the head. */
static void
test_chunks_behind_a_long_head(void **state)
{
	char head[14000];
	int length = snprintf(head, sizeof(head),
			      "POST /x HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nX: %012000d\r\n\r\n", 1);

	(void)state;
	send_all(head, (size_t)length);
	turn();
	assert_memory_equal(test->host, "here", 4);
	say("2\r\nab\r\n0\r\n\r\n");
	assert_int_equal(test->body, 2);
}

/* A silent, unfinished request delays the server's stop by STOPPING_LIMIT at most. */
static void
test_a_body_that_stops_while_the_server_does(void **state)
{
	(void)state;
	say(HEAD("Content-Length: 30000\r\n") "the beginning");
	test->lane.stopping = true;
	test->lane.stopped = stop;
	pass(5);
	assert_string_equal(hear(), "");
	pass(1);
	assert_heard("408");
	assert_null(connection());
	test->lane.stopping = false;
}

static void
test_idle(void **state)
{
	(void)state;
	say(HEAD("Content-Length: 0\r\n"));
	pass(600);
	assert_non_null(connection());
	pass(1);
	assert_null(connection());
}

/* Time limits do not apply while a handler runs. */
static void
test_a_long_run(void **state)
{
	(void)state;
	say("POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
	pass(5000);
	assert_non_null(test->kept);
	reply_bare(test->kept, true, "text/plain");
	turn();
	assert_heard("200");
}

/* A peer that does not read its reply is closed. */
static void
test_a_reply_that_is_not_taken(void **state)
{
	static uint8_t much[8 << 20];
	struct bytes piece = bytes_make(much, sizeof(much));

	(void)state;
	say("POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
	reply_pieces(test->kept, "text/plain", bytes_make(NULL, 0), &piece, 1, NULL);
	turn();
	pass(60);
	assert_non_null(connection());
	pass(1);
	assert_null(connection());
}

/* --- Over TLS --- */

static char tls_cert[] = "/tmp/connection_test_cert.XXXXXX";
static char tls_key[] = "/tmp/connection_test_key.XXXXXX";

static int
make_files(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	return close(mkstemp(tls_cert)) + close(mkstemp(tls_key));
}

static int
remove_files(void **state)
{
	(void)state;
	return unlink(tls_cert) + unlink(tls_key);
}

/* The server shows its certificate `chain` times more than it needs to. */
static struct tls_server *
new_tls(int chain)
{
	static const struct tls_options options = {
		.service = "http", .protocol = "http/1.1", .cert = tls_cert, .key = tls_key};
	struct identity identity = identity_new("server", NULL, NULL, IDENTITY_DAY);
	struct error error;
	struct tls_server *tls;
	FILE *file;

	identity_write_key(&identity, NULL, tls_key);
	file = fopen(tls_cert, "w");
	for (int i = 0; i <= chain; i++) {
		assert_int_equal(PEM_write_X509(file, identity.certificate), 1);
	}
	assert_int_equal(fclose(file), 0);
	tls = tls_server_new(&options, &error);
	assert_non_null(tls);
	identity_free(&identity);
	return tls;
}

/* Replaces the test's connection by one over TLS, or one that is to be. */
static void
open_tls(struct tls_server *tls)
{
	int size = 1; /* the kernel makes it some kilobytes */
	int ends[2];

	if (connection() != NULL) {
		connection_finish(connection());
	}
	(void)close(test->client);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	assert_int_equal(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	test->client = ends[1];
	test->port.tls = tls;
	connection_new(&test->lane, ends[0], &test->port);
}

/* In two records. */
static void
say_tls(SSL *client, const char *first, const char *second)
{
	assert_int_equal(SSL_write(client, first, (int)strlen(first)), strlen(first));
	assert_int_equal(SSL_write(client, second, (int)strlen(second)), strlen(second));
	turn();
}

/* Neither the server's part of the handshake nor a reply fits into the socket. */
static void
test_a_narrow_socket(void **state)
{
	static uint8_t much[1 << 20];
	struct bytes piece = bytes_make(much, sizeof(much));
	struct tls_server *tls = new_tls(60);
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *client = SSL_new(context);
	size_t heard = 0;

	(void)state;
	open_tls(tls);
	SSL_set_fd(client, test->client);
	for (int i = 0; i < 100 && SSL_connect(client) != 1; i++) {
		turn();
	}
	assert_true(SSL_is_init_finished(client));
	say_tls(client, HEAD("Content-Length: 5\r\n"), "abcde");
	assert_int_equal(test->handled, 1);
	say_tls(client, "POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n", "\r\n");
	reply_pieces(test->kept, "text/plain", bytes_make(NULL, 0), &piece, 1, NULL);
	for (int i = 0; i < 2000 && heard < sizeof(much); i++) {
		uint8_t bytes[10000];
		int got = SSL_read(client, bytes, sizeof(bytes));

		heard += got > 0 ? (size_t)got : 0;
		turn();
	}
	assert_true(heard > sizeof(much));
	SSL_free(client);
	SSL_CTX_free(context);
	tls_server_free(tls);
}

/* The time of a handshake is that of a head, and what follows its failure is thrown away for a moment. */
static void
test_handshakes_that_do_not_end(void **state)
{
	struct tls_server *tls = new_tls(0);

	(void)state;
	for (int garbage = 0; garbage < 2; garbage++) {
		open_tls(tls);
		for (int i = 0; i < 2; i++) { /* a record's head announces more */
			say(garbage ? "GET / HTTP/1.1\r\n" : "\x16");
			pass(garbage ? 3 : 30);
			assert_non_null(connection());
		}
		assert_string_equal(hear(), "");
		pass(garbage ? 3 : 1);
		assert_null(connection());
	}
	tls_server_free(tls);
}

/* --- Replies in parts --- */

static struct exchange *
begin_stream(const char *fields, bool has_length)
{
	say("GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
	exchange_stream_begin(test->kept, 200, bytes_text(fields), has_length);
	assert_string_equal(hear(), ""); /* the head waits */
	return test->kept;
}

static void
test_a_head_goes_with_the_first_part(void **state)
{
	struct exchange *exchange = begin_stream("A: b\r\n", false);

	(void)state;
	assert_true(exchange_stream(exchange, bytes_text("abc")));
	assert_string_equal(hear(), "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	turn();
	assert_string_equal(hear(), "");
	exchange_stream_end(exchange, true);
	assert_string_equal(hear(), "0\r\n\r\n");
}

static void
test_a_head_alone_goes_at_the_end_of_the_turn(void **state)
{
	struct exchange *exchange = begin_stream("Content-Length: 3\r\n", true);

	(void)state;
	turn();
	assert_string_equal(hear(), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
	assert_true(exchange_stream(exchange, bytes_text("abc")));
	assert_string_equal(hear(), "abc");
	exchange_stream_end(exchange, true);
}

static void
test_a_stream_without_parts(void **state)
{
	(void)state;
	exchange_stream_end(begin_stream("Content-Length: 0\r\n", true), true);
	assert_string_equal(hear(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	exchange_stream_end(begin_stream("Content-Length: 0\r\n", true), true); /* the connection goes on */
	assert_heard("200 OK");
}

/* Of a stream that breaks off at once, nothing is said that a client could take for an answer. */
static void
test_a_stream_that_breaks_off(void **state)
{
	(void)state;
	exchange_stream_end(begin_stream("Content-Length: 3\r\n", true), false);
	turn();
	assert_int_equal(read(test->client, (char[1]){0}, 1), 0); /* the end */
	(void)shutdown(test->client, SHUT_WR);
	turn();
	assert_null(connection());
}

static void
end_of_stream(struct exchange *exchange)
{
	exchange_stream_end(exchange, false);
}

static void
test_a_client_that_leaves_while_the_head_waits(void **state)
{
	(void)state;
	begin_stream("Content-Length: 3\r\n", true)->gone = end_of_stream;
	(void)shutdown(test->client, SHUT_RDWR);
	turn();
	assert_null(connection());
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_in_turn),
		TEST(test_large_body),
		TEST(test_not_worth_reading),
		TEST(test_limits),
		TEST(test_larger_than_the_budget),
		TEST(test_over_budget),
		TEST(test_a_head_that_comes_by_bits),
		TEST(test_a_body_that_comes_by_bits),
		TEST(test_a_long_body),
		TEST(test_a_long_body_where_memory_is_scarce),
		TEST(test_a_body_in_parts),
		TEST(test_a_handler_that_wants_the_whole_body),
		TEST(test_a_reply_before_the_whole_body),
		TEST(test_the_rest_of_a_long_body),
		TEST(test_a_body_beside_many_incomplete_ones),
		TEST(test_parts_that_do_not_come),
		TEST(test_parts_over_the_budget),
		TEST(test_a_sender_of_parts_that_leaves),
		TEST(test_a_body_that_moves),
		TEST(test_chunks_behind_a_long_head),
		TEST(test_a_body_that_stops_while_the_server_does),
		TEST(test_idle),
		TEST(test_a_long_run),
		TEST(test_a_reply_that_is_not_taken),
		TEST(test_a_narrow_socket),
		TEST(test_handshakes_that_do_not_end),
		TEST(test_a_head_goes_with_the_first_part),
		TEST(test_a_head_alone_goes_at_the_end_of_the_turn),
		TEST(test_a_stream_without_parts),
		TEST(test_a_stream_that_breaks_off),
		TEST(test_a_client_that_leaves_while_the_head_waits),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
