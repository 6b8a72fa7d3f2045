#include "base/keyed_hash.h"

#include "base/unit_test.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <xxhash.h>

static struct keyed_hash_key
key_of(const char *secret)
{
	struct keyed_hash_key key;

	keyed_hash_derive(&key, bytes_text(secret), "test");
	return key;
}

static struct digest_value
value_of(enum keyed_hash_kind kind, const struct keyed_hash_key *key, struct bytes bytes)
{
	struct keyed_hash *hash = keyed_hash_new(kind, key);
	struct digest_value value;

	assert_non_null(hash);
	assert_true(keyed_hash_once(hash, bytes, &value));
	keyed_hash_free(hash);
	return value;
}

/* The first and a later vector of SipHash-2-4-128's reference: key and message are 00 01 02 … */
static void
test_short_is_siphash(void **state)
{
	static const uint8_t empty[] = {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
					0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93};
	static const uint8_t fifteen[] = {0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11,
					  0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf, 0xc3, 0xd9};
	struct keyed_hash_key key = {{0}};
	struct digest_value value;
	uint8_t message[15];

	(void)state;
	for (uint8_t i = 0; i < 16; i++) {
		key.bytes[i] = i;
	}
	for (uint8_t i = 0; i < sizeof(message); i++) {
		message[i] = i;
	}
	value = value_of(KEYED_HASH_GHASH, &key, bytes_make(message, 0));
	assert_int_equal(value.length, 16);
	assert_memory_equal(value.bytes, empty, 16);
	value = value_of(KEYED_HASH_GHASH, &key, bytes_make(message, sizeof(message)));
	assert_memory_equal(value.bytes, fifteen, 16);
}

/* RFC 4231, test case 1. Our key is its 20-byte key padded with zeros, as HMAC pads it. */
static void
test_hmac(void **state)
{
	static const uint8_t expected[] = {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53, 0x5c, 0xa8, 0xaf,
					   0xce, 0xaf, 0x0b, 0xf1, 0x2b, 0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83,
					   0x3d, 0xa7, 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7};
	struct keyed_hash_key key = {{0}};
	struct digest_value value;

	(void)state;
	memset(key.bytes, 0x0b, 20);
	value = value_of(KEYED_HASH_SHA256, &key, bytes_text("Hi There"));
	assert_int_equal(value.length, 32);
	assert_memory_equal(value.bytes, expected, 32);
}

/* --- A reference for the polynomial: SP 800-38D, section 6.3 --- */

static void
aes(const uint8_t *key, const uint8_t *block, uint8_t *out)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int length;

	assert_int_equal(EVP_EncryptInit_ex(context, EVP_aes_128_ecb(), NULL, key, NULL), 1);
	assert_int_equal(EVP_EncryptUpdate(context, out, &length, block, 16), 1);
	EVP_CIPHER_CTX_free(context);
}

static void
multiply(uint8_t *x, const uint8_t *h)
{
	uint8_t z[16] = {0};
	uint8_t v[16];

	memcpy(v, h, 16);
	for (size_t i = 0; i < 128; i++) {
		bool odd = (v[15] & 1) != 0;

		for (size_t k = 0; k < 16 && (x[i / 8] >> (7 - i % 8) & 1) != 0; k++) {
			z[k] ^= v[k];
		}
		for (size_t k = 15; k > 0; k--) {
			v[k] = (uint8_t)(v[k] >> 1 | v[k - 1] << 7);
		}
		v[0] = (uint8_t)(v[0] >> 1 ^ (odd ? 0xe1 : 0));
	}
	memcpy(x, z, 16);
}

static void
fold(uint8_t *y, const uint8_t *h, const uint8_t *at, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		y[i] ^= at[i];
	}
	multiply(y, h);
}

static struct digest_value
by_the_book(const struct keyed_hash_key *key, struct bytes message)
{
	static const uint8_t zero[16];
	static const uint8_t first[16] = {[15] = 1};
	struct keyed_hash_key final = {{0}};
	uint8_t lengths[16] = {0};
	uint8_t last[24] = {0};
	uint64_t bits = htobe64(8 * message.length);
	uint64_t length = htole64(message.length);
	uint8_t mask[16];
	uint8_t h[16];

	aes(key->bytes + 16, zero, h);
	aes(key->bytes + 16, first, mask);
	for (size_t at = 0; at < message.length; at += 16) {
		fold(last, h, message.at + at, message.length - at < 16 ? message.length - at : 16);
	}
	memcpy(lengths, &bits, sizeof(bits));
	fold(last, h, lengths, 16);
	for (size_t i = 0; i < 16; i++) {
		last[i] ^= mask[i];
	}
	memcpy(last + 16, &length, sizeof(length));
	memcpy(final.bytes, key->bytes + 32, 16); /* value_of hashes short messages under the first key */
	return value_of(KEYED_HASH_GHASH, &final, bytes_make(last, sizeof(last)));
}

static void
test_long_is_a_polynomial(void **state)
{
	static uint8_t message[3000];
	struct keyed_hash_key key = key_of("polynomial");

	(void)state;
	for (size_t i = 0; i < sizeof(message); i++) {
		message[i] = (uint8_t)(i * i >> 3);
	}
	for (size_t length = KEYED_HASH_SHORT + 1; length <= sizeof(message); length += 197) {
		struct digest_value got = value_of(KEYED_HASH_GHASH, &key, bytes_make(message, length));
		struct digest_value expected = by_the_book(&key, bytes_make(message, length));

		assert_memory_equal(got.bytes, expected.bytes, 16);
	}
}

/* The value does not depend on how the bytes are split, nor on earlier uses of the state. */
static void
test_pieces(void **state)
{
	static const size_t lengths[] = {0, 1, 500, 511, 512, 513, 1000, 5000};
	static uint8_t data[5000];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] = (uint8_t)(i * 7);
	}
	for (int kind = KEYED_HASH_GHASH; kind <= KEYED_HASH_SHA256; kind++) {
		struct keyed_hash_key one = key_of("one");
		struct keyed_hash_key two = key_of("two");
		struct keyed_hash *hash = keyed_hash_new((enum keyed_hash_kind)kind, &one);

		for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
			struct bytes all = bytes_make(data, lengths[i]);
			struct digest_value once = value_of((enum keyed_hash_kind)kind, &one, all);
			struct digest_value pieces;
			struct digest_value other = value_of((enum keyed_hash_kind)kind, &two, all);

			keyed_hash_start(hash);
			for (size_t at = 0; at < all.length; at += 130) {
				keyed_hash_add(hash,
					       bytes_make(data + at, all.length - at < 130 ? all.length - at : 130));
			}
			assert_true(keyed_hash_end(hash, &pieces));
			assert_memory_equal(&once, &pieces, sizeof(once));
			assert_memory_not_equal(&once, &other, sizeof(once));
			assert_true(keyed_hash_verify(hash, all, bytes_make(once.bytes, 16)));
			assert_false(keyed_hash_verify(hash, all, bytes_make(other.bytes, 16)));
		}
		keyed_hash_free(hash);
	}
}

/* --- Forging --- */

#define FAMILY_BITS 18
#define MESSAGE 2048

struct forged {
	uint64_t hash[2];
	uint32_t number;
};

/*
 * A family of 2^23 messages. Any 2^18 of them include some that collide in XXH3, whatever the secret: in the second
 * block of 1,024 bytes a lane of the state adds, for each of its 16 words, the product of the word's halves (after the
 * secret is XORed in), and its neighbour adds the word. Flipping the top bit of an even number of words changes only
 * bits 31 to 63 of the sums, and so does setting bit 31 in some words and clearing it in as many. 2^33 values remain.
 */
static void
forge(uint8_t *message, uint32_t number)
{
	uint32_t high = number & 0x7fff;
	uint32_t low = number >> 15 & 0xff;

	memset(message, 0x35, MESSAGE);
	high |= (uint32_t)(__builtin_popcount(high) & 1) << 15;
	for (uint32_t i = 0; i < 16; i++) {
		uint8_t *word = message + 1024 + (size_t)64 * i;
		bool flip = (low >> i / 2 & 1) != 0; /* sets the bit in one word of a pair, clears it in the other */

		word[7] = (uint8_t)(0x12 ^ (high >> i & 1) << 7);
		word[3] = (uint8_t)(i % 2 == 0 ? (flip ? 0x80 : 0) : (flip ? 0 : 0x80));
	}
}

static int
by_hash(const void *left, const void *right)
{
	const struct forged *a = left;
	const struct forged *b = right;

	return memcmp(a->hash, b->hash, sizeof(a->hash));
}

static size_t
count_collisions(struct forged *forged, size_t count)
{
	size_t collisions = 0;

	qsort(forged, count, sizeof(*forged), by_hash);
	for (size_t i = 1; i < count; i++) {
		collisions += by_hash(&forged[i - 1], &forged[i]) == 0;
	}
	return collisions;
}

/* Keys were once XXH3-128 under a secret: the family collides there, not here. */
static void
test_nobody_forges(void **state)
{
	size_t count = (size_t)1 << FAMILY_BITS;
	struct forged *old = calloc(count, sizeof(*old));
	struct forged *new = calloc(count, sizeof(*new));
	struct keyed_hash_key key = key_of("a secret that the forger has not");
	struct keyed_hash *hash = keyed_hash_new(KEYED_HASH_GHASH, &key);
	uint8_t secret[192];

	(void)state;
	for (size_t i = 0; i < sizeof(secret); i++) {
		secret[i] = key.bytes[i % 64] ^ (uint8_t)(i * 151);
	}
	for (size_t i = 0; i < count; i++) {
		uint8_t message[MESSAGE];
		struct digest_value value;
		XXH128_hash_t xxh3;

		forge(message, (uint32_t)i * 0x5bd1e995U & 0x7fffff); /* a different message for each i */
		xxh3 = XXH3_128bits_withSecret(message, sizeof(message), secret, sizeof(secret));
		old[i] = (struct forged){{xxh3.low64, xxh3.high64}, (uint32_t)i};
		assert_true(keyed_hash_once(hash, bytes_make(message, sizeof(message)), &value));
		memcpy(new[i].hash, value.bytes, 16);
	}
	assert_true(count_collisions(old, count) > 0);
	assert_int_equal(count_collisions(new, count), 0);
	keyed_hash_free(hash);
	free(old);
	free(new);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_is_siphash),     cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_long_is_a_polynomial), cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_nobody_forges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
