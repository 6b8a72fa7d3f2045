#include "upstream/via.h"

#include "base/digest.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define RANDOM_BYTES 8

static pthread_once_t made = PTHREAD_ONCE_INIT;
static char own[sizeof(VIA_HTTP) + 2 * RANDOM_BYTES + 2];

static void
make(void)
{
	uint8_t random[RANDOM_BYTES];
	char hex[2 * RANDOM_BYTES + 1];

	random_bytes(random, sizeof(random));
	hex_text(bytes_make(random, sizeof(random)), hex);
	(void)snprintf(own, sizeof(own), VIA_HTTP "-%s", hex);
}

const char *
via_own(void)
{
	(void)pthread_once(&made, make);
	return own;
}

static bool
contains(struct bytes value, const char *text)
{
	return value.length > 0 && memmem(value.at, value.length, text, strlen(text)) != NULL;
}

bool
via_is_own(struct bytes value)
{
	return contains(value, via_own());
}

bool
via_is_of_a_model(struct bytes value)
{
	return contains(value, VIA_HTTP "-");
}
