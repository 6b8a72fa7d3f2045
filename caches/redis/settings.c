#include "caches/redis/settings.h"

#include <stdlib.h>

#define AT(field) offsetof(struct redis_settings, field)

static const struct option options[] = {
	{.name = "host", .kind = OPTION_TEXT, .offset = AT(host), .help = "name or address of the server (required)"},
	{.name = "port",
	 .kind = OPTION_INTEGER,
	 .offset = AT(port),
	 .preset = "6379",
	 .minimum = 1,
	 .maximum = 65535,
	 .help = "its port"},
	{.name = "user",
	 .kind = OPTION_TEXT,
	 .offset = AT(user),
	 .help = "ACL user; else TRITONCACHE_REDIS_USERNAME of the environment"},
	{.name = "password",
	 .kind = OPTION_TEXT,
	 .offset = AT(password),
	 .secret = true,
	 .help = "password; better in TRITONCACHE_REDIS_PASSWORD of the environment, where ps does not show it"},
	{.name = "db",
	 .kind = OPTION_INTEGER,
	 .offset = AT(db),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .help = "number of the database"},
	{.name = "connect_timeout",
	 .kind = OPTION_INTEGER,
	 .offset = AT(connect_timeout_ms),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = 3600000,
	 .unit = "ms",
	 .help = "longest time to connect and log in; 0: 1000"},
	{.name = "socket_timeout",
	 .kind = OPTION_INTEGER,
	 .offset = AT(socket_timeout_ms),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = 3600000,
	 .unit = "ms",
	 .help = "a connection that answers nothing for so long is given up and made again; 0: 1000"},
	{.name = "pool_size",
	 .kind = OPTION_INTEGER,
	 .offset = AT(pool_size),
	 .preset = "1",
	 .minimum = 1,
	 .maximum = 64,
	 .help = "connections of each loop thread; they are pipelined, so one is usually enough"},
	{.name = "wait_timeout",
	 .kind = OPTION_INTEGER,
	 .offset = AT(wait_timeout_ms),
	 .preset = "1000",
	 .minimum = 0,
	 .maximum = 3600000,
	 .unit = "ms",
	 .help = "while answers are due for longer than this, look-ups are misses at once; 0: 1000"},
	{.name = "key_prefix",
	 .kind = OPTION_TEXT,
	 .offset = AT(key_prefix),
	 .preset = "hippocamp",
	 .help = "what every key in Redis begins with"},
	{.name = "write_behind_size",
	 .kind = OPTION_SIZE,
	 .offset = AT(write_behind_bytes),
	 .preset = "64MiB",
	 .minimum = 0,
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "responses on their way to Redis at most, per loop thread; more are dropped and counted"},
};

const struct option_table redis_options = {options, sizeof(options) / sizeof(*options)};

static void
from_environment(char **text, const char *name)
{
	const char *value = getenv(name);

	if (*text == NULL && value != NULL && *value != '\0') {
		*text = strdup(value);
	}
}

static void
bound(int64_t *time_ms)
{
	if (*time_ms == 0) {
		*time_ms = 1000;
	}
}

enum status
redis_settings_complete(struct redis_settings *settings, struct error *error)
{
	from_environment(&settings->user, "TRITONCACHE_REDIS_USERNAME");
	from_environment(&settings->password, "TRITONCACHE_REDIS_PASSWORD");
	bound(&settings->connect_timeout_ms);
	bound(&settings->socket_timeout_ms);
	bound(&settings->wait_timeout_ms);
	if (settings->host == NULL || *settings->host == '\0') {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "cache 'redis' needs a host: --cache-config redis,host=HOST [--cache-config "
				 "redis,port=PORT]");
	}
	return STATUS_OK;
}
