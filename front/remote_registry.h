/*
 * Models beside models of our own that run on other servers: those of a repository whose configuration says
 *
 *     backend: "upstream"
 *     parameters { key: "url" value { string_value: "http://triton:8000" } }
 *
 * A *link* leads from such a model to one of a server. Each server, the equal replicas with the addresses of `url`, has
 * a follower (follower.h) that looks at the models that links lead to; see docs/front.md for the parameters.
 *
 * The configuration is completed by what the server tells, and contains what the server's model is: it changes, and the
 * model is loaded again, when that one may give other answers. A model of a server that was not reached so far, or does
 * not have it, is served without the cache: its requests fail until the server answers them.
 */
#ifndef HIPPOCAMP_FRONT_REMOTE_REGISTRY_H
#define HIPPOCAMP_FRONT_REMOTE_REGISTRY_H

#include "inference/models/model_source.h"
#include "inference/remote.h"
#include "loop/tls_client.h"

struct remote_registry_options {
	struct tls_client_options tls; /* for all servers, and so are the next two */
	unsigned connect_timeout_s;
	int64_t poll_secs;
	bool completes; /* inputs and outputs that are not stated are those of the server's model */
	/*
	 * Removes what is stored of a model of ours; see struct follower_options. On the thread that loads models.
	 */
	void (*purge)(void *context, const char *model);
	void *purge_context;
};

struct remote_registry;

/* `options` outlive the registry. */
struct remote_registry *remote_registry_new(const struct remote_registry_options *options);

/* Ends a look that is under way, and makes later ones do nothing. Any thread. */
void remote_registry_stop(struct remote_registry *registry);

/* After the repository and all loops; NULL: none. */
void remote_registry_free(struct remote_registry *registry);

/* For struct repository_options. */
struct remote_models remote_registry_models(struct remote_registry *registry);

/* Runs the models; the registry is what all loops share. */
extern const struct remote_ops remote_registry_ops;

#endif
