#include "caches/local/local.h"
#include "caches/redis/redis.h"
#include "caches/tiered/tiered.h"
#include "plugins/plugin.h"

const struct cache_ops *
plugin_store(void)
{
	static const struct cache_ops *ops; /* the table is made once, and the plug-in stays loaded */

	if (ops == NULL) {
		ops = cache_tiered_ops(&cache_local_ops, &cache_redis_ops);
	}
	return ops;
}
