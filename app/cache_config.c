#include "app/cache_config.h"

#include "base/log.h"
#include "base/memory.h"
#include "caches/local/local.h"
#include "caches/null/null.h"
#include "caches/redis/redis.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct cache_ops *const stores[] = {&cache_local_ops, &cache_redis_ops, &cache_null_ops};

/* Every `NAME,KEY=VALUE` taken apart; the texts are copies. */
struct cache_config {
	char *name;
	struct response_cache_setting *settings;
	size_t count;
	char **copies;
	size_t copy_count;
};

static void
config_fini(struct cache_config *config)
{
	for (size_t i = 0; i < config->copy_count; i++) {
		explicit_bzero(config->copies[i], strlen(config->copies[i]));
		free(config->copies[i]);
	}
	free(config->copies);
	free(config->settings);
}

static enum status
malformed(const char *name, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "--cache-config of cache '%s' is not of the form NAME,KEY=VALUE, as in local,size=64MB", name);
}

static enum status
take_apart(const char *text, struct cache_config *config, struct error *error)
{
	char *copy = memory_text(text);
	char *comma = strchr(copy, ',');
	char *equals = comma == NULL ? NULL : strchr(comma, '=');

	config->copies = memory_grow(config->copies, config->copy_count + 1, sizeof(char *));
	config->copies[config->copy_count++] = copy;
	if (comma != NULL) {
		*comma = '\0';
	}
	if (*copy == '\0') {
		return malformed(copy, error);
	}
	if (config->name != NULL && strcmp(config->name, copy) != 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "found multiple cache configurations ('%s' and '%s'), but only a single cache is "
				 "currently supported",
				 config->name, copy);
	}
	config->name = copy;
	if (comma == NULL) {
		return STATUS_OK;
	}
	if (equals == NULL || equals == comma + 1 || equals[1] == '\0') {
		return malformed(copy, error);
	}
	*equals = '\0';
	config->settings[config->count++] = (struct response_cache_setting){.key = comma + 1, .value = equals + 1};
	return STATUS_OK;
}

static const struct cache_ops *
find_store(const char *name)
{
	for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
		if (strcmp(stores[i]->name, name) == 0) {
			return stores[i];
		}
	}
	return NULL;
}

static enum status
open_store(const struct serve_settings *settings, const struct cache_config *config, struct response_cache **cache,
	   struct error *error)
{
	const struct cache_ops *ops = find_store(config->name);
	char *plugin =
		memory_format("%s/%s/libtritoncache_%s.so", settings->cache_directory, config->name, config->name);
	bool there = access(plugin, F_OK) == 0;

	if (ops == NULL) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"unable to find 'libtritoncache_%s.so' for cache. Searched: %s. Built in are: local, "
				"redis, null%s",
				config->name, settings->cache_directory,
				there ? "; the plug-in is there, but hippocamp does not load plug-ins yet" : "");
	} else if (there) {
		log_warning("cache '%s': the built-in one is used; '%s' is not loaded, as hippocamp does not load "
			    "plug-ins yet",
			    config->name, plugin);
	}
	free(plugin);
	if (ops == NULL) {
		return error->status;
	}
	*cache = response_cache_open(ops, config->settings, config->count, error);
	return *cache == NULL ? error->status : STATUS_OK;
}

enum status
cache_config_open(const struct serve_settings *settings, struct response_cache **cache, struct error *error)
{
	struct cache_config config = {0};
	enum status status = STATUS_OK;
	char size[24];

	*cache = NULL;
	if (settings->response_cache_byte_size >= 0) {
		log_warning("--response-cache-byte-size is an older form of --cache-config=local,size=%" PRId64,
			    settings->response_cache_byte_size);
		(void)snprintf(size, sizeof(size), "%" PRId64, settings->response_cache_byte_size);
		*cache =
			response_cache_open(&cache_local_ops, &(struct response_cache_setting){"size", size}, 1, error);
		return *cache == NULL ? error->status : STATUS_OK;
	}
	if (settings->cache_configs.count == 0) {
		*cache = response_cache_open(&cache_local_ops, NULL, 0, error);
		return *cache == NULL ? error->status : STATUS_OK;
	}
	config.settings = memory_array(settings->cache_configs.count, sizeof(*config.settings));
	for (size_t i = 0; i < settings->cache_configs.count && status == STATUS_OK; i++) {
		status = take_apart(settings->cache_configs.items[i], &config, error);
	}
	if (status == STATUS_OK && config.name != NULL && strcmp(config.name, "none") != 0) {
		status = open_store(settings, &config, cache, error);
	} else if (status == STATUS_OK && config.count > 0) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "--cache-config none takes no options");
	}
	config_fini(&config);
	return status;
}
