#include "app/cache_config.h"

#include "base/log.h"
#include "base/machine.h"
#include "base/memory.h"
#include "caches/local/local.h"
#include "caches/null/null.h"
#include "caches/redis/redis.h"
#include "caches/tiered/tiered.h"
#include "caches/triton/triton.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CACHE_DIRECTORY "/opt/tritonserver/caches" /* Triton's default */
#define PLUGIN_PREFIX "plugin."

static const struct cache_ops *const stores[] = {&cache_local_ops, &cache_redis_ops, &cache_null_ops};

/* The parsed `NAME,KEY=VALUE` arguments. All texts point into `copies`. */
struct cache_config {
	const char *name;
	const char *second; /* `local` and `redis`, in either order, make `tiered` */
	struct response_cache_setting *settings;
	const char **families; /* the NAME of each setting */
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
	free(config->families);
}

static char *
keep(struct cache_config *config, char *text)
{
	config->copies = memory_grow(config->copies, config->copy_count + 1, sizeof(char *));
	config->copies[config->copy_count++] = text;
	return text;
}

static enum status
malformed(const char *name, struct error *error)
{
	if (strchr(name, '=') != NULL) { /* NAME is missing */
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--cache-config=%s does not say which cache it is for: it is of the form "
				 "NAME,KEY=VALUE, as in local,size=64MB or redis,host=localhost",
				 name);
	}
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "--cache-config of cache '%s' is not of the form NAME,KEY=VALUE, as in local,size=64MB", name);
}

static bool
are_tiers(const char *one, const char *other)
{
	const char *const tiers[] = {cache_local_ops.name, cache_redis_ops.name};

	return (strcmp(one, tiers[0]) == 0 && strcmp(other, tiers[1]) == 0) ||
	       (strcmp(one, tiers[1]) == 0 && strcmp(other, tiers[0]) == 0);
}

static enum status
take_name(const char *name, struct cache_config *config, struct error *error)
{
	if (config->name == NULL) {
		config->name = name;
	} else if (config->second == NULL && are_tiers(config->name, name)) {
		config->second = name;
	} else if (strcmp(config->name, name) != 0 && (config->second == NULL || strcmp(config->second, name) != 0)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "found multiple cache configurations ('%s' and '%s'), but only a single cache is "
				 "currently supported, or local and redis together",
				 config->name, name);
	}
	return STATUS_OK;
}

static enum status
take_apart(const char *text, struct cache_config *config, struct error *error)
{
	char *copy = keep(config, memory_text(text));
	char *comma = strchr(copy, ',');
	char *equals = comma == NULL ? NULL : strchr(comma, '=');

	if (comma != NULL) {
		*comma = '\0';
	}
	if (*copy == '\0' || strchr(copy, '=') != NULL) {
		return malformed(copy, error);
	}
	if (take_name(copy, config, error) != STATUS_OK) {
		return error->status;
	}
	if (comma == NULL) {
		return STATUS_OK;
	}
	if (equals == NULL || equals == comma + 1 || equals[1] == '\0') {
		return malformed(copy, error);
	}
	*equals = '\0';
	config->families[config->count] = copy;
	config->settings[config->count++] = (struct response_cache_setting){.key = comma + 1, .value = equals + 1};
	return STATUS_OK;
}

static bool
is_common(const char *key)
{
	return option_find(response_cache_options, bytes_text(key)) != NULL ||
	       option_find(cache_policy_options, bytes_text(key)) != NULL;
}

/* An option common to all stores may be given for either tier or for both, but with one value only. */
static enum status
check_common(const struct cache_config *config, size_t index, struct error *error)
{
	const struct response_cache_setting *setting = &config->settings[index];

	for (size_t i = 0; i < index; i++) {
		const struct response_cache_setting *other = &config->settings[i];

		if (strcmp(other->key, setting->key) == 0 &&
		    strcmp(config->families[i], config->families[index]) != 0 &&
		    strcmp(other->value, setting->value) != 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "--cache-config: caches 'local' and 'redis' together are one cache, 'tiered', "
					 "and have one '%s': give it once",
					 setting->key);
		}
	}
	return STATUS_OK;
}

/* local,size=… and redis,host=… become tiered,local.size=… and tiered,redis.host=… */
static enum status
join_tiers(struct cache_config *config, struct error *error)
{
	for (size_t i = 0; i < config->count; i++) {
		struct response_cache_setting *setting = &config->settings[i];

		if (!is_common(setting->key)) {
			setting->key = keep(config, memory_format("%s.%s", config->families[i], setting->key));
		} else if (check_common(config, i, error) != STATUS_OK) {
			return error->status;
		}
	}
	config->name = "tiered";
	return STATUS_OK;
}

static const struct cache_ops *
find_store(const char *name)
{
	if (strcmp(name, "tiered") == 0) {
		return cache_tiered_ops(&cache_local_ops, &cache_redis_ops);
	}
	for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
		if (strcmp(stores[i]->name, name) == 0) {
			return stores[i];
		}
	}
	return NULL;
}

/* --- Plug-ins --- */

/* Returns the plug-in's path or NULL. A plug-in replaces a built-in cache only if --cache-directory is given. */
static char *
find_plugin(const struct serve_settings *settings, const char *name, bool built_in)
{
	const char *folder = settings->cache_directory;
	char *path;

	if (folder == NULL && built_in) {
		return NULL;
	}
	path = memory_format("%s/%s/libtritoncache_%s.so", folder == NULL ? CACHE_DIRECTORY : folder, name, name);
	if (access(path, F_OK) == 0) {
		return path;
	}
	free(path);
	return NULL;
}

/* The last value of a repeated key counts, as in Triton. */
static void
keep_option(struct triton_option *options, size_t *count, const struct response_cache_setting *setting)
{
	bool marked = strncmp(setting->key, PLUGIN_PREFIX, strlen(PLUGIN_PREFIX)) == 0;
	const char *key = setting->key + (marked ? strlen(PLUGIN_PREFIX) : 0);
	size_t at = 0;

	while (at < *count && strcmp(options[at].key, key) != 0) {
		at++;
	}
	options[at] = (struct triton_option){key, setting->value};
	*count += at == *count;
}

/* Keeps the options common to all caches and passes the others, and those marked `plugin.`, to the plug-in. */
static const struct cache_ops *
take_plugin(struct cache_config *config, const char *path)
{
	struct triton_option *options = memory_array(config->count + 1, sizeof(*options));
	const struct cache_ops *ops;
	size_t common = 0;
	size_t count = 0;

	for (size_t i = 0; i < config->count; i++) {
		struct response_cache_setting setting = config->settings[i];

		if (is_common(setting.key)) {
			config->settings[common++] = setting;
		} else {
			keep_option(options, &count, &setting);
		}
	}
	config->count = common;
	/* The table keeps `name` and `path` until the process ends. */
	ops = cache_triton_ops(memory_text(config->name), path, options, count);
	free(options);
	return ops;
}

/* Warns that --cache-directory is given but a built-in cache is used. */
static void
tell_of_folder(const struct serve_settings *settings, const char *name)
{
	if (settings->cache_directory != NULL) {
		log_warning("cache '%s': the built-in one is used; --cache-directory=%s is for plug-ins, and "
			    "'%s/libtritoncache_%s.so' %s",
			    name, settings->cache_directory, name, name,
			    strcmp(name, "tiered") == 0 ? "was not asked for, or is not there" : "is not there");
	}
}

static const struct cache_ops *
choose_store(const struct serve_settings *settings, struct cache_config *config)
{
	const struct cache_ops *ops = find_store(config->name);
	/* `local` and `redis` together are always the built-in tiered cache. */
	char *plugin = config->second != NULL ? NULL : find_plugin(settings, config->name, ops != NULL);

	if (plugin != NULL) {
		return take_plugin(config, plugin);
	}
	if (ops != NULL) {
		tell_of_folder(settings, config->name);
	}
	return ops;
}

static enum status
find_nothing(const struct serve_settings *settings, const char *name, struct error *error)
{
	char built_in[256] = "tiered";

	for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
		size_t length = strlen(built_in);

		(void)snprintf(built_in + length, sizeof(built_in) - length, ", %s", stores[i]->name);
	}
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "unable to find 'libtritoncache_%s.so' for cache. Searched: %s. Built in are: %s", name,
			 settings->cache_directory == NULL ? CACHE_DIRECTORY : settings->cache_directory, built_in);
}

static enum status
open_store(const struct serve_settings *settings, struct cache_config *config, struct response_cache **cache,
	   struct error *error)
{
	const struct cache_ops *ops = choose_store(settings, config);

	if (ops == NULL) {
		return find_nothing(settings, config->name, error);
	}
	*cache = response_cache_open(ops, config->settings, config->count, error);
	return *cache == NULL ? error->status : STATUS_OK;
}

static enum status
open_configured(const struct serve_settings *settings, struct response_cache **cache, struct error *error)
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
		if (settings->cache_directory != NULL) {
			log_warning("--cache-directory=%s is for caches that a --cache-config names, and there is none",
				    settings->cache_directory);
		}
		*cache = response_cache_open(&cache_local_ops, NULL, 0, error);
		return *cache == NULL ? error->status : STATUS_OK;
	}
	config.settings = memory_array(settings->cache_configs.count, sizeof(*config.settings));
	config.families = memory_array(settings->cache_configs.count, sizeof(*config.families));
	for (size_t i = 0; i < settings->cache_configs.count && status == STATUS_OK; i++) {
		status = take_apart(settings->cache_configs.items[i], &config, error);
	}
	if (status == STATUS_OK && config.second != NULL) {
		status = join_tiers(&config, error);
	}
	if (status == STATUS_OK && config.name != NULL && strcmp(config.name, "none") != 0) {
		status = open_store(settings, &config, cache, error);
	} else if (status == STATUS_OK && config.count > 0) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "--cache-config none takes no options");
	}
	config_fini(&config);
	return status;
}

/* Warns of an in-memory store larger than the process's memory: the kernel may kill the process. */
static void
tell_of_size(const struct response_cache *cache)
{
	struct cache_statistics store = {0};
	uint64_t memory = machine_memory();

	cache->ops->statistics(cache->store, &store);
	if (store.capacity_bytes > memory) {
		log_warning("cache '%s': size is %" PRIu64 " bytes, and there are %" PRIu64
			    " bytes of memory for this process: before it is full the kernel may end it; give it a "
			    "smaller size",
			    cache->ops->name, store.capacity_bytes, memory);
	}
}

enum status
cache_config_open(const struct serve_settings *settings, struct response_cache **cache, struct error *error)
{
	enum status status = open_configured(settings, cache, error);

	if (status == STATUS_OK && *cache != NULL) {
		tell_of_size(*cache);
	}
	return status;
}

static void
write_options(struct buf *out, const char *store, const struct option_table *table)
{
	for (size_t i = 0; table != NULL && i < table->count; i++) {
		const struct option *option = &table->options[i];

		buf_format(out, "  --cache-config=%s,%s=%s\n        %s", store, option->name,
			   option->unit != NULL		    ? option->unit
			   : option->kind == OPTION_BOOLEAN ? "BOOL"
							    : "VALUE",
			   option->help);
		if (option->preset != NULL && *option->preset != '\0') {
			buf_format(out, " (default %s)", option->preset);
		}
		buf_byte(out, '\n');
	}
}

void
cache_config_help(struct buf *out)
{
	buf_text(out,
		 "\nOptions of caches (with tiered, those of local and redis are written local.KEY and redis.KEY):\n");
	for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
		write_options(out, stores[i]->name, stores[i]->options);
	}
	write_options(out, "NAME", &response_cache_options);
	write_options(out, "NAME", &cache_policy_options);
}
