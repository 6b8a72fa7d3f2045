#include "inference/cache/entry.h"

#define MAGIC 0x50434d48U /* "HMCP" */
#define DATA_ALIGNMENT 16U
#define CODEC_NONE 0
#define MAC_SIZE 16

struct entry_header {
	uint32_t magic;
	uint16_t version;
	uint16_t codec;
	uint8_t mac[MAC_SIZE]; /* of all bytes after this field */
	uint64_t length;       /* of the whole block */
	uint64_t created_ms;
	uint64_t lifetime_ms;
	uint64_t cost_us;
	uint8_t key[DIGEST_SIZE_MAX];
	uint32_t output_count;
	uint32_t reserved;
};

struct record {
	uint64_t data_offset;
	uint64_t data_length;
	uint64_t shape_offset;
	uint32_t name_offset;
	uint16_t name_length;
	uint8_t datatype;
	uint8_t rank;
	uint32_t content_type_offset;
	uint16_t content_type_length;
	uint16_t reserved;
};

_Static_assert(sizeof(struct entry_header) == 96, "the layout of entries is fixed");
_Static_assert(sizeof(struct record) == 40, "the layout of entries is fixed");

#define CHECKED_FROM (offsetof(struct entry_header, mac) + MAC_SIZE)

static bool
add(size_t *total, size_t more)
{
	return !__builtin_add_overflow(*total, more, total);
}

static size_t
align_data(size_t offset)
{
	return (offset + DATA_ALIGNMENT - 1) & ~(size_t)(DATA_ALIGNMENT - 1);
}

static bool
measure(const struct entry_shape *shapes, size_t count, size_t *total)
{
	*total = sizeof(struct entry_header) + count * sizeof(struct record);
	for (size_t i = 0; i < count; i++) {
		if (shapes[i].name.length > UINT16_MAX || shapes[i].content_type.length > UINT16_MAX ||
		    shapes[i].rank > TENSOR_RANK_MAX ||
		    !add(total,
			 shapes[i].rank * sizeof(int64_t) + shapes[i].name.length + shapes[i].content_type.length)) {
			return false;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (!add(total, DATA_ALIGNMENT) || !add(total, shapes[i].length)) {
			return false;
		}
	}
	return true;
}

/* Returns where the next text begins. */
static size_t
put_text(struct blob *entry, size_t at, struct bytes text)
{
	if (text.length > 0) {
		memcpy(entry->data + at, text.at, text.length);
	}
	return at + text.length;
}

struct blob *
entry_new(const struct entry_shape *shapes, size_t count, uint8_t **data)
{
	size_t at = sizeof(struct entry_header) + count * sizeof(struct record);
	struct record *records;
	struct entry_header *header;
	struct blob *entry;
	size_t total;

	if (!measure(shapes, count, &total)) {
		return NULL;
	}
	entry = blob_new(total);
	if (entry == NULL) {
		return NULL;
	}
	header = (struct entry_header *)entry->data;
	records = (struct record *)(header + 1);
	*header = (struct entry_header){
		.magic = MAGIC, .version = ENTRY_VERSION, .codec = CODEC_NONE, .output_count = (uint32_t)count};
	for (size_t i = 0; i < count; i++) {
		size_t shape_length = shapes[i].rank * sizeof(int64_t);

		records[i] = (struct record){.data_length = shapes[i].length,
					     .shape_offset = at,
					     .name_length = (uint16_t)shapes[i].name.length,
					     .content_type_length = (uint16_t)shapes[i].content_type.length,
					     .datatype = (uint8_t)shapes[i].datatype,
					     .rank = (uint8_t)shapes[i].rank};
		if (shape_length > 0) {
			memcpy(entry->data + at, shapes[i].shape, shape_length);
		}
		at += shape_length;
	}
	for (size_t i = 0; i < count; i++) {
		records[i].name_offset = (uint32_t)at;
		at = put_text(entry, at, shapes[i].name);
		records[i].content_type_offset = (uint32_t)at;
		at = put_text(entry, at, shapes[i].content_type);
	}
	for (size_t i = 0; i < count; i++) {
		size_t start = align_data(at);

		memset(entry->data + at, 0, start - at);
		records[i].data_offset = start;
		data[i] = entry->data + start;
		at = start + shapes[i].length;
	}
	entry->length = at;
	header->length = at;
	return entry;
}

static struct entry_header
header_of(struct bytes block)
{
	struct entry_header header;

	memcpy(&header, block.at, sizeof(header));
	return header;
}

void
entry_seal(struct blob *entry, const struct digest_value *key, const struct freshness_entry *freshness)
{
	struct entry_header *header = (struct entry_header *)entry->data;

	if (key != NULL) {
		memcpy(header->key, key->bytes, sizeof(header->key));
	}
	header->created_ms = freshness->created_ms;
	header->lifetime_ms = freshness->lifetime_ms;
	header->cost_us = freshness->cost_us;
}

bool
entry_authenticate(struct blob *entry, struct keyed_hash *mac)
{
	struct digest_value value;

	if (!keyed_hash_once(mac, bytes_skip(blob_bytes(entry), CHECKED_FROM), &value)) {
		return false;
	}
	memcpy(((struct entry_header *)entry->data)->mac, value.bytes, MAC_SIZE);
	return true;
}

static bool
inside(struct bytes block, uint64_t offset, uint64_t length)
{
	return offset <= block.length && length <= block.length - offset;
}

static bool
record_valid(struct bytes block, const struct record *record)
{
	int64_t shape[TENSOR_RANK_MAX];
	int64_t elements;
	int64_t found;
	size_t size;

	if (record->rank > TENSOR_RANK_MAX || record->content_type_length > TENSOR_CONTENT_TYPE_MAX ||
	    record->datatype == DATATYPE_INVALID || record->datatype >= DATATYPE_COUNT ||
	    record->data_offset % DATA_ALIGNMENT != 0 || record->shape_offset % sizeof(int64_t) != 0 ||
	    !inside(block, record->shape_offset, record->rank * sizeof(int64_t)) ||
	    !inside(block, record->name_offset, record->name_length) ||
	    !inside(block, record->content_type_offset, record->content_type_length) ||
	    !inside(block, record->data_offset, record->data_length)) {
		return false;
	}
	memcpy(shape, block.at + record->shape_offset, record->rank * sizeof(int64_t));
	if (!shape_elements(shape, record->rank, &elements)) {
		return false;
	}
	if (record->datatype == DATATYPE_BYTES) {
		return tensor_strings_valid(bytes_make(block.at + record->data_offset, record->data_length), elements,
					    &found);
	}
	size = datatype_size((enum datatype)record->datatype);
	return record->data_length % size == 0 && record->data_length / size == (uint64_t)elements;
}

static bool
records_valid(struct bytes block, uint32_t count)
{
	if (count > (block.length - sizeof(struct entry_header)) / sizeof(struct record)) {
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct record record;

		memcpy(&record, block.at + sizeof(struct entry_header) + i * sizeof(record), sizeof(record));
		if (!record_valid(block, &record)) {
			return false;
		}
	}
	return true;
}

enum entry_verdict
entry_check(struct bytes block, struct keyed_hash *mac)
{
	struct entry_header header;

	if (block.length < sizeof(header)) {
		return ENTRY_UNKNOWN;
	}
	header = header_of(block);
	if (header.magic != MAGIC || header.version != ENTRY_VERSION || header.codec != CODEC_NONE ||
	    header.length != block.length) {
		return ENTRY_UNKNOWN;
	}
	if (!keyed_hash_verify(mac, bytes_skip(block, CHECKED_FROM), bytes_make(header.mac, MAC_SIZE))) {
		return ENTRY_WRONG_MAC;
	}
	return records_valid(block, header.output_count) ? ENTRY_GOOD : ENTRY_MALFORMED;
}

bool
entry_answers(const struct blob *entry, const struct digest_value *key)
{
	return memcmp(((const struct entry_header *)entry->data)->key, key->bytes, DIGEST_SIZE_MAX) == 0;
}

size_t
entry_output_count(const struct blob *entry)
{
	return ((const struct entry_header *)entry->data)->output_count;
}

struct freshness_entry
entry_freshness(const struct blob *entry)
{
	const struct entry_header *header = (const struct entry_header *)entry->data;

	return (struct freshness_entry){
		.created_ms = header->created_ms,
		.lifetime_ms = header->lifetime_ms,
		.cost_us = header->cost_us,
	};
}

struct tensor
entry_output(const struct blob *entry, size_t index)
{
	const struct record *record = (const struct record *)(entry->data + sizeof(struct entry_header)) + index;

	return (struct tensor){
		.name = bytes_make(entry->data + record->name_offset, record->name_length),
		.datatype = (enum datatype)record->datatype,
		.rank = record->rank,
		.shape = (const int64_t *)(entry->data + record->shape_offset),
		.data = bytes_make(entry->data + record->data_offset, record->data_length),
		.content_type = bytes_make(entry->data + record->content_type_offset, record->content_type_length),
	};
}
