#include "app/serve.h"

#include "app/announce.h"
#include "app/cache_config.h"
#include "app/crash.h"
#include "app/grpc_config.h"
#include "backends/echo/echo.h"
#include "backends/onnxruntime/onnxruntime.h"
#include "backends/upstream/upstream.h"
#include "base/block_pool.h"
#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/memory.h"
#include "base/version.h"
#include "front/follower.h"
#include "front/remote_client.h"
#include "front/remote_registry.h"
#include "inference/fetch/request_trace.h"
#include "inference/models/folder_source.h"
#include "inference/models/model_table.h"
#include "loop/socket.h"
#include "loop/thread.h"
#include "server/server.h"
#include "upstream/grpc_upstream.h"
#include "upstream/upstream.h"
#include "wire/model_config.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEFAULT_BATCH 4
#define IDLE_MEMORY_SHARE 32 /* the block pool keeps at most 1/32 of the memory idle */
#define STOPPED SIGUSR1	     /* sent by a loop's thread to the main thread */

static const struct backend_ops *const own_backends[] = {&backend_onnxruntime_ops, &backend_echo_ops,
							 &backend_upstream_ops, NULL};
static const struct backend_ops *const front_backends[] = {&backend_upstream_ops, NULL};

static const struct model_config_format config_format = {
	.parse_text = model_config_parse_text,
	.parse_json = model_config_parse_json,
	.completed = model_config_completed,
};

/* A loop and its thread. */
struct loop_thread {
	struct app *app;
	struct loop *loop;
	struct server_lane *lane;
	size_t index;
	pthread_t thread;
	struct loop_mail stop;
};

struct app {
	const struct serve_settings *settings;
	struct response_cache *cache;
	struct folder_source folders;
	struct model_source source;
	struct repository_options repository_options;
	struct repository *repository;
	struct engine *engine;
	struct upstream_options upstream_options;
	struct upstream *upstream;
	struct upstream_options grpc_upstream_options;
	struct grpc_upstream *grpc_upstream;
	char *upstream_policy;
	struct follower_options follower_options;
	struct follower *follower;
	struct remote_registry_options registry_options;
	struct remote_registry *registry; /* NULL: we stand in front of a server */
	struct remote_models remotes;
	pthread_mutex_t purge_lock; /* of the next one */
	bool may_purge;		    /* the loops run, and have not been told to stop */
	struct server_options server_options;
	struct server *server;
	struct loop_thread *loop_threads;
	size_t loop_thread_count;
	pthread_t main_thread;
	atomic_size_t stopped;
};

/* --- Workers --- */

static void *
run_loop_thread(void *argument)
{
	struct loop_thread *loop_thread = argument;

	loop_run(loop_thread->loop);
	return NULL;
}

static void
on_lane_stopped(void *argument)
{
	struct loop_thread *loop_thread = argument;

	loop_stop(loop_thread->loop);
	atomic_fetch_add(&loop_thread->app->stopped, 1);
	(void)pthread_kill(loop_thread->app->main_thread, STOPPED);
}

static void
on_stop_mail(struct loop_mail *mail)
{
	struct loop_thread *loop_thread = container_of(mail, struct loop_thread, stop);

	server_lane_stop(loop_thread->lane, on_lane_stopped, loop_thread);
}

static enum status
start_workers(struct app *app, struct error *error)
{
	app->loop_threads = memory_array(app->loop_thread_count, sizeof(*app->loop_threads));
	for (size_t i = 0; i < app->loop_thread_count; i++) {
		struct loop_thread *loop_thread = &app->loop_threads[i];

		loop_thread->app = app;
		loop_thread->index = i;
		loop_thread->stop.deliver = on_stop_mail;
		loop_thread->loop = loop_new(error);
		if (loop_thread->loop == NULL) {
			return error->status;
		}
	}
	for (size_t i = 0; i < app->loop_thread_count; i++) {
		struct loop_thread *loop_thread = &app->loop_threads[i];
		char name[32];

		(void)snprintf(name, sizeof(name), "loop %zu", i);
		loop_thread->lane = server_lane_new(app->server, loop_thread->loop, i);
		loop_thread->thread = thread_start(name, run_loop_thread, loop_thread);
	}
	return STATUS_OK;
}

/* --- Starting --- */

static enum status
read_default_batch(const struct serve_settings *settings, int32_t *batch, struct error *error)
{
	static const char name[] = "onnxruntime,default-max-batch-size=";

	*batch = DEFAULT_BATCH;
	for (size_t i = 0; i < settings->backend_configs.count; i++) {
		const char *text = settings->backend_configs.items[i];
		char *end;
		long value;

		if (strncmp(text, name, sizeof(name) - 1) != 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "unknown --backend-config '%s': there is onnxruntime,default-max-batch-size=N",
					 text);
		}
		value = strtol(text + sizeof(name) - 1, &end, 10);
		if (end == text + sizeof(name) - 1 || *end != '\0' || value < 0 || value > 1 << 20) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "--backend-config '%s': expected a number from 0 to 1048576", text);
		}
		*batch = (int32_t)value;
	}
	return STATUS_OK;
}

/* Adds to a model's error how to start without that model. */
static enum status
add_remedy(struct error *error)
{
	struct error cause = *error;

	return error_set(error, cause.status, "cannot start: %.900s (--exit-on-error=false serves the other models)",
			 cause.text);
}

static enum status
start_repository(struct app *app, struct error *error)
{
	const struct serve_settings *settings = app->settings;
	enum status status;

	app->folders = (struct folder_source){.paths = settings->model_repositories.items,
					      .path_count = settings->model_repositories.count};
	app->source = app->follower != NULL ? follower_source(app->follower) : folder_source(&app->folders);
	app->repository_options = (struct repository_options){
		.source = &app->source,
		.mode = (enum repository_mode)settings->model_control_mode,
		.load_models = settings->load_models.items,
		.load_model_count = settings->load_models.count,
		.poll_secs = settings->repository_poll_secs,
		.autocomplete = !settings->strict_model_config && !settings->disable_auto_complete_config,
		.strict_readiness = settings->strict_readiness,
		.backends = app->follower != NULL ? front_backends : own_backends,
		.format = &config_format,
		.name_space = bytes_text(app->cache == NULL ? "" : app->cache->settings.name_space),
	};
	if (app->registry != NULL) {
		app->remotes = remote_registry_models(app->registry);
		app->repository_options.remotes = &app->remotes;
	}
	app->repository_options.cache_all = app->cache != NULL && settings->cache_all_models;
	if (app->cache != NULL) {
		app->repository_options.cache_policy = app->cache->settings.policy;
		app->repository_options.key_hash = (enum keyed_hash_kind)app->cache->settings.key_hash;
	} else { /* batched requests are audited without a cache, too */
		option_presets(cache_policy_options, &app->repository_options.cache_policy);
	}
	status = read_default_batch(settings, &app->repository_options.default_batch, error);
	if (status != STATUS_OK) {
		return status;
	}
	if (app->follower != NULL) {
		app->repository_options.mode = REPOSITORY_POLL;
		app->repository_options.poll_secs = settings->upstream_poll_secs;
		app->repository_options.autocomplete = false;
	}
	app->repository = repository_new(&app->repository_options);
	status = repository_start(app->repository, error);
	if (status != STATUS_OK && (!settings->exit_on_error || app->follower != NULL)) {
		log_error("%s", error->text);
		return STATUS_OK;
	}
	return status == STATUS_OK ? status : add_remedy(error);
}

static bool
is_model(const char *path)
{
	char *config = memory_format("%s/config.pbtxt", path);
	bool there = access(config, F_OK) == 0;

	free(config);
	return there;
}

/* Runs before models are loaded: a wrong path is an error even with --exit-on-error=false. */
static enum status
check_repositories(const struct serve_settings *settings, struct error *error)
{
	for (size_t i = 0; i < settings->model_repositories.count; i++) {
		const char *path = settings->model_repositories.items[i];
		DIR *folder = opendir(path);

		if (folder == NULL) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"--model-repository=%s cannot be read: %s; give the folder in which each model "
				"has a folder of its own",
				path, strerror(errno));
		}
		(void)closedir(folder);
		if (is_model(path)) {
			return error_set(
				error, STATUS_INVALID_ARGUMENT,
				"--model-repository=%s is a model's folder, as it has a config.pbtxt; give the "
				"folder that it is in",
				path);
		}
	}
	return STATUS_OK;
}

/* Defaults to HTTP's address unless that is a Unix socket, which serves one port. */
static const char *
metrics_address(const struct serve_settings *settings)
{
	if (settings->metrics_address != NULL) {
		return settings->metrics_address;
	}
	return socket_unix_path(settings->http_address) != NULL ? "127.0.0.1" : settings->http_address;
}

static struct tls_options
tls_options(const struct tls_settings *settings, const char *service, const char *protocol)
{
	return (struct tls_options){.service = service,
				    .protocol = protocol,
				    .use_ssl = settings->use_ssl,
				    .mutual = settings->mutual,
				    .cert = settings->cert,
				    .key = settings->key,
				    .root = settings->root};
}

static void
fill_server_options(struct app *app)
{
	const struct serve_settings *settings = app->settings;

	app->server_options = (struct server_options){
		.id = settings->id,
		.version = HIPPOCAMP_VERSION,
		.http_address = settings->http_address,
		.http_port = (uint16_t)settings->http_port,
		.allow_http = settings->allow_http,
		.reuse_http_port = settings->reuse_http_port,
		.http_tls = tls_options(&settings->http_tls, "http", "http/1.1"),
		.grpc_tls = tls_options(&settings->grpc_tls, "grpc", "h2"),
		.metrics_address = metrics_address(settings),
		.metrics_port = (uint16_t)settings->metrics_port,
		.allow_metrics = settings->allow_metrics,
		.metrics_tls = tls_options(&settings->metrics_tls, "metrics", "http/1.1"),
		.max_input_bytes = (size_t)settings->http_max_input_size,
		.max_inflight_bytes = settings->http_max_inflight_bytes > 0 ? (size_t)settings->http_max_inflight_bytes
									    : (size_t)(machine_memory() / 4),
		.model_control = settings->model_control_mode == REPOSITORY_EXPLICIT,
		.log_file = settings->log_file != NULL ? settings->log_file : "",
		.cache_admin = (enum cache_admin_rule)settings->cache_admin,
		.allow_cache_control = settings->allow_cache_control,
		.cost_per_hour = settings->cost_per_hour,
		.cache = app->cache,
	};
}

/* On the repository's thread, while the loops run or before. */
static bool
purge_model(void *context, const char *model)
{
	struct app *app = context;
	bool may_purge;

	(void)pthread_mutex_lock(&app->purge_lock);
	may_purge = app->may_purge;
	if (may_purge && app->cache != NULL && app->cache->ops->purge != NULL) {
		server_lane_purge(app->loop_threads[0].lane, model);
	}
	(void)pthread_mutex_unlock(&app->purge_lock);
	return may_purge;
}

static void
set_may_purge(struct app *app, bool may_purge)
{
	(void)pthread_mutex_lock(&app->purge_lock);
	app->may_purge = may_purge;
	(void)pthread_mutex_unlock(&app->purge_lock);
}

static void
note_change(void *context)
{
	struct app *app = context;

	follower_note_change(app->follower);
	repository_look(app->repository);
}

/* Who may have whose answers, so that fronts that differ in it share none. Free it. */
static char *
describe_policy(const struct serve_settings *settings)
{
	char *text = memory_format("authorization=%d", settings->upstream_authorization);

	for (size_t i = 0; i < settings->upstream_private_fields.count; i++) {
		char *longer = memory_format("%s,%s", text, settings->upstream_private_fields.items[i]);

		free(text);
		text = longer;
	}
	return text;
}

static struct tls_client_options
upstream_tls_options(const struct serve_settings *settings)
{
	return (struct tls_client_options){.prefix = "upstream",
					   .cacert = settings->upstream_cacert,
					   .cert = settings->upstream_cert,
					   .key = settings->upstream_key};
}

/*
 * On the thread that looked: what a model answers is not taken from the cache from now on, although the repository may
 * be busy for long. What failed to be loaded is tried again.
 */
static void
note_remote_look(void *context, bool is_new)
{
	struct app *app = context;
	struct repository_view view = {0};
	const struct model_table *table = repository_table(app->repository, &view);

	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			struct model *model = table->entries[i].versions[k];

			if (remote_registry_is_old(model)) {
				atomic_store(&model->suspended, true);
				is_new = true;
			}
		}
	}
	repository_view_fini(&view);
	if (is_new) {
		repository_look(app->repository);
	}
}

/* The signals that end the server are blocked, and waited for once all models are loaded. */
static bool
is_ending(void *context)
{
	sigset_t pending;

	(void)context;
	return sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

/* Models of a repository may run on other servers. */
static void
open_registry(struct app *app)
{
	const struct serve_settings *settings = app->settings;

	app->registry_options = (struct remote_registry_options){
		.tls = upstream_tls_options(settings),
		.connect_timeout_s = (unsigned)settings->upstream_connect_timeout,
		.poll_secs = settings->upstream_poll_secs,
		.completes = !settings->strict_model_config && !settings->disable_auto_complete_config,
		.looked = note_remote_look,
		.purge = purge_model,
		.is_ending = is_ending,
		.context = app,
	};
	app->registry = remote_registry_new(&app->registry_options);
	app->server_options.remote_ops = &remote_registry_ops;
	app->server_options.remote_shared = app->registry;
}

static enum status
open_upstream(struct app *app, struct error *error)
{
	const struct serve_settings *settings = app->settings;

	if (settings->upstreams.count == 0) {
		open_registry(app);
		return STATUS_OK;
	}
	app->upstream_options = (struct upstream_options){
		.urls = settings->upstreams.items,
		.url_count = settings->upstreams.count,
		.tls = upstream_tls_options(settings),
		.connect_timeout_s = (unsigned)settings->upstream_connect_timeout,
	};
	app->upstream = upstream_new(&app->upstream_options, error);
	if (app->upstream == NULL) {
		return error->status;
	}
	if (settings->allow_grpc) {
		app->grpc_upstream_options = app->upstream_options;
		app->grpc_upstream_options.urls = settings->grpc_upstreams.items;
		app->grpc_upstream_options.url_count = settings->grpc_upstreams.count;
		app->grpc_upstream = grpc_upstream_new(&app->grpc_upstream_options, error);
		if (app->grpc_upstream == NULL) {
			return error->status;
		}
	}
	if (settings->upstream_group != NULL && (app->cache == NULL || app->cache->ops->secret == NULL)) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"--upstream-group=%s needs a cache that the group shares: give --cache-config=redis,host=HOST",
			settings->upstream_group);
	}
	app->upstream_policy = describe_policy(settings);
	app->follower_options = (struct follower_options){
		.upstream = app->upstream,
		.cached = settings->cache_models.items,
		.cached_count = settings->cache_models.count,
		.cache_all = settings->cache_all_models,
		.purge = settings->upstream_generation != NULL ? purge_model : NULL,
		.purge_context = app,
		.generation = settings->upstream_generation,
		.group = settings->upstream_group,
		.store = app->cache,
		.policy = app->upstream_policy,
		.poll_secs = settings->upstream_poll_secs,
	};
	app->follower = follower_new(&app->follower_options, error);
	app->server_options.upstream = app->upstream;
	app->server_options.grpc_upstream = app->grpc_upstream;
	app->server_options.remote_ops = &remote_client_ops;
	app->server_options.authorization = (enum front_authorization)settings->upstream_authorization;
	app->server_options.readiness = (enum front_readiness)settings->upstream_readiness;
	app->server_options.private_fields = settings->upstream_private_fields.items;
	app->server_options.private_field_count = settings->upstream_private_fields.count;
	app->server_options.note_change = note_change;
	app->server_options.note_context = app;
	return app->follower == NULL ? error->status : STATUS_OK;
}

/* What is recorded of the look-ups. */
static enum status
open_trace(struct app *app, struct error *error)
{
	const struct serve_settings *settings = app->settings;

	if (settings->record == NULL) {
		return STATUS_OK;
	}
	if (settings->record_share <= 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--record-share: give a share above 0");
	}
	if (app->cache == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--record needs a cache: without one nothing is looked up");
	}
	app->server_options.trace =
		request_trace_open(settings->record, settings->record_share, app->loop_thread_count, error);
	engine_set_trace(app->engine, app->server_options.trace);
	return app->server_options.trace == NULL ? error->status : STATUS_OK;
}

static enum status
start_server(struct app *app, struct error *error)
{
	app->server_options.repository = app->repository;
	app->server_options.engine = app->engine;
	app->server = server_new(&app->server_options, app->loop_thread_count, error);
	return app->server == NULL ? error->status : start_workers(app, error);
}

static enum status
start(struct app *app, struct error *error)
{
	enum status status = cache_config_open(app->settings, &app->cache, error);

	if (status == STATUS_OK) {
		fill_server_options(app);
		status = grpc_config_fill(app->settings, &app->server_options, error);
	}
	if (status == STATUS_OK) {
		status = open_upstream(app, error);
	}
	if (status == STATUS_OK) {
		status = server_check_ports(&app->server_options, error);
	}
	if (status == STATUS_OK) {
		status = check_repositories(app->settings, error);
	}
	if (status == STATUS_OK) {
		status = start_repository(app, error);
	}
	if (status == STATUS_OK) {
		app->engine = engine_new(app->cache);
		status = open_trace(app, error);
	}
	if (status == STATUS_OK) {
		status = start_server(app, error);
	}
	return status;
}

/* --- Stopping --- */

static void
give_up(const struct app *app, bool asked)
{
	if (asked) {
		log_error("A second signal with requests in flight. Exiting immediately.");
	} else {
		log_error("Exit timeout expired after %" PRId64 " s with requests in flight. Exiting immediately.",
			  app->settings->exit_timeout_secs);
	}
	_exit(1);
}

static void
wait_for_workers(struct app *app, const sigset_t *signals)
{
	uint64_t deadline = clock_now_ns() + (uint64_t)app->settings->exit_timeout_secs * NS_PER_S;

	while (atomic_load(&app->stopped) < app->loop_thread_count) {
		uint64_t now = clock_now_ns();
		uint64_t left = now < deadline ? deadline - now : 0;
		struct timespec time = {.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};
		int signal = sigtimedwait(signals, NULL, &time);

		if (left == 0 || signal == SIGINT || signal == SIGTERM) { /* a second signal ends the wait */
			give_up(app, left > 0);
		}
	}
}

static void
stop_workers(struct app *app, const sigset_t *signals)
{
	set_may_purge(app, false);
	for (size_t i = 0; i < app->loop_thread_count; i++) {
		loop_post(app->loop_threads[i].loop, &app->loop_threads[i].stop);
	}
	wait_for_workers(app, signals);
	for (size_t i = 0; i < app->loop_thread_count; i++) {
		(void)pthread_join(app->loop_threads[i].thread, NULL);
	}
}

/*
 * Parts that were never started are NULL. Loops are freed after the repository: a model's worker may still be
 * returning from loop_post after its mail was delivered, and repository_free waits for the workers.
 */
static void
tear_down(struct app *app)
{
	for (size_t i = 0; app->loop_threads != NULL && i < app->loop_thread_count; i++) {
		if (app->loop_threads[i].lane != NULL) {
			server_lane_free(app->loop_threads[i].lane);
		}
	}
	if (app->server != NULL) {
		server_free(app->server);
	}
	if (app->follower != NULL) {
		follower_stop(app->follower);
	}
	if (app->registry != NULL) {
		remote_registry_stop(app->registry);
	}
	if (app->repository != NULL) {
		repository_free(app->repository);
	}
	follower_free(app->follower);
	remote_registry_free(app->registry);
	for (size_t i = 0; app->loop_threads != NULL && i < app->loop_thread_count; i++) {
		loop_free(app->loop_threads[i].loop);
	}
	free(app->loop_threads);
	if (app->engine != NULL) {
		engine_free(app->engine);
	}
	request_trace_close(app->server_options.trace);
	upstream_free(app->upstream);
	grpc_upstream_free(app->grpc_upstream);
	free(app->upstream_policy);
	grpc_config_fini(&app->server_options);
	response_cache_close(app->cache);
}

static void
configure_log(const struct serve_settings *settings)
{
	log_configure(&(struct log_settings){
		.error = settings->log_error,
		.warning = settings->log_warning,
		.info = settings->log_info,
		.verbose = (int)settings->log_verbose,
		.format = (enum log_format)settings->log_format,
	});
}

static size_t
thread_count(const struct serve_settings *settings)
{
	return settings->threads > 0 ? (size_t)settings->threads : machine_processors();
}

/* Each connection takes a descriptor; the usual soft limit of 1024 only protects programs that use select. */
static void
raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void
reopen_log(void)
{
	struct error error;

	if (log_reopen(&error) == STATUS_OK) {
		log_info("SIGHUP received: the log file, where there is one, has been opened again");
	} else {
		log_error("SIGHUP received: %s", error.text);
	}
}

int
serve(const struct serve_settings *settings)
{
	struct app app = {
		.settings = settings,
		.loop_thread_count = thread_count(settings),
		.main_thread = pthread_self(),
		.purge_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	uint64_t start_ns = clock_now_ns();
	struct error error = {0};
	sigset_t signals;
	int signal;

	if (log_open(settings->log_file, &error) != STATUS_OK) {
		(void)fprintf(stderr, "hippocamp: %s\n", error.text);
		return 1;
	}
	configure_log(settings);
	crash_report_enable();
	raise_file_limit();
	block_pool_start((size_t)(machine_memory() / IDLE_MEMORY_SHARE));
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigaddset(&signals, STOPPED);
	(void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
	(void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
	if (start(&app, &error) != STATUS_OK) {
		bool is_told = is_ending(NULL); /* so that loads were given up */

		if (is_told) {
			log_info("told to end before all models were loaded");
		} else {
			log_error("%s", error.text);
		}
		tear_down(&app);
		block_pool_stop();
		log_close();
		return is_told ? 0 : 1;
	}
	set_may_purge(&app, true);
	announce_start(&(struct announcement){.settings = app.settings,
					      .options = &app.server_options,
					      .cache = app.cache,
					      .repository = app.repository,
					      .server = app.server,
					      .upstream = app.upstream,
					      .grpc_upstream = app.grpc_upstream,
					      .follower = app.follower,
					      .threads = app.loop_thread_count,
					      .start_ns = start_ns});
	do {
		signal = sigwaitinfo(&signals, NULL);
		if (signal == SIGHUP) {
			reopen_log();
			server_reread_certificates(app.server);
		}
	} while (signal != SIGINT && signal != SIGTERM);
	log_info("Signal (%d) received: waiting for requests in flight, at most %" PRId64 " s", signal,
		 settings->exit_timeout_secs);
	repository_flush(app.repository);
	stop_workers(&app, &signals);
	tear_down(&app);
	block_pool_stop();
	log_info("stopped");
	log_close();
	return 0;
}
