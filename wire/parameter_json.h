/* A member of the object `parameters` of an inference request or response. Room-private. */
#ifndef HIPPOCAMP_WIRE_PARAMETER_JSON_H
#define HIPPOCAMP_WIRE_PARAMETER_JSON_H

#include "base/buf.h"
#include "base/parameter.h"

/* Appends "name":value. */
void parameter_json_put(struct buf *json, const struct parameter *parameter);

#endif
