/*
 * In place of a lane's methods, in front of another server: those that the cache or the front itself may answer, and
 * one for all other calls, which passes them through. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_GRPC_FRONT_H
#define HIPPOCAMP_SERVER_GRPC_FRONT_H

#include "server/grpc_service.h"

extern const struct grpc_method *const grpc_front_methods[];
extern const size_t grpc_front_method_count;
extern const struct grpc_method grpc_front_other;

extern const struct service_method grpc_front_statistics;

#endif
