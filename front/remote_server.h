/*
 * The servers on which models beside models of our own run (remote_registry.h): equal replicas with the addresses that
 * a model's parameter `url` names, and a follower that looks at some of their models. Servers are added on the thread
 * that loads models, and stay until the end.
 */
#ifndef HIPPOCAMP_FRONT_REMOTE_SERVER_H
#define HIPPOCAMP_FRONT_REMOTE_SERVER_H

#include "front/follower.h"
#include "front/remote_registry.h"

/* Parameters of a model's config. Those with the same values of both are on the same server. */
#define REMOTE_URL "url"
#define REMOTE_GENERATION "generation" /* the owner's word for what the models are, or none */

struct remote_servers;

struct remote_server {
	char *url; /* addresses with commas between */
	struct upstream *upstream;
	struct follower *follower;  /* the thread that loads models, but for follower_stop; so the next one */
	struct model_source source; /* the follower's */

	/* Private. */
	char *generation; /* NULL: there is none */
	char **urls;
	struct upstream_options upstream_options;
	struct follower_options follower_options;
	void (*purge)(void *context, const struct remote_server *server, const char *model);
	void *purge_context;
	LIST_ENTRY(remote_server) next;
};

/*
 * `options` outlive the servers. `purge` is called by a server's look if what was stored of its model may be found
 * again although it is old: the owner states what the models are.
 */
struct remote_servers *remote_servers_new(const struct remote_registry_options *options,
					  void (*purge)(void *context, const struct remote_server *server,
							const char *model),
					  void *purge_context);
void remote_servers_stop(struct remote_servers *servers); /* see remote_registry_stop */
void remote_servers_free(struct remote_servers *servers);

/* The server that a config names, if it is known. Any thread. */
struct remote_server *remote_servers_find(struct remote_servers *servers, const struct model_config *config);

/* Adds it. NULL: the message names the parameter. */
struct remote_server *remote_servers_add(struct remote_servers *servers, const struct model_config *config,
					 struct error *error);

/* Looks at the models that follower_want has named. */
void remote_server_look(struct remote_server *server);

/* Reports what has become of the requests. Any thread. */
void remote_servers_metrics(struct remote_servers *servers, const struct metric_sink *sink);

#endif
