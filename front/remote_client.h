/*
 * Runs the models of the server behind: makes one HTTP request of each call of the engine (inference/remote.h), and an
 * answer of its response. On the lane's loop.
 *
 * An answer that a cache could not give as the server gave it, with parameters or with other outputs than the
 * configuration has, fails with STATUS_PASS, and the model is suspended: its requests pass through from then on.
 */
#ifndef HIPPOCAMP_FRONT_REMOTE_CLIENT_H
#define HIPPOCAMP_FRONT_REMOTE_CLIENT_H

#include "inference/remote.h"
#include "upstream/upstream.h"

/* A parameter in the config of models whose server does not have the binary tensor extension. */
#define FRONT_JSON_ONLY "hippocamp.json_only"

/* `remote` is the lane's struct upstream_lane. */
extern const struct remote_ops remote_client_ops;

#endif
