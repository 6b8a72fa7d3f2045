/*
 * keyed_hash: measures the time for one cache key by the length of its input, for each keyed hash, for plain SipHash
 * and for XXH3, which made the keys in earlier versions. Prints a Markdown page, which bench/keyed_hash writes to
 * docs/benchmarks_keys.md.
 *
 * For each length the functions run in turns; the figures are medians of the turns.
 */
#include "base/clock.h"
#include "base/keyed_hash.h"

#include <sodium/crypto_shorthash_siphash24.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define TURNS 15
#define TURN_BYTES ((size_t)4 << 20)
#define TURN_CALLS ((size_t)20000)

static struct keyed_hash *hashes[2];
static struct keyed_hash_key key = {{1, 2, 3}};
static volatile uint8_t sink;

static void
by_ghash(struct bytes bytes)
{
	struct digest_value value;

	sink = keyed_hash_once(hashes[KEYED_HASH_GHASH], bytes, &value) ? value.bytes[0] : 0;
}

static void
by_sha256(struct bytes bytes)
{
	struct digest_value value;

	sink = keyed_hash_once(hashes[KEYED_HASH_SHA256], bytes, &value) ? value.bytes[0] : 0;
}

static void
by_siphash(struct bytes bytes)
{
	uint8_t value[16];

	(void)crypto_shorthash_siphashx24(value, bytes.at, bytes.length, key.bytes);
	sink = value[0];
}

static void
by_xxh3(struct bytes bytes)
{
	static uint8_t secret[192];

	sink = (uint8_t)XXH3_128bits_withSecret(bytes.at, bytes.length, secret, sizeof(secret)).low64;
}

static void (*const functions[])(struct bytes) = {by_ghash, by_sha256, by_siphash, by_xxh3};

#define FUNCTIONS (sizeof(functions) / sizeof(*functions))

static int
by_size(const void *left, const void *right)
{
	double a = *(const double *)left;
	double b = *(const double *)right;

	return (a > b) - (a < b);
}

static double
turn(void (*function)(struct bytes), struct bytes bytes)
{
	size_t calls = TURN_BYTES / bytes.length < TURN_CALLS ? TURN_BYTES / bytes.length : TURN_CALLS;
	uint64_t start = clock_now_ns();

	for (size_t i = 0; i < calls; i++) {
		function(bytes);
	}
	return (double)(clock_now_ns() - start) / (double)calls;
}

static void
measure(struct bytes bytes)
{
	double ns[FUNCTIONS][TURNS];

	for (size_t i = 0; i < TURNS; i++) {
		for (size_t k = 0; k < FUNCTIONS; k++) {
			ns[k][i] = turn(functions[k], bytes);
		}
	}
	(void)printf("| %zu |", bytes.length);
	for (size_t k = 0; k < FUNCTIONS; k++) {
		qsort(ns[k], TURNS, sizeof(*ns[k]), by_size);
		(void)printf(" %.0f |", ns[k][TURNS / 2]);
	}
	(void)printf("\n");
}

int
main(void)
{
	static const size_t lengths[] = {64, 130, 256, 512, 513, 1024, 4096, 65536, 602112};
	uint8_t *data = calloc(1, 602112);

	hashes[0] = keyed_hash_new(KEYED_HASH_GHASH, &key);
	hashes[1] = keyed_hash_new(KEYED_HASH_SHA256, &key);
	if (data == NULL || hashes[0] == NULL || hashes[1] == NULL) {
		return 1;
	}
	(void)printf("# What a cache key costs\n\n"
		     "Nanoseconds for one key, by the bytes that are hashed, on one thread. `ghash` is SipHash-2-4-128 "
		     "up to %d "
		     "bytes, and behind\nthe polynomial of GCM from there on; see "
		     "[why](decisions/0001-keys-that-nobody-can-forge.md). Made by `bench/keyed_hash`.\n\n"
		     "| bytes | ghash | sha256 (HMAC) | SipHash alone | XXH3, which is no MAC |\n"
		     "|------:|------:|--------------:|--------------:|----------------------:|\n",
		     KEYED_HASH_SHORT);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		measure(bytes_make(data, lengths[i]));
	}
	keyed_hash_free(hashes[0]);
	keyed_hash_free(hashes[1]);
	free(data);
	return 0;
}
