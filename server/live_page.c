/* GET / on the metrics port (and, where the cache is open to all, on that of HTTP): a page that shows what the server
 * does, from server/page/; and what it asks for. */
#include "base/clock.h"
#include "base/log.h"
#include "live_page.h"
#include "server/access.h"
#include "server/handlers.h"
#include "server/history.h"

#include <inttypes.h>

/* Nothing but this server's own files, and no page of others around it (CSP Level 3). */
#define HEADERS                                                                                                        \
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "       \
	"img-src data:; base-uri 'none'; frame-ancestors 'none'\r\n"                                                   \
	"X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\n"

static void
reply_file(struct exchange *exchange, const char *type, const unsigned char *file, size_t length)
{
	struct bytes *piece = arena_get(&exchange->arena, sizeof(*piece));

	if (piece == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the reply");
		return;
	}
	*piece = bytes_make(file, length);
	reply_pieces(exchange, type, bytes_text(HEADERS), piece, 1, NULL);
}

void
handle_live_page(struct exchange *exchange)
{
	reply_file(exchange, "text/html; charset=utf-8", index_html, sizeof(index_html));
}

void
handle_live_page_style(struct exchange *exchange)
{
	reply_file(exchange, "text/css; charset=utf-8", page_css, sizeof(page_css));
}

void
handle_live_page_script(struct exchange *exchange)
{
	reply_file(exchange, "text/javascript; charset=utf-8", page_js, sizeof(page_js));
}

/* The number behind "?since=". */
static uint64_t
since_of(struct bytes target)
{
	static const char name[] = "?since=";
	const uint8_t *at = memmem(target.at, target.length, name, sizeof(name) - 1);
	uint64_t since = 0;

	if (at != NULL) {
		struct bytes text = bytes_skip(target, (size_t)(at - target.at) + sizeof(name) - 1);

		(void)http1_number(text, &since);
	}
	return since;
}

struct warnings {
	struct buf *json;
	bool has_one;
};

static void
write_warning(void *context, uint64_t time_ms, const char *text)
{
	struct warnings *warnings = context;

	buf_format(warnings->json, "%s{\"time_ms\":%" PRIu64 ",\"text\":", warnings->has_one ? "," : "", time_ms);
	buf_json_string(warnings->json, bytes_text(text));
	buf_byte(warnings->json, '}');
	warnings->has_one = true;
}

void
handle_history(struct exchange *exchange)
{
	struct server_lane *lane = exchange->lane;
	struct buf *json = &exchange->text;
	struct warnings warnings = {.json = json};

	if (!access_cache_view(exchange)) {
		return;
	}
	buf_text(json, "{\"version\":");
	buf_json_string(json, bytes_text(exchange->options->version));
	buf_format(json, ",\"uptime_s\":%u,\"cost_per_hour\":%.6g,\"may_purge\":%s,\"has_metrics\":%s,", lane->ticks,
		   exchange->options->cost_per_hour,
		   exchange->port->cache_admin == CACHE_ADMIN_CLOSED ? "false" : "true",
		   exchange->port->is_metrics ? "true" : "false");
	history_write(lane->history, since_of(exchange->head.target), json);
	buf_text(json, ",\"warnings\":[");
	log_recent_warnings(write_warning, &warnings);
	buf_text(json, "]}");
	reply_text(exchange, "application/json");
}
