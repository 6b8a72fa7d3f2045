#include "base/log.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 8192

/* One word holds all settings, so that every thread sees a change at once. */
#define BIT_ERROR 1U
#define BIT_WARNING 2U
#define BIT_INFO 4U
#define FORMAT_SHIFT 4
#define VERBOSE_SHIFT 8

static atomic_uint current = BIT_ERROR | BIT_WARNING | BIT_INFO;
static atomic_int descriptor = STDERR_FILENO;
static char *opened; /* the path; set before other threads start */

static int
open_path(const char *path, struct error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "cannot open log file '%s': %s", path, strerror(errno));
	}
	return fd;
}

enum status
log_open(const char *path, struct error *error)
{
	int fd;

	if (path == NULL || *path == '\0') {
		return STATUS_OK;
	}
	fd = open_path(path, error);
	if (fd < 0) {
		return error->status;
	}
	opened = strdup(path);
	atomic_store(&descriptor, fd);
	return STATUS_OK;
}

enum status
log_reopen(struct error *error)
{
	int fd = opened == NULL ? -1 : open_path(opened, error);

	if (fd >= 0) {
		(void)dup3(fd, atomic_load(&descriptor), O_CLOEXEC); /* atomic, for concurrent writers */
		(void)close(fd);
	}
	return fd >= 0 || opened == NULL ? STATUS_OK : error->status;
}

int
log_descriptor(void)
{
	return atomic_load(&descriptor);
}

void
log_close(void)
{
	int fd = atomic_exchange(&descriptor, STDERR_FILENO);

	if (fd != STDERR_FILENO) {
		(void)close(fd);
	}
	free(opened);
	opened = NULL;
}

void
log_configure(const struct log_settings *settings)
{
	unsigned word = (settings->error ? BIT_ERROR : 0) | (settings->warning ? BIT_WARNING : 0) |
			(settings->info ? BIT_INFO : 0) | (unsigned)settings->format << FORMAT_SHIFT |
			(unsigned)settings->verbose << VERBOSE_SHIFT;

	atomic_store(&current, word);
}

const char *
log_format_name(enum log_format format)
{
	return format == LOG_FORMAT_JSON ? "json" : format == LOG_FORMAT_ISO8601 ? "ISO8601" : "default";
}

struct log_settings
log_current(void)
{
	unsigned word = atomic_load(&current);

	return (struct log_settings){
		.error = (word & BIT_ERROR) != 0,
		.warning = (word & BIT_WARNING) != 0,
		.info = (word & BIT_INFO) != 0,
		.verbose = (int)(word >> VERBOSE_SHIFT),
		.format = (enum log_format)(word >> FORMAT_SHIFT & 15U),
	};
}

bool
log_enabled(enum log_level level)
{
	unsigned word = atomic_load_explicit(&current, memory_order_relaxed);

	switch (level) {
	case LOG_ERROR:
		return (word & BIT_ERROR) != 0;
	case LOG_WARNING:
		return (word & BIT_WARNING) != 0;
	case LOG_INFO:
		return (word & BIT_INFO) != 0;
	case LOG_VERBOSE:
		return word >> VERBOSE_SHIFT > 0;
	}
	return false;
}

static void
write_default(struct buf *line, enum log_level level, const struct timespec *now, const char *file, int at,
	      enum log_format format)
{
	static const char letters[] = "EWII";
	struct tm parts;
	char time[32];

	if (format == LOG_FORMAT_ISO8601) {
		(void)gmtime_r(&now->tv_sec, &parts);
		(void)strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", &parts);
		buf_format(line, "%s %d %s:%d] %c ", time, getpid(), file, at, letters[level]);
	} else {
		(void)localtime_r(&now->tv_sec, &parts);
		(void)strftime(time, sizeof(time), "%m%d %H:%M:%S", &parts);
		buf_format(line, "%c%s.%06ld %d %s:%d] ", letters[level], time, now->tv_nsec / 1000, getpid(), file,
			   at);
	}
}

static void
write_json(struct buf *line, enum log_level level, const struct timespec *now, const char *file, int at)
{
	static const char *const names[] = {"error", "warning", "info", "verbose"};
	struct tm parts;
	char time[32];

	(void)gmtime_r(&now->tv_sec, &parts);
	(void)strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &parts);
	buf_format(line, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"pid\":%d,\"source\":\"%s:%d\",\"message\":", time,
		   now->tv_nsec / 1000000, names[level], getpid(), file, at);
}

/* --- The last warnings --- */

#define RECENT_TEXT 400

static struct {
	pthread_mutex_t mutex;
	struct {
		uint64_t time_ms;
		char text[RECENT_TEXT];
	} lines[LOG_RECENT]; /* a ring */
	size_t count;	     /* so far */
} recent = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void
remember(const struct timespec *now, const char *text)
{
	(void)pthread_mutex_lock(&recent.mutex);
	recent.lines[recent.count % LOG_RECENT].time_ms =
		(uint64_t)now->tv_sec * 1000 + (uint64_t)now->tv_nsec / 1000000;
	(void)snprintf(recent.lines[recent.count % LOG_RECENT].text, RECENT_TEXT, "%s", text);
	recent.count++;
	(void)pthread_mutex_unlock(&recent.mutex);
}

void
log_recent_warnings(void (*each)(void *context, uint64_t time_ms, const char *text), void *context)
{
	size_t first;

	(void)pthread_mutex_lock(&recent.mutex);
	first = recent.count > LOG_RECENT ? recent.count - LOG_RECENT : 0;
	for (size_t i = first; i < recent.count; i++) {
		each(context, recent.lines[i % LOG_RECENT].time_ms, recent.lines[i % LOG_RECENT].text);
	}
	(void)pthread_mutex_unlock(&recent.mutex);
}

/* --- Lines --- */

void
log_write(enum log_level level, const char *file, int at, const char *format, ...)
{
	enum log_format kind = log_current().format;
	struct timespec now;
	struct buf line;
	char text[LOG_LINE_MAX];
	const char *name = strrchr(file, '/');
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	name = name == NULL ? file : name + 1;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	buf_init(&line, (size_t)8 * LOG_LINE_MAX);
	if (kind == LOG_FORMAT_JSON) {
		write_json(&line, level, &now, name, at);
		buf_json_string(&line, bytes_text(text));
		buf_text(&line, "}\n");
	} else {
		write_default(&line, level, &now, name, at, kind);
		buf_json_string(&line, bytes_text(text));
		buf_byte(&line, '\n');
	}
	if (level <= LOG_WARNING) {
		remember(&now, text);
	}
	if (buf_ok(&line)) {
		/* One write per line, so that lines of different threads do not mix. A failure cannot be reported. */
		ssize_t written = write(atomic_load(&descriptor), line.at, line.length);

		(void)written;
	}
	buf_fini(&line);
}
