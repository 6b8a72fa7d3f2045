#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
memory_check(bool got)
{
	if (!got) {
		static const char message[] = "hippocamp: out of memory\n";

		(void)fwrite(message, 1, sizeof(message) - 1, stderr);
		abort();
	}
}

static void *
checked(void *memory)
{
	memory_check(memory != NULL);
	return memory;
}

void *
memory_room(size_t size)
{
	return checked(malloc(size));
}

void *
memory_new(size_t size)
{
	return checked(calloc(1, size));
}

void *
memory_array(size_t count, size_t size)
{
	return checked(calloc(count == 0 ? 1 : count, size));
}

void *
memory_grow(void *old, size_t count, size_t size)
{
	return checked(reallocarray(old, count == 0 ? 1 : count, size));
}

char *
memory_text(const char *text)
{
	return text == NULL ? NULL : checked(strdup(text));
}

char *
memory_text_of(struct bytes bytes)
{
	return checked(strndup(bytes.length > 0 ? (const char *)bytes.at : "", bytes.length));
}

char *
memory_format(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	return checked(length < 0 ? NULL : text);
}
