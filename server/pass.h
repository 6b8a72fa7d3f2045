/*
 * What requests of HTTP that go to the server behind have in common. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_PASS_H
#define HIPPOCAMP_SERVER_PASS_H

#include "server/exchange.h"
#include "upstream/upstream.h"

#define PASS_FIELDS_MAX ((size_t)256 * 1024)

/*
 * Writes the header fields of the request for the server behind (RFC 9110 section 7.6), each with CRLF, into `fields`,
 * which it makes. False: the request is refused, and has been replied to.
 */
bool pass_request_fields(struct exchange *exchange, struct buf *fields);

/* Those of a response for the client, of one with a body: *has_length says whether its length is among them. */
void pass_response_fields(struct buf *fields, const struct http1_head *head, bool *has_length);

#endif
