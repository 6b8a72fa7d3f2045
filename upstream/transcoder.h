/*
 * A client of a server that is known by its gRPC alone, on one loop, with calls as of http_client.h: each is made over
 * gRPC (wire/transcode.h), and answered as the server's HTTP would have answered it. A request is sent, and its
 * response given to the caller, once it is whole. Everything happens on the loop's thread.
 */
#ifndef HIPPOCAMP_UPSTREAM_TRANSCODER_H
#define HIPPOCAMP_UPSTREAM_TRANSCODER_H

#include "upstream/http_client.h"
#include "upstream/work_options.h"

struct transcoder;

/* Both options and what they point to outlive the transcoder. `options` NULL: all happens on the loop, without limits.
 */
struct transcoder *transcoder_new(struct loop *loop, const struct dial_options *dial,
				  const struct work_options *options);
void transcoder_free(struct transcoder *transcoder); /* no call may be under way */

/* How many connections that had been used the server has ended: see http_client_losses. */
size_t transcoder_losses(const struct transcoder *transcoder);

/* As http_client_start, http_call_cancel, http_call_more and http_call_resume. */
void transcoder_start(struct transcoder *transcoder, struct http_call *call);
void transcoder_cancel(struct http_call *call);
void transcoder_more(struct http_call *call, size_t count);
void transcoder_resume(struct http_call *call);

#endif
