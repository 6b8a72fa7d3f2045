/* The functions that a plug-in exports; exports.map hides all others. */
#include "plugins/plugin.h"
#include "plugins/triton.h"

#include <stdio.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheInitialize(TRITONCACHE_Cache **cache, const char *config)
{
	const char *missing = triton_find(__builtin_return_address(0));
	struct error error = {0};

	if (missing != NULL) {
		/* Perhaps no error can be made; *cache stays NULL, which the host takes for one. */
		(void)fprintf(stderr,
			      "hippocamp: this program has no function %s, so it cannot use a cache of Triton's\n",
			      missing);
		triton_leave();
		return NULL;
	}
	if (triton_check_version(&error) == STATUS_OK) {
		*cache = (TRITONCACHE_Cache *)plugin_open(config, &error);
	}
	if (error.status != STATUS_OK) {
		TRITONSERVER_Error *refusal = triton_error(&error);

		triton_leave();
		return refusal;
	}
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheFinalize(TRITONCACHE_Cache *cache)
{
	if (cache != NULL) {
		plugin_close((struct plugin *)cache);
		triton_leave();
	}
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheLookup(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
			TRITONCACHE_Allocator *allocator)
{
	TRITONSERVER_Error *refused = NULL;

	if (cache == NULL || key == NULL || entry == NULL || allocator == NULL) {
		return triton.TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, "an argument is missing");
	}
	if (plugin_look_up((struct plugin *)cache, key, entry, allocator, &refused)) {
		return NULL;
	}
	/* Without a text: every miss makes this error, and nobody reads it. */
	return refused != NULL ? refused : triton.TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_NOT_FOUND, "");
}

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheInsert(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
			TRITONCACHE_Allocator *allocator)
{
	if (cache == NULL || key == NULL || entry == NULL || allocator == NULL) {
		return triton.TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, "an argument is missing");
	}
	plugin_insert((struct plugin *)cache, key, entry, allocator);
	return NULL;
}
