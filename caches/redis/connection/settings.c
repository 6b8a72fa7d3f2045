#include "caches/redis/connection/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct redis_settings, field)
#define SOCKET_PREFIX "unix:"

static const char *const cluster_choices[] = {"auto", "true", "false", NULL};
static const char *const read_from_choices[] = {"primary", "replica", "prefer_replica", "nearest", NULL};
static const char *const tls_verify_choices[] = {"full", "ca", "none", NULL};
static const char *const compression_choices[] = {"none", "lz4", "zstd", "auto", NULL};

static const struct option options[] = {
	{.name = "url",
	 .kind = OPTION_TEXT,
	 .offset = AT(url),
	 .secret = true,
	 .help = "where Redis is, in one: redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// (TLS), unix:///PATH, "
		 "redis+sentinel://HOST,HOST/MASTER or redis+cluster://HOST,HOST"},
	{.name = "host",
	 .kind = OPTION_TEXT,
	 .offset = AT(host),
	 .help = "name or address of the server, unix:/PATH of its socket, or several nodes of a cluster: "
		 "HOST:PORT;HOST:PORT"},
	{.name = "port",
	 .kind = OPTION_TEXT,
	 .offset = AT(given_port),
	 .help = "port of a host that names none; else 6379"},
	{.name = "cluster",
	 .kind = OPTION_CHOICE,
	 .offset = AT(cluster),
	 .preset = "auto",
	 .choices = cluster_choices,
	 .help = "whether it is a cluster: true, false, or auto: found out by itself"},
	{.name = "sentinels",
	 .kind = OPTION_TEXT,
	 .offset = AT(sentinels),
	 .help = "sentinels that say where the master is: HOST:PORT;HOST:PORT (port 26379 where left out)"},
	{.name = "sentinel_master",
	 .kind = OPTION_TEXT,
	 .offset = AT(sentinel_master),
	 .help = "name by which the sentinels know the master"},
	{.name = "sentinel_user",
	 .kind = OPTION_TEXT,
	 .offset = AT(sentinel_user),
	 .help = "ACL user of the sentinels, which is not that of Redis"},
	{.name = "sentinel_password",
	 .kind = OPTION_TEXT,
	 .offset = AT(sentinel_password),
	 .secret = true,
	 .help = "password of the sentinels, which is not that of Redis"},
	{.name = "user",
	 .kind = OPTION_TEXT,
	 .offset = AT(user),
	 .help = "ACL user; else TRITONCACHE_REDIS_USERNAME of the environment"},
	{.name = "password",
	 .kind = OPTION_TEXT,
	 .offset = AT(password),
	 .secret = true,
	 .help = "password; better in TRITONCACHE_REDIS_PASSWORD of the environment, where ps does not show it"},
	{.name = "password_file",
	 .kind = OPTION_TEXT,
	 .offset = AT(password_file),
	 .help = "file whose first line is the password; read again for each connection"},
	{.name = "password_command",
	 .kind = OPTION_TEXT,
	 .offset = AT(password_command),
	 .help = "program whose first line of output is the password; run again for new connections"},
	{.name = "password_refresh",
	 .kind = OPTION_INTEGER,
	 .offset = AT(password_refresh_s),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = 86400,
	 .unit = "s",
	 .help = "after so many seconds the password is obtained anew, and connections that are there log in again "
		 "with "
		 "it, before a token of theirs expires; 0: never"},
	{.name = "db", .kind = OPTION_TEXT, .offset = AT(given_db), .help = "number of the database; else 0"},
	{.name = "tls_enabled",
	 .kind = OPTION_TEXT,
	 .offset = AT(given_tls),
	 .help = "true: TLS, with the following options; else false"},
	{.name = "cert",
	 .kind = OPTION_TEXT,
	 .offset = AT(cert),
	 .help = "file with this client's certificate, where Redis wants one"},
	{.name = "key", .kind = OPTION_TEXT, .offset = AT(key), .help = "file with the certificate's private key"},
	{.name = "cacert",
	 .kind = OPTION_TEXT,
	 .offset = AT(cacert),
	 .help = "file with the certificates of whom to trust; else the system's"},
	{.name = "cacert_dir",
	 .kind = OPTION_TEXT,
	 .offset = AT(cacert_dir),
	 .help = "directory of such certificates, by hash"},
	{.name = "sni",
	 .kind = OPTION_TEXT,
	 .offset = AT(sni),
	 .help = "name to ask for and to expect in the certificate; else the host"},
	{.name = "tls_verify",
	 .kind = OPTION_CHOICE,
	 .offset = AT(tls_verify),
	 .preset = "full",
	 .choices = tls_verify_choices,
	 .help = "full: certificate and name; ca: certificate only; none: anyone is trusted"},
	{.name = "read_from",
	 .kind = OPTION_CHOICE,
	 .offset = AT(read_from),
	 .preset = "primary",
	 .choices = read_from_choices,
	 .help = "who answers look-ups: primary, replica, prefer_replica or nearest"},
	{.name = "availability_zone",
	 .kind = OPTION_TEXT,
	 .offset = AT(availability_zone),
	 .help = "zone of this server, whose replicas are preferred"},
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
	 .help = "connections of each loop thread, or of a plug-in; they are pipelined, so one is usually enough"},
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
	 .help = "responses on their way to Redis at most, per loop thread or plug-in; more are dropped and counted"},
	{.name = "in_flight_size",
	 .kind = OPTION_SIZE,
	 .offset = AT(in_flight_bytes),
	 .preset = "64MiB",
	 .minimum = 0,
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "values asked for and not yet received at most, per loop thread; beyond it look-ups are misses at "
		 "once"},
	{.name = "compression",
	 .kind = OPTION_CHOICE,
	 .offset = AT(compression),
	 .preset = "none",
	 .choices = compression_choices,
	 .help = "of what is stored: none, lz4, zstd, or auto: where it pays"},
	{.name = "compression_level",
	 .kind = OPTION_INTEGER,
	 .offset = AT(compression_level),
	 .preset = "1",
	 .minimum = 1,
	 .maximum = 9,
	 .help = "1: fastest, 9: smallest"},
	{.name = "compression_min_size",
	 .kind = OPTION_SIZE,
	 .offset = AT(compression_min_bytes),
	 .preset = "1KiB",
	 .minimum = 0,
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "smaller values are stored as they are"},
};

const struct option_table redis_options = {options, sizeof(options) / sizeof(*options)};

/* Options that are texts above, to tell whether they were given beside a URL; in the order of take_given. */
static const struct option given[] = {
	{.name = "port", .kind = OPTION_INTEGER, .offset = AT(port), .minimum = 1, .maximum = UINT16_MAX},
	{.name = "db", .kind = OPTION_INTEGER, .offset = AT(db), .minimum = 0, .maximum = INT32_MAX},
	{.name = "tls_enabled", .kind = OPTION_BOOLEAN, .offset = AT(tls)},
};

/* --- Checks --- */

static enum status
contradicts(const char *a, const char *b, const char *remedy, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "options '%s' and '%s' of cache 'redis' contradict each other: %s", a, b, remedy);
}

static enum status
lacks(const char *option, const char *needed, const char *remedy, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "option '%s' of cache 'redis' needs '%s': %s", option, needed,
			 remedy);
}

static enum status
no_memory(struct error *error)
{
	return error_set(error, STATUS_UNAVAILABLE, "no memory for the settings of cache 'redis'");
}

/* Parses the texts of `given`; a field keeps its value if its option was not given. */
static enum status
take_given(struct redis_settings *settings, struct error *error)
{
	const char *texts[] = {settings->given_port, settings->given_db, settings->given_tls};
	enum status status = STATUS_OK;

	settings->port = REDIS_PORT;
	for (size_t i = 0; i < sizeof(given) / sizeof(*given) && status == STATUS_OK; i++) {
		if (texts[i] != NULL) {
			status = option_set(&given[i], settings, texts[i], error);
		}
	}
	if (status != STATUS_OK) {
		(void)error_prefix(error, "cache 'redis': ");
	}
	return status;
}

/* --- The URL --- */

static enum status
check_beside_url(const struct redis_settings *settings, const struct redis_url *url, struct error *error)
{
	const struct {
		const char *name;
		bool contradicts;
	} others[] = {
		{"host", settings->host != NULL},
		{"port", settings->given_port != NULL},
		{"sentinels", settings->sentinels != NULL},
		{"sentinel_master", settings->sentinel_master != NULL},
		{"user", settings->user != NULL && url->user != NULL},
		{"password", settings->password != NULL && url->password != NULL},
		{"password_file", settings->password_file != NULL && url->password != NULL},
		{"password_command", settings->password_command != NULL && url->password != NULL},
		{"db", settings->given_db != NULL && url->db >= 0 && settings->db != url->db},
		{"sentinel_user", settings->sentinel_user != NULL && url->sentinel_user != NULL},
		{"sentinel_password", settings->sentinel_password != NULL && url->sentinel_password != NULL},
		{"tls_enabled", settings->given_tls != NULL && settings->tls != url->tls},
		{"cluster", settings->cluster == REDIS_CLUSTER_FALSE && url->topology == REDIS_CLUSTER},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (others[i].contradicts) {
			return contradicts("url", others[i].name, "say it in the URL, or by options only", error);
		}
	}
	return STATUS_OK;
}

/* Moves a text of the URL, if it has one, to the settings. */
static void
move_text(char **to, char **from)
{
	if (*from != NULL) {
		free(*to);
		*to = *from;
		*from = NULL;
	}
}

static enum status
take_url(struct redis_settings *settings, struct error *error)
{
	struct redis_url url;
	enum status status = redis_url_read(settings->url, &url, error);

	if (status == STATUS_OK) {
		status = check_beside_url(settings, &url, error);
	}
	if (status == STATUS_OK) {
		settings->topology = url.topology;
		settings->tls = url.tls;
		settings->db = url.db >= 0 ? url.db : settings->db;
		settings->seeds = url.seeds.at;
		settings->seed_count = url.seeds.count;
		url.seeds = (struct redis_seeds){0};
		move_text(&settings->user, &url.user);
		move_text(&settings->password, &url.password);
		move_text(&settings->sentinel_master, &url.master);
		move_text(&settings->sentinel_user, &url.sentinel_user);
		move_text(&settings->sentinel_password, &url.sentinel_password);
	}
	redis_url_fini(&url);
	return status;
}

/* --- Where Redis is, by options --- */

static enum status
take_seeds(struct redis_settings *settings, const char *option, const char *text, uint16_t port, struct error *error)
{
	struct redis_seeds seeds = {0};
	bool usable;

	if (strstr(text, "://") != NULL || strchr(text, '@') != NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "the value of option '%s' of cache 'redis' (not shown) looks like a URL: give it as "
				 "--cache-config redis,url=URL",
				 option);
	}
	if (strchr(text, '=') != NULL) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"invalid value '%s' for '%s': each option is given by a --cache-config of its own, as in "
			"--cache-config redis,host=HOST --cache-config redis,port=PORT",
			text, option);
	}
	usable = redis_seeds_read(bytes_text(text), port, &seeds);
	settings->seeds = seeds.at;
	settings->seed_count = seeds.count;
	return usable ? STATUS_OK
		      : error_set(error, STATUS_INVALID_ARGUMENT,
				  "invalid value '%s' for '%s': expected HOST or HOST:PORT, several with ; between "
				  "them%s",
				  text, option, text[0] == '/' ? "; the path of a socket is written unix:/PATH" : "");
}

static enum status
take_sentinels(struct redis_settings *settings, struct error *error)
{
	if (settings->host != NULL) {
		return contradicts("sentinels", "host", "the sentinels say where Redis is", error);
	}
	if (settings->given_port != NULL) {
		return contradicts("sentinels", "port", "write each sentinel as HOST:PORT", error);
	}
	settings->topology = REDIS_SENTINEL;
	return take_seeds(settings, "sentinels", settings->sentinels, REDIS_SENTINEL_PORT, error);
}

static enum status
take_socket(struct redis_settings *settings, const char *path, struct error *error)
{
	struct redis_seeds seeds = {0};

	if (settings->given_port != NULL) {
		return contradicts("host", "port", "a Unix socket has no port", error);
	}
	if (settings->tls) {
		return contradicts("host", "tls_enabled", "there is no TLS on a Unix socket", error);
	}
	if (!redis_seeds_socket(path, &seeds)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "invalid value '%s' for 'host': expected unix:/PATH, absolute and of at most 107 "
				 "bytes",
				 settings->host);
	}
	settings->topology = REDIS_SERVER;
	settings->seeds = seeds.at;
	settings->seed_count = seeds.count;
	return STATUS_OK;
}

static enum status
take_host(struct redis_settings *settings, struct error *error)
{
	if (settings->host == NULL || *settings->host == '\0') {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "cache 'redis' needs a host: --cache-config redis,host=HOST [--cache-config "
				 "redis,port=PORT], or --cache-config redis,url=URL");
	}
	if (strncmp(settings->host, SOCKET_PREFIX, strlen(SOCKET_PREFIX)) == 0) {
		return take_socket(settings, settings->host + strlen(SOCKET_PREFIX), error);
	}
	settings->topology = REDIS_AUTO;
	return take_seeds(settings, "host", settings->host, (uint16_t)settings->port, error);
}

static enum status
take_places(struct redis_settings *settings, struct error *error)
{
	if (settings->url != NULL) {
		return take_url(settings, error);
	}
	return settings->sentinels != NULL ? take_sentinels(settings, error) : take_host(settings, error);
}

/* --- Options that depend on each other --- */

static enum status
check_sentinels(const struct redis_settings *settings, struct error *error)
{
	bool used = settings->topology == REDIS_SENTINEL;

	if (used && settings->sentinel_master == NULL) {
		return lacks("sentinels", "sentinel_master", "the name by which the sentinels know the master", error);
	}
	if (!used && settings->sentinel_master != NULL) {
		return lacks("sentinel_master", "sentinels", "HOST:PORT of each sentinel, with ; between them", error);
	}
	if (!used && settings->sentinel_user != NULL) {
		return lacks("sentinel_user", "sentinels", "the user of Redis itself is 'user'", error);
	}
	if (!used && settings->sentinel_password != NULL) {
		return lacks("sentinel_password", "sentinels", "the password of Redis itself is 'password'", error);
	}
	if (settings->sentinel_user != NULL && settings->sentinel_password == NULL) {
		return lacks("sentinel_user", "sentinel_password", "the user's password", error);
	}
	return STATUS_OK;
}

/* The option `cluster` decides what the host or the URL left open. */
static enum status
check_cluster(struct redis_settings *settings, struct error *error)
{
	if (settings->topology == REDIS_AUTO && settings->cluster != REDIS_CLUSTER_AUTO) {
		settings->topology = settings->cluster == REDIS_CLUSTER_TRUE ? REDIS_CLUSTER : REDIS_SERVER;
	}
	if (settings->cluster == REDIS_CLUSTER_TRUE && settings->topology != REDIS_CLUSTER) {
		return settings->topology == REDIS_SENTINEL
			       ? contradicts("cluster", settings->url != NULL ? "url" : "sentinels",
					     "a cluster has no sentinels", error)
			       : contradicts("cluster", settings->url != NULL ? "url" : "host",
					     "the nodes of a cluster are not on a Unix socket", error);
	}
	if (settings->topology == REDIS_SERVER && settings->seed_count > 1) {
		return contradicts("cluster", settings->url != NULL ? "url" : "host",
				   "several hosts are the nodes of a cluster; give one, or leave out cluster=false",
				   error);
	}
	return STATUS_OK;
}

static enum status
check_password(const struct redis_settings *settings, struct error *error)
{
	const char *remedy = "one of them says where the password comes from";

	if (settings->password != NULL && settings->password_file != NULL) {
		return contradicts("password", "password_file", remedy, error);
	}
	if (settings->password != NULL && settings->password_command != NULL) {
		return contradicts("password", "password_command", remedy, error);
	}
	if (settings->password_file != NULL && settings->password_command != NULL) {
		return contradicts("password_file", "password_command", remedy, error);
	}
	return STATUS_OK;
}

static bool
is_said(const char *text)
{
	return text != NULL && *text != '\0';
}

/* Refuses TLS options without TLS, as they would protect nothing. Given tls_enabled=false, they may stay. */
static enum status
check_tls(const struct redis_settings *settings, struct error *error)
{
	const struct {
		const char *name;
		bool set;
	} options_of_tls[] = {
		{"cert", is_said(settings->cert)},     {"key", is_said(settings->key)},
		{"cacert", is_said(settings->cacert)}, {"cacert_dir", is_said(settings->cacert_dir)},
		{"sni", is_said(settings->sni)},       {"tls_verify", settings->tls_verify > 0},
	};

	for (size_t i = 0; i < sizeof(options_of_tls) / sizeof(*options_of_tls); i++) {
		if (options_of_tls[i].set && !settings->tls && settings->given_tls == NULL) {
			return lacks(options_of_tls[i].name, "tls_enabled",
				     settings->url != NULL ? "begin the URL with rediss:// or the like"
							   : "add --cache-config redis,tls_enabled=true",
				     error);
		}
	}
	if (is_said(settings->cert) && !is_said(settings->key)) {
		return lacks("cert", "key", "the file with the certificate's private key", error);
	}
	if (is_said(settings->key) && !is_said(settings->cert)) {
		return lacks("key", "cert", "the file with the private key's certificate", error);
	}
	return STATUS_OK;
}

static enum status
check_together(struct redis_settings *settings, struct error *error)
{
	enum status status = check_sentinels(settings, error);

	if (status == STATUS_OK) {
		status = check_cluster(settings, error);
	}
	if (status == STATUS_OK) {
		status = check_password(settings, error);
	}
	return status == STATUS_OK ? check_tls(settings, error) : status;
}

/* --- Completing the settings --- */

static bool
from_environment(char **text, const char *name)
{
	const char *value = getenv(name);

	if (*text == NULL && value != NULL && *value != '\0') {
		*text = strdup(value);
		return *text != NULL;
	}
	return true;
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
	enum status status = take_given(settings, error);

	if (status == STATUS_OK) {
		status = take_places(settings, error);
	}
	if (status == STATUS_OK) {
		status = check_together(settings, error);
	}
	if (status != STATUS_OK) {
		return status;
	}
	if (!from_environment(&settings->user, "TRITONCACHE_REDIS_USERNAME")) {
		return no_memory(error);
	}
	if (settings->password_file == NULL && settings->password_command == NULL &&
	    !from_environment(&settings->password, "TRITONCACHE_REDIS_PASSWORD")) {
		return no_memory(error);
	}
	bound(&settings->connect_timeout_ms);
	bound(&settings->socket_timeout_ms);
	bound(&settings->wait_timeout_ms);
	return STATUS_OK;
}

void
redis_settings_free(struct redis_settings *settings)
{
	redis_secret_free(settings->url);
	redis_secret_free(settings->password);
	redis_secret_free(settings->sentinel_password);
	settings->url = NULL;
	settings->password = NULL;
	settings->sentinel_password = NULL;
	option_fini(redis_options, settings);
	free(settings->seeds);
	free(settings);
}

static void __attribute__((format(printf, 3, 4))) append(char *text, size_t size, const char *format, ...)
{
	size_t length = strlen(text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + length, size - length, format, args);
	va_end(args);
}

struct bytes
redis_settings_key(const struct redis_settings *settings, const char *name, char *room)
{
	int length = snprintf(room, REDIS_KEY_ROOM, "%s:%s", settings->key_prefix, name);

	return bytes_make(room, (size_t)length < REDIS_KEY_ROOM ? (size_t)length : REDIS_KEY_ROOM - 1);
}

void
redis_settings_describe(const struct redis_settings *settings, char *text, size_t size)
{
	(void)snprintf(text, size, "redis%s",
		       settings->topology == REDIS_SENTINEL  ? " by sentinels"
		       : settings->topology == REDIS_CLUSTER ? " cluster at"
							     : " at");
	for (size_t i = 0; i < settings->seed_count; i++) {
		char address[REDIS_ADDRESS_TEXT_SIZE];

		redis_address_print(&settings->seeds[i], address, sizeof(address));
		append(text, size, "%s %s", i > 0 ? "," : "", address);
	}
	if (settings->topology == REDIS_SENTINEL) {
		append(text, size, " (%s)", settings->sentinel_master);
	}
	append(text, size, "%s", settings->tls ? ", TLS" : "");
}
