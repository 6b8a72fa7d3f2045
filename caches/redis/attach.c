/*
 * One loop's part of the store, from attach to detach: its events, and when it asks for what. The other files do the
 * rest.
 */
#include "base/clock.h"
#include "caches/redis/lane.h"

#include <stdlib.h>

#define KEY_MAX ((size_t)64 << 10)
#define TICK_MS 500U
#define REPLICA_NS UINT64_C(2000000000)	      /* between topology queries, while a wanted replica is missing */
#define REFRESH_AGAIN_NS UINT64_C(5000000000) /* before a failed password refresh is retried */
#define REFRESH_NS UINT64_C(30000000000)      /* between topology queries, without any suspicion */

/* --- Asking for the topology --- */

static void
seed(struct redis_lane *lane)
{
	const struct redis_settings *settings = lane->cache->settings;

	for (size_t i = 0; i < settings->seed_count; i++) {
		(void)topology_find(&lane->topology, &settings->seeds[i]);
	}
}

static void
ask(struct redis_lane *lane)
{
	struct redis_node *node;

	lane->topology.asked_ns = clock_now_ns();
	lane->topology.suspects = false;
	if (lane->topology.sentinel != NULL) {
		redis_sentinel_ask(lane->topology.sentinel);
	} else if (lane->topology.cluster) {
		node = topology_some_node(&lane->topology);
		if (node != NULL) {
			cluster_ask(&lane->topology, node);
		} else {
			lane->topology.suspects = true;
			seed(lane); /* no known node is usable */
		}
	}
}

/* New replicas are not announced, and sentinels announce only new primaries: ask from time to time. */
static bool
is_time_to_ask(struct redis_lane *lane)
{
	uint64_t since = clock_now_ns() - lane->topology.asked_ns;

	if (since >= REFRESH_NS || (since >= REPLICA_NS && topology_lacks_replica(&lane->topology))) {
		return true;
	}
	return since >= TOPOLOGY_ASK_INTERVAL_NS && (lane->topology.suspects || !topology_serves(&lane->topology));
}

/* --- Events --- */

static uint64_t
refresh_interval_ns(const struct redis_lane *lane)
{
	return (uint64_t)lane->cache->settings->password_refresh_s * NS_PER_S;
}

/* After a failure, retry before the next interval: the current token may expire sooner. */
static void
try_soon(struct redis_lane *lane)
{
	uint64_t interval = refresh_interval_ns(lane);

	lane->renewed_ns = clock_now_ns() - (interval > REFRESH_AGAIN_NS ? interval - REFRESH_AGAIN_NS : 0);
}

static void
on_renewed_password(void *argument, const char *user, const char *password, const char *failure)
{
	struct redis_lane *lane = argument;
	struct redis_node *node;

	if (password == NULL) {
		try_soon(lane);
		topology_complain(&lane->topology, "connections cannot log in again: %s", failure);
		return;
	}
	TAILQ_FOREACH (node, &lane->topology.nodes, list) {
		redis_node_log_in(node, user, password);
	}
}

/* Logs in again periodically: tokens expire, and the connections that logged in with them end. */
static void
log_in_again(struct redis_lane *lane)
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
tell_of_files(const struct redis_lane *lane)
{
	char text[512];
	enum redis_tls_news news = REDIS_TLS_NOTHING;

	if (lane->topology.shared.announces && lane->cache->tls != NULL) {
		news = redis_tls_news(lane->cache->tls, text, sizeof(text));
	}
	if (news != REDIS_TLS_NOTHING) {
		topology_log(&lane->topology, news == REDIS_TLS_BROKEN ? LOG_WARNING : LOG_INFO, text);
	}
}

static void
on_timer(void *argument)
{
	struct redis_lane *lane = argument;

	lane->host->timer_set(lane->topology.timer, TICK_MS);
	if (lane->topology.retires) {
		lane->topology.retires = false;
		topology_retire(&lane->topology);
	}
	if (is_time_to_ask(lane)) {
		ask(lane);
	}
	redis_secret_check(&lane->secret);
	purge_watch_check(&lane->watch);
	tell_of_files(lane);
	log_in_again(lane);
	lane_try_again(lane);
}

static void
tell_of_read_from(struct redis_lane *lane)
{
	if (lane->topology.shared.announces && !lane->read_from_told && lane->topology.shared.read_only &&
	    !lane->topology.cluster && lane->topology.sentinel == NULL) {
		lane->read_from_told = true;
		topology_log(
			&lane->topology, LOG_WARNING,
			"cache 'redis': read_from has no effect on a server alone, of which no replicas are known: "
			"it is for a cluster, and for 'sentinels'");
	}
}

static void
on_up(void *context, struct redis_node *node)
{
	struct redis_lane *lane = context;
	enum redis_topology_kind topology = lane->cache->settings->topology;

	if ((topology == REDIS_CLUSTER || (topology == REDIS_AUTO && node->is_cluster)) &&
	    (!lane->topology.cluster || lane->topology.shard_of == NULL)) {
		lane->topology.cluster = true;
		cluster_ask(&lane->topology, node);
	}
	tell_of_read_from(lane);
	redis_secret_check(&lane->secret);
}

static void
on_linked(void *context, struct redis_link *link, const struct redis_greeting *greeting)
{
	struct redis_lane *lane = context;
	struct redis_node *node = link->node;

	if (lane->topology.shared.announces && !node->inspected && node->plain < 2) {
		node->inspected = true;
		server_inspect(&lane->topology, node);
	}
	if (lane->topology.sentinel != NULL && greeting->replica && lane->topology.shard_count > 0 &&
	    node == lane->topology.shards[0].primary) {
		topology_suspect(&lane->topology);
	}
	if (node->plain < 2) {
		purge_watch_link(&lane->watch, link);
	}
}

static void
on_down(void *context, struct redis_node *node)
{
	struct redis_lane *lane = context;

	(void)node;
	if (lane->topology.cluster || lane->topology.sentinel != NULL) {
		topology_suspect(&lane->topology);
	}
}

static void
on_pushed(void *context, const struct redis_reply *reply)
{
	struct redis_lane *lane = context;

	purge_watch_pushed(&lane->watch, reply);
}

/* Publishes the number of the lane's connections, as 0 until keys can be made. */
static void
show_connections(struct redis_lane *lane)
{
	uint64_t shown = lane->secret.known || !lane->secret.wanted ? lane->connections : 0;

	counter_add(&lane->cache->connections, shown - lane->connections_shown);
	lane->connections_shown = shown;
}

static void
on_learnt(struct redis_secret *secret)
{
	show_connections(container_of(secret, struct redis_lane, secret));
}

static void
on_connected(void *context, int change)
{
	struct redis_lane *lane = context;

	lane->connections += (uint64_t)change;
	show_connections(lane);
}

/* --- Attaching and detaching --- */

static void
share(struct redis_lane *lane)
{
	struct redis_cache *cache = lane->cache;

	lane->topology.shared = (struct redis_nodes){
		.settings = cache->settings,
		.host = lane->host,
		.tls = cache->tls,
		.credentials = lane->credentials,
		.cork = &lane->cork,
		.announces = !atomic_exchange(&cache->announcer_taken, true),
		.breakings = &cache->breakings,
		.refusals = cache->refusals,
		.board = &cache->board,
		.read_only = cache->settings->read_from != REDIS_READ_PRIMARY,
		.context = lane,
		.connected = on_connected,
		.linked = on_linked,
		.up = on_up,
		.down = on_down,
		.pushed = on_pushed,
	};
	lane->topology.refusal_logged_ns = cache->refusal_logged_ns;
	topology_init(&lane->topology);
	lane->secret =
		(struct redis_secret){.topology = &lane->topology, .wanted = cache->secret_wanted, .learnt = on_learnt};
	lane->watch = (struct purge_watch){.topology = &lane->topology};
}

static void
begin(struct redis_lane *lane)
{
	const struct redis_settings *settings = lane->cache->settings;

	lane->topology.timer = lane->host->timer_new(lane->host->context, on_timer, lane);
	lane->host->timer_set(lane->topology.timer, TICK_MS);
	if (settings->topology == REDIS_SENTINEL) {
		lane->topology.sentinel = redis_sentinel_new(&lane->topology);
	} else if (settings->topology == REDIS_CLUSTER) {
		seed(lane);
	} else {
		topology_set_server(&lane->topology, &settings->seeds[0], NULL, 0);
	}
}

struct cache_lane *
redis_attach(struct cache *base, const struct cache_host *host)
{
	struct redis_cache *cache = redis_cache_of(base);
	struct redis_lane *lane = calloc(1, sizeof(*lane));
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
	buf_init(&lane->key, KEY_MAX);
	TAILQ_INIT(&lane->cork.due);
	share(lane);
	begin(lane);
	return (struct cache_lane *)lane;
}

void
redis_detach(struct cache_lane *base)
{
	struct redis_lane *lane = redis_lane_of(base);

	redis_sentinel_free(lane->topology.sentinel);
	lane->topology.sentinel = NULL;
	topology_fini(&lane->topology);
	lane->host->timer_free(lane->topology.timer);
	redis_credentials_free(lane->credentials);
	packing_lane_free(lane->packing);
	purge_watch_fini(&lane->watch);
	buf_fini(&lane->key);
	explicit_bzero(&lane->secret, sizeof(lane->secret));
	free(lane);
}
