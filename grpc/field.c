#include "grpc/field.h"

#include "base/clock.h"

#define TIMEOUT_DIGITS_MAX 8

static uint64_t
unit_ns(uint8_t unit)
{
	switch (unit) {
	case 'H':
		return 3600 * NS_PER_S;
	case 'M':
		return 60 * NS_PER_S;
	case 'S':
		return NS_PER_S;
	case 'm':
		return NS_PER_MS;
	case 'u':
		return 1000;
	case 'n':
		return 1;
	default:
		return 0;
	}
}

bool
grpc_timeout_read(struct bytes field, uint64_t *ns)
{
	uint64_t number = 0;
	uint64_t unit;

	if (field.length < 2 || field.length > TIMEOUT_DIGITS_MAX + 1) {
		return false;
	}
	for (size_t i = 0; i + 1 < field.length; i++) {
		if (field.at[i] < '0' || field.at[i] > '9') {
			return false;
		}
		number = number * 10 + (uint64_t)(field.at[i] - '0');
	}
	unit = unit_ns(field.at[field.length - 1]);
	if (unit == 0) {
		return false;
	}
	*ns = number > UINT64_MAX / 2 / unit ? UINT64_MAX / 2 : number * unit;
	return true;
}

static bool
is_plain(uint8_t byte)
{
	return byte >= 0x20 && byte <= 0x7e && byte != '%';
}

struct bytes
grpc_message_encode(struct bytes text, struct arena *arena)
{
	size_t length = 0;
	uint8_t *encoded;

	for (size_t i = 0; i < text.length; i++) {
		length += is_plain(text.at[i]) ? 1 : 3;
	}
	encoded = length == text.length ? NULL : arena_room(arena, length);
	if (length == text.length) {
		return arena_copy(arena, text);
	}
	if (encoded == NULL) {
		return bytes_make(NULL, 0);
	}
	length = 0;
	for (size_t i = 0; i < text.length; i++) {
		if (is_plain(text.at[i])) {
			encoded[length++] = text.at[i];
			continue;
		}
		encoded[length++] = '%';
		encoded[length++] = (uint8_t) "0123456789ABCDEF"[text.at[i] >> 4];
		encoded[length++] = (uint8_t) "0123456789ABCDEF"[text.at[i] & 15];
	}
	return bytes_make(encoded, length);
}

bool
grpc_content_type_valid(struct bytes field)
{
	static const char type[] = "application/grpc";
	struct bytes rest;

	if (field.length < sizeof(type) - 1 || strncasecmp((const char *)field.at, type, sizeof(type) - 1) != 0) {
		return false;
	}
	rest = bytes_skip(field, sizeof(type) - 1);
	if (bytes_starts_with(rest, "+proto")) {
		rest = bytes_skip(rest, strlen("+proto"));
	}
	return rest.length == 0 || *rest.at == ';' || *rest.at == ' ';
}
