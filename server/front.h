/*
 * In front of another server: which inference requests the cache may answer. All others pass through. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_FRONT_H
#define HIPPOCAMP_SERVER_FRONT_H

#include "server/exchange.h"
#include "wire/infer_body.h"

/*
 * To judge by its head: it has no query, no coding that we do not know, and no authorization, unless the owner says
 * that answers may be shared all the same.
 */
bool front_admits(const struct exchange *exchange);

/* To judge by its body: nothing in it is unknown to us, and it belongs to no sequence. Before infer_body_detach. */
bool front_understands(const struct server_options *options, const struct infer_body *body);

/* Adds the fields with authorization to the parameters (inference/remote.h). False: no memory. */
bool front_add_fields(struct exchange *exchange, struct infer_body *body);

#endif
