/*
 * The servers on which models beside models of our own run (remote_registry.h): equal replicas with the addresses that
 * a model's parameter `url` names. While models of it are held, a server has a thread of its own, which looks at them
 * by a follower (follower.h) and keeps what it has seen last. So a server that is silent holds up no other one.
 *
 * Servers are added on the thread that loads models, which also calls the functions without another word, and stay
 * until the end.
 */
#ifndef HIPPOCAMP_FRONT_REMOTE_SERVER_H
#define HIPPOCAMP_FRONT_REMOTE_SERVER_H

#include "base/model_config.h"
#include "front/group.h"
#include "front/remote_registry.h"
#include "upstream/upstream.h"

#define REMOTE_URL "url" /* the parameter of a model's config: addresses with commas between */

struct remote_servers;
struct remote_server;

struct remote_servers *remote_servers_new(const struct remote_registry_options *options); /* which outlive them */
void remote_servers_stop(struct remote_servers *servers);				  /* see remote_registry_stop */
void remote_servers_free(struct remote_servers *servers);				  /* after that */

/* The server that a config names, if it is known. Any thread. */
struct remote_server *remote_servers_find(struct remote_servers *servers, const struct model_config *config);

/* Adds it. NULL: the message names the parameter. */
struct remote_server *remote_servers_add(struct remote_servers *servers, const struct model_config *config,
					 struct error *error);

/* Both for ever, and on any thread. */
const char *remote_server_url(const struct remote_server *server);
struct upstream *remote_server_upstream(const struct remote_server *server);

/* Holds the model of this name there: it is looked at until it is released. */
void remote_server_hold(struct remote_server *server, const char *model);
void remote_server_release(struct remote_server *server, const char *model);

/*
 * Waits until the server was looked at since the model was held, for `ms` at most. `needs_it`: also until the server is
 * reached.
 */
void remote_server_wait(struct remote_server *server, const char *model, bool needs_it, unsigned ms);

/* What is known of a model that is held. Any thread. */
struct remote_state {
	bool is_there;	  /* it is ready, in the version that was asked for, and may be cached */
	int64_t version;  /* that one or, if none was asked for, the newest */
	bool shows_loads; /* the server has statistics, which begin anew when a model is loaded again */
	/* How often the server has shown a change since it was added, and what the present state is called. */
	uint64_t changes;
	char generation[GROUP_GENERATION];
	char *config;	/* as upstream_model_convert writes it, also what was last known of one that is gone; or NULL */
	char why[512];	/* it is not there */
	uint64_t stamp; /* of all that */
};

/* `version` 0: any. Call remote_state_fini. */
void remote_server_state(struct remote_server *server, const char *model, int64_t version, struct remote_state *state);
void remote_state_fini(struct remote_state *state);

/* Its stamp alone. Any thread. */
uint64_t remote_server_stamp(struct remote_server *server, const char *model, int64_t version);

/* Reports what has become of the requests. Any thread. */
void remote_servers_metrics(struct remote_servers *servers, const struct metric_sink *sink);

#endif
