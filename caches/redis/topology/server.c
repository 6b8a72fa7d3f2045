/* Checks a server's configuration: a cache needs a memory limit and an eviction policy. */
#include "caches/redis/topology/topology.h"

#include <stdio.h>

static void
warn(const struct redis_node *node, const char *what)
{
	char line[512];

	(void)snprintf(line, sizeof(line), "cache 'redis': %s %s", node->name, what);
	node->shared->host->log(LOG_WARNING, line);
}

static void
on_info(void *argument, const struct redis_reply *reply)
{
	const struct redis_node *node = argument;
	bool told = reply != NULL && redis_reply_is_text(&reply->base);
	struct bytes info = told ? reply_text(&reply->base) : bytes_make("", 0);

	if (bytes_equal_text(redis_info_value(info, "maxmemory"), "0")) {
		warn(node, "has no bound on its memory (maxmemory is 0) and grows until the machine has none left: "
			   "set maxmemory, and maxmemory-policy to volatile-lru or another that evicts");
	} else if (bytes_equal_text(redis_info_value(info, "maxmemory_policy"), "noeviction")) {
		warn(node, "stores nothing more once it is full (maxmemory-policy is noeviction): set it to "
			   "volatile-lru or another that evicts");
	} else if (bytes_starts_with(redis_info_value(info, "maxmemory_policy"), "volatile-") &&
		   node->shared->host->endless) {
		warn(node,
		     "stores nothing more once it is full: its maxmemory-policy evicts only what expires, and with "
		     "ttl=0 nothing does: set a ttl, or maxmemory-policy to allkeys-lru");
	}
}

void
server_inspect(struct redis_topology *topology, struct redis_node *node)
{
	(void)route_words_on(topology, redis_node_pick(node, REDIS_SMALL), ROUTE_QUIET, 2,
			     (const struct bytes[]){bytes_text("INFO"), bytes_text("memory")}, on_info, node);
}
