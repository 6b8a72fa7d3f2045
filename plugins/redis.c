#include "caches/redis/redis.h"
#include "plugins/plugin.h"

const struct cache_ops *
plugin_store(void)
{
	return &cache_redis_ops;
}
