/* Calls of HTTP to a scripted server of gRPC, which answers with the message that it got. */
#include "base/buf.h"
#include "base/memory.h"
#include "base/unit_test.h"
#include "upstream/http2_fixture.h"
#include "upstream/upstream.h"
#include "upstream/work_options.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVERS 2

static struct {
	char *urls[SERVERS];
	struct loop *loop;
	struct http2_server *servers[SERVERS];
	struct upstream_options options;
	struct upstream *upstream;
	struct upstream_lane *lane;
	struct work_options work;
	struct budget budget;
	size_t holds;
} this;

struct probe {
	struct upstream_call call; /* first */
	struct bytes content[2];
	int status;
	char type[64];
	char word[8];
	bool has_more;
	struct buf body;
	size_t parts;
	size_t dones;
	enum http_outcome outcome;
	char why[256];
	bool cancels_at_head;
	bool pauses;
};

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	struct probe *probe = (struct probe *)call;
	struct bytes type = http1_header(head, "content-type");
	struct bytes word = http1_header(head, "x-word");

	(void)snprintf(probe->word, sizeof(probe->word), "%.*s", BYTES_ARGS(word));
	probe->has_more = http1_header(head, "x-word-bin").at != NULL || http1_header(head, "grpc-status").at != NULL;
	probe->status = head->status;
	(void)snprintf(probe->type, sizeof(probe->type), "%.*s", BYTES_ARGS(type));
	assert_true(head->has_length);
	if (probe->cancels_at_head) {
		upstream_call_cancel(call);
	}
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	struct probe *probe = (struct probe *)call;

	buf_append(&probe->body, part);
	probe->parts++;
	return !probe->pauses;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct probe *probe = (struct probe *)call;

	probe->dones++;
	probe->outcome = outcome;
	(void)snprintf(probe->why, sizeof(probe->why), "%s", why == NULL ? "" : why);
}

static int
setup(void **state)
{
	struct error error;

	(void)state;
	memset(&this, 0, sizeof(this));
	this.loop = loop_new(&error);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	while (this.holds > 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(atomic_load(&this.budget.used), 0);
	upstream_lane_free(this.lane);
	upstream_free(this.upstream);
	if (this.work.offload != NULL) {
		offload_free(this.work.offload);
	}
	for (size_t i = 0; i < SERVERS; i++) {
		http2_server_free(this.servers[i]);
		free(this.urls[i]);
	}
	loop_free(this.loop);
	return 0;
}

static void
start_server(size_t index, const struct http2_step *steps, size_t count)
{
	this.servers[index] = http2_server_new(this.loop, steps, count);
	this.urls[index] = memory_format("grpc://127.0.0.1:%u", http2_server_port(this.servers[index]));
}

static void
start_client_with(size_t replicas, const struct work_options *work)
{
	struct error error;

	this.options = (struct upstream_options){
		.urls = (const char *const *)this.urls, .url_count = replicas, .connect_timeout_s = 5};
	this.upstream = upstream_new(&this.options, &error);
	assert_non_null(this.upstream);
	this.lane = upstream_lane_new(this.upstream, this.loop, work);
}

static void
start_client(size_t replicas)
{
	start_client_with(replicas, NULL);
}

static void
on_hold(void *context)
{
	(void)context;
	this.holds++;
}

static void
on_release(void *context)
{
	(void)context;
	this.holds--;
}

/* Long requests and responses are transcoded on a thread. */
static void
start_working_client(size_t budget)
{
	budget_init(&this.budget, budget);
	this.work = (struct work_options){.offload = offload_new(1),
					  .budget = &this.budget,
					  .max_unpacked = 1 << 20,
					  .hold = on_hold,
					  .release = on_release};
	start_client_with(1, &this.work);
}

static void
begin(struct probe *probe, const char *target, const char *body)
{
	*probe = (struct probe){.content = {bytes_text(body)}};
	buf_init(&probe->body, 1 << 20);
	probe->call = (struct upstream_call){
		.method = *body == '\0' ? "GET" : "POST",
		.target = bytes_text(target),
		.headers = bytes_text("X-Word: w\r\nX-Word-Bin: w\r\nAccept-Encoding: gzip\r\nX!: w\r\n"),
		.body = probe->content,
		.body_count = *body != '\0',
		.only = -1,
		.on_head = on_head,
		.on_body = on_body,
		.done = on_done,
	};
}

static void
wait_done(struct probe *probe)
{
	while (probe->dones == 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe->dones, 1);
}

static void
ask(struct probe *probe, const char *target, const char *body)
{
	begin(probe, target, body);
	upstream_call_start(this.lane, &probe->call);
	assert_int_equal(probe->dones, 0);
	wait_done(probe);
	buf_byte(&probe->body, '\0');
}

/* Its message is a response, too: that of no outputs. */
#define INFER "/v2/models/m/infer"
#define QUESTION "{\"id\":\"7\",\"inputs\":[]}"
#define ANSWER "{\"id\":\"7\",\"model_name\":\"m\",\"model_version\":\"\",\"outputs\":[]}"

static void
test_an_answer(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	for (size_t i = 0; i < 2; i++) {
		ask(&probe, INFER, QUESTION);
		assert_int_equal(probe.outcome, HTTP_CALL_DONE);
		assert_int_equal(probe.status, 200);
		assert_string_equal(probe.type, "application/json");
		assert_string_equal((const char *)probe.body.at, ANSWER);
		buf_fini(&probe.body);
	}
	assert_int_equal(http2_server_connections(this.servers[0]), 1);
	assert_int_equal(upstream_lane_losses(this.lane, 0), 0);
}

/* Those of header fields that metadata can have, both ways. */
static void
test_header_fields(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	const struct http2_server *server;
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, INFER, QUESTION);
	buf_fini(&probe.body);
	assert_string_equal(probe.word, "w");
	assert_false(probe.has_more);
	server = this.servers[0];
	assert_string_equal(http2_server_field(server, ":path"), "/inference.GRPCInferenceService/ModelInfer");
	assert_string_equal(http2_server_field(server, "content-type"), "application/grpc");
	assert_string_equal(http2_server_field(server, "x-word"), "w");
	assert_string_equal(http2_server_field(server, "x-word-bin"), "");
	assert_string_equal(http2_server_field(server, "x!"), "");
	assert_string_equal(http2_server_field(server, "accept-encoding"), "");
	assert_string_equal(http2_server_field(server, "content-length"), "");
}

/* A body in pieces, and one that comes later. */
static void
test_bodies_in_pieces(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	begin(&probe, INFER, QUESTION);
	probe.content[1] = bytes_skip(probe.content[0], 4);
	probe.content[0].length = 4;
	probe.call.body_count = 2;
	probe.call.missing = 3;
	upstream_call_start(this.lane, &probe.call);
	upstream_call_more(&probe.call, 1);
	loop_turn(this.loop);
	assert_int_equal(http2_server_calls(this.servers[0]), 0);
	upstream_call_more(&probe.call, 2);
	wait_done(&probe);
	assert_true(bytes_equal_text(buf_bytes(&probe.body), ANSWER));
	buf_fini(&probe.body);
}

/* An id makes a request long, and the answer, which has it, too. */
static char *
long_question(size_t length)
{
	char *text = memory_array(length + 64, 1);

	memset(text, 'x', length);
	memcpy(text, "{\"inputs\":[],\"id\":\"", 19);
	(void)strcpy(text + length, "\"}");
	return text;
}

static void
test_long_bodies(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	char *question = long_question(200000);
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_working_client(16 << 20);
	ask(&probe, INFER, question);
	assert_int_equal(probe.status, 200);
	assert_true(probe.body.length > 199000);
	buf_fini(&probe.body);
	free(question);
}

static void
test_more_than_the_budget(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	char *question = long_question(200000);
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_working_client(300000); /* enough for one copy */
	ask(&probe, INFER, question);
	assert_int_equal(probe.status, 503);
	assert_non_null(strstr((const char *)probe.body.at, "--http-max-inflight-bytes"));
	buf_fini(&probe.body);
	assert_int_equal(http2_server_calls(this.servers[0]), 0);
	free(question);
}

/* While a thread works: its memory, the request's among it, is another one's. */
static void
test_cancelling_long_work(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	char *question = long_question(900000);
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_working_client(64 << 20);
	begin(&probe, INFER, question);
	upstream_call_start(this.lane, &probe.call);
	assert_int_equal(this.holds, 1);
	upstream_call_cancel(&probe.call);
	memset(question, 0, 900000);
	while (this.holds > 0) {
		loop_turn(this.loop);
	}
	(void)strcpy(question, "");
	free(question);
	question = long_question(900000);
	begin(&probe, INFER, question);
	upstream_call_start(this.lane, &probe.call);
	while (probe.dones == 0 && (http2_server_calls(this.servers[0]) == 0 || this.holds == 0)) { /* the response */
		loop_turn(this.loop);
	}
	upstream_call_cancel(&probe.call);
	free(question);
	while (this.holds > 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe.dones, 0);
}

static void
test_a_failure_of_the_server(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_TRAILERS, 0}}; /* NOT_FOUND */
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, INFER, QUESTION);
	assert_int_equal(probe.outcome, HTTP_CALL_DONE);
	assert_int_equal(probe.status, 404);
	assert_string_equal((const char *)probe.body.at, "{\"error\":\"\"}");
	buf_fini(&probe.body);
}

/* A request that gRPC cannot tell is refused: the server is not asked, nor blamed. */
static void
test_what_grpc_lacks(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, "/v2/models/m/generate", "{}");
	assert_int_equal(probe.outcome, HTTP_CALL_DONE);
	assert_int_equal(probe.status, 501);
	assert_non_null(strstr((const char *)probe.body.at, "is not translated to gRPC"));
	buf_fini(&probe.body);
	assert_int_equal(http2_server_connections(this.servers[0]), 0);
}

/* An answer that is not understood is none. */
static void
test_an_answer_that_cannot_be_used(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, INFER,
	    "{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"UINT8\",\"data\":[1]}]}"); /* raw_input_contents
												   */
	assert_int_equal(probe.status, 502);
	assert_non_null(strstr((const char *)probe.body.at, "the response cannot be used"));
	buf_fini(&probe.body);
}

/* A body that is longer than its message says is not waited for. */
static void
test_more_than_one_message(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 1}, {HTTP2_ANSWER, 100000}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	for (size_t i = 0; i < 2; i++) {
		ask(&probe, INFER, QUESTION);
		assert_int_equal(probe.outcome, HTTP_CALL_BROKEN);
		assert_non_null(strstr(probe.why, "the response is not one message"));
		buf_fini(&probe.body);
	}
}

static void
test_a_reset_stream(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_HEAD_AND_RESET, NGHTTP2_INTERNAL_ERROR}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, INFER, QUESTION);
	assert_int_equal(probe.outcome, HTTP_CALL_BROKEN);
	assert_int_equal(probe.status, 0);
	buf_fini(&probe.body);
}

static void
test_another_replica(void **state)
{
	static const struct http2_step refuses[] = {{HTTP2_RESET_STREAM, NGHTTP2_REFUSED_STREAM}};
	static const struct http2_step answers[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, refuses, 1);
	start_server(1, answers, 1);
	start_client(2);
	for (size_t i = 0; i < 10; i++) {
		ask(&probe, INFER, QUESTION);
		assert_int_equal(probe.status, 200);
		assert_int_equal(probe.call.replica, 1);
		buf_fini(&probe.body);
	}
	assert_true(http2_server_calls(this.servers[0]) > 3); /* to refuse is not to be down */
}

static void
test_a_silent_server(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_SILENCE, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	begin(&probe, INFER, QUESTION);
	probe.call.timeout_s = 1;
	upstream_call_start(this.lane, &probe.call);
	wait_done(&probe);
	assert_int_equal(probe.outcome, HTTP_CALL_TIMED_OUT);
	buf_fini(&probe.body);
}

static void
test_cancelling(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_SILENCE, 0}, {HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	begin(&probe, INFER, QUESTION);
	upstream_call_start(this.lane, &probe.call);
	while (http2_server_calls(this.servers[0]) == 0) {
		loop_turn(this.loop);
	}
	upstream_call_cancel(&probe.call);
	while (http2_server_resets(this.servers[0]) == 0) {
		loop_turn(this.loop);
	}
	begin(&probe, INFER, QUESTION);
	probe.cancels_at_head = true;
	upstream_call_start(this.lane, &probe.call);
	while (probe.status == 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe.parts + probe.dones, 0);
	begin(&probe, "/nothing", "");
	upstream_call_start(this.lane, &probe.call); /* is refused at the end of the turn */
	upstream_call_cancel(&probe.call);
	begin(&probe, INFER, QUESTION);
	probe.call.missing = 1;
	upstream_call_start(this.lane, &probe.call);
	upstream_call_cancel(&probe.call);
	loop_turn(this.loop);
	assert_int_equal(probe.dones, 0);
}

static void
test_a_caller_that_waits(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	begin(&probe, INFER, QUESTION);
	probe.pauses = true;
	upstream_call_start(this.lane, &probe.call);
	while (probe.parts == 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe.dones, 0);
	upstream_call_resume(&probe.call);
	wait_done(&probe);
	assert_int_equal(probe.parts, 1);
	buf_fini(&probe.body);
}

/* What the follower sees of a server that is restarted. */
static void
test_losses(void **state)
{
	static const struct http2_step steps[] = {
		{HTTP2_ANSWER, 0}, {HTTP2_GO_AWAY, 0}, {HTTP2_ANSWER, 0}, {HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 4);
	start_client(1);
	ask(&probe, INFER, QUESTION);
	buf_fini(&probe.body);
	assert_int_equal(upstream_lane_losses(this.lane, 0), 0);
	ask(&probe, INFER, QUESTION); /* over another connection */
	buf_fini(&probe.body);
	assert_int_equal(probe.status, 200);
	assert_int_equal(upstream_lane_losses(this.lane, 0), 1);
	http2_server_hang_up(this.servers[0]);
	ask(&probe, INFER, QUESTION);
	buf_fini(&probe.body);
	assert_int_equal(upstream_lane_losses(this.lane, 0), 2);
}

/* One that is announced before the connection's first response. */
static void
test_an_early_loss(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_GO_AWAY_AND_ANSWER, 0}, {HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	for (size_t i = 0; i < 2; i++) {
		ask(&probe, INFER, QUESTION);
		assert_int_equal(probe.status, 200);
		buf_fini(&probe.body);
	}
	assert_int_equal(http2_server_connections(this.servers[0]), 2);
	assert_int_equal(upstream_lane_losses(this.lane, 0), 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_an_answer),
		TEST(test_bodies_in_pieces),
		TEST(test_a_failure_of_the_server),
		TEST(test_what_grpc_lacks),
		TEST(test_an_answer_that_cannot_be_used),
		TEST(test_more_than_one_message),
		TEST(test_long_bodies),
		TEST(test_more_than_the_budget),
		TEST(test_cancelling_long_work),
		TEST(test_a_reset_stream),
		TEST(test_another_replica),
		TEST(test_a_silent_server),
		TEST(test_cancelling),
		TEST(test_a_caller_that_waits),
		TEST(test_losses),
		TEST(test_an_early_loss),
		TEST(test_header_fields),
	};

	return cmocka_run_group_tests_name("transcoder", tests, NULL, NULL);
}
