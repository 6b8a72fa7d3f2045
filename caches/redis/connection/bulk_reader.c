#include "caches/redis/connection/bulk_reader.h"

#define DIRECT_MIN ((size_t)48 << 10)
#define DIRECT_MAX ((size_t)512 << 20) /* Redis's longest string */
#define READ_MAX ((size_t)64 << 10)    /* per read into libvalkey's buffer */
#define LENGTH_DIGITS_MAX 9

static const char stand_in[] = "0\r\n\r\n";

/* Returns the length of the long bulk string that the parser waits for, and where it begins; 0: it waits for none. */
static size_t
awaited_length(const valkeyReader *reader, size_t *begin)
{
	const char *text = reader->buf + reader->pos;
	size_t unread = reader->len - reader->pos;
	size_t length = 0;
	size_t digits = 0;

	if (reader->ridx < 0 || reader->task[reader->ridx]->type != VALKEY_REPLY_STRING) {
		return 0;
	}
	while (digits < unread && digits < LENGTH_DIGITS_MAX && text[digits] >= '0' && text[digits] <= '9') {
		length = length * 10 + (size_t)(text[digits++] - '0');
	}
	if (digits == 0 || unread < digits + 2 || text[digits] != '\r' || text[digits + 1] != '\n') {
		return 0;
	}
	*begin = reader->pos + digits + 2;
	return length >= DIRECT_MIN && length <= DIRECT_MAX && reader->len - *begin < length ? length : 0;
}

static void
begin_string(struct redis_bulk_reader *bulk_reader, valkeyReader *reader)
{
	size_t begin = 0;
	size_t length = bulk_reader->wanted ? awaited_length(reader, &begin) : 0;

	bulk_reader->blob = length == 0 ? NULL : blob_new(length + 2);
	if (bulk_reader->blob != NULL) {
		bulk_reader->length = length;
		bulk_reader->got = reader->len - begin;
		bulk_reader->whole = false;
		memcpy(bulk_reader->blob->data, reader->buf + begin, bulk_reader->got);
		reader->pos = reader->len;
	}
}

static ssize_t
read_string(struct redis_bulk_reader *bulk_reader, valkeyContext *context, char *buffer)
{
	size_t left = bulk_reader->length + 2 - bulk_reader->got;
	ssize_t got = bulk_reader->below->read(context, (char *)bulk_reader->blob->data + bulk_reader->got, left);

	if (got <= 0) {
		return got;
	}
	bulk_reader->got += (size_t)got;
	if ((size_t)got < left) {
		return 0;
	}
	if (memcmp(bulk_reader->blob->data + bulk_reader->length, "\r\n", 2) != 0) {
		context->err = VALKEY_ERR_PROTOCOL;
		(void)strncpy(context->errstr, "a string without its end", sizeof(context->errstr) - 1);
		return -1;
	}
	bulk_reader->whole = true;
	memcpy(buffer, stand_in, strlen(stand_in));
	return (ssize_t)strlen(stand_in);
}

static ssize_t
on_read(valkeyContext *context, char *buffer, size_t room)
{
	struct redis_bulk_reader *bulk_reader = context->reader->privdata;
	size_t asked = room < READ_MAX ? room : READ_MAX;
	ssize_t got;

	if (bulk_reader->blob == NULL) {
		begin_string(bulk_reader, context->reader);
	}
	if (bulk_reader->blob != NULL) {
		got = read_string(bulk_reader, context, buffer);
		bulk_reader->more = false; /* the bytes behind it come with the next event */
		return got;
	}
	got = bulk_reader->below->read(context, buffer, asked);
	bulk_reader->more = got == (ssize_t)asked;
	return got;
}

void
redis_bulk_reader_begin(struct redis_bulk_reader *bulk_reader, valkeyContext *context)
{
	bulk_reader->below = context->funcs;
	bulk_reader->funcs = *context->funcs;
	bulk_reader->funcs.read = on_read;
	context->funcs = &bulk_reader->funcs;
	context->reader->privdata = bulk_reader;
}

void
redis_bulk_reader_end(struct redis_bulk_reader *bulk_reader, valkeyContext *context)
{
	if (bulk_reader->below != NULL) {
		context->funcs = bulk_reader->below;
		bulk_reader->below = NULL;
	}
	blob_unref(bulk_reader->blob);
	bulk_reader->blob = NULL;
}

struct blob *
redis_bulk_reader_take(struct redis_bulk_reader *bulk_reader)
{
	struct blob *blob = bulk_reader != NULL && bulk_reader->whole ? bulk_reader->blob : NULL;

	if (blob != NULL) {
		bulk_reader->blob = NULL;
		bulk_reader->whole = false;
		blob->length = bulk_reader->length;
		blob->data[bulk_reader->length] = '\0';
	}
	return blob;
}
