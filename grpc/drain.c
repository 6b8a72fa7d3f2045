/* The end of a connection by two GOAWAYs (RFC 9113, section 6.8). */
#include "grpc/internal.h"

#define FINISH_WAIT 2 /* seconds between the two, at most */

void
drain_begin(struct grpc_connection *connection)
{
	connection->drain_tick = connection->lane->ticks;
	connection->wants_finish = true;
	(void)nghttp2_submit_shutdown_notice(connection->session);
	connection_touch(connection);
}

void
drain_finish(struct grpc_connection *connection)
{
	connection->wants_finish = false;
	(void)nghttp2_submit_goaway(connection->session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(connection->session), NGHTTP2_NO_ERROR,
				    NULL, 0);
	connection_touch(connection);
}

bool
drain_sweep(struct grpc_connection *connection)
{
	const struct grpc_lane *lane = connection->lane;
	unsigned taken = lane->ticks - connection->drain_tick;
	uint64_t grace = lane->options->max_connection_age_grace_ms;

	if (connection->drain_tick == 0) {
		return false;
	}
	if (connection->wants_finish && taken >= FINISH_WAIT) {
		drain_finish(connection);
	}
	/* At the server's stop, its own limit counts. */
	return !lane->stopping && grace > 0 && (uint64_t)taken * MS_PER_TICK > grace;
}
