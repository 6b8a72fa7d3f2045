#include "tools/conformance/subject.h"

#include "base/digest.h"

#include <stdio.h>
#include <stdlib.h>

static _Thread_local char complaint[1024];

static const char *
take_error(TRITONSERVER_Error *error)
{
	if (error == NULL) {
		return NULL;
	}
	(void)snprintf(complaint, sizeof(complaint), "%s: %s", TRITONSERVER_ErrorCodeString(error),
		       TRITONSERVER_ErrorMessage(error));
	TRITONSERVER_ErrorDelete(error);
	return complaint;
}

const char *
subject_load(struct subject *subject, const char *path)
{
	uint32_t random;

	*subject = (struct subject){0};
	random_bytes(&random, sizeof(random));
	(void)snprintf(subject->prefix, sizeof(subject->prefix), "%u", random);
	return host_plugin_open(path, &subject->plugin);
}

const char *
subject_initialize(struct subject *subject, const char *json)
{
	const char *wrong;

	subject->cache = NULL;
	wrong = take_error(subject->plugin.initialize(&subject->cache, json));
	if (wrong == NULL && subject->cache == NULL) {
		return "TRITONCACHE_CacheInitialize succeeded and left the cache NULL";
	}
	return wrong;
}

const char *
subject_finalize(struct subject *subject)
{
	return take_error(subject->plugin.finalize(subject->cache));
}

bool
configuration_of(struct buf *json, char **arguments, int count)
{
	buf_init(json, (size_t)1 << 20);
	buf_byte(json, '{');
	for (int i = 0; i < count; i++) {
		char *equals = strchr(arguments[i], '=');

		if (equals == NULL || equals == arguments[i] || equals[1] == '\0') {
			return false;
		}
		if (i > 0) {
			buf_byte(json, ',');
		}
		buf_json_string(json, bytes_make(arguments[i], (size_t)(equals - arguments[i])));
		buf_byte(json, ':');
		buf_json_string(json, bytes_text(equals + 1));
	}
	buf_byte(json, '}');
	buf_byte(json, '\0');
	return buf_ok(json);
}

/* The prefixed key, from malloc. */
static char *
full_key(const struct subject *subject, const char *key)
{
	char *full;

	if (asprintf(&full, "%s%s", *key == '\0' ? "" : subject->prefix, key) < 0) {
		abort();
	}
	return full;
}

/* --- Looking up --- */

struct taking {
	TRITONCACHE_Allocator allocator; /* first */
	struct buf *out;
	bool fails;
	unsigned copies;
	bool odd;
};

static TRITONSERVER_Error *
take(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry)
{
	struct taking *taking = (struct taking *)allocator;

	taking->copies++;
	taking->odd = taking->odd || entry->count != 1;
	if (taking->fails || entry->count != 1) {
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "this copy is meant to fail");
	}
	buf_append(taking->out, bytes_make(entry->buffers[0].base, entry->buffers[0].attributes.size));
	return NULL;
}

static enum found
look_up(const struct subject *subject, const char *key, struct taking *taking)
{
	TRITONCACHE_CacheEntry entry = {.count = 0};
	char *full = full_key(subject, key);
	TRITONSERVER_Error *error;

	taking->allocator.copy = take;
	error = subject->plugin.lookup(subject->cache, full, &entry, &taking->allocator);
	free(full);
	if (error != NULL) {
		TRITONSERVER_ErrorDelete(error);
		return FOUND_NOTHING;
	}
	if (taking->fails || taking->odd || taking->copies > 1) {
		return taking->copies == 0 ? FOUND_UNCOPIED : FOUND_BROKEN;
	}
	return taking->copies == 0 ? FOUND_UNCOPIED : FOUND;
}

enum found
subject_look_up(const struct subject *subject, const char *key, struct buf *out)
{
	struct taking taking = {.out = out};

	buf_clear(out);
	return look_up(subject, key, &taking);
}

enum found
subject_look_up_in_vain(const struct subject *subject, const char *key)
{
	struct taking taking = {.fails = true};

	return look_up(subject, key, &taking);
}

/* --- Inserting --- */

struct giving {
	TRITONCACHE_Allocator allocator; /* first */
	struct bytes response;
	bool fails;
};

static TRITONSERVER_Error *
give(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry)
{
	const struct giving *giving = (struct giving *)allocator;

	if (giving->fails || entry->count != 1 || entry->buffers[0].base == NULL ||
	    entry->buffers[0].attributes.size < giving->response.length) {
		return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, "this copy is meant to fail");
	}
	memcpy(entry->buffers[0].base, giving->response.at, giving->response.length);
	return NULL;
}

static bool
insert(const struct subject *subject, const char *key, struct giving *giving, size_t size, size_t buffers)
{
	TRITONCACHE_CacheEntry entry = {.count = buffers};
	char *full = full_key(subject, key);
	bool stored;

	for (size_t i = 0; i < buffers; i++) {
		entry.buffers[i].attributes.size = size;
	}
	giving->allocator.copy = give;
	stored = take_error(subject->plugin.insert(subject->cache, full, &entry, &giving->allocator)) == NULL;
	free(full);
	return stored;
}

bool
subject_insert(const struct subject *subject, const char *key, struct bytes response)
{
	struct giving giving = {.response = response};

	return insert(subject, key, &giving, response.length, 1);
}

bool
subject_insert_in_vain(const struct subject *subject, const char *key, size_t size)
{
	struct giving giving = {.fails = true};

	return insert(subject, key, &giving, size, 1);
}

void
subject_insert_buffers(const struct subject *subject, const char *key, size_t buffers)
{
	struct giving giving = {.fails = true};

	(void)insert(subject, key, &giving, 100, buffers);
}

/* --- Responses --- */

static void
add_u32(struct buf *out, uint32_t number)
{
	buf_append(out, bytes_make(&number, sizeof(number)));
}

static void
add_u64(struct buf *out, uint64_t number)
{
	buf_append(out, bytes_make(&number, sizeof(number)));
}

static uint8_t
byte_of(size_t at, uint32_t seed)
{
	return (uint8_t)((at * 31 + at / 251) ^ seed * 2654435761U >> 24);
}

void
response_make(struct buf *out, size_t size, uint32_t seed)
{
	static const char name[] = "OUTPUT";
	static const char datatype[] = "UINT8";
	uint64_t record = 4 + strlen(name) + 4 + strlen(datatype) + 4 + 8 + 8 + size;
	uint8_t *data;

	buf_clear(out);
	add_u32(out, 1);
	add_u64(out, record);
	add_u32(out, (uint32_t)strlen(name));
	buf_text(out, name);
	add_u32(out, (uint32_t)strlen(datatype));
	buf_text(out, datatype);
	add_u32(out, 8);
	add_u64(out, size);
	add_u64(out, size);
	data = buf_reserve(out, size);
	for (size_t i = 0; data != NULL && i < size; i++) {
		data[i] = byte_of(i, seed);
	}
	out->length += data == NULL ? 0 : size;
}

bool
response_is(const struct buf *found, size_t size, uint32_t seed)
{
	struct buf expected;
	bool same;

	buf_init(&expected, size + 4096);
	response_make(&expected, size, seed);
	same = buf_ok(&expected) && buf_ok(found) && bytes_equal(buf_bytes(&expected), buf_bytes(found));
	buf_fini(&expected);
	return same;
}
