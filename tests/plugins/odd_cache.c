/*
 * libtritoncache_odd.so: a plug-in for Triton's cache interface that misbehaves on demand, for tests of hosts. It keeps
 * one entry for each of at most 256 keys. Configuration: {"mode":"…"} with
 *
 *     good      works correctly
 *     refuse    fails to initialize
 *     nothing   initializes without an error, but makes no cache
 *     slow      each call takes 300 ms
 *     hang      each look-up hangs until the process ends
 *     lie       reports each look-up as a hit, but gives no buffer
 *     torn      gives half of each entry
 *     mixed     for an unknown key, gives the entry of the newest key
 *     stubborn  never replaces an entry (ALREADY_EXISTS)
 *     full      refuses to store anything
 *
 * It is linked with libtritonserver.so, as plug-ins are that are built with Triton.
 */
#include "include/hippocamp/tritoncache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS 256
#define SLOW_US 300000

struct kept {
	char *key;
	void *data;
	size_t size;
};

struct odd {
	pthread_mutex_t mutex;
	char mode[16];
	struct kept kept[KEYS];
	size_t count;
};

static bool
is(const struct odd *odd, const char *mode)
{
	return strcmp(odd->mode, mode) == 0;
}

static TRITONSERVER_Error *
refuse(TRITONSERVER_Error_Code code, const char *message)
{
	return TRITONSERVER_ErrorNew(code, message);
}

TRITONSERVER_Error *
TRITONCACHE_CacheInitialize(TRITONCACHE_Cache **cache, const char *config)
{
	struct odd *odd = calloc(1, sizeof(*odd));
	const char *mode = strstr(config, "\"mode\":\"");

	(void)TRITONSERVER_LogMessage(TRITONSERVER_LOG_INFO, "odd_cache.c", __LINE__, config);
	if (mode != NULL) {
		(void)sscanf(mode, "\"mode\":\"%15[a-z]", odd->mode);
	}
	(void)pthread_mutex_init(&odd->mutex, NULL);
	if (is(odd, "refuse") || is(odd, "nothing")) {
		bool refused = is(odd, "refuse");

		free(odd);
		return refused ? refuse(TRITONSERVER_ERROR_INVALID_ARG, "it is odd") : NULL;
	}
	*cache = (TRITONCACHE_Cache *)odd;
	return NULL;
}

TRITONSERVER_Error *
TRITONCACHE_CacheFinalize(TRITONCACHE_Cache *cache)
{
	struct odd *odd = (struct odd *)cache;

	for (size_t i = 0; i < odd->count; i++) {
		free(odd->kept[i].key);
		free(odd->kept[i].data);
	}
	(void)TRITONSERVER_LogMessage(TRITONSERVER_LOG_INFO, "odd_cache.c", __LINE__, "odd is finalized");
	free(odd);
	return NULL;
}

static struct kept *
find(struct odd *odd, const char *key)
{
	for (size_t i = 0; i < odd->count; i++) {
		if (strcmp(odd->kept[i].key, key) == 0) {
			return &odd->kept[i];
		}
	}
	return is(odd, "mixed") && odd->count > 0 ? &odd->kept[odd->count - 1] : NULL;
}

static TRITONSERVER_Error *
give(const struct odd *odd, const struct kept *kept, TRITONCACHE_CacheEntry *entry, TRITONCACHE_Allocator *allocator)
{
	TRITONSERVER_BufferAttributes *attributes;
	TRITONSERVER_Error *error = TRITONSERVER_BufferAttributesNew(&attributes);

	if (error == NULL) {
		(void)TRITONSERVER_BufferAttributesSetByteSize(attributes,
							       is(odd, "torn") ? kept->size / 2 : kept->size);
		error = TRITONCACHE_CacheEntryAddBuffer(entry, kept->data, attributes);
		(void)TRITONSERVER_BufferAttributesDelete(attributes);
	}
	return error == NULL ? TRITONCACHE_Copy(allocator, entry) : error;
}

TRITONSERVER_Error *
TRITONCACHE_CacheLookup(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
			TRITONCACHE_Allocator *allocator)
{
	struct odd *odd = (struct odd *)cache;
	TRITONSERVER_Error *error = NULL;
	const struct kept *kept;

	while (is(odd, "hang")) {
		(void)pause();
	}
	if (is(odd, "slow")) {
		(void)usleep(SLOW_US);
	}
	if (is(odd, "lie")) {
		return NULL;
	}
	(void)pthread_mutex_lock(&odd->mutex);
	kept = find(odd, key);
	error = kept == NULL ? refuse(TRITONSERVER_ERROR_NOT_FOUND, "") : give(odd, kept, entry, allocator);
	(void)pthread_mutex_unlock(&odd->mutex);
	return error;
}

static TRITONSERVER_Error *
keep(struct odd *odd, const char *key, TRITONCACHE_CacheEntry *entry, TRITONCACHE_Allocator *allocator)
{
	struct kept *kept = find(odd, key);
	TRITONSERVER_BufferAttributes *attributes;
	TRITONSERVER_Error *error;
	void *base;
	size_t size = 0;

	if (kept != NULL && strcmp(kept->key, key) == 0 && is(odd, "stubborn")) {
		return refuse(TRITONSERVER_ERROR_ALREADY_EXISTS, "it stays");
	}
	if ((kept == NULL || strcmp(kept->key, key) != 0) && odd->count == KEYS) {
		return refuse(TRITONSERVER_ERROR_UNAVAILABLE, "full");
	}
	(void)TRITONSERVER_BufferAttributesNew(&attributes);
	error = TRITONCACHE_CacheEntryGetBuffer(entry, 0, &base, attributes);
	(void)TRITONSERVER_BufferAttributesByteSize(attributes, &size);
	(void)TRITONSERVER_BufferAttributesDelete(attributes);
	base = malloc(size + 1);
	if (error == NULL) {
		error = TRITONCACHE_CacheEntrySetBuffer(entry, 0, base, NULL);
	}
	if (error == NULL) {
		error = TRITONCACHE_Copy(allocator, entry);
	}
	if (error != NULL) {
		free(base);
		return error;
	}
	if (kept == NULL || strcmp(kept->key, key) != 0) {
		kept = &odd->kept[odd->count++];
		kept->key = strdup(key);
	}
	free(kept->data);
	kept->data = base;
	kept->size = size;
	return NULL;
}

TRITONSERVER_Error *
TRITONCACHE_CacheInsert(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
			TRITONCACHE_Allocator *allocator)
{
	struct odd *odd = (struct odd *)cache;
	TRITONSERVER_Error *error;

	if (is(odd, "full")) {
		return refuse(TRITONSERVER_ERROR_UNAVAILABLE, "full");
	}
	if (is(odd, "slow")) {
		(void)usleep(SLOW_US);
	}
	(void)pthread_mutex_lock(&odd->mutex);
	error = keep(odd, key, entry, allocator);
	(void)pthread_mutex_unlock(&odd->mutex);
	return error;
}
