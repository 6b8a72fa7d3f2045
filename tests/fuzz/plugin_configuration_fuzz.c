/* The configuration that a host gives a plug-in. */
#include "plugins/configuration.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct configuration configuration;
	struct error error;
	char *text = malloc(size + 1);

	if (size > 0) {
		memcpy(text, data, size);
	}
	text[size] = '\0';
	if (configuration_read(text, &configuration, &error) == STATUS_OK) {
		configuration_fini(&configuration);
	}
	free(text);
	return 0;
}
