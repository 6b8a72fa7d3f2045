/*
 * Status codes and human-readable errors.
 *
 * Functions that can fail return an `enum status`: STATUS_OK (0) or a negative code. All codes but three correspond to
 * Triton's TRITONSERVER_Error_Code, so that a front end can answer as Triton does. Where a person will read the reason,
 * the function also takes a `struct error *` (never NULL), which it fills on failure and leaves alone on success.
 * Nothing here allocates; an error may be copied.
 */
#ifndef HIPPOCAMP_BASE_STATUS_H
#define HIPPOCAMP_BASE_STATUS_H

#include <stdbool.h>

enum status {
	STATUS_OK = 0,
	STATUS_UNKNOWN = -1,
	STATUS_INTERNAL = -2,
	STATUS_NOT_FOUND = -3,
	STATUS_INVALID_ARGUMENT = -4,
	STATUS_UNAVAILABLE = -5,
	STATUS_UNSUPPORTED = -6,
	STATUS_ALREADY_EXISTS = -7,
	STATUS_CANCELLED = -8,
	STATUS_NOT_CACHED = -9,	 /* not Triton's: the request asked for a cached answer only */
	STATUS_PASS = -11,	 /* not Triton's: only the server behind can answer this request */
	STATUS_QUEUE_FULL = -10, /* not Triton's: the engine turns it into STATUS_UNAVAILABLE with the request's id */
};

#define ERROR_TEXT_SIZE 1536

struct error {
	enum status status;
	int http;	/* the HTTP status that another server gave; 0: none, and `status` says which */
	bool is_remote; /* that server has given the text, too */
	char text[ERROR_TEXT_SIZE];
};

/* Returns Triton's name of the code, such as "Invalid argument". */
const char *status_text(enum status status);

/* Fills `error` and returns `status`. Truncates the text to ERROR_TEXT_SIZE - 1 bytes. */
enum status error_set(struct error *error, enum status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Inserts text before the text of `error` and returns its status. */
enum status error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
