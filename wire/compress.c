#include "wire/compress.h"

#include "wire/field.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#define GZIP_WINDOW (15 + 16)
#define ZLIB_WINDOW 15
#define STEP ((size_t)64 * 1024)
#define RATIO_FREE ((size_t)8 << 20)

const char *
coding_name(enum coding coding)
{
	return coding == CODING_GZIP ? "gzip" : coding == CODING_DEFLATE ? "deflate" : "identity";
}

enum coding
coding_from_name(struct bytes name)
{
	if (name.length == 0 || bytes_equal_nocase(name, "identity")) {
		return CODING_IDENTITY;
	}
	if (bytes_equal_nocase(name, "gzip")) {
		return CODING_GZIP;
	}
	return bytes_equal_nocase(name, "deflate") ? CODING_DEFLATE : CODING_UNKNOWN;
}

/* Returns "q=0.5" in thousandths (RFC 9110 section 12.4.2), 1000 without a q, or 0 if it is malformed. */
static int
quality(struct bytes parameters)
{
	while (parameters.length > 0) {
		struct bytes parameter = field_take_until(&parameters, ';');
		int value;

		if (!bytes_starts_with(parameter, "q=") && !bytes_starts_with(parameter, "Q=")) {
			continue;
		}
		parameter = bytes_skip(parameter, 2);
		value = parameter.length > 0 && *parameter.at == '1' ? 1000 : 0;
		for (size_t i = 2, unit = 100; i < parameter.length && unit > 0; i++, unit /= 10) {
			if (parameter.at[i] < '0' || parameter.at[i] > '9') {
				return 0;
			}
			value += (parameter.at[i] - '0') * (int)unit;
		}
		return value > 1000 ? 1000 : value;
	}
	return 1000;
}

enum coding
coding_negotiate(struct bytes accept_encoding)
{
	enum coding best = CODING_IDENTITY;
	int best_quality = 0;

	while (accept_encoding.length > 0) {
		struct bytes item = field_take_until(&accept_encoding, ',');
		enum coding coding = coding_from_name(field_take_until(&item, ';'));
		int value = quality(item);

		if (coding != CODING_UNKNOWN && value > best_quality) {
			best = coding;
			best_quality = value;
		}
	}
	return best;
}

static bool
is_bomb(size_t unpacked, size_t packed)
{
	return unpacked > RATIO_FREE && unpacked / COMPRESS_RATIO_MAX > packed;
}

enum status
decompress(enum coding coding, struct bytes input, struct buf *out, struct error *error)
{
	z_stream stream = {0};
	size_t packed = input.length;
	int outcome = Z_OK;

	if (inflateInit2(&stream, coding == CODING_GZIP ? GZIP_WINDOW : ZLIB_WINDOW) != Z_OK) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory to decompress the request");
	}
	while (outcome == Z_OK && !is_bomb(out->length, packed - input.length)) {
		size_t room = out->maximum - out->length < STEP ? out->maximum - out->length : STEP;
		uint8_t *at = room == 0 ? NULL : buf_reserve(out, room);
		size_t feed = input.length < INT_MAX ? input.length : INT_MAX;

		if (at == NULL) {
			outcome = Z_MEM_ERROR;
			break;
		}
		stream.next_in = (Bytef *)(uintptr_t)input.at;
		stream.avail_in = (uInt)feed;
		stream.next_out = at;
		stream.avail_out = (uInt)room;
		outcome = inflate(&stream, Z_NO_FLUSH);
		out->length += room - stream.avail_out;
		input = bytes_skip(input, feed - stream.avail_in);
		if (outcome == Z_OK && input.length == 0 && stream.avail_out > 0) {
			outcome = Z_DATA_ERROR; /* truncated input */
		}
	}
	(void)inflateEnd(&stream);
	if (outcome == Z_MEM_ERROR) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "decompressed request exceeds the maximum allowed input size of %zu bytes. Use "
				 "--http-max-input-size to increase the limit.",
				 out->maximum);
	}
	if (outcome == Z_OK) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "the request body unpacks to more than %d times its size, which is refused",
				 COMPRESS_RATIO_MAX);
	}
	if (outcome != Z_STREAM_END || input.length > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "failed to decompress the request body: not valid %s",
				 coding_name(coding));
	}
	return STATUS_OK;
}

static bool
deflate_piece(z_stream *stream, struct bytes piece, int flush, struct buf *out)
{
	int outcome;

	do {
		size_t feed = piece.length < INT_MAX ? piece.length : INT_MAX;
		uint8_t *at = buf_reserve(out, STEP);

		if (at == NULL) {
			return false;
		}
		stream->next_in = (Bytef *)(uintptr_t)piece.at;
		stream->avail_in = (uInt)feed;
		stream->next_out = at;
		stream->avail_out = (uInt)STEP;
		outcome = deflate(stream, feed == piece.length ? flush : Z_NO_FLUSH);
		out->length += STEP - stream->avail_out;
		piece = bytes_skip(piece, feed - stream->avail_in);
	} while (outcome == Z_OK && (piece.length > 0 || stream->avail_out == 0 || flush == Z_FINISH));
	return outcome == Z_OK || outcome == Z_STREAM_END || outcome == Z_BUF_ERROR;
}

enum status
compress_pieces(enum coding coding, const struct bytes *pieces, size_t count, struct buf *out)
{
	z_stream stream = {0};
	bool good = true;

	if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, coding == CODING_GZIP ? GZIP_WINDOW : ZLIB_WINDOW, 8,
			 Z_DEFAULT_STRATEGY) != Z_OK) {
		return STATUS_UNAVAILABLE;
	}
	for (size_t i = 0; i < count && good; i++) {
		good = pieces[i].length == 0 || deflate_piece(&stream, pieces[i], Z_NO_FLUSH, out);
	}
	good = good && deflate_piece(&stream, bytes_make("", 0), Z_FINISH, out);
	(void)deflateEnd(&stream);
	return good ? STATUS_OK : STATUS_UNAVAILABLE;
}
