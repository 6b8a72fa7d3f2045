#include "wire/npy.h"

#include "base/buf.h"
#include "base/unit_test.h"
#include "wire/zip.h"

#include <zlib.h>

/* A file of format 1.0 with this header and data. */
static struct bytes
write_npy(struct buf *file, const char *header, struct bytes data)
{
	buf_clear(file);
	buf_append(file, bytes_make("\x93NUMPY\x01\x00", 8));
	buf_byte(file, (uint8_t)strlen(header));
	buf_byte(file, 0);
	buf_text(file, header);
	buf_append(file, data);
	return buf_bytes(file);
}

struct place {
	struct arena arena;
	struct buf file;
	struct error error;
};

static int
setup(void **state)
{
	static struct place place;

	arena_init(&place.arena, 1 << 20);
	buf_init(&place.file, 1 << 20);
	*state = &place;
	return 0;
}

static int
teardown(void **state)
{
	struct place *place = *state;

	arena_fini(&place->arena);
	buf_fini(&place->file);
	return 0;
}

/* Texts without a character need no data, however many they are. */
static void
test_empty_texts(void **state)
{
	struct place *place = *state;
	struct tensor array;

	assert_int_not_equal(
		npy_decode(write_npy(&place->file,
				     "{'descr': '|S0', 'fortran_order': False, 'shape': (4611686018427387904,), }\n",
				     bytes_make("x", 1)),
			   &place->arena, &array, &place->error),
		STATUS_OK);
}

static void
test_numbers(void **state)
{
	const float numbers[] = {1, 2, 3, 4, 5, 6};
	struct place *place = *state;
	struct tensor array;

	assert_int_equal(
		npy_decode(write_npy(&place->file, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n",
				     bytes_make(numbers, sizeof(numbers))),
			   &place->arena, &array, &place->error),
		STATUS_OK);
	assert_int_equal(array.datatype, DATATYPE_FP32);
	assert_int_equal(array.rank, 2);
	assert_int_equal(array.shape[0], 2);
	assert_int_equal(array.shape[1], 3);
	assert_int_equal(array.data.length, sizeof(numbers));
	assert_memory_equal(array.data.at, numbers, sizeof(numbers));
	assert_int_equal(npy_decode(write_npy(&place->file, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
					      bytes_make("\x01", 1)),
				    &place->arena, &array, &place->error),
			 STATUS_OK);
	assert_int_equal(array.datatype, DATATYPE_BOOL);
	assert_int_equal(array.rank, 0);
}

static void
test_texts(void **state)
{
	static const uint8_t expected[] = {3, 0, 0, 0, 'a', 0xc3, 0xa4, 0, 0, 0, 0};
	const uint32_t wide[] = {'a', 0xe4, 0, 0};
	struct place *place = *state;
	struct tensor array;

	assert_int_equal(npy_decode(write_npy(&place->file, "{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }",
					      bytes_make(wide, sizeof(wide))),
				    &place->arena, &array, &place->error),
			 STATUS_OK);
	assert_int_equal(array.datatype, DATATYPE_BYTES);
	assert_int_equal(array.data.length, sizeof(expected));
	assert_memory_equal(array.data.at, expected, sizeof(expected));
	assert_int_equal(npy_decode(write_npy(&place->file, "{'descr': '|S4', 'fortran_order': False, 'shape': (2,), }",
					      bytes_make("a\xc3\xa4\0\0\0\0\0", 8)),
				    &place->arena, &array, &place->error),
			 STATUS_OK);
	assert_memory_equal(array.data.at, expected, sizeof(expected));
}

static void
test_what_cannot_be_read(void **state)
{
	static const struct {
		const char *header;
		const char *text;
	} cases[] = {
		{"{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "Fortran"},
		{"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "big-endian"},
		{"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "neither numbers nor texts"},
		{"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "neither numbers nor texts"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "shorter than its shape"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9), }", "shorter"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "header is not understood"},
		{"{'descr': '<f4', 'fortran_order': False, }", "header is not understood"},
		{"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "header is not understood"},
		{"", "header is not understood"},
	};
	struct place *place = *state;
	struct tensor array;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bytes file = write_npy(&place->file, cases[i].header, bytes_make("abcd", 4));

		assert_int_not_equal(npy_decode(file, &place->arena, &array, &place->error), STATUS_OK);
		if (strstr(place->error.text, cases[i].text) == NULL) {
			fail_msg("%s: %s", cases[i].header, place->error.text);
		}
		for (size_t length = 0; length < file.length; length++) { /* nor is its beginning */
			(void)npy_decode(bytes_make(file.at, length), &place->arena, &array, &place->error);
		}
	}
}

/* --- ZIP --- */

static void
put(struct buf *out, uint32_t value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		buf_byte(out, (uint8_t)(i < sizeof(value) ? value >> (8 * i) : 0));
	}
}

/* The fields that a local header and one of the directory share. */
static void
put_common(struct buf *out, uint32_t method, uint32_t packed, uint32_t length, uint32_t name)
{
	put(out, 20, 2); /* version */
	put(out, 0, 2);
	put(out, method, 2);
	put(out, 0, 8);
	put(out, packed, 4);
	put(out, length, 4);
	put(out, name, 2);
	put(out, 0, 2); /* extra field */
}

static void
write_zip(struct buf *out, const char *name, struct bytes content, bool deflates)
{
	uint8_t packed[256];
	z_stream stream = {.next_in = (Bytef *)content.at,
			   .avail_in = (uInt)content.length,
			   .next_out = packed,
			   .avail_out = sizeof(packed)};
	uint32_t length = (uint32_t)content.length;
	size_t directory;

	if (deflates) {
		assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
		assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
		content = bytes_make(packed, sizeof(packed) - stream.avail_out);
		(void)deflateEnd(&stream);
	}
	put(out, 0x04034b50, 4);
	put_common(out, deflates ? 8 : 0, (uint32_t)content.length, length, (uint32_t)strlen(name));
	buf_text(out, name);
	buf_append(out, content);
	directory = out->length;
	put(out, 0x02014b50, 4);
	put(out, 20, 2);
	put_common(out, deflates ? 8 : 0, (uint32_t)content.length, length, (uint32_t)strlen(name));
	put(out, 0, 10); /* no comment, disk 0, attributes */
	put(out, 0, 4);	 /* where the local header is */
	buf_text(out, name);
	put(out, 0x06054b50, 4);
	put(out, 0, 8);
	put(out, (uint32_t)(out->length - directory), 4);
	put(out, (uint32_t)directory, 4);
	put(out, 0, 2);
}

static void
test_zip(void **state)
{
	const struct bytes content = bytes_text("what is in it, in it, in it, in it");
	struct place *place = *state;

	for (int deflates = 0; deflates < 2; deflates++) {
		struct zip_entry entry;
		size_t at = 0;
		struct bytes got;

		buf_clear(&place->file);
		write_zip(&place->file, "a.npy", content, deflates);
		assert_true(zip_next(buf_bytes(&place->file), &at, &entry));
		assert_bytes(entry.name, "a.npy");
		assert_int_equal(zip_content(&entry, &place->arena, &got, &place->error), STATUS_OK);
		assert_true(bytes_equal(got, content));
		assert_false(zip_next(buf_bytes(&place->file), &at, &entry));
		for (size_t i = 0; i < place->file.length; i++) { /* a damaged one does no harm */
			struct buf damaged;

			buf_init(&damaged, 1 << 16);
			buf_append(&damaged, bytes_make(place->file.at, place->file.length));
			damaged.at[i] ^= 0xff;
			at = 0;
			while (zip_next(buf_bytes(&damaged), &at, &entry)) {
				(void)zip_content(&entry, &place->arena, &got, &place->error);
			}
			buf_fini(&damaged);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty_texts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_texts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zip, setup, teardown),
	};

	return cmocka_run_group_tests_name("npy", tests, NULL, NULL);
}
