#include "tests/grpc/program.h"

#include "loop/socket.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MAX_MESSAGE ((size_t)16 << 20)
#define BUDGET ((size_t)256 << 20)
#define SWEEP_MS 1000

struct program {
	struct grpc_options options;
	struct budget budget;
	struct loop *loop;
	struct offload *offload;
	struct tls_server *tls;
	struct grpc_lane *lane;
	int listener;
	int signals;
	struct loop_watch *listener_watch;
	struct loop_watch *signals_watch;
	struct loop_timer *sweep;
};

/* --- Life cycle --- */

static void
on_connection(void *argument, unsigned events)
{
	struct program *program = argument;
	int fd;

	(void)events;
	while ((fd = socket_accept(program->listener)) >= 0) {
		grpc_lane_accept(program->lane, fd, program->tls);
	}
}

static void
on_sweep(void *argument)
{
	struct program *program = argument;

	grpc_lane_sweep(program->lane);
	loop_timer_set(program->sweep, SWEEP_MS);
}

static void
on_stopped(void *argument)
{
	struct program *program = argument;

	loop_stop(program->loop);
}

static void
on_signal(void *argument, unsigned events)
{
	struct program *program = argument;

	(void)events;
	loop_watch_set(program->signals_watch, 0);
	loop_watch_set(program->listener_watch, 0);
	grpc_lane_stop(program->lane, on_stopped, program);
}

static int
block_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void
start(struct program *program)
{
	program->offload = offload_new(1);
	program->lane = grpc_lane_new(&program->options, program->loop, program->offload, program->loop);
	program->listener_watch = loop_watch_new(program->loop, program->listener, on_connection, program);
	program->signals_watch = loop_watch_new(program->loop, program->signals, on_signal, program);
	program->sweep = loop_timer_new(program->loop, on_sweep, program);
	loop_watch_set(program->listener_watch, LOOP_READ);
	loop_watch_set(program->signals_watch, LOOP_READ);
	loop_timer_set(program->sweep, SWEEP_MS);
}

static void
end(struct program *program)
{
	offload_free(program->offload);
	loop_timer_free(program->sweep);
	loop_watch_free(program->signals_watch);
	loop_watch_free(program->listener_watch);
	grpc_lane_free(program->lane);
	tls_server_free(program->tls);
	loop_free(program->loop);
	(void)close(program->signals);
	(void)close(program->listener);
}

int
program_serve(const struct program_options *options)
{
	struct error error;
	struct program program = {
		.options = {.methods = options->methods,
			    .method_count = options->method_count,
			    .max_message = options->max_message == 0 ? MAX_MESSAGE : options->max_message,
			    .budget = &program.budget,
			    .keepalive_timeout_ms = 20000},
		.signals = block_signals(),
		.listener = socket_listen("127.0.0.1", 0, &error),
	};

	(void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL); /* for OpenSSL */
	budget_init(&program.budget, BUDGET);
	program.tls = options->tls.cert == NULL ? NULL : tls_server_new(&options->tls, &error);
	program.loop =
		program.listener < 0 || (options->tls.cert != NULL && program.tls == NULL) ? NULL : loop_new(&error);
	if (program.loop == NULL) {
		(void)fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	start(&program);
	options->started(socket_port(program.listener));
	loop_run(program.loop);
	end(&program);
	return 0;
}

/* --- Calls --- */

static enum coding
coding_of(const struct grpc_call *call)
{
	enum coding coding = grpc_call_request_coding(call);

	return grpc_call_accepts(call, coding) ? coding : CODING_IDENTITY;
}

void
program_set_coding(struct grpc_call *call)
{
	grpc_call_set_coding(call, coding_of(call));
}

void
program_send(struct grpc_call *call, struct buf *text, bool compress)
{
	enum coding coding = compress ? coding_of(call) : CODING_IDENTITY;
	struct bytes plain = buf_bytes(text);
	struct buf packed = *text;

	if (coding != CODING_IDENTITY) {
		buf_init(&packed, SIZE_MAX / 2);
		(void)compress_pieces(coding, &plain, 1, &packed);
		buf_fini(text);
	}
	grpc_call_send_text(call, &packed, coding != CODING_IDENTITY);
}

void
program_finish(struct grpc_call *call, uint64_t code, struct bytes text)
{
	grpc_call_finish(call, code > GRPC_UNAUTHENTICATED ? GRPC_UNKNOWN : (enum grpc_code)code, text);
}

/* --- Messages --- */

bool
message_next(struct bytes *rest, uint32_t number, struct bytes *value)
{
	struct protobuf_field field;

	while (protobuf_next(rest, &field) == PROTOBUF_FIELD) {
		if (field.number == number && field.type == PROTOBUF_BYTES) {
			*value = field.bytes;
			return true;
		}
	}
	return false;
}

struct bytes
message_bytes(struct bytes message, uint32_t number)
{
	struct bytes value = bytes_make(NULL, 0);

	while (message_next(&message, number, &value)) {
	}
	return value;
}

uint64_t
message_number(struct bytes message, uint32_t number)
{
	struct protobuf_field field;
	uint64_t value = 0;

	while (protobuf_next(&message, &field) == PROTOBUF_FIELD) {
		if (field.number == number && field.type == PROTOBUF_VARINT) {
			value = field.value;
		}
	}
	return value;
}
