/*
 * Loads and unloads of models of the server behind, over gRPC: as server/control.c does over HTTP. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_GRPC_CONTROL_H
#define HIPPOCAMP_SERVER_GRPC_CONTROL_H

#include "server/grpc_service.h"

extern const struct service_method grpc_front_load;
extern const struct service_method grpc_front_unload;

/* Cancels what goes on without a client. */
void grpc_controls_stop(struct server_lane *lane);

#endif
