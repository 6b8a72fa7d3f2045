/*
 * A request parameter: a name and one typed value, as in the KServe v2 protocol's `parameters` objects. Name
 * and text are views.
 */
#ifndef HIPPOCAMP_BASE_PARAMETER_H
#define HIPPOCAMP_BASE_PARAMETER_H

#include "base/bytes.h"

#include <math.h>

enum parameter_kind { PARAMETER_BOOLEAN, PARAMETER_SIGNED, PARAMETER_UNSIGNED, PARAMETER_DOUBLE, PARAMETER_TEXT };

struct parameter {
	struct bytes name;
	enum parameter_kind kind;
	union {
		bool boolean;
		int64_t signed_number;
		uint64_t unsigned_number;
		double number;
		struct bytes text;
	};
};

static inline const struct parameter *
parameter_find(const struct parameter *parameters, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes_equal_text(parameters[i].name, name)) {
			return &parameters[i];
		}
	}
	return NULL;
}

static inline bool
parameter_equal(const struct parameter *a, const struct parameter *b)
{
	if (a->kind != b->kind || !bytes_equal(a->name, b->name)) {
		return false;
	}
	switch (a->kind) {
	case PARAMETER_BOOLEAN:
		return a->boolean == b->boolean;
	case PARAMETER_TEXT:
		return bytes_equal(a->text, b->text);
	default: /* compares doubles by their bits */
		return a->unsigned_number == b->unsigned_number;
	}
}

/* From 2^63 on a number may be an integer that a double cannot hold; and NaN is none. */
static inline bool
parameter_may_be_rounded(const struct parameter *parameter)
{
	return parameter->kind == PARAMETER_DOUBLE && !(fabs(parameter->number) < 9223372036854775808.0);
}

#endif
