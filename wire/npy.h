/*
 * Reads arrays in numpy's file format (NEP 1): of numbers, little-endian and in C order, and of texts.
 */
#ifndef HIPPOCAMP_WIRE_NPY_H
#define HIPPOCAMP_WIRE_NPY_H

#include "base/arena.h"
#include "base/status.h"
#include "base/tensor.h"

/*
 * Fills the datatype, shape and data of `array`: views into the file and the arena. Texts ("S" and "U") become BYTES,
 * without the zeros at their end.
 */
enum status npy_decode(struct bytes file, struct arena *arena, struct tensor *array, struct error *error);

#endif
