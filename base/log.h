/*
 * The process's log. Any thread writes whole lines to stderr or a file. Libraries return errors instead of logging; the
 * caller that decides what an error means writes the line.
 *
 * Formats: Triton's default (`I1123 10:20:30.123456 4242 file.c:12] "text"`), ISO8601 (the same with a full UTC date),
 * and JSON: one object per line with time, level, pid, source and message.
 */
#ifndef HIPPOCAMP_BASE_LOG_H
#define HIPPOCAMP_BASE_LOG_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_VERBOSE };
enum log_format { LOG_FORMAT_DEFAULT, LOG_FORMAT_ISO8601, LOG_FORMAT_JSON };

const char *log_format_name(enum log_format format); /* "default", "ISO8601", "json" */

struct log_settings {
	bool error;
	bool warning;
	bool info;
	int verbose; /* 0: off */
	enum log_format format;
};

/* Opens `path` for appending; NULL or "" means stderr. Call log_open before other threads start. */
enum status log_open(const char *path, struct error *error);
void log_close(void);

/*
 * Opens the same path again, after logrotate or the like has moved the file. Any thread; no line is lost. On failure
 * the log keeps the old file.
 */
enum status log_reopen(struct error *error);

/* Returns the descriptor that lines go to. Async-signal-safe. */
int log_descriptor(void);

/* Sets and reads the settings. Any thread. */
void log_configure(const struct log_settings *settings);
struct log_settings log_current(void);

/*
 * Calls `each` for the last warnings and errors, LOG_RECENT at most, the oldest first; texts are cut. `time_ms` is
 * since 1970. Any thread.
 */
#define LOG_RECENT 16
void log_recent_warnings(void (*each)(void *context, uint64_t time_ms, const char *text), void *context);

bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#define log_at(level, ...)                                                                                             \
	do {                                                                                                           \
		if (log_enabled(level)) {                                                                              \
			log_write((level), __FILE__, __LINE__, __VA_ARGS__);                                           \
		}                                                                                                      \
	} while (0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_verbose(...) log_at(LOG_VERBOSE, __VA_ARGS__)

#endif
