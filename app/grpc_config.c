#include "app/grpc_config.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdlib.h>

static const char *const protocols[] = {
	[PROTOCOL_HEALTH] = "health",
	[PROTOCOL_METADATA] = "metadata",
	[PROTOCOL_INFERENCE] = "inference",
	[PROTOCOL_SHARED_MEMORY] = "shared-memory",
	[PROTOCOL_MODEL_CONFIG] = "model-config",
	[PROTOCOL_MODEL_REPOSITORY] = "model-repository",
	[PROTOCOL_STATISTICS] = "statistics",
	[PROTOCOL_TRACE] = "trace",
	[PROTOCOL_LOGGING] = "logging",
};
#define PROTOCOLS (sizeof(protocols) / sizeof(*protocols))

static enum status
read_protocol(struct bytes name, const char *text, unsigned *mask, struct error *error)
{
	for (size_t i = 0; i < PROTOCOLS; i++) {
		if (bytes_equal_text(name, protocols[i])) {
			*mask |= 1U << i;
			return STATUS_OK;
		}
	}
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "--grpc-restricted-protocol=%s: there is no protocol '%.*s'; there are health, metadata, "
			 "inference, shared-memory, model-config, model-repository, statistics, trace and logging",
			 text, BYTES_ARGS(name));
}

/* Field names of HTTP/2 are in lower case. */
static char *
metadata_key(struct bytes key)
{
	char *name = memory_format("triton-grpc-protocol-%.*s", (int)key.length, (const char *)key.at);

	for (char *at = name; *at != '\0'; at++) {
		*at = *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;
	}
	return name;
}

static enum status
read_restriction(const char *text, struct grpc_restriction *restriction, struct error *error)
{
	struct bytes rest = bytes_text(text);
	struct bytes names = bytes_take_until(&rest, ':');
	struct bytes key = bytes_take_until(&rest, '=');
	enum status status = STATUS_OK;

	if (names.length == 0 || key.length == 0 || rest.length == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--grpc-restricted-protocol=%s: expected GROUP,...:KEY=VALUE, as health:token=abc",
				 text);
	}
	while (names.length > 0 && status == STATUS_OK) {
		status = read_protocol(bytes_take_until(&names, ','), text, &restriction->protocols, error);
	}
	restriction->key = metadata_key(key);
	restriction->value = (const char *)rest.at;
	return status;
}

static enum status
fill_restrictions(const struct text_list *list, struct server_options *options, struct error *error)
{
	struct grpc_restriction *restrictions = memory_array(list->count + 1, sizeof(*restrictions));
	unsigned seen = 0;

	options->restrictions = restrictions;
	options->restriction_count = list->count;
	for (size_t i = 0; i < list->count; i++) {
		if (read_restriction(list->items[i], &restrictions[i], error) != STATUS_OK) {
			return error->status;
		}
		if ((seen & restrictions[i].protocols) != 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "--grpc-restricted-protocol=%s names a group that another one restricts, too",
					 list->items[i]);
		}
		seen |= restrictions[i].protocols;
	}
	return STATUS_OK;
}

static void
warn_of_effectless(const struct serve_settings *settings)
{
	if (settings->grpc_infer_thread_count >= 0) {
		log_warning("--grpc-infer-thread-count has no effect: calls are served by the threads of --threads");
	}
	if (settings->grpc_infer_allocation_pool_size >= 0 || settings->grpc_max_response_pool_size >= 0) {
		log_warning("--grpc-infer-allocation-pool-size and --grpc-max-response-pool-size have no effect: this "
			    "server has no such pools");
	}
	if (settings->grpc_header_patterns.count > 0) {
		log_warning("--grpc-header-forward-pattern has no effect: no model here reads request headers");
	}
}

enum status
grpc_config_fill(const struct serve_settings *settings, struct server_options *options, struct error *error)
{
	options->allow_grpc = settings->allow_grpc;
	options->grpc_address = settings->grpc_address;
	options->grpc_port = (uint16_t)settings->grpc_port;
	options->reuse_grpc_port = settings->reuse_grpc_port;
	options->grpc_compresses = settings->grpc_compression != 0;
	options->grpc = (struct grpc_options){
		.max_message = INT32_MAX,
		.keepalive_time_ms = (uint64_t)settings->grpc_keepalive_time,
		.keepalive_timeout_ms = (uint64_t)settings->grpc_keepalive_timeout,
		.keepalive_without_calls = settings->grpc_keepalive_without_calls,
		.max_pings_without_data = (unsigned)settings->grpc_max_pings_without_data,
		.min_ping_interval_ms = (uint64_t)settings->grpc_min_ping_interval,
		.max_ping_strikes = (unsigned)settings->grpc_max_ping_strikes,
		.max_connection_age_ms = (uint64_t)settings->grpc_max_connection_age,
		.max_connection_age_grace_ms = (uint64_t)settings->grpc_max_connection_age_grace,
	};
	warn_of_effectless(settings);
	return fill_restrictions(&settings->grpc_restricted, options, error);
}

void
grpc_config_fini(struct server_options *options)
{
	for (size_t i = 0; i < options->restriction_count; i++) {
		free(options->restrictions[i].key);
	}
	free((void *)(uintptr_t)options->restrictions);
	options->restrictions = NULL;
	options->restriction_count = 0;
}
