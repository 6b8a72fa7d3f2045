#include "caches/redis/connection/reply.h"

#include "caches/redis/connection/bulk_reader.h"

#include <stdlib.h>

#define ELEMENTS_MAX (1 << 20) /* SCAN may answer with somewhat more keys than it was asked for */

#define OBJECT_COST 512 /* more than one object takes, which bounds their number */
#define REPLY_COST_MAX ((size_t)640 << 20)

/* Bounds the memory that one reply takes, however it is nested. */
static bool
afford(const valkeyReadTask *task, size_t size)
{
	struct redis_bulk_reader *bulk_reader = task->privdata;

	if (bulk_reader == NULL) {
		return true;
	}
	bulk_reader->spent = (task->parent == NULL ? 0 : bulk_reader->spent) + OBJECT_COST + size;
	return bulk_reader->spent <= REPLY_COST_MAX;
}

/* A reply inside an array is linked to it from the start, so that freeing the outermost frees all. */
static struct redis_reply *
new_reply(const valkeyReadTask *task)
{
	struct redis_reply *reply = calloc(1, sizeof(*reply));

	if (reply != NULL) {
		reply->base.type = task->type;
		if (task->parent != NULL) {
			((valkeyReply *)task->parent->obj)->element[task->idx] = &reply->base;
		}
	}
	return reply;
}

static void
free_reply(void *object)
{
	struct redis_reply *reply = object;

	if (reply == NULL) {
		return;
	}
	for (size_t i = 0; i < reply->base.elements; i++) {
		free_reply(reply->base.element[i]);
	}
	free(reply->base.element);
	blob_unref(reply->blob);
	free(reply);
}

static struct blob *
copy_string(const char *text, size_t length)
{
	struct blob *blob = blob_new(length + 1);

	if (blob != NULL) {
		memcpy(blob->data, text, length);
		blob->data[length] = '\0'; /* libvalkey prints error texts as C strings */
		blob->length = length;
	}
	return blob;
}

static void *
create_string(const valkeyReadTask *task, char *text, size_t length)
{
	struct blob *blob = length == 0 ? redis_bulk_reader_take(task->privdata) : NULL;
	struct redis_reply *reply;

	if (blob == NULL) {
		blob = copy_string(text, length);
	}
	reply = blob == NULL || !afford(task, blob->length) ? NULL : new_reply(task);
	if (reply == NULL) {
		blob_unref(blob);
		return NULL;
	}
	reply->blob = blob;
	reply->base.str = (char *)blob->data;
	reply->base.len = blob->length;
	return reply;
}

static void *
create_array(const valkeyReadTask *task, size_t elements)
{
	bool fits = elements <= ELEMENTS_MAX && afford(task, elements * sizeof(void *));
	struct redis_reply *reply = fits ? new_reply(task) : NULL;

	if (reply == NULL) {
		return NULL;
	}
	reply->base.element = calloc(elements == 0 ? 1 : elements, sizeof(*reply->base.element));
	if (reply->base.element == NULL) {
		/* Its parent frees it. */
		if (task->parent == NULL) {
			free(reply);
		}
		return NULL;
	}
	reply->base.elements = elements;
	return reply;
}

static void *
create_integer(const valkeyReadTask *task, long long value)
{
	struct redis_reply *reply = afford(task, 0) ? new_reply(task) : NULL;

	if (reply != NULL) {
		reply->base.integer = value;
	}
	return reply;
}

static void *
create_double(const valkeyReadTask *task, double value, char *text, size_t length)
{
	struct redis_reply *reply = create_string(task, text, length);

	if (reply != NULL) {
		reply->base.dval = value;
	}
	return reply;
}

/* The task's type does not tell: a bulk string of length -1 is a nil, too. */
static void *
create_nil(const valkeyReadTask *task)
{
	struct redis_reply *reply = afford(task, 0) ? new_reply(task) : NULL;

	if (reply != NULL) {
		reply->base.type = VALKEY_REPLY_NIL;
	}
	return reply;
}

static void *
create_bool(const valkeyReadTask *task, int value)
{
	return create_integer(task, value);
}

valkeyReplyObjectFunctions redis_reply_functions = {
	.createString = create_string,
	.createArray = create_array,
	.createInteger = create_integer,
	.createDouble = create_double,
	.createNil = create_nil,
	.createBool = create_bool,
	.freeObject = free_reply,
};

struct bytes
redis_info_value(struct bytes info, const char *name)
{
	size_t length = strlen(name);

	while (info.length > 0) {
		const uint8_t *end = memchr(info.at, '\r', info.length);
		size_t line = end == NULL ? info.length : (size_t)(end - info.at);

		if (line > length && memcmp(info.at, name, length) == 0 && info.at[length] == ':') {
			return bytes_make(info.at + length + 1, line - length - 1);
		}
		info = bytes_skip(info, line + 2 < info.length ? line + 2 : info.length);
	}
	return bytes_make("", 0);
}
