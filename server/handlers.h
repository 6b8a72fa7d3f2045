/*
 * The handlers, by what they answer for. Room-private. `model` is a model's name as the path has it, percent-decoded;
 * `version` the path's digits, empty where it names none.
 */
#ifndef HIPPOCAMP_SERVER_HANDLERS_H
#define HIPPOCAMP_SERVER_HANDLERS_H

#include "server/exchange.h"

/* A path cut at its slashes; see routes.c. */
#define PATH_SEGMENTS_MAX 10

struct path {
	size_t count;
	struct bytes segments[PATH_SEGMENTS_MAX];
	struct bytes model;
	struct bytes version;
	struct bytes rest; /* of what the path names: a shared memory region, … */
};

/* What the router found; in exchange->state while the handler starts. */
static inline const struct path *
path_of(const struct exchange *exchange)
{
	return exchange->state;
}

/* The model that the path names, or the error is answered already and the result is NULL. */
struct model *handler_model(struct exchange *exchange);

/* A new table view for this loop. */
const struct model_table *handler_table(struct exchange *exchange);

void handle_infer(struct exchange *exchange);
bool admit_infer(struct exchange *exchange); /* is there such a model? */

void handle_server_metadata(struct exchange *exchange);
void handle_live(struct exchange *exchange);
void handle_ready(struct exchange *exchange);
void handle_model_metadata(struct exchange *exchange);
void handle_model_ready(struct exchange *exchange);
void handle_model_config(struct exchange *exchange);

void handle_model_statistics(struct exchange *exchange);
void handle_all_statistics(struct exchange *exchange);

void handle_index(struct exchange *exchange);
bool admit_model_control(struct exchange *exchange); /* may clients load and unload? */
void handle_load(struct exchange *exchange);
void handle_unload(struct exchange *exchange);
void handle_named_repository(struct exchange *exchange);

void handle_trace_settings(struct exchange *exchange);
void handle_log_settings(struct exchange *exchange);
void handle_shared_memory_status(struct exchange *exchange);
void handle_shared_memory_register(struct exchange *exchange);
void handle_cuda_shared_memory_register(struct exchange *exchange);
void handle_shared_memory_unregister(struct exchange *exchange);

void handle_cache(struct exchange *exchange);
void handle_purge(struct exchange *exchange);

void handle_metrics(struct exchange *exchange);

#endif
