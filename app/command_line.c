#include "app/command_line.h"

#include "base/memory.h"

#include <stdlib.h>

#define AT(field) offsetof(struct serve_settings, field)
#define GROUPS 8
#define NAMES_MAX 128

static const char *const control_modes[] = {"none", "poll", "explicit", NULL};
static const char *const authorizations[] = {"pass", "key", "shared", NULL};
static const char *const readinesses[] = {"either", "behind", "own", NULL};
static const char *const log_formats[] = {"default", "ISO8601", "json", NULL};
static const char *const compression_levels[] = {"none", "low", "medium", "high", NULL};
static const char *const cache_admins[] = {"loopback", "true", "false", NULL};

/* The options of one port's certificates, in `field`, a struct tls_settings. */
#define TLS_OPTIONS(port, field)                                                                                       \
	{.name = port "-use-ssl",                                                                                      \
	 .kind = OPTION_BOOLEAN,                                                                                       \
	 .offset = AT(field.use_ssl),                                                                                  \
	 .preset = "false",                                                                                            \
	 .help = "speak TLS on this port, with --" port "-server-cert and --" port "-server-key"},                     \
		{.name = port "-use-ssl-mutual",                                                                       \
		 .kind = OPTION_BOOLEAN,                                                                               \
		 .offset = AT(field.mutual),                                                                           \
		 .preset = "false",                                                                                    \
		 .help = "the same, and demand of clients a certificate from an authority in --" port "-root-cert"},   \
		{.name = port "-server-cert",                                                                          \
		 .kind = OPTION_TEXT,                                                                                  \
		 .offset = AT(field.cert),                                                                             \
		 .unit = "FILE",                                                                                       \
		 .help = "PEM: the server's certificate, then those that lead to its authority"},                      \
		{.name = port "-server-key",                                                                           \
		 .kind = OPTION_TEXT,                                                                                  \
		 .offset = AT(field.key),                                                                              \
		 .unit = "FILE",                                                                                       \
		 .help = "PEM: the key of that certificate, without a password"},                                      \
	{                                                                                                              \
		.name = port "-root-cert", .kind = OPTION_TEXT, .offset = AT(field.root), .unit = "FILE",              \
		.help = "PEM: the authorities of clients, for --" port "-use-ssl-mutual"                               \
	}

static const struct option server_options[] = {
	{.name = "id",
	 .kind = OPTION_TEXT,
	 .offset = AT(id),
	 .preset = "triton",
	 .help = "name that GET /v2 tells; some clients expect 'triton'"},
	{.name = "exit-timeout-secs",
	 .kind = OPTION_INTEGER,
	 .offset = AT(exit_timeout_secs),
	 .preset = "30",
	 .minimum = 0,
	 .maximum = 86400,
	 .unit = "s",
	 .help = "how long requests in flight may take to finish on exit"},
};

static const struct option repository_options[] = {
	{.name = "model-control-mode",
	 .kind = OPTION_CHOICE,
	 .offset = AT(model_control_mode),
	 .preset = "none",
	 .choices = control_modes,
	 .help = "none: load all models at start; poll: and follow changes on disk; explicit: load on request"},
	{.name = "repository-poll-secs",
	 .kind = OPTION_INTEGER,
	 .offset = AT(repository_poll_secs),
	 .preset = "15",
	 .minimum = 1,
	 .maximum = 86400,
	 .unit = "s",
	 .help = "time between looks at the disk, in mode poll"},
	{.name = "exit-on-error",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(exit_on_error),
	 .preset = "true",
	 .help = "exit when a model fails to load at start"},
	{.name = "strict-readiness",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(strict_readiness),
	 .preset = "true",
	 .help = "ready only while all models are"},
	{.name = "disable-auto-complete-config",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(disable_auto_complete_config),
	 .preset = "false",
	 .help = "take model configurations as they are"},
	{.name = "strict-model-config",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(strict_model_config),
	 .preset = "false",
	 .help = "the same, by its older name"},
};

static const struct option upstream_options[] = {
	{.name = "upstream-authorization",
	 .kind = OPTION_CHOICE,
	 .offset = AT(upstream_authorization),
	 .preset = "pass",
	 .choices = authorizations,
	 .help = "what becomes of requests with Authorization or Cookie: pass: they pass through, and nothing of them "
		 "is kept; key: those with the same value share answers; shared: all may see all answers"},
	{.name = "upstream-readiness",
	 .kind = OPTION_CHOICE,
	 .offset = AT(upstream_readiness),
	 .preset = "either",
	 .choices = readinesses,
	 .help = "when /v2/health/ready says yes: behind: when the server behind does; own: while we run; either: when "
		 "that one does or, while it is not reached, when models of it are known"},
	{.name = "upstream-connect-timeout",
	 .kind = OPTION_INTEGER,
	 .offset = AT(upstream_connect_timeout),
	 .preset = "5",
	 .minimum = 1,
	 .maximum = 3600,
	 .unit = "s",
	 .help = "the time for a connection to the server behind, its TLS handshake included"},
	{.name = "upstream-poll-secs",
	 .kind = OPTION_INTEGER,
	 .offset = AT(upstream_poll_secs),
	 .preset = "1",
	 .minimum = 1,
	 .maximum = 3600,
	 .unit = "s",
	 .help = "time between looks at what models the server behind has; for as long a model that was replaced there "
		 "may still be answered from the cache"},
	{.name = "upstream-generation",
	 .kind = OPTION_TEXT,
	 .offset = AT(upstream_generation),
	 .help = "your word for what the models' files are, such as a release: servers that state the same share their "
		 "answers in Redis, also after a restart. State another one whenever files change"},
	{.name = "upstream-group",
	 .kind = OPTION_TEXT,
	 .offset = AT(upstream_group),
	 .help = "name of a group of fronts of the same servers that share a Redis: while they run, they agree on "
		 "what is current, and share their answers"},
	{.name = "upstream-cacert",
	 .kind = OPTION_TEXT,
	 .offset = AT(upstream_cacert),
	 .unit = "FILE",
	 .help = "PEM: the authorities of https servers behind; by default those of the system"},
	{.name = "upstream-cert",
	 .kind = OPTION_TEXT,
	 .offset = AT(upstream_cert),
	 .unit = "FILE",
	 .help = "PEM: our own certificate, for servers behind that ask for one"},
	{.name = "upstream-key",
	 .kind = OPTION_TEXT,
	 .offset = AT(upstream_key),
	 .unit = "FILE",
	 .help = "PEM: its key, without a password"},
};

static const struct option http_options[] = {
	{.name = "allow-http",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(allow_http),
	 .preset = "true",
	 .help = "serve HTTP"},
	{.name = "http-address",
	 .kind = OPTION_TEXT,
	 .offset = AT(http_address),
	 .preset = "0.0.0.0",
	 .help = "address to listen on: 127.0.0.1, [::1], a name, or unix:/run/hippocamp.sock"},
	{.name = "http-port",
	 .kind = OPTION_INTEGER,
	 .offset = AT(http_port),
	 .preset = "8000",
	 .minimum = 0,
	 .maximum = 65535,
	 .help = "port to listen on; 0: any free one"},
	{.name = "reuse-http-port",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(reuse_http_port),
	 .preset = "false",
	 .help = "share the port with other processes"},
	{.name = "http-thread-count",
	 .kind = OPTION_INTEGER,
	 .offset = AT(threads),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = 1024,
	 .help = "threads that serve connections; 0: as many as processors that may be used"},
	{.name = "threads",
	 .kind = OPTION_INTEGER,
	 .offset = AT(threads),
	 .minimum = 0,
	 .maximum = 1024,
	 .help = "the same, shorter"},
	{.name = "http-max-input-size",
	 .kind = OPTION_SIZE,
	 .offset = AT(http_max_input_size),
	 .preset = "67108864",
	 .minimum = 1,
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "largest JSON, raw or decompressed body; tensors behind a JSON header may be longer"},
	{.name = "http-max-inflight-bytes",
	 .kind = OPTION_SIZE,
	 .offset = AT(http_max_inflight_bytes),
	 .minimum = 1,
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "what the bodies of all requests that are being read or answered may take together, and so the "
		 "largest of any; what is more gets 503. Default: a quarter of the memory that this process may use"},
	TLS_OPTIONS("http", http_tls),
};

static const struct option grpc_options[] = {
	{.name = "allow-grpc",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(allow_grpc),
	 .preset = "true",
	 .help = "serve gRPC"},
	{.name = "grpc-address",
	 .kind = OPTION_TEXT,
	 .offset = AT(grpc_address),
	 .preset = "0.0.0.0",
	 .help = "address to listen on: 127.0.0.1, [::1], a name, or unix:/run/hippocamp-grpc.sock"},
	{.name = "grpc-port",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_port),
	 .preset = "8001",
	 .minimum = 0,
	 .maximum = 65535,
	 .help = "port to listen on; 0: any free one"},
	{.name = "reuse-grpc-port",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(reuse_grpc_port),
	 .preset = "false",
	 .help = "share the port with other processes"},
	{.name = "grpc-infer-response-compression-level",
	 .kind = OPTION_CHOICE,
	 .offset = AT(grpc_compression),
	 .preset = "none",
	 .choices = compression_levels,
	 .help = "compress responses whose client accepts that, by gzip or else deflate; all levels but none are "
		 "equal"},
	{.name = "grpc-keepalive-time",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_keepalive_time),
	 .preset = "7200000",
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .unit = "ms",
	 .help = "time without a frame from the client after which the server sends a PING"},
	{.name = "grpc-keepalive-timeout",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_keepalive_timeout),
	 .preset = "20000",
	 .minimum = 1,
	 .maximum = INT32_MAX,
	 .unit = "ms",
	 .help = "time after that PING in which the client must have replied, or its connection is closed"},
	{.name = "grpc-keepalive-permit-without-calls",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(grpc_keepalive_without_calls),
	 .preset = "false",
	 .help = "send these PINGs while no call is in flight, too"},
	{.name = "grpc-http2-max-pings-without-data",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_max_pings_without_data),
	 .preset = "2",
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .help = "PINGs that the server sends without data in between; 0: any number"},
	{.name = "grpc-http2-min-recv-ping-interval-without-data",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_min_ping_interval),
	 .preset = "5000",
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .unit = "ms",
	 .help = "time that a client must let pass between PINGs without data; tritonserver's default is 300000"},
	{.name = "grpc-http2-max-ping-strikes",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_max_ping_strikes),
	 .preset = "2",
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .help = "PINGs that may come sooner before the connection is closed; 0: any number"},
	{.name = "grpc-max-connection-age",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_max_connection_age),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .unit = "ms",
	 .help = "age at which a client is asked to open another connection, a tenth more or less; 0: no limit"},
	{.name = "grpc-max-connection-age-grace",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_max_connection_age_grace),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .unit = "ms",
	 .help = "time that calls in flight then have; 0: no limit"},
	{.name = "grpc-infer-thread-count",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_infer_thread_count),
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .help = "accepted, without effect: calls are served by the threads of --threads"},
	{.name = "grpc-infer-allocation-pool-size",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_infer_allocation_pool_size),
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .help = "accepted, without effect: there is no such pool"},
	{.name = "grpc-max-response-pool-size",
	 .kind = OPTION_INTEGER,
	 .offset = AT(grpc_max_response_pool_size),
	 .minimum = 0,
	 .maximum = INT32_MAX,
	 .help = "accepted, without effect: there is no such pool"},
	TLS_OPTIONS("grpc", grpc_tls),
};

static const struct option metrics_options[] = {
	{.name = "allow-metrics",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(allow_metrics),
	 .preset = "true",
	 .help = "serve Prometheus metrics"},
	{.name = "metrics-address",
	 .kind = OPTION_TEXT,
	 .offset = AT(metrics_address),
	 .help = "address to listen on; default: that of HTTP, or 127.0.0.1 where that is a Unix socket"},
	{.name = "metrics-port",
	 .kind = OPTION_INTEGER,
	 .offset = AT(metrics_port),
	 .preset = "8002",
	 .minimum = 0,
	 .maximum = 65535,
	 .help = "port to listen on; 0: any free one"},
	{.name = "allow-gpu-metrics",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(allow_gpu_metrics),
	 .preset = "false",
	 .help = "there are none; only false is accepted"},
	{.name = "cost-per-hour",
	 .kind = OPTION_NUMBER,
	 .offset = AT(cost_per_hour),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = 1000000,
	 .help = "what an hour of the models' compute time costs you, in any currency: the live page (GET / on this "
		 "port) "
		 "then tells what the cache has saved of it"},
	TLS_OPTIONS("metrics", metrics_tls),
};

static const struct option cache_options[] = {
	{.name = "cache-directory",
	 .kind = OPTION_TEXT,
	 .offset = AT(cache_directory),
	 .help = "folder of cache plug-ins, DIR/NAME/libtritoncache_NAME.so, which come before built-in caches of the "
		 "same name; where it is not given, other names are looked for in /opt/tritonserver/caches"},
	{.name = "cache-all-models",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(cache_all_models),
	 .preset = "false",
	 .help = "cache all models but those whose config.pbtxt says response_cache { enable: false }, not only those "
		 "that say true: for servers of which every model gives the same answer to the same question"},
	{.name = "allow-cache-admin",
	 .kind = OPTION_CHOICE,
	 .offset = AT(cache_admin),
	 .preset = "loopback",
	 .choices = cache_admins,
	 .unit = "BOOL",
	 .help = "POST /v2/cache/purge, on the ports of HTTP and of metrics, and GET /v2/cache on that of HTTP; "
		 "'loopback': where the port's address is a loopback address"},
	{.name = "allow-cache-control",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(allow_cache_control),
	 .preset = "true",
	 .help = "requests may steer the cache, by Cache-Control and the parameter 'cache'"},
	{.name = "record",
	 .kind = OPTION_TEXT,
	 .offset = AT(record),
	 .unit = "FILE",
	 .help = "append a line for each look-up, with its key, the size and the cost of its answer, but nothing of "
		 "its "
		 "content: for hippocamp simulate"},
	{.name = "record-share",
	 .kind = OPTION_NUMBER,
	 .offset = AT(record_share),
	 .preset = "1",
	 .minimum = 0,
	 .maximum = 1,
	 .help = "the share of all keys that --record records, such as 0.01"},
	{.name = "response-cache-byte-size",
	 .kind = OPTION_SIZE,
	 .offset = AT(response_cache_byte_size),
	 .minimum = 1,
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "older form of --cache-config local,size=BYTES"},
};

static const struct option log_options[] = {
	{.name = "log-verbose",
	 .kind = OPTION_INTEGER,
	 .offset = AT(log_verbose),
	 .preset = "0",
	 .minimum = 0,
	 .maximum = 100,
	 .help = "verbose messages from 1 on"},
	{.name = "log-info",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(log_info),
	 .preset = "true",
	 .help = "messages of level info"},
	{.name = "log-warning",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(log_warning),
	 .preset = "true",
	 .help = "messages of level warning"},
	{.name = "log-error",
	 .kind = OPTION_BOOLEAN,
	 .offset = AT(log_error),
	 .preset = "true",
	 .help = "messages of level error"},
	{.name = "log-format",
	 .kind = OPTION_CHOICE,
	 .offset = AT(log_format),
	 .preset = "default",
	 .choices = log_formats,
	 .help = "default, ISO8601 or json"},
	{.name = "log-file",
	 .kind = OPTION_TEXT,
	 .offset = AT(log_file),
	 .unit = "FILE",
	 .help = "file to append to; default: standard error"},
};

#define TABLE(options)                                                                                                 \
	{                                                                                                              \
		options, sizeof(options) / sizeof(*(options))                                                          \
	}

static const struct {
	const char *title;
	struct option_table table;
} groups[GROUPS] = {
	{"Server", TABLE(server_options)}, {"Models", TABLE(repository_options)}, {"Upstream", TABLE(upstream_options)},
	{"HTTP", TABLE(http_options)},	   {"gRPC", TABLE(grpc_options)},	  {"Metrics", TABLE(metrics_options)},
	{"Cache", TABLE(cache_options)},   {"Log", TABLE(log_options)},
};

/* Options that may be given several times. */
static const struct list_option {
	const char *name;
	size_t offset;
	const char *group;
	const char *value;
	const char *help;
} list_options[] = {
	{"model-repository", AT(model_repositories), "Models", "DIR", "folder of models; may be repeated"},
	{"model-store", AT(model_repositories), "Models", "DIR", "the same, by its older name"},
	{"load-model", AT(load_models), "Models", "NAME",
	 "model to load at start in mode explicit, or '*'; may be repeated"},
	{"upstream", AT(upstreams), "Upstream", "URL",
	 "stand in front of this server of the KServe v2 protocol: http://HOST:PORT, https://HOST:PORT or unix:/PATH "
	 "of its HTTP, and grpc://HOST:PORT or grpcs://HOST:PORT of its gRPC; repeated for equal replicas"},
	{"upstream-private-field", AT(upstream_private_fields), "Upstream", "NAME",
	 "a header field of requests, such as X-User, that counts as authorization, as Authorization and Cookie do; "
	 "may "
	 "be repeated"},
	{"cache-models", AT(cache_models), "Upstream", "PATTERN",
	 "cache models behind whose names match, such as 'resnet*', although their configuration does not say "
	 "response_cache; may be repeated"},
	{"cache-config", AT(cache_configs), "Cache", "NAME,KEY=VALUE",
	 "an option of the response cache, NAME being one of those below; may be repeated. 'none' turns "
	 "caching off. local and redis together are tiered. Default: local,size=64MiB"},
	{"grpc-restricted-protocol", AT(grpc_restricted), "gRPC", "GROUP[,GROUP...]:KEY=VALUE",
	 "calls of these groups need the metadata triton-grpc-protocol-KEY with that VALUE. Groups: health, metadata, "
	 "inference, shared-memory, model-config, model-repository, statistics, trace, logging"},
	{"grpc-header-forward-pattern", AT(grpc_header_patterns), "gRPC", "REGEX",
	 "accepted, without effect: no model here reads request headers"},
	{"backend-config", AT(backend_configs), "Models", "NAME,KEY=VALUE",
	 "an option of a backend: onnxruntime,default-max-batch-size=4"},
};

/* Options of tritonserver that hippocamp lacks. */
static const char *const missing_options[] = {
	"allow-client-shm",
	"allow-cpu-metrics",
	"allow-sagemaker",
	"allow-vertex-ai",
	"backend-directory",
	"buffer-manager-thread-count",
	"cuda-memory-pool-byte-size",
	"cuda-virtual-address-size",
	"enable-peer-access",
	"host-policy",
	"http-header-forward-pattern",
	"http-restricted-api",
	"metrics-config",
	"metrics-interval-ms",
	"min-supported-compute-capability",
	"model-config-name",
	"model-load-gpu-limit",
	"model-load-retry-count",
	"model-load-thread-count",
	"model-namespacing",
	"pinned-memory-pool-byte-size",
	"rate-limit",
	"rate-limit-resource",
	"repoagent-directory",
	"sagemaker-port",
	"sagemaker-safe-port-range",
	"sagemaker-thread-count",
	"trace-config",
	"trace-count",
	"trace-file",
	"trace-level",
	"trace-log-frequency",
	"trace-rate",
	"vertex-ai-default-model",
	"vertex-ai-port",
	"vertex-ai-thread-count",
};

#define LIST_OPTIONS (sizeof(list_options) / sizeof(*list_options))
#define MISSING_OPTIONS (sizeof(missing_options) / sizeof(*missing_options))

/* The result of a search for an option; at most one member is set. */
struct found_option {
	const struct option *option;
	const struct list_option *list;
};

static size_t
all_names(const char **names)
{
	size_t count = 0;

	for (size_t g = 0; g < GROUPS; g++) {
		for (size_t i = 0; i < groups[g].table.count; i++) {
			names[count++] = groups[g].table.options[i].name;
		}
	}
	for (size_t i = 0; i < LIST_OPTIONS; i++) {
		names[count++] = list_options[i].name;
	}
	return count;
}

static struct found_option
find_exactly(struct bytes name)
{
	struct found_option found = {0};

	for (size_t g = 0; g < GROUPS && found.option == NULL; g++) {
		found.option = option_find(groups[g].table, name);
	}
	for (size_t i = 0; i < LIST_OPTIONS; i++) {
		if (bytes_equal_text(name, list_options[i].name)) {
			found.list = &list_options[i];
		}
	}
	return found;
}

static enum status
unknown_option(struct bytes name, const char *const *names, size_t count, struct error *error)
{
	const char *nearest;

	for (size_t i = 0; i < MISSING_OPTIONS; i++) {
		if (bytes_equal_text(name, missing_options[i])) {
			return error_set(error, STATUS_UNSUPPORTED,
					 "option '--%.*s' is one of tritonserver's that hippocamp does not have yet",
					 BYTES_ARGS(name));
		}
	}
	nearest = option_nearest(names, count, name);
	return error_set(error, STATUS_INVALID_ARGUMENT, "unrecognized option '--%.*s'%s%s%s", BYTES_ARGS(name),
			 nearest == NULL ? "" : ", did you mean '--", nearest == NULL ? "" : nearest,
			 nearest == NULL ? "" : "'?");
}

/* Accepts an unambiguous prefix of a name, such as --cache-dir, as getopt_long does. */
static enum status
find_option(struct bytes name, struct found_option *found, struct error *error)
{
	const char *names[NAMES_MAX];
	size_t count = all_names(names);
	const char *match = NULL;

	*found = find_exactly(name);
	if (found->option != NULL || found->list != NULL) {
		return STATUS_OK;
	}
	for (size_t i = 0; i < count && name.length > 0; i++) {
		if (strncmp(names[i], (const char *)name.at, name.length) != 0) {
			continue;
		}
		if (match != NULL) {
			return error_set(error, STATUS_INVALID_ARGUMENT, "option '--%.*s' could be '--%s' or '--%s'",
					 BYTES_ARGS(name), match, names[i]);
		}
		match = names[i];
	}
	if (match == NULL) {
		return unknown_option(name, names, count, error);
	}
	*found = find_exactly(bytes_text(match));
	return STATUS_OK;
}

static void
append(struct text_list *list, const char *text)
{
	list->items = memory_grow(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = text;
}

/* May the option be given without a value, meaning "true"? */
static bool
is_switch(const struct option *option)
{
	return option->kind == OPTION_BOOLEAN || option->choices == cache_admins;
}

/* Reads the option arguments[*at]; if its value is the next argument, advances *at to that. */
static enum status
take_option(int count, char **arguments, int *at, struct serve_settings *settings, struct error *error)
{
	const char *text = arguments[*at] + 2;
	const char *equals = strchr(text, '=');
	struct bytes name = bytes_make(text, equals == NULL ? strlen(text) : (size_t)(equals - text));
	bool next_is_value = *at + 1 < count && strncmp(arguments[*at + 1], "--", 2) != 0;
	const char *value = equals == NULL ? NULL : equals + 1;
	struct found_option found;

	if (find_option(name, &found, error) != STATUS_OK) {
		return error->status;
	}
	if (value == NULL && next_is_value) {
		value = arguments[++*at];
	} else if (value == NULL && found.option != NULL && is_switch(found.option)) {
		value = "true";
	}
	if (value == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "option '--%.*s' needs a value", BYTES_ARGS(name));
	}
	if (found.list != NULL) {
		append((struct text_list *)((char *)settings + found.list->offset), value);
		return STATUS_OK;
	}
	return option_set(found.option, settings, value, error) == STATUS_OK ? STATUS_OK
									     : error_prefix(error, "command line: ");
}

enum status
command_line_parse(int count, char **arguments, struct serve_settings *settings, struct error *error)
{
	*settings = (struct serve_settings){.response_cache_byte_size = -1,
					    .grpc_infer_thread_count = -1,
					    .grpc_infer_allocation_pool_size = -1,
					    .grpc_max_response_pool_size = -1};
	for (size_t g = 0; g < GROUPS; g++) {
		option_presets(groups[g].table, settings);
	}
	for (int i = 0; i < count; i++) {
		enum status status;

		if (strncmp(arguments[i], "--", 2) != 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT, "unexpected argument '%s'", arguments[i]);
		}
		status = take_option(count, arguments, &i, settings, error);
		if (status != STATUS_OK) {
			return status;
		}
	}
	return command_line_check(settings, error);
}

void
command_line_fini(struct serve_settings *settings)
{
	for (size_t g = 0; g < GROUPS; g++) {
		option_fini(groups[g].table, settings);
	}
	free(settings->model_repositories.items);
	free(settings->load_models.items);
	free(settings->cache_configs.items);
	free(settings->backend_configs.items);
	free(settings->upstreams.items);
	free(settings->grpc_upstreams.items);
	free(settings->cache_models.items);
	free(settings->upstream_private_fields.items);
	free(settings->grpc_restricted.items);
	free(settings->grpc_header_patterns.items);
}

static const char *
value_name(const struct option *option)
{
	if (option->unit != NULL) {
		return option->unit;
	}
	switch (option->kind) {
	case OPTION_BOOLEAN:
		return "BOOL";
	case OPTION_INTEGER:
	case OPTION_SIZE:
		return "N";
	default:
		return "TEXT";
	}
}

static void
write_option(struct buf *out, const char *name, const char *value, const char *help, const char *preset)
{
	buf_format(out, "  --%s=%s\n        %s", name, value, help);
	if (preset != NULL) {
		buf_format(out, " (default %s)", preset);
	}
	buf_byte(out, '\n');
}

void
command_line_help(struct buf *out)
{
	for (size_t g = 0; g < GROUPS; g++) {
		buf_format(out, "\n%s:\n", groups[g].title);
		for (size_t i = 0; i < LIST_OPTIONS; i++) {
			if (strcmp(list_options[i].group, groups[g].title) == 0) {
				write_option(out, list_options[i].name, list_options[i].value, list_options[i].help,
					     NULL);
			}
		}
		for (size_t i = 0; i < groups[g].table.count; i++) {
			const struct option *option = &groups[g].table.options[i];

			write_option(out, option->name, value_name(option), option->help, option->preset);
		}
	}
}
