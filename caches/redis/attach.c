/*
 * One loop's part of the store, from attach to detach: its events, and when it asks for what. The other files do the
 * rest.
 */
#include "base/clock.h"
#include "caches/redis/store.h"

#include <stdlib.h>

#define COMMAND_MAX ((size_t)1 << 30)
#define KEY_MAX ((size_t)64 << 10)
#define TICK_MS 500U
#define REPLICA_NS UINT64_C(2000000000)	      /* between topology queries, while a wanted replica is missing */
#define REFRESH_AGAIN_NS UINT64_C(5000000000) /* before a failed password refresh is retried */
#define REFRESH_NS UINT64_C(30000000000)      /* between topology queries, without any suspicion */

/* --- Asking for the topology --- */

static void
seed(struct cache_lane *lane)
{
	const struct redis_settings *settings = lane->cache->settings;

	for (size_t i = 0; i < settings->seed_count; i++) {
		(void)topology_find(lane, &settings->seeds[i]);
	}
}

static void
ask(struct cache_lane *lane)
{
	struct redis_node *node;

	lane->asked_ns = clock_now_ns();
	lane->suspects = false;
	if (lane->sentinel != NULL) {
		redis_sentinel_ask(lane->sentinel);
	} else if (lane->cluster) {
		node = topology_some_node(lane);
		if (node != NULL) {
			cluster_ask(lane, node);
		} else {
			lane->suspects = true;
			seed(lane); /* no known node is usable */
		}
	}
}

/* New replicas are not announced, and sentinels announce only new primaries: ask from time to time. */
static bool
is_time_to_ask(struct cache_lane *lane)
{
	uint64_t since = clock_now_ns() - lane->asked_ns;

	if (since >= REFRESH_NS || (since >= REPLICA_NS && topology_lacks_replica(lane))) {
		return true;
	}
	return since >= LANE_ASK_INTERVAL_NS && (lane->suspects || !topology_serves(lane));
}

/* --- Events --- */

static uint64_t
refresh_interval_ns(const struct cache_lane *lane)
{
	return (uint64_t)lane->cache->settings->password_refresh_s * NS_PER_S;
}

/* After a failure, retry before the next interval: the current token may expire sooner. */
static void
try_soon(struct cache_lane *lane)
{
	uint64_t interval = refresh_interval_ns(lane);

	lane->renewed_ns = clock_now_ns() - (interval > REFRESH_AGAIN_NS ? interval - REFRESH_AGAIN_NS : 0);
}

static void
on_renewed_password(void *argument, const char *user, const char *password, const char *failure)
{
	struct cache_lane *lane = argument;
	struct redis_node *node;

	if (password == NULL) {
		try_soon(lane);
		topology_complain(lane, "connections cannot log in again: %s", failure);
		return;
	}
	TAILQ_FOREACH (node, &lane->nodes, list) {
		redis_node_log_in(node, user, password);
	}
}

/* Logs in again periodically: tokens expire, and the connections that logged in with them end. */
static void
log_in_again(struct cache_lane *lane)
{
	uint64_t interval = refresh_interval_ns(lane);
	uint64_t now = clock_now_ns();

	if (lane->renewed_ns == 0) {
		lane->renewed_ns = now;
	}
	if (interval == 0 || lane->renewal.waiting || now - lane->renewed_ns < interval) {
		return;
	}
	lane->renewed_ns = now;
	lane->renewal.done = on_renewed_password;
	lane->renewal.argument = lane;
	redis_credentials_get(lane->credentials, &lane->renewal);
}

/* Logs what became of the TLS files, where connections have read them again. */
static void
tell_of_files(const struct cache_lane *lane)
{
	char text[512];
	enum redis_tls_news news = REDIS_TLS_NOTHING;

	if (lane->announces && lane->cache->tls != NULL) {
		news = redis_tls_news(lane->cache->tls, text, sizeof(text));
	}
	if (news != REDIS_TLS_NOTHING) {
		lane_log(lane, news == REDIS_TLS_BROKEN ? LOG_WARNING : LOG_INFO, text);
	}
}

static void
on_timer(void *argument)
{
	struct cache_lane *lane = argument;

	lane->host->timer_set(lane->timer, TICK_MS);
	if (lane->retires) {
		lane->retires = false;
		topology_retire(lane);
	}
	if (is_time_to_ask(lane)) {
		ask(lane);
	}
	secret_check(lane);
	purge_watch_check(lane);
	tell_of_files(lane);
	log_in_again(lane);
	redis_try_again(lane);
}

static void
tell_of_read_from(struct cache_lane *lane)
{
	if (lane->announces && !lane->read_from_told && lane->shared.read_only && !lane->cluster &&
	    lane->sentinel == NULL) {
		lane->read_from_told = true;
		lane_log(lane, LOG_WARNING,
			 "cache 'redis': read_from has no effect on a server alone, of which no replicas are known: "
			 "it is for a cluster, and for 'sentinels'");
	}
}

static void
on_up(void *context, struct redis_node *node)
{
	struct cache_lane *lane = context;
	enum redis_topology topology = lane->cache->settings->topology;

	if ((topology == REDIS_CLUSTER || (topology == REDIS_AUTO && node->is_cluster)) &&
	    (!lane->cluster || lane->shard_of == NULL)) {
		lane->cluster = true;
		cluster_ask(lane, node);
	}
	tell_of_read_from(lane);
	secret_check(lane);
}

static void
on_linked(void *context, struct redis_link *link, const struct redis_greeting *greeting)
{
	struct cache_lane *lane = context;
	struct redis_node *node = link->node;

	if (lane->announces && !node->inspected && node->plain < 2) {
		node->inspected = true;
		server_inspect(lane, node);
	}
	if (lane->sentinel != NULL && greeting->replica && lane->shard_count > 0 && node == lane->shards[0].primary) {
		topology_suspect(lane);
	}
	if (node->plain < 2) {
		purge_watch_link(lane, link);
	}
}

static void
on_down(void *context, struct redis_node *node)
{
	struct cache_lane *lane = context;

	(void)node;
	if (lane->cluster || lane->sentinel != NULL) {
		topology_suspect(lane);
	}
}

static void
on_pushed(void *context, const struct redis_reply *reply)
{
	purge_watch_pushed(context, reply);
}

static void
on_connected(void *context, int change)
{
	struct cache_lane *lane = context;

	lane->connections += (uint64_t)change;
	lane_show_connections(lane);
}

/* --- Attaching and detaching --- */

static void
share(struct cache_lane *lane)
{
	struct cache *cache = lane->cache;

	lane->shared = (struct redis_nodes){
		.settings = cache->settings,
		.host = lane->host,
		.tls = cache->tls,
		.credentials = lane->credentials,
		.cork = &lane->cork,
		.announces = lane->announces,
		.breakings = &cache->breakings,
		.refusals = cache->refusals,
		.read_only = cache->settings->read_from != REDIS_READ_PRIMARY,
		.context = lane,
		.connected = on_connected,
		.linked = on_linked,
		.up = on_up,
		.down = on_down,
		.pushed = on_pushed,
	};
}

static void
begin(struct cache_lane *lane)
{
	const struct redis_settings *settings = lane->cache->settings;

	lane->timer = lane->host->timer_new(lane->host->context, on_timer, lane);
	lane->host->timer_set(lane->timer, TICK_MS);
	if (settings->topology == REDIS_SENTINEL) {
		lane->sentinel = redis_sentinel_new(lane);
	} else if (settings->topology == REDIS_CLUSTER) {
		seed(lane);
	} else {
		topology_set_server(lane, &settings->seeds[0], NULL, 0);
	}
}

struct cache_lane *
redis_attach(struct cache *cache, const struct cache_host *host)
{
	struct cache_lane *lane = calloc(1, sizeof(*lane));
	const struct redis_settings *settings = cache->settings;

	if (lane == NULL) {
		return NULL;
	}
	lane->cache = cache;
	lane->host = host;
	lane->packing = packing_lane_new(cache->packing);
	lane->credentials = redis_credentials_new(
		&(struct redis_credentials_options){
			.user = settings->user,
			.password = settings->password,
			.password_file = settings->password_file,
			.password_command = settings->password_command,
			.timeout_ms = (uint64_t)settings->connect_timeout_ms,
			.share = cache->passwords,
		},
		host);
	if (lane->packing == NULL || lane->credentials == NULL) {
		packing_lane_free(lane->packing);
		redis_credentials_free(lane->credentials);
		free(lane);
		return NULL;
	}
	lane->announces = !atomic_exchange(&cache->announcer_taken, true);
	buf_init(&lane->command, COMMAND_MAX);
	buf_init(&lane->key, KEY_MAX);
	TAILQ_INIT(&lane->cork.due);
	TAILQ_INIT(&lane->nodes);
	share(lane);
	begin(lane);
	return lane;
}

void
redis_detach(struct cache_lane *lane)
{
	redis_sentinel_free(lane->sentinel);
	lane->sentinel = NULL;
	topology_fini(lane);
	lane->host->timer_free(lane->timer);
	redis_credentials_free(lane->credentials);
	packing_lane_free(lane->packing);
	purge_watch_fini(lane);
	buf_fini(&lane->command);
	buf_fini(&lane->key);
	explicit_bzero(&lane->secret, sizeof(lane->secret));
	free(lane);
}
