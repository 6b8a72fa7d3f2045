/*
 * The HTTP front end: listeners, connections, routes. One lane for each loop; a connection lives and dies on its lane's
 * loop. The lane at index 0 also serves the metrics port.
 */
#ifndef HIPPOCAMP_SERVER_SERVER_H
#define HIPPOCAMP_SERVER_SERVER_H

#include "inference/engine.h"
#include "inference/models/repository.h"
#include "loop/loop.h"

struct server;
struct server_lane;

/* In the order in which the command line names them. */
enum cache_admin_rule { CACHE_ADMIN_IF_LOOPBACK, CACHE_ADMIN_ALWAYS, CACHE_ADMIN_NEVER };

struct server_options {
	const char *id; /* what GET /v2 calls the server */
	const char *version;
	const char *http_address;
	uint16_t http_port; /* 0: the kernel chooses */
	bool allow_http;
	bool reuse_http_port;
	const char *metrics_address;
	uint16_t metrics_port;
	bool allow_metrics;
	size_t max_input_bytes;	   /* of JSON, and of anything decompressed */
	size_t max_inflight_bytes; /* of request bodies that are being read or answered, all together */
	bool model_control;	   /* load and unload requests are allowed */
	/* Who may show and purge the cache, on both ports; see server/access.h. */
	enum cache_admin_rule cache_admin;
	bool allow_cache_control; /* requests may steer the cache */
	const char *log_file;	  /* as configured, for the log settings */
	struct repository *repository;
	struct engine *engine;
	struct response_cache *cache; /* NULL: none */
};

/* Are the ports free? Before models are loaded, so that a port that is taken does not cost that time. */
enum status server_check_ports(const struct server_options *options, struct error *error);

/* `options` and what they point to outlive the server. Opens `lanes` listeners; fails with Triton's texts. */
struct server *server_new(const struct server_options *options, size_t lanes, struct error *error);
void server_free(struct server *server); /* after its lanes */

uint16_t server_http_port(const struct server *server);
uint16_t server_metrics_port(const struct server *server);

/* On the loop's thread, or before it runs: starts to accept. */
struct server_lane *server_lane_new(struct server *server, struct loop *loop, size_t index);

/*
 * On the loop's thread: stops accepting, closes idle connections, lets the others finish, then calls `done` once
 * (perhaps before this returns).
 */
void server_lane_stop(struct server_lane *lane, void (*done)(void *argument), void *argument);
void server_lane_free(struct server_lane *lane);

#endif
