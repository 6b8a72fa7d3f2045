#include "caches/local/local.h"
#include "plugins/plugin.h"

const struct cache_ops *
plugin_store(void)
{
	return &cache_local_ops;
}
