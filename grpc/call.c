#include "base/clock.h"
#include "base/memory.h"
#include "grpc/internal.h"

#include <stdlib.h>

#define SPARE_MAX 1024
#define ARENA_MAX ((size_t)16 << 20)
/* Clients take some 8 KB of trailers, and each byte may become three. */
#define TEXT_MAX ((size_t)2048)

/* --- Life cycle --- */

struct grpc_call *
call_new(struct grpc_connection *connection, int32_t stream)
{
	struct grpc_lane *lane = connection->lane;
	struct grpc_call *call = lane->spare_calls;
	struct arena arena;

	if (call == NULL) {
		call = memory_room(sizeof(*call));
		arena_init_small(&arena, ARENA_MAX);
	} else {
		lane->spare_calls = call->next_spare;
		lane->spare_count--;
		arena = call->arena;
	}
	*call = (struct grpc_call){.connection = connection, .stream = stream, .arena = arena};
	STAILQ_INIT(&call->received);
	STAILQ_INIT(&call->outputs);
	call->active_tick = lane->ticks;
	TAILQ_INSERT_TAIL(&connection->calls, call, entry);
	connection->call_count++;
	lane->call_count++;
	return call;
}

/* Each takes some 3 KB. */
#define LANE_CALLS_MAX 16384

bool
call_has_room(struct grpc_connection *connection)
{
	struct grpc_lane *lane = connection->lane;
	struct grpc_connection *most = connection;
	struct grpc_connection *other;
	struct grpc_call *call;

	if (lane->call_count <= LANE_CALLS_MAX) {
		return true;
	}
	TAILQ_FOREACH (other, &lane->connections, entry) {
		most = other->call_count > most->call_count ? other : most;
	}
	if (most == connection) {
		return false;
	}
	call = TAILQ_FIRST(&most->calls);
	while (call != NULL && call->is_reset) {
		call = TAILQ_NEXT(call, entry);
	}
	if (call != NULL) {
		call_reset(call, NGHTTP2_ENHANCE_YOUR_CALM);
	}
	return true;
}

#define METADATA_FREE ((size_t)4096)

bool
call_charge_metadata(struct grpc_call *call)
{
	size_t total = call->arena.total;

	if (total > METADATA_FREE) {
		if (!budget_take(call->connection->lane->options->budget, total)) {
			return false;
		}
		call->charged = total;
	}
	return true;
}

static void
stop_deadline(struct grpc_call *call)
{
	loop_timer_free(call->deadline);
	call->deadline = NULL;
}

void
call_closed(struct grpc_call *call)
{
	struct grpc_connection *connection = call->connection;
	struct grpc_lane *lane = connection->lane;

	call_cancel(call);
	stop_deadline(call);
	received_drop(call);
	send_drop(call);
	if (call->charged > 0) {
		budget_give(lane->options->budget, call->charged);
	}
	if (call->is_timed) {
		TAILQ_REMOVE(&connection->timed, call, timed_entry);
	}
	TAILQ_REMOVE(&connection->calls, call, entry);
	connection->call_count--;
	lane->call_count--;
	arena_clear(&call->arena);
	if (lane->spare_count == SPARE_MAX) {
		arena_fini(&call->arena);
		free(call);
		return;
	}
	call->next_spare = lane->spare_calls;
	lane->spare_calls = call;
	lane->spare_count++;
}

void
call_cancel(struct grpc_call *call)
{
	bool goes_on = call->has_begun && !call->is_ended;

	call->is_ended = true;
	if (goes_on && call->method->cancelled != NULL) {
		call->method->cancelled(call);
	}
}

/* Cuts the text between characters of UTF-8. */
static struct bytes
shorten(struct bytes text)
{
	size_t length = TEXT_MAX;

	if (text.length <= TEXT_MAX) {
		return text;
	}
	while (length > 0 && (text.at[length] & 0xc0) == 0x80) {
		length--;
	}
	return bytes_make(text.at, length);
}

/* Takes over the text, which is in the arena. */
static void
finish(struct grpc_call *call, enum grpc_code code, struct bytes text)
{
	call->is_ended = true;
	call->is_finished = true;
	call->code = code;
	call->text = text;
	stop_deadline(call);
	send_finish(call);
	connection_touch(call->connection);
}

void
call_fail(struct grpc_call *call, enum grpc_code code, const char *text)
{
	if (call->is_finished) {
		return;
	}
	call_cancel(call);
	received_drop(call);
	finish(call, code, arena_copy(&call->arena, bytes_text(text)));
}

void
call_reset(struct grpc_call *call, uint32_t error_code)
{
	call_cancel(call);
	if (!call->is_reset) {
		call->is_reset = true;
		(void)nghttp2_submit_rst_stream(call->connection->session, NGHTTP2_FLAG_NONE, call->stream, error_code);
		connection_touch(call->connection);
	}
}

static void
on_deadline(void *argument)
{
	call_fail(argument, GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
}

void
call_start_deadline(struct grpc_call *call)
{
	if (call->has_timeout && !call->is_ended && call->deadline == NULL) {
		uint64_t ms = (call->timeout_ns + NS_PER_MS - 1) / NS_PER_MS;

		call->deadline = loop_timer_new(call->connection->lane->loop, on_deadline, call);
		loop_timer_set(call->deadline, ms);
	}
}

void
call_begin(struct grpc_call *call)
{
	if (call->refusal.text != NULL) {
		if (call->refusal.http_status == 200) {
			call_fail(call, call->refusal.code, call->refusal.text);
		}
		return; /* others are answered when their request has ended: it may still prove malformed */
	}
	if (call->has_timeout && call->timeout_ns == 0) {
		call_fail(call, GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
		return;
	}
	call->has_begun = true;
	call->begun_ns = call->has_timeout ? clock_now_ns() : 0;
	if (call->method->begin != NULL) {
		call->method->begin(call);
	}
	if (call->connection->lane->stopping && !call->is_ended && call->method->stopping != NULL) {
		call->method->stopping(call);
	}
}

/* --- For methods --- */

void *
grpc_call_context(const struct grpc_call *call)
{
	return call->connection->lane->context;
}

const struct grpc_method *
grpc_call_method(const struct grpc_call *call)
{
	return call->method;
}

struct bytes
grpc_call_path(const struct grpc_call *call)
{
	return call->path;
}

void
grpc_call_hand_over(struct grpc_call *call, const struct grpc_method *method)
{
	call->method = method;
}

bool
grpc_call_is_over(const struct grpc_call *call)
{
	return call->is_ended;
}

void
grpc_call_set_state(struct grpc_call *call, void *state)
{
	call->state = state;
}

void *
grpc_call_state(const struct grpc_call *call)
{
	return call->state;
}

struct bytes
grpc_call_metadata(const struct grpc_call *call, const char *name)
{
	for (size_t i = 0; i < call->metadata_count; i++) {
		if (bytes_equal_text(call->metadata[i].name, name)) {
			return call->metadata[i].value;
		}
	}
	return bytes_make(NULL, 0);
}

size_t
grpc_call_metadata_list(const struct grpc_call *call, const struct grpc_metadata **list)
{
	*list = call->metadata;
	return call->metadata_count;
}

bool
grpc_call_timeout(const struct grpc_call *call, uint64_t *ns)
{
	*ns = call->timeout_ns;
	return call->has_timeout;
}

bool
grpc_call_time_left(const struct grpc_call *call, uint64_t *ns)
{
	uint64_t passed = call->has_timeout ? clock_now_ns() - call->begun_ns : 0;

	*ns = passed < call->timeout_ns ? call->timeout_ns - passed : 0;
	return call->has_timeout;
}

enum coding
grpc_call_request_coding(const struct grpc_call *call)
{
	return call->coding;
}

bool
grpc_call_accepts(const struct grpc_call *call, enum coding coding)
{
	return coding == CODING_IDENTITY || call->accepted[coding];
}

void
grpc_call_finish(struct grpc_call *call, enum grpc_code code, struct bytes text)
{
	finish(call, code, arena_copy(&call->arena, shorten(text)));
}

void
grpc_call_finish_encoded(struct grpc_call *call, enum grpc_code code, struct bytes message)
{
	call->is_encoded = true;
	finish(call, code, arena_copy(&call->arena, message));
}

bool
grpc_call_has_sent_headers(const struct grpc_call *call, enum coding *coding)
{
	*coding = call->reply_coding;
	return call->has_headers;
}

void
grpc_call_pause(struct grpc_call *call)
{
	call->is_paused = true;
}

void
grpc_call_resume(struct grpc_call *call)
{
	call->is_paused = false;
	call_resume_later(call);
}
