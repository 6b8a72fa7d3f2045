/*
 * Redis Sentinel tells which server is the primary, and announces failovers. One sentinel is asked at a time; if it
 * does not answer, the next one. https://redis.io/docs/latest/develop/reference/sentinel-clients/
 */
#include "base/clock.h"
#include "base/container_of.h"
#include "caches/redis/connection/command.h"
#include "caches/redis/topology/topology.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_FIRST_MS 100U
#define RETRY_MAX_MS 1000U
#define STEADY_NS NS_PER_S /* a connection that lasted longer resets the back-off */
#define CHANNEL "+switch-master"

struct redis_sentinel {
	struct redis_topology *topology;
	struct redis_connection *connection;
	struct redis_tls_session *session;
	size_t turn;	 /* which sentinel, modulo seed_count */
	size_t failures; /* in a row */
	uint64_t retry_ms;
	bool answered; /* on this connection */
	uint64_t answered_ns;
	void *timer;
	struct redis_request request;
	struct redis_address primary;
};

static const struct redis_address *
address(const struct redis_sentinel *sentinel)
{
	const struct redis_settings *settings = sentinel->topology->shared.settings;

	return &settings->seeds[sentinel->turn % settings->seed_count];
}

static void
name_of(const struct redis_sentinel *sentinel, char *text)
{
	redis_address_print(address(sentinel), text, REDIS_ADDRESS_TEXT_SIZE);
}

static bool
ask(struct redis_sentinel *sentinel, const char *what, void (*done)(struct redis_request *, const struct redis_reply *))
{
	struct buf text;
	bool sent;

	buf_init(&text, 65536);
	buf_text(&text, "*3\r\n$8\r\nSENTINEL\r\n");
	command_append(&text, bytes_text(what));
	command_append(&text, bytes_text(sentinel->topology->shared.settings->sentinel_master));
	sentinel->request.done = done;
	sent = buf_ok(&text) && redis_connection_send(sentinel->connection, &sentinel->request, buf_bytes(&text));
	buf_fini(&text);
	if (!sent) {
		redis_connection_fail(sentinel->connection, "cannot ask: no memory");
	}
	return sent;
}

/* --- Answers --- */

/* Applies the primary and its replicas, and subscribes to failovers. */
static void
conclude(struct redis_sentinel *sentinel, const struct redis_address *replicas, size_t count)
{
	sentinel->answered = true;
	sentinel->failures = 0;
	sentinel->answered_ns = clock_now_ns();
	topology_set_server(sentinel->topology, &sentinel->primary, replicas, count);
	if (!redis_connection_subscribe(sentinel->connection, CHANNEL)) {
		redis_connection_fail(sentinel->connection, "cannot subscribe: no memory");
	}
}

static struct bytes
field(const valkeyReply *map, const char *name)
{
	for (size_t i = 0; i + 1 < map->elements; i += 2) {
		if (redis_reply_is_text(map->element[i]) && redis_reply_is_text(map->element[i + 1]) &&
		    bytes_equal_text(reply_text(map->element[i]), name)) {
			return reply_text(map->element[i + 1]);
		}
	}
	return bytes_make("", 0);
}

/* Whether a replica is up and linked to its primary. */
static bool
serves(const valkeyReply *replica)
{
	struct bytes flags = field(replica, "flags");

	return memmem(flags.at, flags.length, "down", 4) == NULL &&
	       memmem(flags.at, flags.length, "disconnected", 12) == NULL &&
	       bytes_equal_text(field(replica, "master-link-status"), "ok");
}

static void
on_replicas(struct redis_request *request, const struct redis_reply *reply)
{
	struct redis_sentinel *sentinel = container_of(request, struct redis_sentinel, request);
	struct redis_address replicas[REDIS_REPLICA_MAX];
	size_t count = 0;

	if (reply == NULL) {
		return;
	}
	for (size_t i = 0; i < reply->base.elements && count < REDIS_REPLICA_MAX; i++) {
		const valkeyReply *replica = reply->base.element[i];

		if ((replica->type == VALKEY_REPLY_ARRAY || replica->type == VALKEY_REPLY_MAP) && serves(replica) &&
		    redis_address_make_text(field(replica, "ip"), field(replica, "port"), &replicas[count])) {
			count++;
		}
	}
	conclude(sentinel, replicas, count);
}

static void
on_primary(struct redis_request *request, const struct redis_reply *reply)
{
	struct redis_sentinel *sentinel = container_of(request, struct redis_sentinel, request);
	const struct redis_settings *settings = sentinel->topology->shared.settings;
	const valkeyReply *base = reply == NULL ? NULL : &reply->base;

	if (base == NULL) {
		return;
	}
	if (base->type == VALKEY_REPLY_ERROR) {
		redis_connection_fail(sentinel->connection,
				      "it does not answer as a sentinel does (%.200s): check "
				      "'sentinels'",
				      base->str);
		return;
	}
	if (base->type != VALKEY_REPLY_ARRAY || base->elements != 2 || !redis_reply_is_text(base->element[0]) ||
	    !redis_reply_is_text(base->element[1]) ||
	    !redis_address_make_text(reply_text(base->element[0]), reply_text(base->element[1]), &sentinel->primary)) {
		redis_connection_fail(sentinel->connection, "it knows no master '%s': check 'sentinel_master'",
				      settings->sentinel_master);
	} else if (settings->read_from == REDIS_READ_PRIMARY) {
		conclude(sentinel, NULL, 0);
	} else {
		(void)ask(sentinel, "REPLICAS", on_replicas);
	}
}

/* --- The connection to the sentinel --- */

static void
on_ready(void *context, const struct redis_greeting *greeting)
{
	(void)greeting;
	(void)ask(context, "GET-MASTER-ADDR-BY-NAME", on_primary);
}

static void
on_lost(void *context, const char *why)
{
	struct redis_sentinel *sentinel = context;
	char name[REDIS_ADDRESS_TEXT_SIZE];

	name_of(sentinel, name);
	sentinel->connection = NULL;
	if (!sentinel->answered) {
		sentinel->failures++;
		if (sentinel->failures % sentinel->topology->shared.settings->seed_count == 0) {
			topology_complain(sentinel->topology, "no sentinel tells where the primary is; %s: %s", name,
					  why);
		}
	}
	sentinel->turn++;
	if (sentinel->answered && clock_now_ns() - sentinel->answered_ns > STEADY_NS) {
		sentinel->retry_ms = RETRY_FIRST_MS;
	}
	sentinel->topology->shared.host->timer_set(sentinel->timer,
						   sentinel->retry_ms / 2 + sentinel->topology->turn % 16);
	sentinel->retry_ms = sentinel->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : sentinel->retry_ms * 2;
}

/* Handles a failover: takes the new primary from the message at once and asks for the rest. */
static void
on_pushed(void *context, const struct redis_reply *reply)
{
	struct redis_sentinel *sentinel = context;
	const char *master = sentinel->topology->shared.settings->sentinel_master;
	struct redis_address now;

	if (reply->base.elements == 3 && redis_reply_is_text(reply->base.element[2]) &&
	    redis_switch_master_read(reply_text(reply->base.element[2]), bytes_text(master), &now)) {
		topology_set_server(sentinel->topology, &now, NULL, 0);
		topology_suspect(sentinel->topology);
	}
}

static void
connect_sentinel(struct redis_sentinel *sentinel)
{
	const struct redis_nodes *shared = &sentinel->topology->shared;

	sentinel->answered = false;
	sentinel->connection = redis_connection_new(&(struct redis_connection_options){
		.settings = shared->settings,
		.host = shared->host,
		.tls = shared->tls,
		.session = sentinel->session,
		.credentials = shared->credentials,
		.cork = shared->cork,
		.address = *address(sentinel),
		.attempt = (unsigned)sentinel->turn,
		.sentinel = true,
		.context = sentinel,
		.ready = on_ready,
		.lost = on_lost,
		.pushed = on_pushed,
	});
	if (sentinel->connection == NULL) {
		sentinel->topology->shared.host->timer_set(sentinel->timer, RETRY_MAX_MS);
	}
}

static void
on_timer(void *argument)
{
	struct redis_sentinel *sentinel = argument;

	if (sentinel->connection == NULL) {
		connect_sentinel(sentinel);
	}
}

/* Asks on a new connection: older servers take no other commands on a subscribed one. */
void
redis_sentinel_ask(struct redis_sentinel *sentinel)
{
	if (sentinel->connection != NULL && sentinel->answered) {
		redis_connection_free(sentinel->connection);
		sentinel->turn++; /* another one may know more */
		connect_sentinel(sentinel);
	}
}

struct redis_sentinel *
redis_sentinel_new(struct redis_topology *topology)
{
	struct redis_sentinel *sentinel = calloc(1, sizeof(*sentinel));

	if (sentinel == NULL) {
		return NULL;
	}
	sentinel->topology = topology;
	sentinel->retry_ms = RETRY_FIRST_MS;
	sentinel->session = topology->shared.tls == NULL ? NULL : redis_tls_session_new();
	sentinel->timer = topology->shared.host->timer_new(topology->shared.host->context, on_timer, sentinel);
	connect_sentinel(sentinel);
	return sentinel;
}

void
redis_sentinel_free(struct redis_sentinel *sentinel)
{
	if (sentinel == NULL) {
		return;
	}
	if (sentinel->connection != NULL) {
		redis_connection_free(sentinel->connection);
	}
	sentinel->topology->shared.host->timer_free(sentinel->timer);
	redis_tls_session_free(sentinel->session);
	free(sentinel);
}
