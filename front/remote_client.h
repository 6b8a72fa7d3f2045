/*
 * Runs the models of the server behind: makes one HTTP request of each call of the engine (inference/remote.h), and an
 * answer of its response. On the lane's loop.
 *
 * In front of a server, an answer that a cache could not give as the server gave it, with parameters or with other
 * outputs than the configuration has, fails with STATUS_PASS, and the model is suspended: its requests pass through
 * from then on. Beside models of our own nothing can pass: clients get the outputs of the configuration alone, and such
 * a model is suspended, too, so that its answers are not kept.
 */
#ifndef HIPPOCAMP_FRONT_REMOTE_CLIENT_H
#define HIPPOCAMP_FRONT_REMOTE_CLIENT_H

#include "inference/remote.h"
#include "upstream/upstream.h"

/* A parameter in the config of models whose server does not have the binary tensor extension. */
#define FRONT_JSON_ONLY "hippocamp.json_only"

/*
 * Parameters in the config of models beside models of our own (remote_registry.h): the version of the keys on the
 * server, which answers are compared with; and the one that the owner asks for, else the server chooses.
 */
#define REMOTE_VERSION REMOTE_PREFIX "version"
#define REMOTE_ASKED_VERSION "version"

/* `remote` is the lane's struct upstream_lane. */
extern const struct remote_ops remote_client_ops;

#endif
