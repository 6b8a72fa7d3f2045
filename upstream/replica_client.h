/*
 * A client of one replica, on one loop: of its HTTP (http_client.h) or, where it is known by its gRPC alone, one that
 * transcodes (transcoder.h). The functions are those of http_client.h.
 */
#ifndef HIPPOCAMP_UPSTREAM_REPLICA_CLIENT_H
#define HIPPOCAMP_UPSTREAM_REPLICA_CLIENT_H

#include "upstream/transcoder.h"

struct replica_client {
	struct http_client *http;
	struct transcoder *transcoder;
};

/* `work` may be NULL. */
void replica_client_init(struct replica_client *client, struct loop *loop, const struct dial_options *dial,
			 const struct work_options *work);
void replica_client_fini(struct replica_client *client);
size_t replica_client_losses(const struct replica_client *client);

void replica_client_start(struct replica_client *client, struct http_call *call);
void replica_client_cancel(struct replica_client *client, struct http_call *call);
void replica_client_more(struct replica_client *client, struct http_call *call, size_t count);
void replica_client_resume(struct replica_client *client, struct http_call *call);

#endif
