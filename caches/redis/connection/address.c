#include "caches/redis/connection/address.h"

#include <stdio.h>
#include <sys/un.h>

#define PORT_MAX 65535

/* Whether the text is not empty and all of it is printable ASCII, without blanks and the characters of `refused`. */
static bool
is_plain(struct bytes text, const char *refused)
{
	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] <= ' ' || text.at[i] > '~' || strchr(refused, text.at[i]) != NULL) {
			return false;
		}
	}
	return text.length > 0;
}

static bool
read_number(struct bytes text, int64_t maximum, int64_t *number)
{
	int64_t value = 0;

	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9') {
			return false;
		}
		value = value * 10 + (text.at[i] - '0');
		if (value > maximum) {
			return false;
		}
	}
	*number = value;
	return text.length > 0;
}

static size_t
find(struct bytes text, uint8_t wanted)
{
	size_t at = 0;

	while (at < text.length && text.at[at] != wanted) {
		at++;
	}
	return at;
}

/* Returns where the last `wanted` is, or text.length if there is none. */
static size_t
find_last(struct bytes text, uint8_t wanted)
{
	for (size_t at = text.length; at > 0; at--) {
		if (text.at[at - 1] == wanted) {
			return at - 1;
		}
	}
	return text.length;
}

/* Removes the part of the text before the first `separator`, or all of it, and the separator. Returns that part. */
static struct bytes
take(struct bytes *text, uint8_t separator)
{
	struct bytes first = bytes_make(text->at, find(*text, separator));

	*text = bytes_skip(*text, first.length + (first.length < text->length));
	return first;
}

static void
set(struct redis_address *address, struct bytes host, uint16_t port)
{
	memcpy(address->host, host.at, host.length);
	address->host[host.length] = '\0';
	address->port = port;
}

bool
redis_address_make(struct bytes host, int64_t port, struct redis_address *address)
{
	if (port < 1 || port > PORT_MAX || host.length >= sizeof(address->host) || !is_plain(host, "/[]")) {
		return false;
	}
	set(address, host, (uint16_t)port);
	return true;
}

bool
redis_address_make_text(struct bytes host, struct bytes port, struct redis_address *address)
{
	int64_t number;

	return read_number(port, PORT_MAX, &number) && redis_address_make(host, number, address);
}

static bool
read_path(struct bytes path, struct redis_address *address)
{
	if (path.length >= sizeof(((struct sockaddr_un *)NULL)->sun_path) || find(path, '\0') < path.length) {
		return false;
	}
	set(address, path, 0);
	return true;
}

static bool
read_bracketed(struct bytes text, uint16_t default_port, struct redis_address *address)
{
	size_t end = find(text, ']');
	struct bytes host = bytes_make(text.at + 1, end - 1);
	struct bytes rest;

	if (end == text.length) {
		return false;
	}
	rest = bytes_skip(text, end + 1);
	if (rest.length == 0) {
		return redis_address_make(host, default_port, address);
	}
	return rest.at[0] == ':' && redis_address_make_text(host, bytes_skip(rest, 1), address);
}

bool
redis_address_read(struct bytes text, uint16_t default_port, struct redis_address *address)
{
	size_t colon = find(text, ':');

	if (text.length > 0 && text.at[0] == '/') {
		return read_path(text, address);
	}
	if (text.length > 0 && text.at[0] == '[') {
		return read_bracketed(text, default_port, address);
	}
	if (colon == text.length || colon != find_last(text, ':')) {
		return redis_address_make(text, default_port, address);
	}
	return redis_address_make_text(bytes_make(text.at, colon), bytes_skip(text, colon + 1), address);
}

void
redis_address_print(const struct redis_address *address, char *text, size_t size)
{
	if (redis_address_is_path(address)) {
		(void)snprintf(text, size, "%s", address->host);
	} else if (strchr(address->host, ':') != NULL) {
		(void)snprintf(text, size, "[%s]:%u", address->host, address->port);
	} else {
		(void)snprintf(text, size, "%s:%u", address->host, address->port);
	}
}

bool
redis_redirect_read(struct bytes error_text, enum redis_redirect *kind, uint16_t *slot, struct redis_address *address,
		    const struct redis_address *asked)
{
	struct bytes word = take(&error_text, ' ');
	struct bytes slot_text = take(&error_text, ' ');
	size_t colon = find_last(error_text, ':');
	struct bytes host = bytes_make(error_text.at, colon);
	bool moved = bytes_equal_text(word, "MOVED");
	int64_t number;

	if ((!moved && !bytes_equal_text(word, "ASK")) || !read_number(slot_text, REDIS_SLOT_COUNT - 1, &number) ||
	    colon == error_text.length || bytes_equal_text(host, "?")) {
		return false;
	}
	if (host.length == 0) {
		host = bytes_text(asked->host);
	}
	if (!redis_address_make_text(host, bytes_skip(error_text, colon + 1), address)) {
		return false;
	}
	*kind = moved ? REDIS_REDIRECT_MOVED : REDIS_REDIRECT_ASK;
	*slot = (uint16_t)number;
	return true;
}

bool
redis_switch_master_read(struct bytes message, struct bytes name, struct redis_address *now)
{
	struct bytes host;

	if (message.length <= name.length || !bytes_equal(bytes_make(message.at, name.length), name) ||
	    message.at[name.length] != ' ') {
		return false;
	}
	message = bytes_skip(message, name.length + 1);
	(void)take(&message, ' ');
	(void)take(&message, ' ');
	host = take(&message, ' ');
	return redis_address_make_text(host, message, now);
}
