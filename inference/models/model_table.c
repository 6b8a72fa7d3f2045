#include "inference/models/model_table.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>

struct model_table *
model_table_new(size_t count)
{
	struct model_table *table = memory_new(sizeof(*table));

	atomic_init(&table->references, 1);
	table->count = count;
	table->entries = memory_array(count, sizeof(*table->entries));
	return table;
}

struct model_table *
model_table_ref(struct model_table *table)
{
	atomic_fetch_add_explicit(&table->references, 1, memory_order_relaxed);
	return table;
}

void
model_table_unref(struct model_table *table)
{
	if (table == NULL || atomic_fetch_sub_explicit(&table->references, 1, memory_order_acq_rel) != 1) {
		return;
	}
	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			model_unref(table->entries[i].versions[k]);
		}
		free(table->entries[i].versions);
		free(table->entries[i].name);
	}
	free(table->entries);
	free(table);
}

const struct model_table_entry *
model_table_entry(const struct model_table *table, struct bytes name)
{
	size_t low = 0;
	size_t high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = bytes_compare(name, bytes_text(table->entries[middle].name));

		if (order == 0) {
			return &table->entries[middle];
		}
		if (order < 0) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}
	return NULL;
}

enum status
model_table_find(const struct model_table *table, struct bytes name, int64_t version, struct model **model,
		 struct error *error)
{
	const struct model_table_entry *entry = model_table_entry(table, name);

	if (entry == NULL) {
		return error_set(error, STATUS_NOT_FOUND, "Request for unknown model: '%.*s' is not found",
				 BYTES_ARGS(name));
	}
	if (version < 0) {
		if (entry->version_count == 0) {
			return error_set(error, STATUS_NOT_FOUND,
					 "Request for unknown model: '%.*s' has no available versions",
					 BYTES_ARGS(name));
		}
		*model = entry->versions[entry->version_count - 1];
		return STATUS_OK;
	}
	for (size_t i = 0; i < entry->version_count; i++) {
		if (entry->versions[i]->version == version) {
			*model = entry->versions[i];
			return STATUS_OK;
		}
	}
	return error_set(error, STATUS_NOT_FOUND, "Request for unknown model: '%.*s' version %" PRId64 " is not found",
			 BYTES_ARGS(name), version);
}
