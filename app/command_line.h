/*
 * The command line of `hippocamp serve`. Options that tritonserver has too keep its names and meanings.
 */
#ifndef HIPPOCAMP_APP_COMMAND_LINE_H
#define HIPPOCAMP_APP_COMMAND_LINE_H

#include "base/option.h"

struct text_list {
	const char **items;
	size_t count;
};

/* The options of one port's certificates; see loop/tls_server.h. */
struct tls_settings {
	bool use_ssl;
	bool mutual;
	char *cert;
	char *key;
	char *root;
};

struct serve_settings {
	char *id;
	int64_t exit_timeout_secs;

	struct text_list model_repositories;
	struct text_list load_models;
	int model_control_mode; /* enum repository_mode */
	int64_t repository_poll_secs;
	bool strict_model_config;
	bool disable_auto_complete_config;
	bool strict_readiness;
	bool exit_on_error;

	int64_t threads;
	bool allow_http;
	char *http_address;
	int64_t http_port;
	bool reuse_http_port;
	int64_t http_max_input_size;
	int64_t http_max_inflight_bytes; /* 0: not given */
	struct tls_settings http_tls;

	bool allow_grpc;
	char *grpc_address;
	int64_t grpc_port;
	bool reuse_grpc_port;
	struct tls_settings grpc_tls;
	int grpc_compression; /* 0: none */
	int64_t grpc_keepalive_time;
	int64_t grpc_keepalive_timeout;
	bool grpc_keepalive_without_calls;
	int64_t grpc_max_pings_without_data;
	int64_t grpc_min_ping_interval;
	int64_t grpc_max_ping_strikes;
	int64_t grpc_max_connection_age;
	int64_t grpc_max_connection_age_grace;
	int64_t grpc_infer_thread_count; /* these three: -1: not given */
	int64_t grpc_infer_allocation_pool_size;
	int64_t grpc_max_response_pool_size;
	struct text_list grpc_restricted;
	struct text_list grpc_header_patterns;

	bool allow_metrics;
	bool allow_gpu_metrics;
	char *metrics_address;
	int64_t metrics_port;
	struct tls_settings metrics_tls;
	double cost_per_hour; /* 0: not told */

	struct text_list cache_configs;
	char *cache_directory; /* NULL: not given */
	bool cache_all_models;
	int cache_admin; /* enum cache_admin_rule */
	bool allow_cache_control;
	char *record; /* NULL: not given */
	double record_share;
	int64_t response_cache_byte_size; /* -1: not given */
	struct text_list backend_configs;

	struct text_list upstreams;	 /* for HTTP, once checked */
	struct text_list grpc_upstreams; /* of the same option */
	struct text_list cache_models;
	struct text_list upstream_private_fields;
	int upstream_authorization; /* enum front_authorization */
	int upstream_readiness;	    /* enum front_readiness */
	int64_t upstream_connect_timeout;
	int64_t upstream_poll_secs;
	char *upstream_generation; /* these five: NULL: not given */
	char *upstream_group;
	char *upstream_cacert;
	char *upstream_cert;
	char *upstream_key;

	int64_t log_verbose;
	bool log_info;
	bool log_warning;
	bool log_error;
	int log_format; /* enum log_format */
	char *log_file;
};

/* The lists point into `arguments`. On failure `error` tells the user what to do; still call command_line_fini. */
enum status command_line_parse(int count, char **arguments, struct serve_settings *settings, struct error *error);
void command_line_fini(struct serve_settings *settings);

/* For command_line_parse: do the settings go together? It sorts the upstreams. */
enum status command_line_check(struct serve_settings *settings, struct error *error);

/* Appends the help of all options, by group. */
void command_line_help(struct buf *out);

#endif
