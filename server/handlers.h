/*
 * The handlers of all routes. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_HANDLERS_H
#define HIPPOCAMP_SERVER_HANDLERS_H

#include "server/exchange.h"

/* A path split at its slashes and percent-decoded; see routes.c. */
#define PATH_SEGMENTS_MAX 10

struct path {
	size_t count;
	struct bytes segments[PATH_SEGMENTS_MAX];
	struct bytes model;
	struct bytes version; /* digits; empty: none given */
	struct bytes rest;    /* any other name: of a shared memory region or a repository */
};

/* The parsed path, which the router left in exchange->path. */
static inline const struct path *
path_of(const struct exchange *exchange)
{
	return exchange->path;
}

/* As handler_model, but NULL if there is no such model: nothing has been replied. */
struct model *handler_find_model(struct exchange *exchange);

/* The model that the path names; it lives as long as the lane's table view. NULL: an error has been replied. */
struct model *handler_model(struct exchange *exchange);

void handle_infer(struct exchange *exchange);
bool admit_infer(struct exchange *exchange); /* refuses unknown models */

void handle_server_metadata(struct exchange *exchange);
void handle_live(struct exchange *exchange);
void handle_ready(struct exchange *exchange);
void handle_model_metadata(struct exchange *exchange);
void handle_model_ready(struct exchange *exchange);
void handle_model_config(struct exchange *exchange);

void handle_model_statistics(struct exchange *exchange);
void handle_all_statistics(struct exchange *exchange);

void handle_index(struct exchange *exchange);
bool admit_model_control(struct exchange *exchange); /* refuses unless clients may load and unload */
void handle_load(struct exchange *exchange);
void handle_unload(struct exchange *exchange);
void handle_named_repository(struct exchange *exchange);

/* The live page, on the metrics port; see server/page/. */
void handle_live_page(struct exchange *exchange);
void handle_live_page_style(struct exchange *exchange);
void handle_live_page_script(struct exchange *exchange);
void handle_history(struct exchange *exchange);

void handle_trace_settings(struct exchange *exchange);
void handle_log_settings(struct exchange *exchange);
void handle_shared_memory_status(struct exchange *exchange);
void handle_system_region_status(struct exchange *exchange);
void handle_cuda_region_status(struct exchange *exchange);
void handle_shared_memory_register(struct exchange *exchange);
void handle_cuda_shared_memory_register(struct exchange *exchange);
void handle_shared_memory_unregister(struct exchange *exchange);

void handle_cache(struct exchange *exchange);
void handle_purge(struct exchange *exchange);

void handle_metrics(struct exchange *exchange);

/*
 * Passes a request for any path through to the server behind, and streams the reply back, as a gateway does (RFC 9110
 * section 7.6). Of the body some may be `missing` (exchange.h).
 */
void handle_pass(struct exchange *exchange);
bool pass_takes_parts(struct exchange *exchange);

/* Sends a request to load or unload a model to all replicas: what was cached before is used no longer. */
void handle_control(struct exchange *exchange);

/* Cancels those that go on without a client. */
void controls_stop(struct server_lane *lane);

/* Readiness, as the options say. */
void handle_front_ready(struct exchange *exchange);

/* The statistics of the server behind, with what the cache has answered. */
void handle_front_statistics(struct exchange *exchange);

/* Answers from the cache, or passes the request through. */
void handle_front_infer(struct exchange *exchange);
bool front_infer_takes_parts(struct exchange *exchange);

#endif
