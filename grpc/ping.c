/* PINGs: those that measure the bandwidth, those that keep the connection alive, and the client's. */
#include "base/clock.h"
#include "base/log.h"
#include "grpc/internal.h"

/* The eight bytes of our PINGs, by purpose. */
#define KEEP_ALIVE "keepaliv"
#define BANDWIDTH "bandwdth"
#define DRAIN "draining"

/* --- Bandwidth --- */

static void
widen(struct grpc_connection *connection)
{
	const nghttp2_settings_entry setting = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, connection->bandwidth.window};

	(void)nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, &setting, 1);
	connection_set_window(connection);
}

void
ping_excuse(struct grpc_connection *connection)
{
	connection->pings_sent = 0;
	connection->client_ping_ns = 0;
	connection->ping_strikes = 0;
}

void
ping_data_received(struct grpc_connection *connection, size_t length)
{
	ping_excuse(connection);
	if (bandwidth_received(&connection->bandwidth, (uint32_t)length, connection->now_ns)) {
		(void)nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, (const uint8_t *)BANDWIDTH);
	}
}

/* --- Keep-alive --- */

static void
send_awaited(struct grpc_connection *connection, const char *opaque)
{
	connection->ping_tick = connection->lane->ticks;
	(void)nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, (const uint8_t *)opaque);
	connection_touch(connection);
}

void
ping_drain(struct grpc_connection *connection)
{
	send_awaited(connection, DRAIN);
}

void
ping_answered(struct grpc_connection *connection, const uint8_t *opaque)
{
	if (memcmp(opaque, BANDWIDTH, sizeof(BANDWIDTH) - 1) == 0) {
		if (bandwidth_answered(&connection->bandwidth, clock_now_ns())) {
			widen(connection);
		}
		return;
	}
	connection->ping_tick = 0;
	/* The calls that were on their way have come before this reply. */
	if (connection->wants_finish && memcmp(opaque, DRAIN, sizeof(DRAIN) - 1) == 0) {
		drain_finish(connection);
	}
}

bool
ping_sweep(struct grpc_connection *connection)
{
	const struct grpc_options *options = connection->lane->options;
	unsigned now = connection->lane->ticks;
	uint64_t silent_ms = (uint64_t)(now - connection->received_tick) * MS_PER_TICK;

	if (connection->ping_tick != 0) {
		return (uint64_t)(now - connection->ping_tick) * MS_PER_TICK > options->keepalive_timeout_ms &&
		       silent_ms > options->keepalive_timeout_ms;
	}
	if (options->keepalive_time_ms > 0 && silent_ms >= options->keepalive_time_ms &&
	    (connection->call_count > 0 || options->keepalive_without_calls) &&
	    (options->max_pings_without_data == 0 || connection->pings_sent < options->max_pings_without_data)) {
		connection->pings_sent++;
		send_awaited(connection, KEEP_ALIVE);
	}
	return false;
}

/* --- The client's --- */

static void
refuse(struct grpc_connection *connection)
{
	static const char reason[] = "too_many_pings"; /* gRPC's clients know it (gRFC A8) */

	(void)nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(connection->session),
				    NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)reason, sizeof(reason) - 1);
	connection->is_refused = true;
	log_verbose("a client of gRPC sends PINGs too often: its connection is closed");
}

void
ping_received(struct grpc_connection *connection)
{
	const struct grpc_options *options = connection->lane->options;
	uint64_t last = connection->client_ping_ns;
	uint64_t now = clock_now_ns();

	connection->client_ping_ns = now;
	if (last == 0 || connection->is_refused) {
		return;
	}
	if (now - last >= options->min_ping_interval_ms * NS_PER_MS) {
		connection->ping_strikes = 0;
	} else if (options->max_ping_strikes > 0 && ++connection->ping_strikes > options->max_ping_strikes) {
		refuse(connection);
	}
}
