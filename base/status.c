#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *
status_text(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return "OK";
	case STATUS_INTERNAL:
		return "Internal";
	case STATUS_NOT_FOUND:
		return "Not found";
	case STATUS_INVALID_ARGUMENT:
		return "Invalid argument";
	case STATUS_UNAVAILABLE:
	case STATUS_QUEUE_FULL:
		return "Unavailable";
	case STATUS_UNSUPPORTED:
		return "Unsupported";
	case STATUS_ALREADY_EXISTS:
		return "Already exists";
	case STATUS_CANCELLED:
		return "Cancelled";
	case STATUS_PASS:
	case STATUS_NOT_CACHED:
		return "Not cached";
	case STATUS_UNKNOWN:
		break;
	}
	return "Unknown";
}

enum status
error_set(struct error *error, enum status status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	error->status = status;
	error->http = 0;
	error->is_remote = false;
	return status;
}

enum status
error_prefix(struct error *error, const char *format, ...)
{
	char old[ERROR_TEXT_SIZE];
	va_list args;
	int length;

	memcpy(old, error->text, sizeof(old));
	va_start(args, format);
	length = vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	if (length >= 0 && (size_t)length < sizeof(error->text)) {
		(void)snprintf(error->text + length, sizeof(error->text) - (size_t)length, "%s", old);
	}
	return error->status;
}
