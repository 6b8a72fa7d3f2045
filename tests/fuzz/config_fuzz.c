/* Parses config.pbtxt or the JSON of a load request, prints the result as JSON, and parses that again. */
#include "wire/model_config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool json = size > 0 && *data == '{';
	struct bytes text = bytes_make(data, size);
	struct model_config config;
	struct model_config again;
	struct error error;
	struct buf out;

	if ((json ? model_config_parse_json(text, &config, &error)
		  : model_config_parse_text(text, "config.pbtxt", &config, &error)) != STATUS_OK) {
		return 0;
	}
	buf_init(&out, 1 << 24);
	if (model_config_completed(&config, &error) == STATUS_OK) {
		model_config_print(&config, &out);
		if (model_config_parse_json(buf_bytes(&out), &again, &error) == STATUS_OK) {
			model_config_fini(&again);
		}
	}
	buf_fini(&out);
	model_config_fini(&config);
	return 0;
}
