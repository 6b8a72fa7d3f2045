#include "upstream/replica_client.h"

void
replica_client_init(struct replica_client *client, struct loop *loop, const struct dial_options *dial,
		    const struct work_options *work)
{
	*client = (struct replica_client){0};
	if (dial->url->grpc) {
		client->transcoder = transcoder_new(loop, dial, work);
	} else {
		client->http = http_client_new(loop, dial);
	}
}

void
replica_client_fini(struct replica_client *client)
{
	if (client->http != NULL) {
		http_client_free(client->http);
	} else {
		transcoder_free(client->transcoder);
	}
}

size_t
replica_client_losses(const struct replica_client *client)
{
	return client->http != NULL ? http_client_losses(client->http) : transcoder_losses(client->transcoder);
}

void
replica_client_start(struct replica_client *client, struct http_call *call)
{
	if (client->http != NULL) {
		http_client_start(client->http, call);
	} else {
		transcoder_start(client->transcoder, call);
	}
}

void
replica_client_cancel(struct replica_client *client, struct http_call *call)
{
	if (client->http != NULL) {
		http_call_cancel(call);
	} else {
		transcoder_cancel(call);
	}
}

void
replica_client_more(struct replica_client *client, struct http_call *call, size_t count)
{
	if (client->http != NULL) {
		http_call_more(call, count);
	} else {
		transcoder_more(call, count);
	}
}

void
replica_client_resume(struct replica_client *client, struct http_call *call)
{
	if (client->http != NULL) {
		http_call_resume(call);
	} else {
		transcoder_resume(call);
	}
}
