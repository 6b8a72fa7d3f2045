/* `hippocamp serve`: starts the server, runs until SIGINT or SIGTERM, stops. Returns the exit code. */
#ifndef HIPPOCAMP_APP_SERVE_H
#define HIPPOCAMP_APP_SERVE_H

#include "app/command_line.h"

int serve(const struct serve_settings *settings);

#endif
