#include "plugins/settings.h"

#include "base/secret.h"
#include "plugins/json_config.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct plugin_settings, field)
#define YEARS_10 315360000

static const struct option options[] = {
	{.name = "namespace",
	 .kind = OPTION_TEXT,
	 .offset = AT(name_space),
	 .preset = "",
	 .help = "servers of different namespaces never share an entry"},
	{.name = "generation",
	 .kind = OPTION_TEXT,
	 .offset = AT(generation),
	 .help = "a text that is another one when models change: entries of another generation are not found"},
	{.name = "generation_file",
	 .kind = OPTION_TEXT,
	 .offset = AT(generation_file),
	 .unit = "FILE",
	 .help = "file that holds the generation; looked at every second"},
	{.name = "key_secret_file",
	 .kind = OPTION_TEXT,
	 .offset = AT(key_secret_file),
	 .unit = "FILE",
	 .help = "file that holds a secret, under which entries are authenticated: whoever can write to the store, but "
		 "has not the secret, cannot make an answer. Also in the environment, " SECRET_ENVIRONMENT},
	{.name = "ttl",
	 .kind = OPTION_INTEGER,
	 .offset = AT(ttl_s),
	 .preset = "-1",
	 .minimum = -1,
	 .maximum = YEARS_10,
	 .unit = "s",
	 .help = "life of an entry, varied by a tenth; 0: no end. Default: 0 for local, one day for redis and tiered"},
	{.name = "lookup_timeout",
	 .kind = OPTION_INTEGER,
	 .offset = AT(lookup_timeout_ms),
	 .preset = "5",
	 .minimum = 1,
	 .maximum = 60000,
	 .unit = "ms",
	 .help = "when a look-up takes longer, it is a miss"},
	{.name = "max_value_size",
	 .kind = OPTION_SIZE,
	 .offset = AT(max_value_bytes),
	 .preset = "64MiB",
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "larger responses are not stored; 0: no limit"},
};

const struct option_table plugin_options = {options, sizeof(options) / sizeof(*options)};

static const struct option_table no_options;

static struct option_table
store_options(const struct cache_ops *ops)
{
	return ops->options == NULL ? no_options : *ops->options;
}

/* --- One pair --- */

static enum status
unknown_key(const struct cache_ops *ops, const char *key, struct error *error)
{
	const struct option_table tables[] = {store_options(ops), plugin_options};
	char who[64];

	(void)snprintf(who, sizeof(who), "cache '%s'", ops->name);
	return option_unknown(who, tables, sizeof(tables) / sizeof(*tables), key, error);
}

static enum status
apply(const struct cache_ops *ops, const struct json_config_pair *pair, struct plugin_settings *settings,
      void *store_settings, struct error *error)
{
	const struct option *option = option_find(store_options(ops), bytes_text(pair->key));
	void *place = store_settings;
	enum status status;

	if (option == NULL) {
		option = option_find(plugin_options, bytes_text(pair->key));
		place = settings;
	}
	if (option == NULL) {
		return unknown_key(ops, pair->key, error);
	}
	status = option_set(option, place, pair->value, error);
	return status == STATUS_OK ? status : error_prefix(error, "cache '%s': ", ops->name);
}

/* --- All pairs --- */

/*
 * Finds a number among the settings of the store, or of the store behind, whose option names have a prefix. NULL: there
 * is none of that name.
 */
static int64_t *
store_number(const struct cache_ops *ops, void *store_settings, const char *name)
{
	struct option_table table = store_options(ops);

	for (size_t i = 0; i < table.count; i++) {
		const char *dot = strrchr(table.options[i].name, '.');

		if (strcmp(dot == NULL ? table.options[i].name : dot + 1, name) == 0) {
			return (int64_t *)((char *)store_settings + table.options[i].offset);
		}
	}
	return NULL;
}

/* Makes pool_size clients of one connection each, not one client of pool_size connections. */
static void
take_clients(const struct cache_ops *ops, struct plugin_settings *settings, void *store_settings)
{
	int64_t *pool_size = store_number(ops, store_settings, "pool_size");
	const int64_t *write_behind = store_number(ops, store_settings, "write_behind_size");

	settings->clients = 1;
	if (pool_size != NULL) {
		settings->clients = (size_t)*pool_size;
		*pool_size = 1;
	}
	settings->waiting_bytes = write_behind == NULL ? 0 : (uint64_t)*write_behind;
}

static enum status
check(const struct cache_ops *ops, struct plugin_settings *settings, struct error *error)
{
	if (settings->generation != NULL && settings->generation_file != NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "options 'generation' and 'generation_file' of cache '%s' contradict each other: give "
				 "one of them",
				 ops->name);
	}
	if (settings->ttl_s < 0) {
		settings->ttl_s = ops->default_ttl_s;
	}
	return STATUS_OK;
}

enum status
plugin_settings_read(const struct cache_ops *ops, const char *json, struct plugin_settings *settings,
		     void **store_settings, struct error *error)
{
	struct json_config configuration;
	enum status status = json_config_read(json, &configuration, error);
	void *store = status == STATUS_OK ? calloc(1, ops->settings_size) : NULL;

	if (status != STATUS_OK) {
		return status;
	}
	if (store == NULL) {
		json_config_fini(&configuration);
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the settings of cache '%s'", ops->name);
	}
	*settings = (struct plugin_settings){0};
	option_presets(plugin_options, settings);
	option_presets(store_options(ops), store);
	for (size_t i = 0; i < configuration.count && status == STATUS_OK; i++) {
		status = apply(ops, &configuration.pairs[i], settings, store, error);
	}
	json_config_fini(&configuration);
	if (status == STATUS_OK) {
		status = check(ops, settings, error);
	}
	if (status != STATUS_OK) {
		option_fini(store_options(ops), store);
		free(store);
		plugin_settings_fini(settings);
		return status;
	}
	take_clients(ops, settings, store);
	*store_settings = store;
	return STATUS_OK;
}

void
plugin_settings_fini(struct plugin_settings *settings)
{
	option_fini(plugin_options, settings);
}
