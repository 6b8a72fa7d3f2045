/* Inputs that are made from a number: random or zero, each different from the others. Room-private. */
#ifndef HIPPOCAMP_MEASURE_INPUT_MAKE_H
#define HIPPOCAMP_MEASURE_INPUT_MAKE_H

#include "measure/input.h"
#include "wire/input_data.h"

/* Where inputs go to: see input_data_decode. */
struct input_target {
	const struct model_tensor *inputs;
	size_t count;
	struct arena *arena;
	input_data_fn entry;
	void *context;
};

/*
 * How one input differs from another: the first elements of one tensor are the digits of its number. Digits are small,
 * so that they are also indices into small vocabularies, unless there are too few elements.
 */
struct input_variation {
	size_t tensor; /* its index among those of an entry */
	enum datatype datatype;
	size_t length; /* bytes; 0: they do not differ */
	size_t digits;
	unsigned digit_bits;
	uint64_t distinct; /* UINT64_MAX: 2^64 or more */
};

/* Makes one entry, of random data or zeros. Fails where the model has no room for options->distinct different ones. */
enum status input_make(const struct input_target *target, const struct input_options *options,
		       struct input_variation *variation, struct error *error);

/* Over a copy of the first bytes of what input_make made. */
void input_variation_write(const struct input_variation *variation, uint64_t number, uint8_t *bytes);

#endif
