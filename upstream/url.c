#include "upstream/url.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define UNIX_PREFIX "unix:"

static enum status
refuse(const struct upstream_url *url, const char *what, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "%s%s %s: give http://HOST:PORT, https://HOST:PORT or unix:/PATH, or "
			 "grpc://HOST:PORT or grpcs://HOST:PORT",
			 url->option, url->text, what);
}

/* A byte that would end the target or a header field early, or mean something that no address of a server has. */
static bool
is_plain(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text <= ' ' || *text == 0x7f || strchr("\\\"<>?#@", *text) != NULL) {
			return false;
		}
	}
	return true;
}

static bool
read_port(const char *text, uint16_t *port)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	*port = (uint16_t)number;
	return *text >= '0' && *text <= '9' && *end == '\0' && number > 0 && number <= UINT16_MAX;
}

/* Splits HOST[:PORT] or [ADDRESS][:PORT]. Returns what is wrong, or NULL. */
static const char *
split_authority(struct upstream_url *url)
{
	const char *text = url->authority;
	const char *end = *text == '[' ? strchr(text, ']') : strchr(text, ':');
	const char *port;

	if (*text == '[') {
		if (end == NULL) {
			return "has an address without its closing bracket";
		}
		url->host = memory_format("%.*s", (int)(end - text - 1), text + 1);
		port = end + 1;
	} else {
		port = end != NULL ? end : text + strlen(text);
		url->host = memory_format("%.*s", (int)(port - text), text);
	}
	if (*url->host == '\0') {
		return "names no host";
	}
	if (*port == '\0' && !url->grpc) {
		url->port = url->tls ? 443 : 80;
		return NULL;
	}
	return *port != ':'			 ? "names no port"
	       : read_port(port + 1, &url->port) ? NULL
						 : "names a port that is no number from 1 to 65535";
}

static enum status
parse_network(const char *rest, struct upstream_url *url, struct error *error)
{
	size_t length = strcspn(rest, "/");
	const char *path = rest + length;
	size_t path_length = strlen(path);
	const char *why;

	while (path_length > 0 && path[path_length - 1] == '/') {
		path_length--;
	}
	url->authority = memory_format("%.*s", (int)length, rest);
	url->path = memory_format("%.*s", (int)path_length, path);
	if (url->grpc && path_length > 0) {
		return refuse(url, "has a path, which gRPC has no place for", error);
	}
	why = split_authority(url);
	return why == NULL ? STATUS_OK : refuse(url, why, error);
}

/* Sets what the scheme says. Returns what follows it, or NULL. */
static const char *
read_scheme(const char *text, struct upstream_url *url)
{
	static const struct {
		const char *prefix;
		bool tls;
		bool grpc;
	} schemes[] = {{"http://", false, false},
		       {"https://", true, false},
		       {"grpc://", false, true},
		       {"grpcs://", true, true}};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		size_t length = strlen(schemes[i].prefix);

		if (strncmp(text, schemes[i].prefix, length) == 0) {
			url->tls = schemes[i].tls;
			url->grpc = schemes[i].grpc;
			return text + length;
		}
	}
	return NULL;
}

enum status
upstream_url_parse(const char *option, const char *text, struct upstream_url *url, struct error *error)
{
	const char *rest;
	enum status status;

	*url = (struct upstream_url){.option = option, .text = memory_text(text)};
	rest = read_scheme(text, url);
	if (strchr(text, '@') != NULL) { /* may be followed by a password, which no log should show */
		status = error_set(
			error, STATUS_INVALID_ARGUMENT,
			"%s: an address with a user or password is not supported: leave it out; what clients send "
			"in Authorization passes through",
			option);
	} else if (!is_plain(text)) {
		status = refuse(url, "has characters that an address cannot have", error);
	} else if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
		url->socket = memory_text(text + strlen(UNIX_PREFIX));
		url->authority = memory_text("localhost");
		url->path = memory_text("");
		status = *url->socket == '/' ? STATUS_OK : refuse(url, "is no absolute path", error);
	} else if (rest != NULL) {
		status = parse_network(rest, url, error);
	} else {
		status = refuse(url, "has no scheme that is known", error);
	}
	if (status != STATUS_OK) {
		upstream_url_fini(url);
	}
	return status;
}

void
upstream_url_fini(struct upstream_url *url)
{
	free(url->text);
	free(url->host);
	free(url->socket);
	free(url->authority);
	free(url->path);
	*url = (struct upstream_url){0};
}

bool
upstream_url_is_valid(const char *text)
{
	struct upstream_url url;
	struct error unused;

	if (upstream_url_parse("", text, &url, &unused) != STATUS_OK) {
		return false;
	}
	upstream_url_fini(&url);
	return true;
}

bool
upstream_url_is_http(const char *text)
{
	struct upstream_url url;
	struct error unused;
	bool is_http;

	if (upstream_url_parse("", text, &url, &unused) != STATUS_OK) {
		return false;
	}
	is_http = !url.grpc;
	upstream_url_fini(&url);
	return is_http;
}
