#include "caches/redis/connection/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define SCHEME_MAX_LENGTH 32
#define DB_MAX_DIGITS 9
#define NAME_SHOWN_MAX 32

/* The parts of a URL, not decoded. */
struct parts {
	struct bytes user_info; /* without the @ */
	struct bytes hosts;
	struct bytes path; /* with its / */
	struct bytes query;
	bool socket;
};

void
redis_secret_free(char *secret)
{
	if (secret != NULL) {
		explicit_bzero(secret, strlen(secret));
		free(secret);
	}
}

void
redis_url_fini(struct redis_url *url)
{
	free(url->user);
	redis_secret_free(url->password);
	free(url->seeds.at);
	free(url->master);
	free(url->sentinel_user);
	redis_secret_free(url->sentinel_password);
	*url = (struct redis_url){.db = -1};
}

/* Removes and returns the part of `text` before the first byte of `ends`. `text` then begins with that byte. */
static struct bytes
cut(struct bytes *text, const char *ends)
{
	size_t length = 0;
	struct bytes head;

	while (length < text->length && strchr(ends, text->at[length]) == NULL) {
		length++;
	}
	head = bytes_make(text->at, length);
	*text = bytes_skip(*text, length);
	return head;
}

/* --- Addresses --- */

static bool
add_seed(struct redis_seeds *seeds, const struct redis_address *address)
{
	struct redis_address *more = reallocarray(seeds->at, seeds->count + 1, sizeof(*more));

	if (more == NULL) {
		return false;
	}
	seeds->at = more;
	seeds->at[seeds->count++] = *address;
	return true;
}

bool
redis_seeds_read(struct bytes text, uint16_t default_port, struct redis_seeds *seeds)
{
	for (;;) {
		struct bytes one = cut(&text, ";,");
		struct redis_address address;

		if (!redis_address_read(one, default_port, &address) || address.port == 0 ||
		    !add_seed(seeds, &address)) {
			return false;
		}
		if (text.length == 0) {
			return true;
		}
		text = bytes_skip(text, 1);
	}
}

bool
redis_seeds_socket(const char *path, struct redis_seeds *seeds)
{
	struct redis_address address = {.port = 0};

	if (path[0] != '/' || path[1] == '\0' || strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		return false;
	}
	(void)snprintf(address.host, sizeof(address.host), "%s", path);
	return add_seed(seeds, &address);
}

/* --- Decoding --- */

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns a text from malloc, or NULL. An encoded zero byte is refused, since it would cut the text. */
static char *
decode(struct bytes text, bool plus_is_blank, struct error *error)
{
	char *out = calloc(text.length + 1, 1);
	size_t length = 0;

	if (out == NULL) {
		(void)error_set(error, STATUS_INTERNAL, "out of memory");
		return NULL;
	}
	for (size_t i = 0; i < text.length; i++) {
		uint8_t c = text.at[i];

		if (c == '%') {
			int high = i + 2 < text.length ? hex_digit(text.at[i + 1]) : -1;
			int low = i + 2 < text.length ? hex_digit(text.at[i + 2]) : -1;

			if (high < 0 || low < 0 || high + low == 0) {
				(void)error_set(error, STATUS_INVALID_ARGUMENT,
						"a %% in it does not begin an encoded byte such as %%40 (write %%25 "
						"for a %% itself)");
				free(out);
				return NULL;
			}
			c = (uint8_t)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus_is_blank) {
			c = ' ';
		}
		out[length++] = (char)c;
	}
	return out;
}

/* Decodes to *text, which must be NULL and stays so if `encoded` is empty. */
static enum status
take_text(struct bytes encoded, bool plus_is_blank, char **text, struct error *error)
{
	if (encoded.length > 0) {
		*text = decode(encoded, plus_is_blank, error);
		return *text == NULL ? error->status : STATUS_OK;
	}
	return STATUS_OK;
}

static enum status
take_db(struct bytes text, struct redis_url *url, struct error *error)
{
	int64_t number = 0;
	bool valid = text.length > 0 && text.length <= DB_MAX_DIGITS;

	for (size_t i = 0; i < text.length && valid; i++) {
		valid = text.at[i] >= '0' && text.at[i] <= '9';
		number = number * 10 + (text.at[i] - '0');
	}
	if (!valid) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "what stands where the number of the database belongs is none");
	}
	if (url->db >= 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "it gives the number of the database twice");
	}
	url->db = number;
	return STATUS_OK;
}

/* --- Parsing --- */

static bool
take_prefix(struct bytes *text, const char *prefix)
{
	size_t length = strlen(prefix);
	bool there = text->length >= length && strncasecmp((const char *)text->at, prefix, length) == 0;

	if (there) {
		*text = bytes_skip(*text, length);
	}
	return there;
}

static bool
read_scheme(struct bytes scheme, struct redis_url *url, struct parts *parts)
{
	struct bytes rest = scheme;

	parts->socket = bytes_equal_nocase(scheme, "unix");
	if (parts->socket) {
		url->topology = REDIS_SERVER;
		return true;
	}
	if (!take_prefix(&rest, "redis") && !take_prefix(&rest, "valkey")) {
		return false;
	}
	url->tls = take_prefix(&rest, "s");
	parts->socket = bytes_equal_nocase(rest, "+unix") && !url->tls;
	if (parts->socket) {
		url->topology = REDIS_SERVER;
	} else if (bytes_equal_nocase(rest, "+sentinel")) {
		url->topology = REDIS_SENTINEL;
	} else if (bytes_equal_nocase(rest, "+cluster")) {
		url->topology = REDIS_CLUSTER;
	} else {
		url->topology = REDIS_AUTO;
		return rest.length == 0;
	}
	return true;
}

static enum status
no_scheme(struct bytes scheme, bool ends, struct error *error)
{
	bool shown = ends && scheme.length > 0 && scheme.length <= SCHEME_MAX_LENGTH;

	for (size_t i = 0; i < scheme.length && shown; i++) {
		uint8_t c = scheme.at[i];

		shown = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
			c == '-' || c == '.';
	}
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "%s%.*s%s; expected redis://, rediss:// (TLS), unix://, redis+sentinel://, "
			 "rediss+sentinel://, redis+cluster:// or rediss+cluster://, or the same with valkey",
			 shown ? "it begins with '" : "it does not begin with the kind of connection",
			 shown ? (int)scheme.length : 0, (const char *)scheme.at, shown ? "://'" : "");
}

/* Splits `text`, which is the URL after its scheme. */
static enum status
take_apart(struct bytes text, struct parts *parts, struct error *error)
{
	struct bytes authority = cut(&text, "/?");
	const uint8_t *at = authority.length == 0 ? NULL : memrchr(authority.at, '@', authority.length);

	parts->hosts = authority;
	if (at != NULL) {
		parts->user_info = bytes_make(authority.at, (size_t)(at - authority.at));
		parts->hosts = bytes_skip(authority, parts->user_info.length + 1);
	}
	parts->path = cut(&text, "?");
	parts->query = text.length == 0 ? text : bytes_skip(text, 1);
	if (memchr(authority.at, '#', (size_t)(text.at + text.length - authority.at)) != NULL ||
	    (!parts->socket && memchr(parts->path.at, '@', (size_t)(text.at + text.length - parts->path.at)) != NULL)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "a '/', '?', '#' or '@' of a name or a password has to be written as %%2F, %%3F, %%23 "
				 "or %%40");
	}
	return STATUS_OK;
}

static enum status
take_user(const struct parts *parts, struct redis_url *url, struct error *error)
{
	struct bytes password = parts->user_info;
	struct bytes user = cut(&password, ":");
	enum status status = take_text(user, false, &url->user, error);

	if (status == STATUS_OK && password.length > 0) {
		status = take_text(bytes_skip(password, 1), false, &url->password, error);
	}
	return status;
}

static enum status
take_socket(const struct parts *parts, struct redis_url *url, struct error *error)
{
	char *path;
	bool usable;

	if (parts->hosts.length > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "the path of the socket is not absolute, as it is in unix:///run/redis.sock");
	}
	path = decode(parts->path, false, error);
	if (path == NULL) {
		return error->status;
	}
	usable = redis_seeds_socket(path, &url->seeds);
	free(path);
	return usable ? STATUS_OK
		      : error_set(error, STATUS_INVALID_ARGUMENT,
				  "the path of the socket is missing or longer than 107 bytes");
}

static enum status
take_hosts(const struct parts *parts, struct redis_url *url, struct error *error)
{
	uint16_t port = url->topology == REDIS_SENTINEL ? REDIS_SENTINEL_PORT : REDIS_PORT;
	char *hosts = decode(parts->hosts, false, error);
	bool usable;

	if (hosts == NULL) {
		return error->status;
	}
	usable = redis_seeds_read(bytes_text(hosts), port, &url->seeds);
	free(hosts);
	return usable ? STATUS_OK
		      : error_set(error, STATUS_INVALID_ARGUMENT,
				  "what stands where the host belongs is not HOST or HOST:PORT");
}

/* [/MASTER][/DB] */
static enum status
take_path(const struct parts *parts, struct redis_url *url, struct error *error)
{
	struct bytes rest = parts->path.length == 0 ? parts->path : bytes_skip(parts->path, 1);

	if (url->topology == REDIS_SENTINEL) {
		enum status status = take_text(cut(&rest, "/"), false, &url->master, error);

		if (status == STATUS_OK && url->master == NULL) {
			status = error_set(error, STATUS_INVALID_ARGUMENT,
					   "the master's name is missing after the sentinels, as in "
					   "redis+sentinel://HOST/MASTER");
		}
		if (status != STATUS_OK) {
			return status;
		}
		rest = rest.length == 0 ? rest : bytes_skip(rest, 1);
	}
	return rest.length == 0 ? STATUS_OK : take_db(rest, url, error);
}

static enum status
take_parameter(struct bytes name, struct bytes value, struct redis_url *url, struct error *error)
{
	char **text = NULL;

	if (bytes_equal_text(name, "db")) {
		return take_db(value, url, error);
	}
	if (url->topology == REDIS_SENTINEL && bytes_equal_text(name, "sentinel_username")) {
		text = &url->sentinel_user;
	} else if (url->topology == REDIS_SENTINEL && bytes_equal_text(name, "sentinel_password")) {
		text = &url->sentinel_password;
	}
	if (text == NULL || *text != NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "%s '%.*s' after the '?'; other options are given by themselves, as in --cache-config "
				 "redis,key_prefix=PREFIX",
				 text == NULL ? "there is no" : "it has more than one",
				 name.length < NAME_SHOWN_MAX ? (int)name.length : NAME_SHOWN_MAX,
				 (const char *)name.at);
	}
	return take_text(value, true, text, error);
}

static enum status
take_query(const struct parts *parts, struct redis_url *url, struct error *error)
{
	struct bytes rest = parts->query;
	enum status status = STATUS_OK;

	while (rest.length > 0 && status == STATUS_OK) {
		struct bytes value = cut(&rest, "&");
		struct bytes name = cut(&value, "=");

		rest = rest.length == 0 ? rest : bytes_skip(rest, 1);
		value = value.length == 0 ? value : bytes_skip(value, 1);
		status = take_parameter(name, value, url, error);
	}
	return status;
}

enum status
redis_url_read(const char *text, struct redis_url *url, struct error *error)
{
	const char *end = strstr(text, "://");
	struct bytes scheme = bytes_make(text, end == NULL ? strlen(text) : (size_t)(end - text));
	struct parts parts = {0};
	enum status status;

	*url = (struct redis_url){.db = -1};
	if (end == NULL || !read_scheme(scheme, url, &parts)) {
		status = no_scheme(scheme, end != NULL, error);
	} else {
		status = take_apart(bytes_text(end + strlen("://")), &parts, error);
	}
	if (status == STATUS_OK) {
		status = take_user(&parts, url, error);
	}
	if (status == STATUS_OK) {
		status = parts.socket ? take_socket(&parts, url, error) : take_hosts(&parts, url, error);
	}
	if (status == STATUS_OK && !parts.socket) {
		status = take_path(&parts, url, error);
	}
	if (status == STATUS_OK) {
		status = take_query(&parts, url, error);
	}
	return status == STATUS_OK ? STATUS_OK : error_prefix(error, "invalid 'url' of cache 'redis' (not shown): ");
}
