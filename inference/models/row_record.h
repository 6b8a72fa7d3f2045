/*
 * What is remembered of a model's rows for as long as the process lives, whenever the model is loaded: how often the
 * trust in them was lost (each time counts twice), and why. There is one record for each content of a model (name,
 * version, files, config), and all who have such a model loaded share it. Room-private; any thread.
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

/* `identity` has 32 bytes. A reference, for row_record_put. */
struct row_record *row_record_get(struct bytes identity);

/* NULL is allowed. A record without losses goes with its last reference. */
void row_record_put(struct row_record *record);

void row_record_lose(struct row_record *record, int why, double tolerance);

/* Was the trust lost before under the same tolerance? Then *why tells. */
bool row_record_recall(struct row_record *record, double tolerance, int *why);

#endif
