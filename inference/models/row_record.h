/*
 * The losses of row trust of a model, kept for the life of the process, whenever the model is loaded: how many there
 * were (each is counted twice), and why. There is one record for each content of a model (name, version, files,
 * config), shared by all loaded models of that content. Room-private; any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_ROW_RECORD_H
#define HIPPOCAMP_INFERENCE_MODELS_ROW_RECORD_H

#include "base/bytes.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct row_record {
	struct row_record *next;
	uint8_t identity[32];
	unsigned references;
	_Atomic uint64_t losses;
	int why; /* enum row_standing, at the last loss */
	double tolerance;
};

/* `identity` has 32 bytes. Returns a reference; drop it with row_record_put. */
struct row_record *row_record_get(struct bytes identity);

/* NULL is allowed. A record without losses is freed with its last reference. */
void row_record_put(struct row_record *record);

void row_record_lose(struct row_record *record, int why, double tolerance);

/* Was row trust lost before under the same tolerance? Sets *why. */
bool row_record_recall(struct row_record *record, double tolerance, int *why);

#endif
