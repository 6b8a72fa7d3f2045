#include "caches/redis/entry_key.h"

#include "caches/cache.h"

#define DIGEST_SHORT 32 /* hexadecimal digits of a 128-bit hash, and of a 256-bit one */
#define DIGEST_LONG 64

static void
write_model(struct buf *out, struct bytes model)
{
	for (size_t i = 0; i < model.length; i++) {
		if (model.at[i] == ':') {
			buf_text(out, "%3A");
		} else if (model.at[i] == '%') {
			buf_text(out, "%25");
		} else {
			buf_byte(out, model.at[i]);
		}
	}
}

void
entry_key_write(struct buf *out, const char *prefix, struct bytes scope, const struct digest_value *digest)
{
	char hex[2 * DIGEST_SIZE_MAX + 1];
	struct bytes model;
	struct bytes version;

	cache_scope_split(scope, &model, &version);
	hex_text(bytes_make(digest->bytes, digest->length), hex);
	buf_text(out, prefix);
	buf_byte(out, ':');
	write_model(out, model);
	buf_append(out, bytes_skip(scope, model.length)); /* :<version>:<fingerprint> */
	buf_byte(out, ':');
	buf_text(out, hex);
}

static bool
only_holds(struct bytes text, const char *digits)
{
	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] == '\0' || strchr(digits, text.at[i]) == NULL) {
			return false;
		}
	}
	return text.length > 0;
}

static bool
read_model(struct bytes part, uint8_t *room, struct bytes *model)
{
	size_t length = 0;

	if (part.length == 0 || memchr(part.at, '%', part.length) == NULL) {
		*model = part;
		return part.length > 0;
	}
	while (part.length > 0) {
		size_t used = 1;

		if (bytes_starts_with(part, "%3A")) {
			room[length++] = ':';
			used = 3;
		} else if (bytes_starts_with(part, "%25")) {
			room[length++] = '%';
			used = 3;
		} else if (*part.at == '%') {
			return false;
		} else {
			room[length++] = *part.at;
		}
		part = bytes_skip(part, used);
	}
	*model = bytes_make(room, length);
	return true;
}

bool
entry_key_read(struct bytes key, const char *prefix, uint8_t *room, struct bytes *model, struct bytes *version)
{
	static const char hexadecimal[] = "0123456789abcdef";
	size_t length = strlen(prefix);
	struct bytes name;
	struct bytes fingerprint;
	struct bytes digest;

	if (key.length <= length || memcmp(key.at, prefix, length) != 0 || key.at[length] != ':') {
		return false;
	}
	key = bytes_skip(key, length + 1);
	name = bytes_take_until(&key, ':');
	*version = bytes_take_until(&key, ':');
	fingerprint = bytes_take_until(&key, ':');
	digest = key;
	return only_holds(*version, "0123456789") && only_holds(fingerprint, hexadecimal) &&
	       only_holds(digest, hexadecimal) && (digest.length == DIGEST_SHORT || digest.length == DIGEST_LONG) &&
	       read_model(name, room, model);
}
