#include "measure/variant.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READY_NS (UINT64_C(120) * NS_PER_S)
#define LOOK_MS 20
#define SELF "/proc/self/exe"
#define REDIS "redis,"
#define LOCAL "local,"
#define ARGUMENTS_MAX 128

const char *
variant_name(enum variant_kind kind)
{
	static const char *const names[VARIANTS] = {
		[VARIANT_NONE] = "no cache",
		[VARIANT_LOCAL] = "local",
		[VARIANT_REDIS] = "Redis",
		[VARIANT_TRITON_NONE] = "Triton, no cache",
		[VARIANT_TRITON_LOCAL] = "Triton, local",
	};

	return names[kind];
}

/* Is there such a program? A path, or a name that PATH has. */
static bool
has_program(const char *name)
{
	const char *paths = getenv("PATH");
	struct bytes rest = bytes_text(paths == NULL ? "" : paths);
	bool found = false;

	if (strchr(name, '/') != NULL) {
		return access(name, X_OK) == 0;
	}
	while (rest.length > 0 && !found) {
		struct bytes folder = bytes_take_until(&rest, ':');
		char *path = memory_format("%.*s/%s", BYTES_ARGS(folder), name);

		found = access(path, X_OK) == 0;
		free(path);
	}
	return found;
}

/* Has the user said something of this cache? */
static bool
is_configured(const struct variant_options *options, const char *cache)
{
	for (size_t i = 0; i < options->cache_count; i++) {
		if (strncmp(options->caches[i], cache, strlen(cache)) == 0) {
			return true;
		}
	}
	return false;
}

bool
variant_is_possible(enum variant_kind kind, const struct variant_options *options, struct error *error)
{
	const char *program = kind >= VARIANT_TRITON_NONE ? options->triton : options->redis_server;
	bool is_needed = kind >= VARIANT_TRITON_NONE || (kind == VARIANT_REDIS && !is_configured(options, REDIS));

	if (!is_needed || has_program(program)) {
		return true;
	}
	(void)error_set(error, STATUS_NOT_FOUND, "there is no program '%s': %s", program,
			kind == VARIANT_REDIS
				? "install redis-server, or name a Redis by --cache-config=redis,host=HOST"
				: "name it by --tritonserver");
	return false;
}

/* --- Command lines --- */

struct command {
	const char *arguments[ARGUMENTS_MAX + 1]; /* ends with NULL */
	char *owned[ARGUMENTS_MAX];
	size_t count;
};

static void
add(struct command *command, char *argument)
{
	command->owned[command->count] = argument;
	command->arguments[command->count++] = argument;
}

static void
free_command(struct command *command)
{
	for (size_t i = 0; i < command->count; i++) {
		free(command->owned[i]);
	}
}

static void
add_caches(struct command *command, const struct variant_options *options, const char *cache)
{
	for (size_t i = 0; i < options->cache_count; i++) {
		if (strncmp(options->caches[i], cache, strlen(cache)) == 0) {
			add(command, memory_format("--cache-config=%s", options->caches[i]));
		}
	}
}

/* Keys of a comparison's own, so that it neither finds nor leaves what concerns others: its entries expire. */
static void
add_redis(struct command *command, const struct variant *variant, const struct variant_options *options)
{
	uint8_t random[16];
	char hex[2 * sizeof(random) + 1];

	random_bytes(random, sizeof(random));
	hex_text(bytes_make(random, sizeof(random)), hex);
	add(command, memory_format("--cache-config=redis,key_prefix=measure-%.8s", hex));
	add(command, memory_format("--cache-config=redis,key_secret=%s", hex));
	add(command, memory_text("--cache-config=redis,ttl=15m"));
	add_caches(command, options, REDIS);
	if (!is_configured(options, REDIS)) {
		add(command, memory_text("--cache-config=redis,host=127.0.0.1"));
		add(command, memory_format("--cache-config=redis,port=%u", variant->ports[3]));
	}
}

static void
add_local(struct command *command, const struct variant_options *options)
{
	add_caches(command, options, LOCAL);
	if (!is_configured(options, LOCAL "size=")) {
		add(command, memory_text("--cache-config=" LOCAL "size=268435456"));
	}
}

static void
build_command(struct command *command, const struct variant *variant, const struct workspace *workspace,
	      const struct variant_options *options)
{
	bool is_triton = variant->kind >= VARIANT_TRITON_NONE;

	add(command, memory_text(is_triton ? options->triton : SELF));
	if (!is_triton) {
		add(command, memory_text("serve"));
	}
	add(command, memory_format("--model-repository=%s", workspace_repository(workspace)));
	add(command, memory_text("--model-control-mode=explicit"));
	add(command, memory_format("--load-model=%s", options->model));
	if (!is_triton) {
		add(command, memory_text("--load-model=" PROBE_MODEL));
	}
	add(command, memory_text("--http-address=127.0.0.1"));
	add(command, memory_format("--http-port=%u", variant->ports[0]));
	add(command, memory_text("--grpc-address=127.0.0.1"));
	add(command, memory_format("--grpc-port=%u", variant->ports[1]));
	if (!is_triton) {
		add(command, memory_text("--metrics-address=127.0.0.1"));
	}
	add(command, memory_format("--metrics-port=%u", variant->ports[2]));
	switch (variant->kind) {
	case VARIANT_NONE:
		add(command, memory_text("--cache-config=none"));
		break;
	case VARIANT_REDIS:
		add_redis(command, variant, options);
		break;
	case VARIANT_LOCAL:
		add_local(command, options);
		break;
	case VARIANT_TRITON_LOCAL:
		add(command, memory_text("--cache-config=" LOCAL "size=268435456"));
		break;
	case VARIANT_TRITON_NONE:
		break;
	}
}

/* --- Starting --- */

static enum status
start_redis(struct variant *variant, const struct workspace *workspace, const struct variant_options *options,
	    struct error *error)
{
	char *port = memory_format("%u", variant->ports[3]);
	const char *const arguments[] = {options->redis_server,
					 "--bind",
					 "127.0.0.1",
					 "--port",
					 port,
					 "--save",
					 "",
					 "--appendonly",
					 "no",
					 "--dir",
					 workspace_folder(workspace),
					 NULL};

	variant->redis = process_start(arguments, workspace_folder(workspace), "redis.log", error);
	free(port);
	return variant->redis == NULL ? error->status : STATUS_OK;
}

static void
on_time(void *argument)
{
	*(bool *)argument = true;
}

static void
pause_loop(struct loop *loop)
{
	bool is_over = false;
	struct loop_timer *timer = loop_timer_new(loop, on_time, &is_over);

	loop_timer_set(timer, LOOK_MS);
	while (!is_over) {
		loop_turn(loop);
	}
	loop_timer_free(timer);
}

static enum status
not_ready(struct variant *variant, const char *why, struct error *error)
{
	char words[1024];

	process_last_words(variant->process, words, sizeof(words));
	return error_set(error, STATUS_UNAVAILABLE, "%s: the server %s; its last words: %s",
			 variant_name(variant->kind), why, words);
}

/* Until the model can be asked for. */
static enum status
wait_ready(struct variant *variant, const struct variant_options *options, struct error *error)
{
	uint64_t until_ns = clock_now_ns() + READY_NS;

	while (target_open(&variant->target, error) != STATUS_OK) {
		if (error->status == STATUS_UNSUPPORTED) {
			return error->status;
		}
		if (!process_is_running(variant->process)) {
			return not_ready(variant, "has ended", error);
		}
		if (*options->stopped || clock_now_ns() > until_ns) {
			return not_ready(variant, "does not get ready", error);
		}
		pause_loop(variant->target.loop);
	}
	return STATUS_OK;
}

enum status
variant_start(struct variant *variant, enum variant_kind kind, const struct workspace *workspace,
	      const struct variant_options *options, struct loop *loop, struct error *error)
{
	const struct tls_client_options no_tls = {0};
	struct command command = {.count = 0};
	char log[16];

	*variant = (struct variant){.kind = kind, .target = {.loop = loop, .name = bytes_text(options->model)}};
	if (process_free_ports(variant->ports, 4, error) != STATUS_OK ||
	    (kind == VARIANT_REDIS && !is_configured(options, REDIS) &&
	     start_redis(variant, workspace, options, error) != STATUS_OK)) {
		return error->status;
	}
	(void)snprintf(log, sizeof(log), "%d.log", kind);
	variant->url = options->protocol == MEASURE_GRPC ? memory_format("grpc://127.0.0.1:%u", variant->ports[1])
							 : memory_format("http://127.0.0.1:%u", variant->ports[0]);
	build_command(&command, variant, workspace, options);
	variant->process = process_start(command.arguments, workspace_folder(workspace), log, error);
	free_command(&command);
	variant->target.client = variant->process == NULL ? NULL : client_new(loop, variant->url, &no_tls, error);
	if (variant->target.client != NULL) {
		client_stop_with(variant->target.client, options->stopped);
	}
	if (variant->target.client == NULL || wait_ready(variant, options, error) != STATUS_OK) {
		return error->status;
	}
	if (kind >= VARIANT_TRITON_NONE) {
		return STATUS_OK;
	}
	variant->probe =
		(struct target){.loop = loop, .client = variant->target.client, .name = bytes_text(PROBE_MODEL)};
	return target_open(&variant->probe, error);
}

void
variant_stop(struct variant *variant)
{
	target_close(&variant->target);
	target_close(&variant->probe);
	client_free(variant->target.client);
	process_stop(variant->process);
	process_stop(variant->redis);
	free(variant->url);
	*variant = (struct variant){0};
}
