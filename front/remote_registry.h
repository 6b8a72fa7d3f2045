/*
 * Models beside models of our own that run on other servers: those of a repository whose configuration says
 *
 *     backend: "upstream"
 *     parameters { key: "url" value { string_value: "http://triton:8000" } }
 *
 * A *link* leads from such a model to one of a server (remote_server.h). docs/front.md has the parameters.
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
	 * A server was looked at, and may have shown something new: remote_registry_is_old says which models it
	 * concerns. On another thread.
	 */
	void (*looked)(void *context, bool is_new);
	/*
	 * Removes what is stored of a model of ours, since it may be found again although it is old: the owner states
	 * what the model is, but it has changed. On the thread that loads models.
	 */
	bool (*purge)(void *context, const char *model); /* false: it cannot be done now */
	/* Has the process been told to end? Loads then wait no longer for servers. On the thread that loads models. */
	bool (*is_ending)(void *context);
	void *context; /* of all */
};

struct remote_registry;

/* `options` outlive the registry. */
struct remote_registry *remote_registry_new(const struct remote_registry_options *options);

/* Looks at no server any more; when this returns, `looked` is not called again. */
void remote_registry_stop(struct remote_registry *registry);

/* After the repository and all loops; NULL: none. */
void remote_registry_free(struct remote_registry *registry);

/* Has the model changed on its server since it was loaded here? Any thread. */
bool remote_registry_is_old(const struct model *model);

/* For struct repository_options. */
struct remote_models remote_registry_models(struct remote_registry *registry);

/* Runs the models; the registry is what all loops share. */
extern const struct remote_ops remote_registry_ops;

#endif
