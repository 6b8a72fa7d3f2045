/* A client of gRPC that sends the input behind HTTP/2's preface, and leaves. The services echo each message. */
#include "base/memory.h"
#include "grpc/grpc.h"
#include "loop/loop.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS 4
#define MESSAGE_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct echo {
	struct grpc_output output; /* first */
	struct bytes piece;
	struct grpc_message message;
};

static void
on_released(struct grpc_output *output)
{
	struct echo *echo = (struct echo *)output;

	grpc_message_release(&echo->message);
	free(echo);
}

static void
send_echo(struct grpc_call *call, struct grpc_message message)
{
	struct echo *echo = memory_new(sizeof(*echo));

	echo->message = message;
	echo->piece = message.content;
	echo->output = (struct grpc_output){.pieces = &echo->piece, .count = 1, .released = on_released};
	grpc_call_send(call, &echo->output);
}

static void
finish(struct grpc_call *call)
{
	grpc_call_finish(call, GRPC_OK, bytes_make(NULL, 0));
}

static void
on_one_message(struct grpc_call *call, struct grpc_message message)
{
	send_echo(call, message);
	finish(call);
}

static const struct grpc_method unary = {.path = "/u", .message = on_one_message};
static const struct grpc_method stream = {
	.path = "/s", .is_client_streaming = true, .message = send_echo, .half_close = finish};

struct run {
	struct loop *loop;
	struct loop_timer *timer;
	int turns;
};

static void
on_turn(void *argument)
{
	struct run *run = argument;

	if (--run->turns == 0) {
		loop_stop(run->loop);
	} else {
		loop_timer_set(run->timer, 0);
	}
}

static void
on_stopped(void *argument)
{
	(void)argument;
}

/* Writes what the socket takes, which is more than the longest input. */
static void
say(int fd, const void *bytes, size_t length)
{
	ssize_t put = send(fd, bytes, length, MSG_NOSIGNAL);

	(void)put;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
	static const struct grpc_method *const methods[] = {&unary, &stream};
	struct budget budget;
	struct grpc_options options = {.methods = methods,
				       .method_count = 2,
				       .max_message = MESSAGE_MAX,
				       .budget = &budget,
				       .max_ping_strikes = 2,
				       .min_ping_interval_ms = 1000};
	struct error error;
	struct run run = {.loop = loop_new(&error), .turns = TURNS};
	struct grpc_lane *lane;
	int ends[2];

	budget_init(&budget, MESSAGE_MAX);
	lane = grpc_lane_new(&options, run.loop, NULL, NULL);
	run.timer = loop_timer_new(run.loop, on_turn, &run);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) {
		abort();
	}
	grpc_lane_accept(lane, ends[0], NULL);
	say(ends[1], preface, sizeof(preface));
	say(ends[1], data, size);
	loop_timer_set(run.timer, 0);
	loop_run(run.loop);
	grpc_lane_sweep(lane);
	(void)close(ends[1]);
	run.turns = TURNS;
	loop_timer_set(run.timer, 0);
	loop_run(run.loop);
	grpc_lane_stop(lane, on_stopped, NULL);
	loop_timer_free(run.timer);
	grpc_lane_free(lane);
	loop_free(run.loop);
	if (atomic_load(&budget.used) != 0) {
		abort();
	}
	return 0;
}
