#include "server/server.h"

#include "base/budget.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/fetch/request_trace.h"
#include "inference/remote.h"
#include "loop/socket.h"
#include "server/certificates.h"
#include "server/connection.h"
#include "server/grpc_control.h"
#include "server/handlers.h"
#include "server/grpc_front.h"
#include "server/grpc_infer.h"
#include "server/history.h"
#include "upstream/grpc_upstream.h"
#include "upstream/upstream.h"
#include "wire/infer_memo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPT_AT_ONCE 64
#define SWEEP_MS 1000

struct server {
	const struct server_options *options;
	size_t lane_count;
	int *http_listeners; /* one for each lane; the kernel distributes connections */
	int *grpc_listeners;
	int metrics_listener;
	bool grpc_listens;
	bool http_listens; /* so server_free removes a Unix socket */
	bool metrics_listens;
	struct server_port http;
	struct server_port metrics;
	struct grpc_options grpc;
	struct tls_server *grpc_tls; /* NULL: plain */
	struct budget bodies;	     /* of request bodies in flight */
	struct pass_counts passes;
	struct offload *offload;
	struct history *history;
};

struct service {
	const char *name;
	const char *address; /* its options */
	const char *port;
};

static const struct service http_service = {"HTTP", "--http-address", "--http-port"};
static const struct service grpc_service = {"GRPC", "--grpc-address", "--grpc-port"};
static const struct service metrics_service = {"Metrics", "--metrics-address", "--metrics-port"};

static enum status
not_started(struct error *error, const struct service *service)
{
	return error_prefix(error, "failed to start %s service: %s - ", service->name, status_text(error->status));
}

static enum status
not_listening(struct error *error, const struct service *service)
{
	struct error failure = *error;

	if (failure.status == STATUS_UNAVAILABLE) {
		(void)error_set(error, failure.status, "%s (%s, %s)", failure.text, service->address, service->port);
	} else {
		(void)error_set(error, failure.status, "%s (%s)", failure.text, service->address);
	}
	return not_started(error, service);
}

static enum cache_admin
cache_admin_of(const struct server_options *options, int listener)
{
	switch (options->cache_admin) {
	case CACHE_ADMIN_ALWAYS:
		return CACHE_ADMIN_OPEN;
	case CACHE_ADMIN_NEVER:
		return CACHE_ADMIN_CLOSED;
	case CACHE_ADMIN_IF_LOOPBACK:
		break;
	}
	return socket_is_loopback(listener) ? CACHE_ADMIN_LOOPBACK : CACHE_ADMIN_CLOSED;
}

/* Opens a listener for each lane. */
static enum status
open_listeners(const struct server *server, const char *address, uint16_t port, int *listeners, struct error *error)
{
	for (size_t i = 0; i < server->lane_count; i++) {
		bool shares = i > 0 && socket_unix_path(address) != NULL;

		listeners[i] = shares ? socket_share(listeners[0], error) : socket_listen(address, port, error);
		if (listeners[i] < 0) {
			return error->status;
		}
		port = socket_port(listeners[i]);
	}
	return STATUS_OK;
}

static enum status
open_grpc(struct server *server, struct error *error)
{
	const struct server_options *options = server->options;
	enum status status;

	if (open_listeners(server, options->grpc_address, options->grpc_port, server->grpc_listeners, error) !=
	    STATUS_OK) {
		return not_listening(error, &grpc_service);
	}
	server->grpc_listens = true;
	server->grpc = options->grpc;
	server->grpc.methods = options->grpc_upstream != NULL ? grpc_front_methods : grpc_service_methods;
	server->grpc.method_count =
		options->grpc_upstream != NULL ? grpc_front_method_count : grpc_service_method_count;
	server->grpc.other = options->grpc_upstream != NULL ? &grpc_front_other : NULL;
	server->grpc.budget = &server->bodies;
	status = certificates_open(&options->grpc_tls, &server->grpc_tls, error);
	return status == STATUS_OK ? status : not_started(error, &grpc_service);
}

static enum status
open_http(struct server *server, struct error *error)
{
	const struct server_options *options = server->options;
	enum status status;

	if (open_listeners(server, options->http_address, options->http_port, server->http_listeners, error) !=
	    STATUS_OK) {
		return not_listening(error, &http_service);
	}
	server->http_listens = true;
	server->http = (struct server_port){.route = options->upstream != NULL ? front_route : http_route,
					    .address = options->http_address,
					    .cache_admin = cache_admin_of(options, server->http_listeners[0])};
	status = certificates_open(&options->http_tls, &server->http.tls, error);
	return status == STATUS_OK ? status : not_started(error, &http_service);
}

static enum status
open_metrics(struct server *server, struct error *error)
{
	const struct server_options *options = server->options;
	enum status status;

	server->metrics_listener = socket_listen(options->metrics_address, options->metrics_port, error);
	if (server->metrics_listener < 0) {
		return not_listening(error, &metrics_service);
	}
	server->metrics_listens = true;
	server->metrics = (struct server_port){.route = metrics_route,
					       .is_metrics = true,
					       .address = options->metrics_address,
					       .cache_admin = cache_admin_of(options, server->metrics_listener)};
	status = certificates_open(&options->metrics_tls, &server->metrics.tls, error);
	return status == STATUS_OK ? status : not_started(error, &metrics_service);
}

/* Is the port free, and are the certificates valid? Port 0 needs no check: the kernel chooses a free one. */
static enum status
check_port(const struct service *service, const char *address, uint16_t port, bool shares,
	   const struct tls_options *tls, struct error *error)
{
	enum status status = STATUS_OK;

	if (!shares && (port != 0 || socket_unix_path(address) != NULL)) {
		status = socket_check_free(address, port, error);
		if (status != STATUS_OK) {
			return not_listening(error, service);
		}
	}
	status = certificates_check(tls, error);
	return status == STATUS_OK ? status : not_started(error, service);
}

enum status
server_check_ports(const struct server_options *options, struct error *error)
{
	enum status status = STATUS_OK;

	if (options->allow_http) {
		status = check_port(&http_service, options->http_address, options->http_port, options->reuse_http_port,
				    &options->http_tls, error);
	}
	if (status == STATUS_OK && options->allow_grpc) {
		status = check_port(&grpc_service, options->grpc_address, options->grpc_port, options->reuse_grpc_port,
				    &options->grpc_tls, error);
	}
	if (status == STATUS_OK && options->allow_metrics) {
		status = check_port(&metrics_service, options->metrics_address, options->metrics_port, false,
				    &options->metrics_tls, error);
	}
	return status;
}

static void
close_listener(int *listener)
{
	if (*listener >= 0) {
		(void)close(*listener);
		*listener = -1;
	}
}

static void
remove_unix(const char *address)
{
	if (socket_unix_path(address) != NULL) {
		(void)unlink(socket_unix_path(address));
	}
}

void
server_free(struct server *server)
{
	if (server->http_listens) {
		remove_unix(server->options->http_address);
	}
	if (server->metrics_listens) {
		remove_unix(server->options->metrics_address);
	}
	if (server->grpc_listens) {
		remove_unix(server->options->grpc_address);
	}
	for (size_t i = 0; i < server->lane_count; i++) {
		close_listener(&server->http_listeners[i]);
		close_listener(&server->grpc_listeners[i]);
	}
	close_listener(&server->metrics_listener);
	if (server->offload != NULL) {
		offload_free(server->offload);
	}
	history_free(server->history);
	tls_server_free(server->http.tls);
	tls_server_free(server->metrics.tls);
	tls_server_free(server->grpc_tls);
	free(server->http_listeners);
	free(server->grpc_listeners);
	free(server);
}

struct server *
server_new(const struct server_options *options, size_t lanes, struct error *error)
{
	struct server *server = memory_new(sizeof(*server));
	enum status status = server_check_ports(options, error);

	server->options = options;
	server->history = history_new();
	budget_init(&server->bodies, options->max_inflight_bytes);
	server->lane_count = lanes;
	server->http_listeners = memory_array(lanes, sizeof(*server->http_listeners));
	server->grpc_listeners = memory_array(lanes, sizeof(*server->grpc_listeners));
	server->metrics_listener = -1;
	for (size_t i = 0; i < lanes; i++) {
		server->http_listeners[i] = server->grpc_listeners[i] = -1;
	}
	if (status == STATUS_OK && options->allow_http) {
		status = open_http(server, error);
	}
	if (status == STATUS_OK && options->allow_grpc) {
		status = open_grpc(server, error);
	}
	if (status == STATUS_OK && options->allow_metrics) {
		status = open_metrics(server, error);
	}
	if (status != STATUS_OK) {
		server_free(server);
		return NULL;
	}
	server->offload = offload_new(lanes);
	return server;
}

void
server_reread_certificates(struct server *server)
{
	certificates_reread(server->http.tls, "HTTP");
	certificates_reread(server->metrics.tls, "metrics");
	certificates_reread(server->grpc_tls, "gRPC");
}

uint16_t
server_http_port(const struct server *server)
{
	return socket_port(server->http_listeners[0]);
}

uint16_t
server_grpc_port(const struct server *server)
{
	return socket_port(server->grpc_listeners[0]);
}

uint16_t
server_metrics_port(const struct server *server)
{
	return socket_port(server->metrics_listener);
}

/* Pauses accepting until the next sweep: out of descriptors or memory, the readable listener makes the loop spin. */
static void
rest(struct server_lane *lane, struct loop_watch *watch)
{
	if (!lane->accept_failed) {
		log_warning("cannot accept connections: %s; raise the limit of open files (ulimit -n)",
			    strerror(errno));
		lane->accept_failed = true;
	}
	loop_watch_set(watch, 0);
}

/* `port` NULL: of gRPC. */
static void
accept_all(struct server_lane *lane, struct loop_watch *watch, int listener, const struct server_port *port)
{
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		int fd = socket_accept(listener);

		if (fd >= 0 && port == NULL) {
			grpc_lane_accept(lane->grpc, fd, lane->server->grpc_tls);
			continue;
		}
		if (fd >= 0) {
			connection_new(lane, fd, port);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			rest(lane, watch);
		}
		return;
	}
}

static void
listen_again(struct server_lane *lane)
{
	struct loop_watch *const watches[] = {lane->http_watch, lane->grpc_watch, lane->metrics_watch};

	for (size_t i = 0; i < sizeof(watches) / sizeof(*watches); i++) {
		if (watches[i] != NULL) {
			loop_watch_set(watches[i], LOOP_READ);
		}
	}
}

static void
on_grpc(void *argument, unsigned events)
{
	struct server_lane *lane = argument;

	(void)events;
	accept_all(lane, lane->grpc_watch, lane->server->grpc_listeners[lane->index], NULL);
}

static void
on_http(void *argument, unsigned events)
{
	struct server_lane *lane = argument;

	(void)events;
	accept_all(lane, lane->http_watch, lane->server->http_listeners[lane->index], &lane->server->http);
}

static void
on_metrics(void *argument, unsigned events)
{
	struct server_lane *lane = argument;

	(void)events;
	accept_all(lane, lane->metrics_watch, lane->server->metrics_listener, &lane->server->metrics);
}

static void
take_sample(struct server_lane *lane)
{
	const struct response_cache *cache = lane->options->cache;
	struct cache_statistics statistics;

	if (cache != NULL) {
		cache->ops->statistics(cache->store, &statistics);
	}
	history_sample(lane->history, server_lane_table(lane), cache == NULL ? NULL : &statistics, clock_wall_ms());
}

static void
on_sweep(void *argument)
{
	struct server_lane *lane = argument;
	struct connection *connection = TAILQ_FIRST(&lane->connections);

	lane->ticks++;
	while (connection != NULL) {
		struct connection *next = connection_next(connection);

		connection_sweep(connection);
		connection = next;
	}
	if (lane->grpc != NULL) {
		grpc_lane_sweep(lane->grpc);
		grpc_health_changed(lane);
	}
	listen_again(lane);
	if (lane->options->trace != NULL) {
		request_trace_flush(lane->options->trace, lane->index);
	}
	if (lane->index == 0) {
		take_sample(lane);
		certificates_follow(lane->server->http.tls, "HTTP");
		certificates_follow(lane->server->metrics.tls, "metrics");
		certificates_follow(lane->server->grpc_tls, "gRPC");
	}
	/* Refresh the view, so that a loop without requests does not keep unloaded models alive. */
	(void)server_lane_table(lane);
	loop_timer_set(lane->sweep_timer, SWEEP_MS);
}

static struct loop_watch *
watch_listener(struct server_lane *lane, int listener, loop_watch_fn fn)
{
	struct loop_watch *watch = NULL;

	if (listener >= 0) {
		watch = loop_watch_new(lane->loop, listener, fn, lane);
		loop_watch_set(watch, LOOP_READ);
	}
	return watch;
}

static void
open_remote(struct server_lane *lane)
{
	const struct remote_ops *ops = lane->options->remote_ops;

	lane->remote = ops != NULL && ops->open != NULL ? ops->open(lane->options->remote_shared, lane->loop) : NULL;
	engine_lane_set_remote(lane->engine, ops, lane->remote != NULL ? lane->remote : lane->upstream);
}

static void
on_hold(void *context)
{
	server_lane_hold(context);
}

static void
on_release(void *context)
{
	server_lane_release(context);
}

static void
open_upstream(struct server_lane *lane)
{
	const struct server_options *options = lane->options;

	lane->work = (struct work_options){.offload = lane->offload,
					   .budget = lane->budget,
					   .max_unpacked = options->max_input_bytes,
					   .hold = on_hold,
					   .release = on_release,
					   .context = lane};
	if (options->upstream != NULL) {
		lane->upstream = upstream_lane_new(options->upstream, lane->loop, &lane->work);
	}
	if (options->grpc_upstream != NULL) {
		lane->grpc_upstream = grpc_upstream_lane_new(options->grpc_upstream, lane->loop);
	}
}

struct server_lane *
server_lane_new(struct server *server, struct loop *loop, size_t index)
{
	struct server_lane *lane = memory_new(sizeof(*lane));

	lane->server = server;
	lane->options = server->options;
	lane->budget = &server->bodies;
	lane->passes = &server->passes;
	lane->offload = server->offload;
	lane->loop = loop;
	lane->index = index;
	TAILQ_INIT(&lane->connections);
	open_upstream(lane);
	lane->engine = engine_lane_new(server->options->engine, loop, server->offload, index);
	open_remote(lane);
	lane->http_watch = watch_listener(lane, server->http_listeners[index], on_http);
	TAILQ_INIT(&lane->health_watches);
	TAILQ_INIT(&lane->abandoned);
	TAILQ_INIT(&lane->abandoned_http);
	server_lane_hold(lane);
	if (server->grpc_listens) {
		server_lane_hold(lane);
		lane->grpc = grpc_lane_new(&server->grpc, loop, server->offload, lane);
		lane->grpc_watch = watch_listener(lane, server->grpc_listeners[index], on_grpc);
	}
	if (index == 0) {
		lane->metrics_watch = watch_listener(lane, server->metrics_listener, on_metrics);
	}
	lane->infer_memo = infer_memo_new();
	lane->history = server->history;
	lane->sweep_timer = loop_timer_new(loop, on_sweep, lane);
	loop_timer_set(lane->sweep_timer, SWEEP_MS);
	return lane;
}

static void
on_grpc_stopped(void *argument)
{
	server_lane_release(argument);
}

static void
stop_listening(struct server_lane *lane)
{
	loop_watch_free(lane->http_watch);
	loop_watch_free(lane->grpc_watch);
	loop_watch_free(lane->metrics_watch);
	lane->http_watch = NULL;
	lane->grpc_watch = NULL;
	lane->metrics_watch = NULL;
	close_listener(&lane->server->http_listeners[lane->index]);
	close_listener(&lane->server->grpc_listeners[lane->index]);
	if (lane->index == 0) {
		close_listener(&lane->server->metrics_listener);
	}
}

void
server_lane_stop(struct server_lane *lane, void (*done)(void *argument), void *argument)
{
	struct connection *connection;

	lane->drained = done;
	lane->drained_argument = argument;
	stop_listening(lane);
	engine_lane_stop_waiting(lane->engine);
	connection = TAILQ_FIRST(&lane->connections);
	while (connection != NULL) {
		struct connection *next = connection_next(connection);

		connection_finish(connection);
		connection = next;
	}
	controls_stop(lane); /* which closes connections, whose end is not to be told below, too */
	lane->stopping = true;
	lane->stopped = server_lane_release;
	grpc_controls_stop(lane);
	if (lane->grpc != NULL) {
		grpc_lane_stop(lane->grpc, on_grpc_stopped, lane);
	}
	if (TAILQ_EMPTY(&lane->connections)) {
		server_lane_release(lane);
	}
}

void
server_lane_free(struct server_lane *lane)
{
	loop_timer_free(lane->sweep_timer);
	infer_memo_free(lane->infer_memo);
	grpc_lane_free(lane->grpc);
	grpc_inferences_fini(lane);
	engine_lane_free(lane->engine);
	if (lane->remote != NULL) {
		lane->options->remote_ops->close(lane->remote);
	}
	upstream_lane_free(lane->upstream);
	grpc_upstream_lane_free(lane->grpc_upstream);
	repository_view_fini(&lane->view);
	free(lane);
}
