#include "caches/redis/packing.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/metric.h"
#include "caches/cache.h"

#include <endian.h>
#include <limits.h>
#include <lz4.h>
#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

/* Bytes that take about half a millisecond: zstd packs 100 to 400 MB a second and unpacks about 1 GB. */
#define LONG_PACK ((size_t)128 << 10)
#define LONG_UNPACK ((size_t)512 << 10)

#define MAGIC "HMCZ"
#define MAGIC_SIZE 4
#define VERSION 1

#define LZ4_ACCELERATION 1
#define LZ4_RATIO_MAX 255U /* each byte can lengthen a match by 255 */
#define LZ4_RATIO_FROM 64U /* what the first bytes hold beyond that */
/* The smallest block consists of a header of 3 bytes and one repeated byte. */
#define ZSTD_RATIO_MAX ((uint64_t)ZSTD_BLOCKSIZE_MAX / 4)

#define MODELS_MAX 1024
#define SLOTS ((size_t)2 * MODELS_MAX)

#define SAMPLES_FIRST 4
#define SAMPLE_EVERY 256
#define SAMPLE_SIZE_MAX ((size_t)128 * 1024)

/* In host byte order, except the checksum, which is as stored. */
struct packing_header {
	uint16_t version;
	uint16_t codec;
	uint64_t length;
	uint64_t checksum;
};

/* Bytes of the samples, plain and packed; each new sample halves the weight of the older ones. */
struct samples {
	uint64_t plain;
	uint64_t lz4;
	uint64_t zstd;
};

/* Created for a model's first value and kept until packing_free. */
struct model {
	struct bytes name;
	_Atomic(enum packing_codec) codec; /* the one in use */
	counter candidates;		   /* values that `auto` was asked about */
	counter input_bytes;		   /* of all values, packed or not */
	counter output_bytes;
	counter spent_ns;
	struct samples samples; /* under the mutex */
};

struct packing {
	struct packing_options options;
	pthread_mutex_t mutex; /* guards the addition of models, and their samples */
	size_t model_count;
	_Atomic(struct model *) models[SLOTS]; /* a hash table by name; read without the mutex */
	struct model others;		       /* models beyond MODELS_MAX */
	counter unpack_failures;
};

struct packing_lane {
	struct packing *packing;
	void *lz4;
	ZSTD_CCtx *writer;
	ZSTD_DCtx *reader;
};

static void
model_init(struct model *model, const struct packing_options *options)
{
	atomic_init(&model->codec, options->codec == PACKING_AUTO ? PACKING_NONE : options->codec);
}

struct packing *
packing_new(const struct packing_options *options)
{
	struct packing *packing = calloc(1, sizeof(*packing));

	if (packing != NULL) {
		packing->options = *options;
		(void)pthread_mutex_init(&packing->mutex, NULL);
		model_init(&packing->others, options);
	}
	return packing;
}

void
packing_free(struct packing *packing)
{
	if (packing != NULL) {
		for (size_t i = 0; i < SLOTS; i++) {
			free(atomic_load_explicit(&packing->models[i], memory_order_relaxed));
		}
		(void)pthread_mutex_destroy(&packing->mutex);
		free(packing);
	}
}

struct packing_lane *
packing_lane_new(struct packing *packing)
{
	struct packing_lane *lane = calloc(1, sizeof(*lane));

	if (lane != NULL) {
		lane->packing = packing;
	}
	return lane;
}

void
packing_lane_free(struct packing_lane *lane)
{
	if (lane != NULL) {
		free(lane->lz4);
		(void)ZSTD_freeCCtx(lane->writer);
		(void)ZSTD_freeDCtx(lane->reader);
		free(lane);
	}
}

/* --- The header --- */

static bool
marked(struct bytes value)
{
	return bytes_starts_with(value, MAGIC);
}

static void
header_write(uint8_t *at, enum packing_codec codec, uint64_t length)
{
	uint16_t version = htole16(VERSION);
	uint16_t number = htole16((uint16_t)codec);

	length = htole64(length);
	memcpy(at, MAGIC, MAGIC_SIZE);
	memcpy(at + 4, &version, sizeof(version));
	memcpy(at + 6, &number, sizeof(number));
	memcpy(at + 8, &length, sizeof(length));
}

static struct packing_header
header_read(const uint8_t *at)
{
	struct packing_header header;

	memcpy(&header.version, at + 4, sizeof(header.version));
	memcpy(&header.codec, at + 6, sizeof(header.codec));
	memcpy(&header.length, at + 8, sizeof(header.length));
	memcpy(&header.checksum, at + 16, sizeof(header.checksum));
	header.version = le16toh(header.version);
	header.codec = le16toh(header.codec);
	header.length = le64toh(header.length);
	return header;
}

/* Returns the checksum as it is stored. The header is copied, because a shared value must not be written to. */
static uint64_t
checksum_of(struct bytes packed)
{
	uint64_t checksum = htole64(checksum64(bytes_skip(packed, PACKING_HEADER_SIZE)));
	uint8_t header[PACKING_HEADER_SIZE];

	memcpy(header, packed.at, 16);
	memcpy(header + 16, &checksum, sizeof(checksum));
	return htole64(checksum64(bytes_make(header, sizeof(header))));
}

void
packing_seal(uint8_t *packed, size_t length)
{
	uint64_t checksum = checksum_of(bytes_make(packed, length));

	memcpy(packed + 16, &checksum, sizeof(checksum));
}

/* --- Models --- */

/* Returns NULL if there is no such model; `slot` is then the empty slot at which the search ended. */
static struct model *
find_model(struct packing *packing, struct bytes name, size_t *slot)
{
	struct model *model;

	/* Terminates: the table always has empty slots. */
	while ((model = atomic_load_explicit(&packing->models[*slot], memory_order_acquire)) != NULL &&
	       !bytes_equal(model->name, name)) {
		*slot = (*slot + 1) % SLOTS;
	}
	return model;
}

static struct model *
add_model(struct packing *packing, struct bytes name, size_t slot)
{
	struct model *model;

	(void)pthread_mutex_lock(&packing->mutex);
	model = find_model(packing, name, &slot);
	if (model == NULL && packing->model_count < MODELS_MAX &&
	    (model = calloc(1, sizeof(*model) + name.length)) != NULL) {
		memcpy(model + 1, name.at, name.length);
		model->name = bytes_make(model + 1, name.length);
		model_init(model, &packing->options);
		packing->model_count++;
		atomic_store_explicit(&packing->models[slot], model, memory_order_release);
	}
	(void)pthread_mutex_unlock(&packing->mutex);
	return model;
}

static struct model *
model_of(struct packing *packing, struct bytes scope)
{
	struct bytes version;
	struct model *model;
	struct bytes name;
	size_t slot;

	cache_scope_split(scope, &name, &version);
	if (name.length == 0) {
		return &packing->others;
	}
	slot = checksum64(name) % SLOTS;
	model = find_model(packing, name, &slot);
	if (model == NULL) {
		model = add_model(packing, name, slot);
	}
	return model == NULL ? &packing->others : model;
}

/* --- Packing --- */

/* The largest size, header included, at which a packed value pays. */
static size_t
paying_size(size_t plain)
{
	return plain - plain / 8;
}

/* Returns the bytes written, or 0 if they do not fit or memory runs out. */
static size_t
compress_lz4(struct packing_lane *lane, struct bytes plain, uint8_t *out, size_t room)
{
	if (lane->lz4 == NULL) {
		lane->lz4 = malloc((size_t)LZ4_sizeofState());
	}
	if (lane->lz4 == NULL || plain.length > LZ4_MAX_INPUT_SIZE) {
		return 0;
	}
	return (size_t)LZ4_compress_fast_extState(lane->lz4, (const char *)plain.at, (char *)out, (int)plain.length,
						  (int)room, LZ4_ACCELERATION);
}

/* As compress_lz4. */
static size_t
compress_zstd(struct packing_lane *lane, struct bytes plain, uint8_t *out, size_t room)
{
	size_t written;

	if (lane->writer == NULL) {
		lane->writer = ZSTD_createCCtx();
	}
	if (lane->writer == NULL) {
		return 0;
	}
	written = ZSTD_compressCCtx(lane->writer, out, room, plain.at, plain.length, lane->packing->options.level);
	return ZSTD_isError(written) != 0 ? 0 : written;
}

/* Writes a packed value without its checksum to `out`. Returns as compress_lz4. */
static size_t
compress(struct packing_lane *lane, enum packing_codec codec, struct bytes plain, uint8_t *out, size_t room)
{
	size_t written;

	if (room <= PACKING_HEADER_SIZE) {
		return 0;
	}
	room -= PACKING_HEADER_SIZE;
	written = codec == PACKING_LZ4 ? compress_lz4(lane, plain, out + PACKING_HEADER_SIZE, room)
				       : compress_zstd(lane, plain, out + PACKING_HEADER_SIZE, room);
	if (written == 0) {
		return 0;
	}
	header_write(out, codec, plain.length);
	return PACKING_HEADER_SIZE + written;
}

/* Each step up has to save another eighth. */
static enum packing_codec
best_codec(const struct samples *samples)
{
	uint64_t eighth = samples->plain / 8;
	enum packing_codec best = PACKING_NONE;
	uint64_t size = samples->plain;

	if (samples->lz4 + eighth <= size) {
		best = PACKING_LZ4;
		size = samples->lz4;
	}
	return samples->zstd + eighth <= size ? PACKING_ZSTD : best;
}

static uint64_t
sample_size(struct packing_lane *lane, enum packing_codec codec, struct bytes piece, uint8_t *out)
{
	size_t size = compress(lane, codec, piece, out, paying_size(piece.length));

	return size == 0 ? piece.length : size;
}

static void
take_sample(struct packing_lane *lane, struct model *model, struct bytes plain)
{
	size_t length = plain.length < SAMPLE_SIZE_MAX ? plain.length : SAMPLE_SIZE_MAX;
	struct bytes piece = bytes_make(plain.at + (plain.length - length) / 2, length);
	uint8_t *out = malloc(paying_size(length));
	struct samples *samples = &model->samples;
	struct samples sample = {.plain = length};

	if (out == NULL) {
		return;
	}
	sample.lz4 = sample_size(lane, PACKING_LZ4, piece, out);
	sample.zstd = sample_size(lane, PACKING_ZSTD, piece, out);
	free(out);
	(void)pthread_mutex_lock(&lane->packing->mutex);
	samples->plain = samples->plain / 2 + sample.plain;
	samples->lz4 = samples->lz4 / 2 + sample.lz4;
	samples->zstd = samples->zstd / 2 + sample.zstd;
	atomic_store_explicit(&model->codec, best_codec(samples), memory_order_relaxed);
	(void)pthread_mutex_unlock(&lane->packing->mutex);
}

/* Returns NULL if the value is better stored plain. */
static struct blob *
pack_plain(struct packing_lane *lane, struct model *model, struct bytes plain)
{
	size_t room = paying_size(plain.length);
	struct blob *packed;
	enum packing_codec codec;

	if (lane->packing->options.codec == PACKING_AUTO) {
		uint64_t turn = atomic_fetch_add_explicit(&model->candidates, 1, memory_order_relaxed);

		if (turn < SAMPLES_FIRST || turn % SAMPLE_EVERY == 0) {
			take_sample(lane, model, plain);
		}
	}
	codec = atomic_load_explicit(&model->codec, memory_order_relaxed);
	packed = codec == PACKING_NONE ? NULL : blob_new(room);
	if (packed == NULL) {
		return NULL;
	}
	packed->length = compress(lane, codec, plain, packed->data, room);
	if (packed->length == 0) {
		blob_unref(packed);
		return NULL;
	}
	packing_seal(packed->data, packed->length);
	return packed;
}

/* Adds a header to a plain value that would be taken for a packed one. Returns NULL if memory runs out. */
static struct blob *
wrap(struct bytes plain)
{
	struct blob *packed = blob_new(PACKING_HEADER_SIZE + plain.length);

	if (packed != NULL) {
		header_write(packed->data, PACKING_NONE, plain.length);
		memcpy(packed->data + PACKING_HEADER_SIZE, plain.at, plain.length);
		packing_seal(packed->data, packed->length);
	}
	return packed;
}

static bool
eligible(const struct packing_options *options, size_t length)
{
	return length >= options->minimum && length <= options->plain_max && length > PACKING_HEADER_SIZE;
}

bool
packing_packs_long(const struct packing *packing, size_t length)
{
	return packing->options.codec != PACKING_NONE && length > LONG_PACK && eligible(&packing->options, length);
}

size_t
packing_plain_length(const struct packing *packing, struct bytes value)
{
	uint64_t length = header_read(value.at).length;

	return length < packing->options.plain_max ? (size_t)length : packing->options.plain_max;
}

bool
packing_unpacks_long(struct bytes value)
{
	return value.length >= PACKING_HEADER_SIZE && marked(value) && header_read(value.at).length > LONG_UNPACK;
}

struct blob *
packing_pack(struct packing_lane *lane, struct bytes scope, struct blob *value)
{
	const struct packing_options *options = &lane->packing->options;
	struct bytes plain = blob_bytes(value);
	struct model *model = options->codec == PACKING_NONE ? NULL : model_of(lane->packing, scope);
	struct blob *packed = NULL;

	if (model != NULL && eligible(options, plain.length)) {
		uint64_t start = clock_now_ns();

		packed = pack_plain(lane, model, plain);
		counter_add(&model->spent_ns, clock_now_ns() - start);
	}
	if (packed == NULL && marked(plain)) {
		packed = wrap(plain);
	}
	if (packed == NULL) {
		packed = blob_ref(value);
	}
	if (model != NULL) {
		counter_add(&model->input_bytes, plain.length);
		counter_add(&model->output_bytes, packed->length);
	}
	return packed;
}

/* --- Unpacking --- */

/* Accepts one frame of the current format that states its content size; no skippable, older or second frame. */
static bool
zstd_plausible(struct bytes payload, uint64_t length)
{
	uint32_t magic;

	if (payload.length < sizeof(magic) || length / ZSTD_RATIO_MAX > payload.length) {
		return false;
	}
	memcpy(&magic, payload.at, sizeof(magic));
	return le32toh(magic) == ZSTD_MAGICNUMBER && ZSTD_getFrameContentSize(payload.at, payload.length) == length &&
	       ZSTD_findFrameCompressedSize(payload.at, payload.length) == payload.length;
}

/* Whether the payload can hold a value of the length that the header states. */
static bool
plausible(const struct packing_header *header, struct bytes payload, size_t plain_max)
{
	if (header->version != VERSION || header->length > plain_max) {
		return false;
	}
	switch (header->codec) {
	case PACKING_NONE:
		return header->length == payload.length;
	case PACKING_LZ4:
		return payload.length <= INT_MAX && header->length <= LZ4_MAX_INPUT_SIZE &&
		       header->length <= LZ4_RATIO_FROM + LZ4_RATIO_MAX * (uint64_t)payload.length;
	case PACKING_ZSTD:
		return zstd_plausible(payload, header->length);
	default:
		return false;
	}
}

/* Decompresses the payload. Returns false unless the output fills `plain` exactly. */
static bool
expand(struct packing_lane *lane, enum packing_codec codec, struct bytes payload, struct blob *plain)
{
	if (codec == PACKING_NONE) {
		memcpy(plain->data, payload.at, payload.length);
		return true;
	}
	if (codec == PACKING_LZ4) {
		int written = LZ4_decompress_safe((const char *)payload.at, (char *)plain->data, (int)payload.length,
						  (int)plain->length);

		return written >= 0 && (size_t)written == plain->length;
	}
	if (lane->reader == NULL) {
		lane->reader = ZSTD_createDCtx();
	}
	return lane->reader != NULL && ZSTD_decompressDCtx(lane->reader, plain->data, plain->length, payload.at,
							   payload.length) == plain->length;
}

/* Returns NULL if the value cannot be unpacked. */
static struct blob *
unpack_marked(struct packing_lane *lane, struct bytes packed)
{
	struct blob *plain = NULL;
	struct bytes payload;
	struct packing_header header;

	if (packed.length < PACKING_HEADER_SIZE) {
		return NULL;
	}
	header = header_read(packed.at);
	payload = bytes_skip(packed, PACKING_HEADER_SIZE);
	if (header.checksum == checksum_of(packed) && plausible(&header, payload, lane->packing->options.plain_max)) {
		plain = blob_new((size_t)header.length);
	}
	if (plain != NULL && !expand(lane, (enum packing_codec)header.codec, payload, plain)) {
		blob_unref(plain);
		plain = NULL;
	}
	return plain;
}

struct blob *
packing_unpack(struct packing_lane *lane, struct blob *value)
{
	struct blob *plain;

	if (!marked(blob_bytes(value))) {
		return value;
	}
	plain = unpack_marked(lane, blob_bytes(value));
	if (plain == NULL) {
		counter_add(&lane->packing->unpack_failures, 1);
	}
	blob_unref(value);
	return plain;
}

bool
packing_is_damaged(struct bytes value)
{
	return marked(value) &&
	       (value.length < PACKING_HEADER_SIZE || header_read(value.at).checksum != checksum_of(value));
}

/* --- Metrics --- */

static double
tell_input(const struct model *model)
{
	return (double)counter_read(&model->input_bytes);
}

static double
tell_output(const struct model *model)
{
	return (double)counter_read(&model->output_bytes);
}

static double
tell_spent(const struct model *model)
{
	return (double)counter_read(&model->spent_ns) / 1e9;
}

static const struct family {
	const char *name;
	const char *type;
	const char *help;
	double (*tell)(const struct model *model); /* NULL: a label holds the value */
} families[] = {
	{"hippocamp_cache_compression_codec", "gauge", "What a model's values are compressed with now", NULL},
	{"hippocamp_cache_compression_input_bytes_total", "counter", "Bytes of values before compression", tell_input},
	{"hippocamp_cache_compression_output_bytes_total", "counter",
	 "Bytes of values after compression, of those that were not compressed too", tell_output},
	{"hippocamp_cache_compression_seconds_total", "counter", "Time spent compressing values", tell_spent},
};

static void
tell_model(const struct metric_sink *sink, const struct family *family, const struct model *model)
{
	static const char *const names[] = {"none", "lz4", "zstd"};
	struct metric_label labels[] = {
		{"model", model->name},
		{"codec", bytes_text(names[atomic_load_explicit(&model->codec, memory_order_relaxed)])},
	};

	sink->sample(sink->context, family->name, labels, family->tell == NULL ? 2 : 1,
		     family->tell == NULL ? 1 : family->tell(model));
}

static void
tell_family(const struct metric_sink *sink, const struct family *family, struct packing *packing)
{
	metric_emit_family(sink, family->name, family->type, family->help);
	for (size_t i = 0; i < SLOTS; i++) {
		const struct model *model = atomic_load_explicit(&packing->models[i], memory_order_acquire);

		if (model != NULL) {
			tell_model(sink, family, model);
		}
	}
	if (counter_read(&packing->others.input_bytes) > 0) {
		tell_model(sink, family, &packing->others);
	}
}

void
packing_metrics(struct packing *packing, const struct metric_sink *sink)
{
	for (size_t i = 0; packing->options.codec != PACKING_NONE && i < sizeof(families) / sizeof(*families); i++) {
		tell_family(sink, &families[i], packing);
	}
	metric_emit_one(sink, "hippocamp_cache_unpack_failures_total", "counter",
			"Compressed values found that were torn, damaged or unknown, each a miss",
			counter_read(&packing->unpack_failures));
}
