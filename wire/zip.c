#include "wire/zip.h"

#include <zlib.h>

/* Sizes of records without their variable parts, and what they begin with. */
#define END_SIZE 22
#define END_MARK 0x06054b50U
#define CENTRAL_SIZE 46
#define CENTRAL_MARK 0x02014b50U
#define LOCAL_SIZE 30
#define LOCAL_MARK 0x04034b50U
#define COMMENT_MAX 65535

enum { METHOD_STORED = 0, METHOD_DEFLATED = 8 };

static uint32_t
u16_at(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t
u32_at(const uint8_t *at)
{
	return u16_at(at) | u16_at(at + 2) << 16;
}

/* The offset of the central directory, which the record at the end tells. */
static bool
find_directory(struct bytes archive, size_t *offset)
{
	for (size_t back = END_SIZE; back <= archive.length && back <= END_SIZE + COMMENT_MAX; back++) {
		const uint8_t *end = archive.at + archive.length - back;

		if (u32_at(end) == END_MARK) {
			*offset = u32_at(end + 16);
			return true;
		}
	}
	return false;
}

bool
zip_next(struct bytes archive, size_t *place, struct zip_entry *entry)
{
	const uint8_t *central;
	const uint8_t *local;
	size_t name_length;
	uint32_t packed;
	size_t offset;
	size_t data;

	if (*place == 0 && !find_directory(archive, place)) {
		return false;
	}
	if (*place > archive.length || archive.length - *place < CENTRAL_SIZE ||
	    u32_at(archive.at + *place) != CENTRAL_MARK) {
		return false;
	}
	central = archive.at + *place;
	packed = u32_at(central + 20);
	name_length = u16_at(central + 28);
	offset = u32_at(central + 42);
	*place += CENTRAL_SIZE + name_length + u16_at(central + 30) + u16_at(central + 32);
	if (*place > archive.length || offset > archive.length || archive.length - offset < LOCAL_SIZE ||
	    u32_at(archive.at + offset) != LOCAL_MARK) {
		return false;
	}
	local = archive.at + offset;
	data = offset + LOCAL_SIZE + u16_at(local + 26) + u16_at(local + 28);
	if (data > archive.length || archive.length - data < packed) {
		return false;
	}
	*entry = (struct zip_entry){.name = bytes_make(central + CENTRAL_SIZE, name_length),
				    .packed = bytes_make(archive.at + data, packed),
				    .length = u32_at(central + 24),
				    .is_deflated = u16_at(central + 10) == METHOD_DEFLATED};
	return entry->is_deflated || (u16_at(central + 10) == METHOD_STORED && entry->length == packed);
}

static bool
inflate_entry(const struct zip_entry *entry, uint8_t *out)
{
	z_stream stream = {.next_in = (Bytef *)entry->packed.at,
			   .avail_in = (uInt)entry->packed.length,
			   .next_out = out,
			   .avail_out = entry->length};
	bool done;

	if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) { /* without the headers of zlib */
		return false;
	}
	done = inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_out == 0;
	(void)inflateEnd(&stream);
	return done;
}

enum status
zip_content(const struct zip_entry *entry, struct arena *arena, struct bytes *content, struct error *error)
{
	uint8_t *out;

	if (!entry->is_deflated) {
		*content = entry->packed;
		return STATUS_OK;
	}
	out = arena_room(arena, (size_t)entry->length + 1);
	if (out == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for '%.*s'", BYTES_ARGS(entry->name));
	}
	if (!inflate_entry(entry, out)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "'%.*s' in it is damaged", BYTES_ARGS(entry->name));
	}
	*content = bytes_make(out, entry->length);
	return STATUS_OK;
}
