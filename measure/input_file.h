/* Files of inputs. Room-private. */
#ifndef HIPPOCAMP_MEASURE_INPUT_FILE_H
#define HIPPOCAMP_MEASURE_INPUT_FILE_H

#include "measure/input_make.h"

/* Reads the inputs of a file or folder, by its name (see struct input_options). */
enum status input_file_read(const char *path, const struct input_target *target, struct error *error);

#endif
