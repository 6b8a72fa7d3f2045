/* What `hippocamp serve` says in its log once it has started. */
#ifndef HIPPOCAMP_APP_ANNOUNCE_H
#define HIPPOCAMP_APP_ANNOUNCE_H

#include "app/command_line.h"
#include "server/server.h"

struct announcement {
	const struct serve_settings *settings;
	const struct server_options *options;
	struct response_cache *cache; /* NULL: none */
	struct repository *repository;
	struct server *server;
	struct upstream *upstream;	     /* these three: NULL: we do not stand in front of a server */
	struct grpc_upstream *grpc_upstream; /* or gRPC is off */
	struct follower *follower;
	size_t threads;
	uint64_t start_ns; /* when the start began */
};

void announce_start(const struct announcement *start);

#endif
