#include "inference/fetch/request_trace.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/cache/entry.h"
#include "inference/models/model.h"
#include "loop/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_SIZE ((size_t)64 * 1024) /* is handed over */
#define PART_MAX (2 * PART_SIZE)
#define WAITING_MAX 64 /* parts that may wait for the disk */
#define SHARE_BITS 24  /* of a key, which say whether it is recorded */

/* Lines on their way to the file. */
struct part {
	struct buf text;
	STAILQ_ENTRY(part) entry;
};

struct request_trace {
	char *path;
	int fd;
	uint64_t threshold;    /* keys below it are recorded */
	char end[24];	       /* of each line: the share of keys that are recorded */
	struct part **filling; /* by lane */
	size_t lane_count;
	pthread_t writer;
	pthread_mutex_t mutex; /* for all that follows */
	pthread_cond_t changed;
	STAILQ_HEAD(, part) waiting;
	size_t waiting_count;
	uint64_t dropped; /* bytes */
	bool is_closing;
	bool has_failed; /* to write: nothing more is recorded */
};

/* --- Writing --- */

static struct part *
part_new(void)
{
	struct part *part = memory_new(sizeof(*part));

	buf_init(&part->text, PART_MAX);
	return part;
}

static void
part_free(struct part *part)
{
	if (part != NULL) {
		buf_fini(&part->text);
		free(part);
	}
}

static bool
write_all(int fd, struct bytes text)
{
	while (text.length > 0) {
		ssize_t put = write(fd, text.at, text.length);

		if (put < 0 && errno != EINTR) {
			return false;
		}
		text = bytes_skip(text, put < 0 ? 0 : (size_t)put);
	}
	return true;
}

/* Takes the next part. NULL: it is the end. */
static struct part *
await_part(struct request_trace *trace)
{
	struct part *part;

	(void)pthread_mutex_lock(&trace->mutex);
	while (STAILQ_EMPTY(&trace->waiting) && !trace->is_closing) {
		(void)pthread_cond_wait(&trace->changed, &trace->mutex);
	}
	part = STAILQ_FIRST(&trace->waiting);
	if (part != NULL) {
		STAILQ_REMOVE_HEAD(&trace->waiting, entry);
		trace->waiting_count--;
	}
	(void)pthread_mutex_unlock(&trace->mutex);
	return part;
}

static void *
run_writer(void *argument)
{
	struct request_trace *trace = argument;
	struct part *part;

	while ((part = await_part(trace)) != NULL) {
		if (!trace->has_failed && !write_all(trace->fd, buf_bytes(&part->text))) {
			log_warning("--record=%s: %s; nothing more is recorded", trace->path, strerror(errno));
			(void)pthread_mutex_lock(&trace->mutex);
			trace->has_failed = true;
			(void)pthread_mutex_unlock(&trace->mutex);
		}
		part_free(part);
	}
	return NULL;
}

/* --- Life --- */

static enum status
failed(const char *path, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "--record=%s: %s", path, strerror(errno));
}

static bool
is_record(int fd)
{
	char head[sizeof(REQUEST_TRACE_HEAD) - 1];

	return pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	       memcmp(head, REQUEST_TRACE_HEAD, sizeof(head)) == 0;
}

/* A server that was killed may have left a part of a line, which nobody is to take for a whole one. */
static bool
end_line(int fd, off_t size)
{
	char last;

	return pread(fd, &last, 1, size - 1) == 1 && (last == '\n' || write_all(fd, bytes_text("?\n")));
}

static enum status
open_file(const char *path, int *fd, struct error *error)
{
	struct stat state;

	*fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
	if (*fd < 0 || fstat(*fd, &state) != 0) {
		(void)failed(path, error);
	} else if (!S_ISREG(state.st_mode)) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "--record=%s: it is no regular file", path);
	} else if (state.st_size > 0 && !is_record(*fd)) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT,
				"--record=%s: it is there, but no record of a server: name another file", path);
	} else if (state.st_size == 0 ? write_all(*fd, bytes_text(REQUEST_TRACE_HEAD)) : end_line(*fd, state.st_size)) {
		return STATUS_OK;
	} else {
		(void)failed(path, error);
	}
	if (*fd >= 0) {
		(void)close(*fd);
	}
	return error->status;
}

struct request_trace *
request_trace_open(const char *path, double share, size_t lanes, struct error *error)
{
	struct request_trace *trace;
	int fd;

	if (open_file(path, &fd, error) != STATUS_OK) {
		return NULL;
	}
	trace = memory_new(sizeof(*trace));
	trace->path = memory_text(path);
	trace->fd = fd;
	trace->threshold = (uint64_t)ceil(ldexp(share, SHARE_BITS));
	(void)snprintf(trace->end, sizeof(trace->end), ",%.9g\n", share);
	trace->filling = memory_array(lanes, sizeof(struct part *));
	trace->lane_count = lanes;
	STAILQ_INIT(&trace->waiting);
	(void)pthread_mutex_init(&trace->mutex, NULL);
	(void)pthread_cond_init(&trace->changed, NULL);
	trace->writer = thread_start("trace", run_writer, trace);
	return trace;
}

void
request_trace_close(struct request_trace *trace)
{
	if (trace == NULL) {
		return;
	}
	for (size_t i = 0; i < trace->lane_count; i++) {
		request_trace_flush(trace, i);
	}
	(void)pthread_mutex_lock(&trace->mutex);
	trace->is_closing = true;
	(void)pthread_cond_signal(&trace->changed);
	(void)pthread_mutex_unlock(&trace->mutex);
	(void)pthread_join(trace->writer, NULL);
	if (trace->dropped > 0) {
		log_warning("--record=%s: the disk was too slow: %" PRIu64 " KB are missing in it", trace->path,
			    trace->dropped / 1000);
	}
	(void)pthread_mutex_destroy(&trace->mutex);
	(void)pthread_cond_destroy(&trace->changed);
	(void)close(trace->fd);
	free(trace->filling);
	free(trace->path);
	free(trace);
}

/* --- Lines --- */

void
request_trace_flush(struct request_trace *trace, size_t lane)
{
	struct part *part = trace->filling[lane];
	bool takes;

	if (part == NULL) {
		return;
	}
	trace->filling[lane] = NULL;
	(void)pthread_mutex_lock(&trace->mutex);
	takes = trace->waiting_count < WAITING_MAX && !trace->has_failed && buf_ok(&part->text);
	if (takes) {
		STAILQ_INSERT_TAIL(&trace->waiting, part, entry);
		trace->waiting_count++;
		(void)pthread_cond_signal(&trace->changed);
	} else if (!trace->has_failed) {
		trace->dropped += part->text.length;
	}
	(void)pthread_mutex_unlock(&trace->mutex);
	if (!takes) {
		part_free(part);
	}
}

/* Names may hold anything. */
static void
write_name(struct buf *out, struct bytes name)
{
	buf_byte(out, '"');
	for (size_t i = 0; i < name.length; i++) {
		if (name.at[i] == '"') {
			buf_byte(out, '"');
		}
		buf_byte(out, name.at[i]);
	}
	buf_byte(out, '"');
}

static const char *
outcome_of(const struct slice *slice)
{
	switch (slice->result) {
	case SLICE_HIT:
		return "hit";
	case SLICE_JOINED:
		return "joined";
	case SLICE_BYPASSED:
		return "bypassed";
	case SLICE_ERROR:
		return "error";
	default:
		return "miss";
	}
}

void
request_trace_add(struct request_trace *trace, size_t lane, const struct slice *slice, uint64_t asked_ms)
{
	const struct model *model = slice->request->model;
	struct bytes key = bytes_make(slice->key.digest.bytes, sizeof(uint64_t));
	char hex[2 * sizeof(uint64_t) + 1];
	uint64_t number;
	struct buf *out;

	memcpy(&number, key.at, sizeof(number));
	if (!slice->keyed || slice->entry == NULL || number >> (64 - SHARE_BITS) >= trace->threshold) {
		return; /* without an answer there is nothing to be kept */
	}
	if (trace->filling[lane] == NULL) {
		trace->filling[lane] = part_new();
	}
	out = &trace->filling[lane]->text;
	hex_text(key, hex);
	buf_unsigned(out, asked_ms);
	buf_byte(out, ',');
	write_name(out, model->config.name);
	buf_byte(out, ',');
	buf_signed(out, model->version);
	buf_byte(out, ',');
	buf_text(out, hex);
	buf_byte(out, ',');
	buf_unsigned(out, slice->entry->length);
	buf_byte(out, ',');
	buf_unsigned(out, entry_freshness(slice->entry).cost_us);
	buf_byte(out, ',');
	buf_text(out, outcome_of(slice));
	buf_text(out, trace->end);
	if (out->length >= PART_SIZE) {
		request_trace_flush(trace, lane);
	}
}
