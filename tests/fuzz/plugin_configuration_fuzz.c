/* Parses the configuration that a host passes to a plug-in. */
#include "plugins/json_config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_config configuration;
	struct error error;
	char *text = malloc(size + 1);

	if (size > 0) {
		memcpy(text, data, size);
	}
	text[size] = '\0';
	if (json_config_read(text, &configuration, &error) == STATUS_OK) {
		json_config_fini(&configuration);
	}
	free(text);
	return 0;
}
