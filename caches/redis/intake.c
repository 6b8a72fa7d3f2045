#include "caches/redis/intake.h"

#define DIRECT_MIN ((size_t)48 << 10)
#define DIRECT_MAX ((size_t)512 << 20) /* Redis's longest string */
#define READ_MAX ((size_t)64 << 10)    /* at once, into libvalkey's buffer */
#define LENGTH_DIGITS_MAX 9

static const char stand_in[] = "0\r\n\r\n";

/* The length of the bulk string that the parser waits for, and where its bytes begin; 0: it waits for no long one. */
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
begin_string(struct redis_intake *intake, valkeyReader *reader)
{
	size_t begin = 0;
	size_t length = intake->wanted ? awaited_length(reader, &begin) : 0;

	intake->blob = length == 0 ? NULL : blob_new(length + 2);
	if (intake->blob != NULL) {
		intake->length = length;
		intake->got = reader->len - begin;
		intake->whole = false;
		memcpy(intake->blob->data, reader->buf + begin, intake->got);
		reader->pos = reader->len;
	}
}

static ssize_t
read_string(struct redis_intake *intake, valkeyContext *context, char *buffer)
{
	size_t left = intake->length + 2 - intake->got;
	ssize_t got = intake->below->read(context, (char *)intake->blob->data + intake->got, left);

	if (got <= 0) {
		return got;
	}
	intake->got += (size_t)got;
	if ((size_t)got < left) {
		return 0;
	}
	if (memcmp(intake->blob->data + intake->length, "\r\n", 2) != 0) {
		context->err = VALKEY_ERR_PROTOCOL;
		(void)strncpy(context->errstr, "a string without its end", sizeof(context->errstr) - 1);
		return -1;
	}
	intake->whole = true;
	memcpy(buffer, stand_in, strlen(stand_in));
	return (ssize_t)strlen(stand_in);
}

static ssize_t
on_read(valkeyContext *context, char *buffer, size_t room)
{
	struct redis_intake *intake = context->reader->privdata;
	size_t asked = room < READ_MAX ? room : READ_MAX;
	ssize_t got;

	if (intake->blob == NULL) {
		begin_string(intake, context->reader);
	}
	if (intake->blob != NULL) {
		got = read_string(intake, context, buffer);
		intake->more = false; /* what is behind it comes with the next event */
		return got;
	}
	got = intake->below->read(context, buffer, asked);
	intake->more = got == (ssize_t)asked;
	return got;
}

void
redis_intake_begin(struct redis_intake *intake, valkeyContext *context)
{
	intake->below = context->funcs;
	intake->funcs = *context->funcs;
	intake->funcs.read = on_read;
	context->funcs = &intake->funcs;
	context->reader->privdata = intake;
}

void
redis_intake_end(struct redis_intake *intake, valkeyContext *context)
{
	if (intake->below != NULL) {
		context->funcs = intake->below;
		intake->below = NULL;
	}
	blob_unref(intake->blob);
	intake->blob = NULL;
}

struct blob *
redis_intake_take(struct redis_intake *intake)
{
	struct blob *blob = intake != NULL && intake->whole ? intake->blob : NULL;

	if (blob != NULL) {
		intake->blob = NULL;
		intake->whole = false;
		blob->length = intake->length;
		blob->data[intake->length] = '\0';
	}
	return blob;
}
