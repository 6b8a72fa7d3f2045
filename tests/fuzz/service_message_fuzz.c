/* Reads the message behind the first byte as the request that this byte chooses. */
#include "wire/service_message.h"

#define ARENA_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes message = bytes_make(data + 1, size == 0 ? 0 : size - 1);
	struct model_control_request control;
	struct log_settings settings = {0};
	struct index_request index;
	struct name_request name;
	struct bytes model;
	struct error error;
	struct arena arena;
	bool changes;

	arena_init(&arena, ARENA_MAX);
	switch (size == 0 ? 0 : data[0] % 6) {
	case 0:
		(void)name_request_decode(message, &name, &error);
		break;
	case 1:
		(void)index_request_decode(message, &index, &error);
		break;
	case 2:
		(void)load_request_decode(message, &arena, &control, &error);
		break;
	case 3:
		(void)unload_request_decode(message, &control, &error);
		break;
	case 4:
		(void)trace_request_decode(message, &model, &changes, &error);
		break;
	default:
		(void)log_request_decode(message, &settings, &error);
		break;
	}
	arena_fini(&arena);
	return 0;
}
