#include "measure/input_make.h"

#include "base/memory.h"
#include "measure/popularity.h"

#include <inttypes.h>
#include <stdlib.h>

#define SMALL_BITS 7U
#define LETTER_BITS 4U /* of a string's letters, 'a' to 'p' */

/* --- Numbers --- */

static unsigned
bits_of(uint64_t number)
{
	return number == 0 ? 0 : 64 - (unsigned)__builtin_clzll(number);
}

/* How large a digit each datatype holds exactly. */
static unsigned
digit_bits_max(enum datatype datatype)
{
	switch (datatype) {
	case DATATYPE_BOOL:
		return 1;
	case DATATYPE_BF16: /* 8 bits of precision */
	case DATATYPE_INT8:
	case DATATYPE_UINT8:
		return SMALL_BITS;
	case DATATYPE_FP16:
		return 10;
	case DATATYPE_INT16:
	case DATATYPE_UINT16:
		return 15;
	case DATATYPE_FP32:
		return 23;
	case DATATYPE_INT32:
	case DATATYPE_UINT32:
		return 31;
	case DATATYPE_BYTES:
		return LETTER_BITS;
	default:
		return 52;
	}
}

/* Of a number from 0 to 1, without 1, and of at most 10 bits of precision. */
static uint16_t
half_of(double number)
{
	unsigned exponent = 15;

	if (number == 0) {
		return 0;
	}
	while (number < 1) {
		number *= 2;
		exponent--;
	}
	return (uint16_t)(exponent << 10 | (unsigned)((number - 1) * 1024));
}

static uint16_t
brain_of(float number)
{
	uint32_t bits;

	memcpy(&bits, &number, sizeof(bits));
	return (uint16_t)(bits >> 16);
}

/* Writes `digit` of `bits` bits as one element: integers as they are, other numbers as fractions of 1. */
static void
write_element(enum datatype datatype, uint64_t digit, unsigned bits, uint8_t *at)
{
	double fraction = (double)digit / (double)(UINT64_C(1) << bits);
	float single = (float)fraction;
	uint16_t half;

	switch (datatype) {
	case DATATYPE_FP16:
		half = half_of(fraction);
		memcpy(at, &half, sizeof(half));
		break;
	case DATATYPE_BF16:
		half = brain_of(single);
		memcpy(at, &half, sizeof(half));
		break;
	case DATATYPE_FP32:
		memcpy(at, &single, sizeof(single));
		break;
	case DATATYPE_FP64:
		memcpy(at, &fraction, sizeof(fraction));
		break;
	default:
		memcpy(at, &digit, datatype_size(datatype));
		break;
	}
}

/* --- Tensors --- */

static size_t
length_of(enum datatype datatype, int64_t elements, size_t string_length)
{
	size_t size = datatype == DATATYPE_BYTES ? sizeof(uint32_t) + string_length : datatype_size(datatype);
	size_t length;

	return __builtin_mul_overflow((size_t)elements, size, &length) ? SIZE_MAX : length;
}

static void
fill_strings(uint8_t *at, int64_t elements, const struct input_options *options, uint64_t *random)
{
	uint32_t length = (uint32_t)options->string_length;

	for (int64_t i = 0; i < elements; i++) {
		memcpy(at, &length, sizeof(length));
		at += sizeof(length);
		for (uint32_t k = 0; k < length; k++) {
			*at++ = options->zero ? 'a' : (uint8_t)('a' + random_next(random) % 26);
		}
	}
}

static void
fill(const struct tensor *tensor, uint8_t *at, int64_t elements, const struct input_options *options, uint64_t *random)
{
	size_t size = datatype_size(tensor->datatype);
	unsigned bits = tensor->datatype == DATATYPE_BOOL ? 1 : SMALL_BITS;

	if (tensor->datatype == DATATYPE_BYTES) {
		fill_strings(at, elements, options, random);
		return;
	}
	for (int64_t i = 0; i < elements && !options->zero; i++) {
		write_element(tensor->datatype, random_next(random) >> (64 - bits), bits, at + (size_t)i * size);
	}
}

static enum status
make_tensor(const struct input_target *target, const struct model_tensor *input, const struct input_options *options,
	    uint64_t *random, struct tensor *tensor, int64_t *elements, struct error *error)
{
	size_t length;
	uint8_t *at;

	for (size_t i = 0; i < input->dims.rank; i++) {
		if (input->dims.dims[i] < 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "input '%.*s' has a dimension of any size: give --shape %.*s:DIM,DIM",
					 BYTES_ARGS(input->name), BYTES_ARGS(input->name));
		}
	}
	*tensor = (struct tensor){
		.name = input->name, .datatype = input->datatype, .rank = input->dims.rank, .shape = input->dims.dims};
	if (!shape_elements(tensor->shape, tensor->rank, elements)) {
		return shape_too_large(input->name, tensor->shape, tensor->rank, error);
	}
	length = length_of(input->datatype, *elements, options->string_length);
	at = arena_get(target->arena, length);
	if (at == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for input '%.*s'", BYTES_ARGS(input->name));
	}
	fill(tensor, at, *elements, options, random);
	tensor->data = bytes_make(at, length);
	return STATUS_OK;
}

/* --- Variation --- */

/* The digits that this tensor can hold: elements, or letters of its first string. */
static size_t
digits_of(const struct tensor *tensor, int64_t elements, const struct input_options *options)
{
	if (elements == 0) {
		return 0;
	}
	return tensor->datatype == DATATYPE_BYTES ? options->string_length : (size_t)elements;
}

static unsigned
capacity_of(const struct tensor *tensor, size_t digits)
{
	return digits >= 64 ? 64
			    : (unsigned)(digits * digit_bits_max(tensor->datatype) < 64
						 ? digits * digit_bits_max(tensor->datatype)
						 : 64);
}

/* Chooses digits as small as possible, then as few as possible. */
static void
choose_digits(const struct tensor *tensor, size_t digits, unsigned needed, struct input_variation *variation)
{
	unsigned most = digit_bits_max(tensor->datatype);
	unsigned small = most < SMALL_BITS ? most : SMALL_BITS;
	size_t least = (needed + digits - 1) / digits;

	variation->datatype = tensor->datatype;
	variation->digit_bits = least > small ? (unsigned)least : small;
	variation->digits = (needed + variation->digit_bits - 1) / variation->digit_bits;
	if (tensor->datatype == DATATYPE_BYTES) {
		variation->length = sizeof(uint32_t) + variation->digits;
	} else {
		variation->length = variation->digits * datatype_size(tensor->datatype);
	}
}

static enum status
vary(const struct tensor *tensors, const int64_t *elements, size_t count, const struct input_options *options,
     struct input_variation *variation, struct error *error)
{
	unsigned needed = options->distinct == UINT64_MAX ? 64 : bits_of(options->distinct - 1);
	unsigned best = 0;
	size_t digits = 0;

	*variation = (struct input_variation){0};
	for (size_t i = 0, index = 0; i < count; i++) {
		size_t own = digits_of(&tensors[i], elements[i], options);

		if (tensors[i].name.length == 0) {
			continue;
		}
		if (capacity_of(&tensors[i], own) > best) {
			best = capacity_of(&tensors[i], own);
			digits = own;
			variation->tensor = index;
			variation->datatype = tensors[i].datatype;
		}
		index++;
	}
	needed = options->distinct == UINT64_MAX && best < needed ? best : needed;
	if (best < needed) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "only %" PRIu64 " different inputs can be made for this model, not %" PRIu64,
				 UINT64_C(1) << best, options->distinct);
	}
	if (needed > 0) {
		choose_digits(&(struct tensor){.datatype = variation->datatype}, digits, needed, variation);
	}
	variation->distinct = needed >= 64 ? UINT64_MAX : UINT64_C(1) << needed;
	return STATUS_OK;
}

enum status
input_make(const struct input_target *target, const struct input_options *options, struct input_variation *variation,
	   struct error *error)
{
	struct tensor *tensors = memory_array(target->count + 1, sizeof(*tensors));
	int64_t *elements = memory_array(target->count + 1, sizeof(*elements));
	uint64_t random = options->seed;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < target->count && status == STATUS_OK; i++) {
		if (!target->inputs[i].optional) {
			status = make_tensor(target, &target->inputs[i], options, &random, &tensors[i], &elements[i],
					     error);
		}
	}
	if (status == STATUS_OK) {
		status = vary(tensors, elements, target->count, options, variation, error);
	}
	if (status == STATUS_OK) {
		target->entry(target->context, tensors);
	}
	free(tensors);
	free(elements);
	return status;
}

/* --- Writing --- */

void
input_variation_write(const struct input_variation *variation, uint64_t number, uint8_t *bytes)
{
	size_t size = datatype_size(variation->datatype);
	uint64_t mask = (UINT64_C(1) << variation->digit_bits) - 1;
	uint8_t *letters = bytes + sizeof(uint32_t);

	for (size_t i = 0; i < variation->digits; i++) {
		if (variation->datatype == DATATYPE_BYTES) {
			letters[i] = (uint8_t)('a' + (number & mask));
		} else {
			write_element(variation->datatype, number & mask, variation->digit_bits, bytes + i * size);
		}
		number >>= variation->digit_bits;
	}
}
