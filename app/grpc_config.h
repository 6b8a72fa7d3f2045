/*
 * The gRPC part of the command line: server options made from settings.
 */
#ifndef HIPPOCAMP_APP_GRPC_CONFIG_H
#define HIPPOCAMP_APP_GRPC_CONFIG_H

#include "app/command_line.h"
#include "server/server.h"

/*
 * Fills the options of gRPC, and warns of settings that have no effect. Free the restrictions by grpc_config_fini, also
 * on failure. The options point into the settings.
 */
enum status grpc_config_fill(const struct serve_settings *settings, struct server_options *options,
			     struct error *error);
void grpc_config_fini(struct server_options *options);

#endif
