/* What options say together. */
#include "app/command_line.h"

#include "base/memory.h"

#include <inttypes.h>

/* What the name of a header field consists of (RFC 9110 section 5.6.2). */
#define TOKEN "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* All listeners set SO_REUSEPORT, so the kernel would let two share one port. */
static enum status
check_ports(const struct serve_settings *settings, struct error *error)
{
	const struct {
		const char *option;
		bool is_on;
		int64_t port;
	} ports[] = {{"--http-port", settings->allow_http, settings->http_port},
		     {"--grpc-port", settings->allow_grpc, settings->grpc_port},
		     {"--metrics-port", settings->allow_metrics, settings->metrics_port}};

	for (size_t i = 0; i < 3; i++) {
		for (size_t k = i + 1; k < 3; k++) {
			if (ports[i].is_on && ports[k].is_on && ports[i].port != 0 && ports[i].port == ports[k].port) {
				return error_set(error, STATUS_INVALID_ARGUMENT,
						 "%s and %s are both %" PRId64 ": give one of them another port",
						 ports[i].option, ports[k].option, ports[i].port);
			}
		}
	}
	return STATUS_OK;
}

/* As in Triton, mutual TLS is TLS. `port`: as the options' names begin. */
static enum status
check_tls(struct tls_settings *tls, const char *port, struct error *error)
{
	tls->use_ssl = tls->use_ssl || tls->mutual;
	if (!tls->use_ssl && (tls->cert != NULL || tls->key != NULL || tls->root != NULL)) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"--%s-%s is given without --%s-use-ssl: the port would be plain. Add that option, or leave "
			"out this one",
			port,
			tls->cert != NULL  ? "server-cert"
			: tls->key != NULL ? "server-key"
					   : "root-cert",
			port);
	}
	if (tls->mutual && (tls->cert == NULL || tls->key == NULL || tls->root == NULL)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--%s-use-ssl-mutual needs --%s-server-cert=FILE, --%s-server-key=FILE and "
				 "--%s-root-cert=FILE, with the authorities of clients",
				 port, port, port, port);
	}
	if (tls->use_ssl && (tls->cert == NULL || tls->key == NULL)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--%s-use-ssl needs --%s-server-cert=FILE and --%s-server-key=FILE", port, port, port);
	}
	return STATUS_OK;
}

/*
 * Those that speak gRPC have a list of their own. Without any, gRPC is off; where all do, what HTTP would be asked for
 * is asked over gRPC.
 */
static void
take_grpc_upstreams(struct serve_settings *settings)
{
	struct text_list *all = &settings->upstreams;
	struct text_list *grpc = &settings->grpc_upstreams;
	size_t count = all->count;

	grpc->items = memory_array(count, sizeof(*grpc->items));
	all->count = 0;
	for (size_t i = 0; i < count; i++) {
		bool is_grpc = strncmp(all->items[i], "grpc", 4) == 0;
		struct text_list *list = is_grpc ? grpc : all;

		list->items[list->count++] = all->items[i];
	}
	if (all->count == 0) {
		memcpy(all->items, grpc->items, count * sizeof(*all->items));
		all->count = count;
	}
	settings->allow_grpc = settings->allow_grpc && grpc->count > 0;
}

static enum status
check_upstream(struct serve_settings *settings, struct error *error)
{
	if ((settings->upstream_cert == NULL) != (settings->upstream_key == NULL)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--upstream-cert=FILE and --upstream-key=FILE belong together: give both or none");
	}
	if (settings->upstreams.count == 0) {
		return settings->upstream_generation == NULL && settings->upstream_group == NULL &&
				       settings->cache_models.count == 0 && settings->upstream_private_fields.count == 0
			       ? STATUS_OK
			       : error_set(error, STATUS_INVALID_ARGUMENT,
					   "--upstream-generation, --upstream-group, --cache-models and "
					   "--upstream-private-field are for --upstream=URL only");
	}
	for (size_t i = 0; i < settings->upstream_private_fields.count; i++) {
		const char *name = settings->upstream_private_fields.items[i];

		if (*name == '\0' || name[strspn(name, TOKEN)] != '\0') {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"--upstream-private-field=%s: no header field can have that name; give one such as "
				"X-User",
				name);
		}
	}
	for (size_t i = 0; i < settings->cache_models.count; i++) {
		if (*settings->cache_models.items[i] == '\0') {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "--cache-models= names no model: give a name or a pattern, as 'resnet*'");
		}
	}
	take_grpc_upstreams(settings);
	if (settings->model_repositories.count > 0) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"--model-repository and --upstream are both given: serve models of our own, or stand in "
			"front of another server");
	}
	if (settings->upstream_group != NULL && *settings->upstream_group == '\0') {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--upstream-group= names no group: give a name, or leave the option out");
	}
	if (settings->upstream_group != NULL && settings->upstream_generation != NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--upstream-group and --upstream-generation are both given: fronts agree on a "
				 "generation, or you state it");
	}
	return STATUS_OK;
}

enum status
command_line_check(struct serve_settings *settings, struct error *error)
{
	if (settings->model_repositories.count == 0 && settings->upstreams.count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "no model repository: give one with --model-repository=DIR, or another server with "
				 "--upstream=URL");
	}
	if (check_upstream(settings, error) != STATUS_OK) {
		return error->status;
	}
	if (settings->allow_gpu_metrics) {
		return error_set(error, STATUS_UNSUPPORTED, "--allow-gpu-metrics=true: hippocamp has no GPU metrics");
	}
	if (check_ports(settings, error) != STATUS_OK) {
		return error->status;
	}
	if (settings->load_models.count > 0 && settings->model_control_mode != 2) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--load-model is for --model-control-mode=explicit only");
	}
	if (settings->response_cache_byte_size >= 0 && settings->cache_configs.count > 0) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"Incompatible flags --response-cache-byte-size and --cache-config both provided. Please "
			"provide one or the other.");
	}
	if (check_tls(&settings->http_tls, "http", error) != STATUS_OK ||
	    check_tls(&settings->grpc_tls, "grpc", error) != STATUS_OK) {
		return error->status;
	}
	return check_tls(&settings->metrics_tls, "metrics", error);
}
