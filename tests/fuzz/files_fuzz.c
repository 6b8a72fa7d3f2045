/*
 * Reads what the command line's programs are given: arrays, archives and JSON of inputs, records of look-ups, and what
 * other servers tell of themselves. The first byte chooses.
 */
#include "base/model_config.h"
#include "simulation/trace_file.h"
#include "wire/cache_report.h"
#include "wire/history_report.h"
#include "wire/input_data.h"
#include "wire/npy.h"
#include "wire/zip.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)16 << 20)
#define INPUTS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads each byte, so that a view out of bounds shows. */
static void
touch(struct bytes bytes)
{
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < bytes.length; i++) {
		sum = (uint8_t)(sum + bytes.at[i]);
	}
}

static void
read_array(struct bytes file, struct arena *arena)
{
	struct tensor array;
	struct error error;

	if (npy_decode(file, arena, &array, &error) == STATUS_OK) {
		touch(array.data);
		touch(bytes_make(array.shape, array.rank * sizeof(*array.shape)));
	}
}

static void
read_archive(struct bytes archive, struct arena *arena)
{
	struct zip_entry entry;
	struct bytes content;
	struct error error;
	size_t place = 0;

	while (zip_next(archive, &place, &entry)) {
		touch(entry.name);
		if (zip_content(&entry, arena, &content, &error) == STATUS_OK) {
			touch(content);
			read_array(content, arena);
		}
	}
}

static void
take_entry(void *context, const struct tensor *tensors)
{
	(void)context;
	for (size_t i = 0; i < INPUTS; i++) {
		touch(tensors[i].data);
		touch(bytes_make(tensors[i].shape, tensors[i].rank * sizeof(*tensors[i].shape)));
	}
}

static void
read_inputs(struct bytes json, struct arena *arena)
{
	int64_t shapes[INPUTS][2] = {{2, 2}, {-1, 2}, {1, 1}};
	const struct model_tensor inputs[INPUTS] = {
		{.name = {(const uint8_t *)"A", 1}, .datatype = DATATYPE_INT32, .dims = {2, shapes[0]}},
		{.name = {(const uint8_t *)"B", 1}, .datatype = DATATYPE_FP32, .dims = {2, shapes[1]}},
		{.name = {(const uint8_t *)"C", 1}, .datatype = DATATYPE_BYTES, .dims = {2, shapes[2]}},
	};
	struct error error;

	(void)input_data_decode(json, inputs, INPUTS, arena, take_entry, NULL, &error);
}

static void
read_record(struct bytes text)
{
	struct trace trace = {0};
	struct error error;

	(void)trace_parse(&trace, text, &error);
	trace_sort(&trace);
	trace_fini(&trace);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes rest = bytes_make(size > 0 ? data + 1 : data, size > 0 ? size - 1 : 0);
	struct history_report history;
	struct cache_report cache;
	struct error error;
	struct arena arena;

	arena_init(&arena, ARENA_MAX);
	switch (size > 0 ? *data : 0) {
	case 'a':
		read_array(rest, &arena);
		break;
	case 'z':
		read_archive(rest, &arena);
		break;
	case 'i':
		read_inputs(rest, &arena);
		break;
	case 'r':
		read_record(rest);
		break;
	case 'h':
		(void)history_report_decode(rest, 10, &history, &error);
		break;
	default:
		(void)cache_report_decode(rest, &arena, &cache, &error);
		break;
	}
	arena_fini(&arena);
	return 0;
}
