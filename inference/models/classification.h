/*
 * Triton's classification extension: an output as its n largest values, each as the text `value:index[:label]`. Applied
 * to the answer after the cache, so that it never changes what is cached.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_CLASSIFICATION_H
#define HIPPOCAMP_INFERENCE_MODELS_CLASSIFICATION_H

#include "base/arena.h"
#include "base/status.h"
#include "base/tensor.h"

/* A label file's lines; a class without a line has no label. */
struct labels {
	size_t count;
	struct bytes *lines;
	char *text; /* what the lines point into */
};

enum status labels_read(const char *folder, struct bytes name, struct labels **labels, struct error *error);
void labels_free(struct labels *labels); /* NULL is fine */

/*
 * Makes a BYTES tensor [n] (or [batch, n], where the model batches) in `arena`, n cut to the number of classes. Equal
 * values are ordered by index. `labels` may be NULL.
 */
enum status classify(const struct tensor *output, bool batches, uint32_t classes, const struct labels *labels,
		     struct arena *arena, struct tensor *result, struct error *error);

#endif
