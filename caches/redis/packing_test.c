#include "caches/redis/packing.h"

#include "base/digest.h"
#include "base/unit_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#define PLAIN_MAX ((size_t)2 << 20)
#define SCOPE "a:model:1:0123456789abcdef"

/* A store with one lane. */
struct fixture {
	struct packing *packing;
	struct packing_lane *lane;
};

static struct fixture
fixture_of(enum packing_codec codec, size_t minimum, size_t plain_max)
{
	struct packing_options options = {.codec = codec, .level = 3, .minimum = minimum, .plain_max = plain_max};
	struct packing *packing = packing_new(&options);

	return (struct fixture){packing, packing_lane_new(packing)};
}

static void
fixture_end(struct fixture *fixture)
{
	packing_lane_free(fixture->lane);
	packing_free(fixture->packing);
}

enum content { CONTENT_TEXT, CONTENT_NOISE, CONTENT_DIGITS };

/*
 * Both codecs shrink text, which repeats. Neither shrinks noise. Only zstd shrinks digits, which are few but do not
 * repeat.
 */
static struct blob *
content_of(enum content content, size_t length, uint64_t seed)
{
	struct blob *blob = blob_new(length);

	for (size_t i = 0; i < length; i++) {
		uint64_t mixed[2] = {seed, i};
		uint64_t random = checksum64(bytes_make(mixed, sizeof(mixed)));

		blob->data[i] = content == CONTENT_TEXT	   ? (uint8_t)("the same again, "[i % 16])
				: content == CONTENT_NOISE ? (uint8_t)random
							   : (uint8_t)('a' + random % 4);
	}
	return blob;
}

static bool
is_packed(const struct blob *blob)
{
	return bytes_starts_with(blob_bytes(blob), "HMCZ");
}

/* Packs, unpacks and compares. Returns the length of the packed form. */
static size_t
round_trip(struct fixture *fixture, struct blob *value)
{
	struct blob *packed = packing_pack(fixture->lane, bytes_text(SCOPE), value);
	size_t length = packed->length;
	struct blob *plain = packing_unpack(fixture->lane, packed);

	assert_non_null(plain);
	assert_true(bytes_equal(blob_bytes(plain), blob_bytes(value)));
	assert_int_equal((uintptr_t)plain->data % BLOB_ALIGNMENT, 0);
	blob_unref(plain);
	return length;
}

static void
test_round_trips(void **state)
{
	static const size_t lengths[] = {0, 1, 3, 4, 23, 24, 25, 100, 1000, 65536, 200001, (size_t)1 << 20};

	(void)state;
	for (enum packing_codec codec = PACKING_NONE; codec <= PACKING_AUTO; codec++) {
		struct fixture fixture = fixture_of(codec, 0, PLAIN_MAX);

		for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
			for (enum content content = CONTENT_TEXT; content <= CONTENT_DIGITS; content++) {
				struct blob *value = content_of(content, lengths[i], i);
				size_t length = round_trip(&fixture, value);

				assert_true(length <= value->length);
				if (lengths[i] >= 1000 && content == CONTENT_TEXT && codec != PACKING_NONE) {
					assert_true(length < value->length / 4);
				}
				if (content == CONTENT_NOISE || codec == PACKING_NONE) {
					assert_int_equal(length, value->length);
				}
				blob_unref(value);
			}
		}
		fixture_end(&fixture);
	}
}

/* Where packing does not pay, the value itself is stored, not a copy. */
static void
test_left_as_it_is(void **state)
{
	struct fixture fixture = fixture_of(PACKING_ZSTD, 1000, 100000);
	struct blob *values[] = {content_of(CONTENT_TEXT, 999, 0), content_of(CONTENT_TEXT, 100001, 0),
				 content_of(CONTENT_NOISE, 5000, 0)};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		struct blob *packed = packing_pack(fixture.lane, bytes_text(SCOPE), values[i]);

		assert_ptr_equal(packed, values[i]);
		assert_ptr_equal(packing_unpack(fixture.lane, packed), values[i]);
		blob_unref(packed);
		blob_unref(values[i]);
	}
	fixture_end(&fixture);
}

/* A server unpacks every codec, whichever it packs with. */
static void
test_codecs_meet(void **state)
{
	struct fixture none = fixture_of(PACKING_NONE, 0, PLAIN_MAX);
	struct blob *value = content_of(CONTENT_TEXT, 5000, 0);

	(void)state;
	for (enum packing_codec codec = PACKING_LZ4; codec <= PACKING_AUTO; codec++) {
		struct fixture fixture = fixture_of(codec, 0, PLAIN_MAX);
		struct blob *packed = packing_pack(fixture.lane, bytes_text(SCOPE), value);
		struct blob *plain;

		assert_true(is_packed(packed));
		plain = packing_unpack(none.lane, packed);
		assert_non_null(plain);
		assert_true(bytes_equal(blob_bytes(plain), blob_bytes(value)));
		blob_unref(plain);
		fixture_end(&fixture);
	}
	blob_unref(value);
	fixture_end(&none);
}

/* A plain value that looks packed comes back unchanged: the magic alone, noise after it, a packed value. */
static void
test_magic_in_values(void **state)
{
	(void)state;
	for (enum packing_codec codec = PACKING_NONE; codec <= PACKING_AUTO; codec++) {
		struct fixture fixture = fixture_of(codec, 0, PLAIN_MAX);
		struct blob *noise = content_of(CONTENT_NOISE, 1000, 0);
		struct blob *text = content_of(CONTENT_TEXT, 1000, 0);
		struct blob *magic = blob_copy(bytes_text("HMCZ"));
		struct blob *once;

		memcpy(noise->data, "HMCZ", 4);
		memcpy(text->data, "HMCZ", 4);
		assert_int_equal(round_trip(&fixture, magic), PACKING_HEADER_SIZE + 4);
		assert_int_equal(round_trip(&fixture, noise), PACKING_HEADER_SIZE + 1000);
		(void)round_trip(&fixture, text);
		once = packing_pack(fixture.lane, bytes_text(SCOPE), text);
		(void)round_trip(&fixture, once);
		blob_unref(once);
		blob_unref(magic);
		blob_unref(text);
		blob_unref(noise);
		fixture_end(&fixture);
	}
}

/* --- What must not be unpacked --- */

static bool
unpacks(struct fixture *fixture, struct bytes bytes)
{
	struct blob *plain = packing_unpack(fixture->lane, blob_copy(bytes));
	bool unpacked = plain != NULL;

	blob_unref(plain);
	return unpacked;
}

static void
test_truncated(void **state)
{
	(void)state;
	for (enum packing_codec codec = PACKING_NONE; codec <= PACKING_ZSTD; codec++) {
		struct fixture fixture = fixture_of(codec, 0, PLAIN_MAX);
		struct blob *value = content_of(CONTENT_DIGITS, 700, 0);
		struct blob *packed;

		memcpy(value->data, "HMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZHMCZ", 64);
		packed = packing_pack(fixture.lane, bytes_text(SCOPE), value);
		assert_true(is_packed(packed));
		for (size_t length = 4; length < packed->length; length++) {
			assert_false(unpacks(&fixture, bytes_make(packed->data, length)));
		}
		/* Nor does it unpack with a correct checksum. */
		for (size_t length = PACKING_HEADER_SIZE; length < packed->length; length++) {
			struct blob *cut = blob_copy(bytes_make(packed->data, length));

			packing_seal(cut->data, cut->length);
			assert_false(unpacks(&fixture, blob_bytes(cut)));
			blob_unref(cut);
		}
		blob_unref(packed);
		blob_unref(value);
		fixture_end(&fixture);
	}
}

/* A flipped bit in the magic yields a plain value, which the caller refuses; every other flip is detected here. */
static void
test_flipped_bits(void **state)
{
	(void)state;
	for (enum packing_codec codec = PACKING_LZ4; codec <= PACKING_ZSTD; codec++) {
		struct fixture fixture = fixture_of(codec, 0, PLAIN_MAX);
		struct blob *value = content_of(CONTENT_TEXT, 600, 0);
		struct blob *packed = packing_pack(fixture.lane, bytes_text(SCOPE), value);

		for (size_t bit = 0; bit < packed->length * 8; bit++) {
			struct blob *damaged = blob_copy(blob_bytes(packed));

			damaged->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
			assert_int_equal(unpacks(&fixture, blob_bytes(damaged)), bit < 32);
			blob_unref(damaged);
		}
		assert_true(unpacks(&fixture, blob_bytes(packed)));
		blob_unref(packed);
		blob_unref(value);
		fixture_end(&fixture);
	}
}

/* A packed value as an attacker could make it: with a correct checksum, any codec and any length. */
static struct blob *
forge(uint8_t codec, uint64_t length, struct bytes payload)
{
	struct blob *blob = blob_new(PACKING_HEADER_SIZE + payload.length);

	memcpy(blob->data, "HMCZ\1\0\0\0", 8);
	blob->data[6] = codec;
	for (unsigned i = 0; i < 8; i++) {
		blob->data[8 + i] = (uint8_t)(length >> (8 * i));
	}
	if (payload.length > 0) {
		memcpy(blob->data + PACKING_HEADER_SIZE, payload.at, payload.length);
	}
	packing_seal(blob->data, blob->length);
	return blob;
}

static bool
forged_unpacks(struct fixture *fixture, uint8_t codec, uint64_t length, struct bytes payload)
{
	struct blob *blob = forge(codec, length, payload);
	bool unpacked = unpacks(fixture, blob_bytes(blob));

	blob_unref(blob);
	return unpacked;
}

static void
test_unknown(void **state)
{
	struct fixture fixture = fixture_of(PACKING_NONE, 0, PLAIN_MAX);
	struct blob *blob = forge(PACKING_NONE, 3, bytes_text("abc"));

	(void)state;
	assert_true(unpacks(&fixture, blob_bytes(blob)));
	blob->data[4] = 2; /* the version */
	packing_seal(blob->data, blob->length);
	assert_false(unpacks(&fixture, blob_bytes(blob)));
	assert_false(forged_unpacks(&fixture, PACKING_AUTO, 3, bytes_text("abc")));
	assert_false(forged_unpacks(&fixture, 255, 3, bytes_text("abc")));
	assert_false(forged_unpacks(&fixture, PACKING_NONE, 2, bytes_text("abc")));
	assert_false(forged_unpacks(&fixture, PACKING_NONE, 4, bytes_text("abc")));
	blob_unref(blob);
	fixture_end(&fixture);
}

/* AddressSanitizer would end the test if one of the larger lengths were allocated. */
static void
test_lz4_bombs(void **state)
{
	/* One literal, then a match of 15 + 4 * 255 + 0 + 4 bytes, then the five literals that a block ends with. */
	static const uint8_t block[] = {0x1f, 'a', 1, 0, 255, 255, 255, 255, 0, 0x50, 'a', 'a', 'a', 'a', 'a'};
	const uint64_t length = 1 + 15 + 4 * 255 + 4 + 5;
	struct bytes payload = bytes_make(block, sizeof(block));
	struct fixture fixture = fixture_of(PACKING_NONE, 0, SIZE_MAX);
	struct fixture narrow = fixture_of(PACKING_NONE, 0, (size_t)length - 1);

	(void)state;
	assert_true(forged_unpacks(&fixture, PACKING_LZ4, length, payload));
	assert_false(forged_unpacks(&narrow, PACKING_LZ4, length, payload));
	assert_false(forged_unpacks(&fixture, PACKING_LZ4, length - 1, payload));
	assert_false(forged_unpacks(&fixture, PACKING_LZ4, length + 1, payload));
	for (unsigned i = 13; i < 64; i++) {
		assert_false(forged_unpacks(&fixture, PACKING_LZ4, (uint64_t)1 << i, payload));
		assert_false(forged_unpacks(&fixture, PACKING_LZ4, ((uint64_t)1 << i) + length, payload));
	}
	assert_false(forged_unpacks(&fixture, PACKING_LZ4, UINT64_MAX, payload));
	assert_false(forged_unpacks(&fixture, PACKING_LZ4, 1, bytes_make(NULL, 0)));
	fixture_end(&narrow);
	fixture_end(&fixture);
}

static void
test_zstd_bombs(void **state)
{
	/* A single-segment frame that claims to hold 2^40 bytes, with one block of zeros. */
	static const uint8_t claim[] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 3, 0, 16, 0};
	struct fixture fixture = fixture_of(PACKING_ZSTD, 0, SIZE_MAX);
	struct fixture narrow = fixture_of(PACKING_ZSTD, 0, ((size_t)1 << 20) - 1);
	struct blob *zeros = blob_new((size_t)1 << 20);
	struct bytes payload = bytes_make(claim, sizeof(claim));
	struct blob *packed;

	(void)state;
	memset(zeros->data, 0, zeros->length);
	packed = packing_pack(fixture.lane, bytes_text(SCOPE), zeros);
	assert_true(packed->length < 200);
	assert_true(unpacks(&fixture, blob_bytes(packed)));
	assert_false(unpacks(&narrow, blob_bytes(packed)));
	assert_int_equal(ZSTD_getFrameContentSize(payload.at, payload.length), (uint64_t)1 << 40);
	for (unsigned i = 0; i < 64; i++) {
		assert_false(forged_unpacks(&fixture, PACKING_ZSTD, (uint64_t)1 << i, payload));
	}
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, ZSTD_CONTENTSIZE_UNKNOWN, payload));
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, ZSTD_CONTENTSIZE_ERROR, payload));
	blob_unref(packed);
	blob_unref(zeros);
	fixture_end(&narrow);
	fixture_end(&fixture);
}

/* Writes a frame of 200 plain bytes to `out`. Returns its length. */
static size_t
frame_of(uint8_t *out, size_t room, bool sized)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();
	uint8_t plain[200];
	size_t written;

	memset(plain, 'a', sizeof(plain));
	(void)ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, sized ? 1 : 0);
	written = ZSTD_compress2(context, out, room, plain, sizeof(plain));
	(void)ZSTD_freeCCtx(context);
	assert_false(ZSTD_isError(written));
	return written;
}

/* Only one frame, of the codec's current format, that states its content size is accepted. */
static void
test_zstd_frames(void **state)
{
	static const uint8_t skipped[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
	struct fixture fixture = fixture_of(PACKING_NONE, 0, PLAIN_MAX);
	uint8_t frames[200];
	size_t length = frame_of(frames, sizeof(frames), true);

	(void)state;
	assert_true(forged_unpacks(&fixture, PACKING_ZSTD, 200, bytes_make(frames, length)));
	assert_int_equal(frame_of(frames + length, sizeof(frames) - length, true), length);
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 200, bytes_make(frames, 2 * length)));
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 400, bytes_make(frames, 2 * length)));
	memcpy(frames + length, skipped, sizeof(skipped));
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 200, bytes_make(frames, length + sizeof(skipped))));
	memcpy(frames, skipped, sizeof(skipped));
	(void)frame_of(frames + sizeof(skipped), sizeof(frames) - sizeof(skipped), true);
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 200, bytes_make(frames, length + sizeof(skipped))));
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 0, bytes_make(skipped, sizeof(skipped))));
	length = frame_of(frames, sizeof(frames), false);
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 200, bytes_make(frames, length)));
	length = frame_of(frames, sizeof(frames), true);
	assert_int_equal(frames[5], 200); /* the frame's content size */
	frames[5] = 100;
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 100, bytes_make(frames, length)));
	frames[5] = 200;
	frames[0]--; /* the magic of the previous format */
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 200, bytes_make(frames, length)));
	assert_false(forged_unpacks(&fixture, PACKING_ZSTD, 0, bytes_make(NULL, 0)));
	fixture_end(&fixture);
}

/* --- `auto` and the metrics --- */

static bool
metrics_say(struct fixture *fixture, const char *line)
{
	struct buf out;
	struct metric_sink printer = metric_printer(&out);
	bool found;

	buf_init(&out, (size_t)1 << 20);
	packing_metrics(fixture->packing, &printer);
	buf_byte(&out, '\0');
	assert_true(buf_ok(&out));
	found = strstr((const char *)out.at, line) != NULL;
	buf_fini(&out);
	return found;
}

static void
pack_many(struct packing_lane *lane, const char *scope, enum content content, size_t length, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct blob *value = content_of(content, length, i);

		blob_unref(packing_pack(lane, bytes_text(scope), value));
		blob_unref(value);
	}
}

static void
test_auto_chooses(void **state)
{
	struct fixture fixture = fixture_of(PACKING_AUTO, 100, PLAIN_MAX);

	(void)state;
	pack_many(fixture.lane, "text:1:f", CONTENT_TEXT, 2000, 10);
	pack_many(fixture.lane, "digits:1:f", CONTENT_DIGITS, 2000, 10);
	pack_many(fixture.lane, "no\"ise:1:f", CONTENT_NOISE, 2000, 10);
	pack_many(fixture.lane, "long:1:f", CONTENT_DIGITS, 300000, 1);
	pack_many(fixture.lane, "short:1:f", CONTENT_TEXT, 99, 10);
	assert_true(metrics_say(&fixture, "_codec{model=\"text\",codec=\"lz4\"} 1\n"));
	assert_true(metrics_say(&fixture, "_codec{model=\"digits\",codec=\"zstd\"} 1\n"));
	assert_true(metrics_say(&fixture, "_codec{model=\"no\\\"ise\",codec=\"none\"} 1\n"));
	assert_true(metrics_say(&fixture, "_codec{model=\"long\",codec=\"zstd\"} 1\n"));
	assert_true(metrics_say(&fixture, "_codec{model=\"short\",codec=\"none\"} 1\n"));
	fixture_end(&fixture);
}

/* The choice follows the values, but one odd sample does not change it. */
static void
test_auto_looks_again(void **state)
{
	struct fixture fixture = fixture_of(PACKING_AUTO, 0, PLAIN_MAX);

	(void)state;
	pack_many(fixture.lane, SCOPE, CONTENT_TEXT, 200, 256);
	pack_many(fixture.lane, SCOPE, CONTENT_NOISE, 200, 1); /* a sample */
	assert_true(metrics_say(&fixture, "_codec{model=\"a:model\",codec=\"lz4\"} 1\n"));
	pack_many(fixture.lane, SCOPE, CONTENT_NOISE, 200, 255 + 6 * 256);
	assert_true(metrics_say(&fixture, "_codec{model=\"a:model\",codec=\"none\"} 1\n"));
	pack_many(fixture.lane, SCOPE, CONTENT_TEXT, 200, 4 * 256);
	assert_true(metrics_say(&fixture, "_codec{model=\"a:model\",codec=\"lz4\"} 1\n"));
	fixture_end(&fixture);
}

static void
test_metrics(void **state)
{
	struct fixture fixture = fixture_of(PACKING_LZ4, 50, PLAIN_MAX);
	struct fixture none = fixture_of(PACKING_NONE, 50, PLAIN_MAX);
	struct blob *value = content_of(CONTENT_TEXT, 1000, 0);
	struct blob *packed = packing_pack(fixture.lane, bytes_text(SCOPE), value);
	char line[200];

	(void)state;
	pack_many(fixture.lane, SCOPE, CONTENT_TEXT, 49, 2);
	assert_true(metrics_say(&fixture, "# TYPE hippocamp_cache_compression_codec gauge\n"
					  "hippocamp_cache_compression_codec{model=\"a:model\",codec=\"lz4\"} 1\n"));
	assert_true(metrics_say(&fixture, "\nhippocamp_cache_compression_input_bytes_total{model=\"a:model\"} 1098\n"));
	(void)snprintf(line, sizeof(line), "\nhippocamp_cache_compression_output_bytes_total{model=\"a:model\"} %zu\n",
		       packed->length + 98);
	assert_true(metrics_say(&fixture, line));
	assert_true(metrics_say(&fixture, "\nhippocamp_cache_compression_seconds_total{model=\"a:model\"} "));
	assert_true(metrics_say(&fixture, "\nhippocamp_cache_unpack_failures_total 0\n"));
	packed->data[packed->length - 1] ^= 1U;
	assert_false(unpacks(&fixture, blob_bytes(packed)));
	assert_true(metrics_say(&fixture, "\nhippocamp_cache_unpack_failures_total 1\n"));
	assert_true(unpacks(&fixture, bytes_text("plain")));
	assert_true(metrics_say(&fixture, "\nhippocamp_cache_unpack_failures_total 1\n"));
	assert_false(metrics_say(&none, "compression"));
	assert_true(metrics_say(&none, "\nhippocamp_cache_unpack_failures_total 0\n"));
	blob_unref(packed);
	blob_unref(value);
	fixture_end(&none);
	fixture_end(&fixture);
}

static void
test_more_models_than_are_kept(void **state)
{
	struct fixture fixture = fixture_of(PACKING_LZ4, 0, PLAIN_MAX);
	char scope[32];

	(void)state;
	for (unsigned i = 0; i < 1030; i++) {
		(void)snprintf(scope, sizeof(scope), "m%u:1:f", i);
		pack_many(fixture.lane, scope, CONTENT_TEXT, 10, 1);
		assert_false(metrics_say(&fixture, "{model=\"\"") && i < 1024);
	}
	pack_many(fixture.lane, "without colons", CONTENT_TEXT, 10, 1);
	pack_many(fixture.lane, "m1023:2:g", CONTENT_TEXT, 10, 1);
	assert_true(metrics_say(&fixture, "_input_bytes_total{model=\"m0\"} 10\n"));
	assert_true(metrics_say(&fixture, "_input_bytes_total{model=\"m1023\"} 20\n"));
	assert_false(metrics_say(&fixture, "{model=\"m1024\"}"));
	assert_true(metrics_say(&fixture, "_input_bytes_total{model=\"\"} 70\n"));
	fixture_end(&fixture);
}

static void *
pack_in_thread(void *argument)
{
	struct fixture fixture = {.packing = argument, .lane = packing_lane_new(argument)};
	char scope[32];

	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(scope, sizeof(scope), "m%u:1:f", i % 7);
		pack_many(fixture.lane, scope, CONTENT_DIGITS, 200, 1);
		if (i % 50 == 0) {
			(void)metrics_say(&fixture, "codec");
		}
	}
	packing_lane_free(fixture.lane);
	return NULL;
}

static void
test_threads(void **state)
{
	struct fixture fixture = fixture_of(PACKING_AUTO, 0, PLAIN_MAX);
	pthread_t threads[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, pack_in_thread, fixture.packing), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		(void)pthread_join(threads[i], NULL);
	}
	/* Each of the four threads packs 43 values of m0 to m5, and 42 of m6. */
	assert_true(metrics_say(&fixture, "_input_bytes_total{model=\"m0\"} 34400\n"));
	assert_true(metrics_say(&fixture, "_input_bytes_total{model=\"m6\"} 33600\n"));
	assert_true(metrics_say(&fixture, "_codec{model=\"m3\",codec=\"zstd\"} 1\n"));
	fixture_end(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),  cmocka_unit_test(test_left_as_it_is),
		cmocka_unit_test(test_codecs_meet),  cmocka_unit_test(test_magic_in_values),
		cmocka_unit_test(test_truncated),    cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_unknown),	     cmocka_unit_test(test_lz4_bombs),
		cmocka_unit_test(test_zstd_bombs),   cmocka_unit_test(test_zstd_frames),
		cmocka_unit_test(test_auto_chooses), cmocka_unit_test(test_auto_looks_again),
		cmocka_unit_test(test_metrics),	     cmocka_unit_test(test_more_models_than_are_kept),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
