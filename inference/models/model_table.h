/*
 * The models that can be asked: an immutable snapshot, replaced as a whole whenever a model is loaded or unloaded.
 * Reference-counted; each loop keeps the newest one alive, and with it the models, while it uses it.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_MODEL_TABLE_H
#define HIPPOCAMP_INFERENCE_MODELS_MODEL_TABLE_H

#include "inference/models/model.h"

struct model_table_entry {
	char *name;
	size_t version_count;	 /* 0: known, but nothing of it is loaded */
	struct model **versions; /* ascending; a reference each */
};

struct model_table {
	atomic_size_t references;
	size_t count;
	struct model_table_entry *entries; /* in byte order of their names */
};

/* Makes a table with one reference and `count` empty entries to fill in. */
struct model_table *model_table_new(size_t count);
struct model_table *model_table_ref(struct model_table *table);
void model_table_unref(struct model_table *table); /* NULL is fine */

const struct model_table_entry *model_table_entry(const struct model_table *table, struct bytes name);

/* Finds a model; `version` -1 is the newest. Errors have Triton's texts. The model lives as long as the table. */
enum status model_table_find(const struct model_table *table, struct bytes name, int64_t version, struct model **model,
			     struct error *error);

#endif
