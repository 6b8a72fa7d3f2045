/*
 * The HTTP and gRPC front ends: listeners, connections, routes. Each loop has one lane; a connection stays on its
 * lane's loop. The lane with index 0 also serves the metrics port.
 */
#ifndef HIPPOCAMP_SERVER_SERVER_H
#define HIPPOCAMP_SERVER_SERVER_H

#include "grpc/grpc.h"
#include "inference/engine.h"
#include "inference/models/repository.h"
#include "loop/loop.h"
#include "loop/tls_server.h"

struct server;
struct server_lane;
struct request_trace;

/* In the order of the command line's choices (--allow-cache-admin). */
enum cache_admin_rule { CACHE_ADMIN_IF_LOOPBACK, CACHE_ADMIN_ALWAYS, CACHE_ADMIN_NEVER };

/* The groups of methods that --grpc-restricted-protocol knows. */
enum grpc_protocol {
	PROTOCOL_HEALTH,
	PROTOCOL_METADATA,
	PROTOCOL_INFERENCE,
	PROTOCOL_SHARED_MEMORY,
	PROTOCOL_MODEL_CONFIG,
	PROTOCOL_MODEL_REPOSITORY,
	PROTOCOL_STATISTICS,
	PROTOCOL_TRACE,
	PROTOCOL_LOGGING,
};

/* Calls of these groups need the metadata `key` with that value. */
struct grpc_restriction {
	unsigned protocols; /* a mask: 1 << enum grpc_protocol */
	char *key;	    /* "triton-grpc-protocol-<key>" */
	const char *value;
};

/* What becomes of requests with Authorization or Cookie (RFC 9111 section 3.5). */
enum front_authorization {
	FRONT_AUTHORIZATION_PASS,   /* they pass through, and their answers are not stored */
	FRONT_AUTHORIZATION_KEY,    /* those with the same value share answers */
	FRONT_AUTHORIZATION_SHARED, /* all share answers */
};

/* What /v2/health/ready tells in front of another server. */
enum front_readiness {
	FRONT_READY_EITHER, /* what that server tells or, while it is not reached, whether we have models of it */
	FRONT_READY_BEHIND, /* what that server tells */
	FRONT_READY_OWN,    /* that we run */
};

struct server_options {
	const char *id; /* the server's name in GET /v2 */
	const char *version;
	const char *http_address;
	uint16_t http_port; /* 0: the kernel chooses */
	bool allow_http;
	bool reuse_http_port;
	struct tls_options http_tls;
	const char *metrics_address;
	uint16_t metrics_port;
	bool allow_metrics;
	struct tls_options metrics_tls;
	const char *grpc_address;
	uint16_t grpc_port; /* 0: the kernel chooses */
	bool allow_grpc;
	bool reuse_grpc_port;
	struct tls_options grpc_tls;
	bool grpc_compresses;	  /* responses, where the client accepts that */
	struct grpc_options grpc; /* but for its methods and budget, which the server fills in */
	const struct grpc_restriction *restrictions;
	size_t restriction_count;
	size_t max_input_bytes;	   /* of JSON, of raw bodies and of decompressed bodies */
	size_t max_inflight_bytes; /* of all request bodies being read or answered, together */
	bool model_control;	   /* load and unload requests are allowed */
	/* Who may read the cache's status and purge the cache, on both ports; see server/access.h. */
	enum cache_admin_rule cache_admin;
	bool allow_cache_control;    /* requests may steer the cache */
	struct request_trace *trace; /* that the engine records into; NULL: none */
	double cost_per_hour;	     /* of compute, for the live page; 0: not told */
	const char *log_file;	     /* as configured, for GET /v2/logging; "": none */
	struct repository *repository;
	struct engine *engine;
	struct response_cache *cache; /* NULL: none */
	/*
	 * These run models on other servers; NULL: there are none. `remote` of a lane is what they open of
	 * `remote_shared` or, if they open nothing, the lane's struct upstream_lane.
	 */
	const struct remote_ops *remote_ops;
	void *remote_shared;

	/* In front of another server. */
	struct upstream *upstream;		/* NULL: we are not */
	struct grpc_upstream *grpc_upstream;	/* NULL: we are not, or gRPC is off */
	enum front_authorization authorization; /* of requests that carry one */
	enum front_readiness readiness;
	const char *const *private_fields; /* names of header fields that count as authorization, beside its own */
	size_t private_field_count;
	/* Tells that a model behind may have been loaded. Any thread. */
	void (*note_change)(void *context);
	void *note_context;
};

/* Fails if a port is in use, or a certificate cannot be. Call before models are loaded, to fail early. */
enum status server_check_ports(const struct server_options *options, struct error *error);

/*
 * Removes the entries of a model from the store, as a request to purge would; the outcome is logged. Any thread, until
 * server_lane_stop is called or has been posted to the lane's loop.
 */
void server_lane_purge(struct server_lane *lane, const char *model);

/* Opens `lanes` listeners. `options` and all they point to must outlive the server. NULL: `error` has Triton's text. */
struct server *server_new(const struct server_options *options, size_t lanes, struct error *error);
void server_free(struct server *server); /* after its lanes */

/* Reads the certificates of all ports again, which else happens when their files change. Any thread. */
void server_reread_certificates(struct server *server);

uint16_t server_http_port(const struct server *server);
uint16_t server_grpc_port(const struct server *server);
uint16_t server_metrics_port(const struct server *server);

/* Makes a lane and starts to accept. Call on the loop's thread, or before the loop runs. */
struct server_lane *server_lane_new(struct server *server, struct loop *loop, size_t index);

/*
 * Stops accepting, closes idle connections, lets the others finish, then calls `done` once, perhaps before this
 * returns. Call on the loop's thread.
 */
void server_lane_stop(struct server_lane *lane, void (*done)(void *argument), void *argument);
void server_lane_free(struct server_lane *lane);

#endif
