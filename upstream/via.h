/*
 * The field Via (RFC 9110 section 7.6.3), by which circles are found. Any thread.
 *
 * What passes through is marked with a name that all of our kind share: after VIA_MAX of them it goes no further. A
 * request that a model's run makes bears a name of this process alone, since it must not come back even once: equal
 * requests are joined, so it would wait for itself. For the same reason such a request of another process may not join
 * one of ours that goes on to a server: that one may wait for it.
 */
#ifndef HIPPOCAMP_UPSTREAM_VIA_H
#define HIPPOCAMP_UPSTREAM_VIA_H

#include "base/bytes.h"

#include <stdbool.h>

#define VIA_HTTP "1.1 hippocamp"
#define VIA_GRPC "2 hippocamp"
#define VIA_MAX 8 /* servers of ours behind one another; more are a circle */

/* The value that names this process. */
const char *via_own(void);

/* Does the value of a Via field name this process? */
bool via_is_own(struct bytes value);

/* Does it name a process of our kind, whose model has made the request? */
bool via_is_of_a_model(struct bytes value);

#endif
