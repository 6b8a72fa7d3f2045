/*
 * The inputs of the requests that a measurement sends: entries of files, or made from a number, so that there are as
 * many different ones as are wanted. Immutable once made; any thread.
 */
#ifndef HIPPOCAMP_MEASURE_INPUT_H
#define HIPPOCAMP_MEASURE_INPUT_H

#include "base/model_config.h"
#include "base/status.h"

struct input_options {
	const char *const *files; /* *.json (wire/input_data.h), *.npz, or a folder with one file of raw data, or one
				   *.npy, for each input; none: the inputs are made */
	size_t file_count;
	bool zero;		   /* of those that are made: zeros, but for what tells them apart */
	const char *const *shapes; /* "NAME:3,224,224", without a batch dimension */
	size_t shape_count;
	size_t string_length; /* of the elements of BYTES that are made */
	uint64_t distinct;    /* how many different ones must be made; UINT64_MAX: as many as possible */
	uint64_t seed;
};

/* What one inference gets, without a batch dimension. */
struct input_entry {
	struct tensor *tensors; /* in the order of the model's configuration, without those that it may lack */
	size_t count;
};

struct input_set;

/* `model` outlives the set. NULL: the message says what is wrong with which input or file. */
struct input_set *input_set_new(const struct model_config *model, const struct input_options *options,
				struct error *error);
void input_set_free(struct input_set *set); /* NULL: none */

/* Of input number `number`; its numbers go round where there are fewer entries. */
const struct input_entry *input_set_entry(const struct input_set *set, uint64_t number);

/* Do all entries have the same shapes and lengths? */
bool input_set_is_uniform(const struct input_set *set);

/* How many different ones there are; UINT64_MAX: 2^64 or more. */
uint64_t input_set_distinct(const struct input_set *set);

/*
 * Of inputs that are made, which differ only in the first bytes of one tensor: its index in the entry, how many bytes
 * these are, and their writing. Of others the length is 0.
 */
size_t input_set_varied(const struct input_set *set, size_t *length);
void input_set_vary(const struct input_set *set, uint64_t number, uint8_t *bytes);

#endif
