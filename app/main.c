#include "app/cache_command.h"
#include "app/cache_config.h"
#include "app/command_line.h"
#include "app/health.h"
#include "app/measure_command.h"
#include "app/serve.h"
#include "app/simulate_command.h"
#include "app/top_command.h"
#include "base/version.h"

#include <stdio.h>

static const char usage[] =
	"usage: hippocamp serve --model-repository=DIR [OPTION]...\n"
	"       hippocamp serve --upstream=URL [OPTION]...\n"
	"       hippocamp health [URL]\n"
	"       hippocamp cache ls|show|purge|warm [OPTION]...\n"
	"       hippocamp top [URL]...\n"
	"       hippocamp measure -m MODEL [OPTION]...\n"
	"       hippocamp simulate [OPTION]... FILE...\n"
	"       hippocamp --version | --help\n"
	"\n"
	"Serves ONNX models over HTTP and gRPC with the KServe v2 protocol, as Triton Inference Server does, and\n"
	"answers repeated requests from a response cache. With --upstream it stands in front of another such server\n"
	"instead, and passes on what it does not know. health asks whether a server is ready, by default the one at\n"
	"http://127.0.0.1:8000: its exit status is 0 if it is. cache shows the cache of a server, by the metrics port, "
	"by\n"
	"default http://127.0.0.1:8002, or removes entries; without arguments it says how. measure puts load on a\n"
	"server of this protocol: hippocamp measure --help. simulate tells what caches of other sizes would have "
	"saved, of\n"
	"look-ups that serve --record=FILE has recorded.\n";

static int
print_help(void)
{
	struct buf out;

	buf_init(&out, 1 << 20);
	buf_text(&out, usage);
	command_line_help(&out);
	cache_config_help(&out);
	(void)fwrite(out.at, 1, out.length, stdout);
	buf_fini(&out);
	return 0;
}

static bool
asks_for(const char *option, int count, char **arguments)
{
	for (int i = 1; i < count; i++) {
		if (strcmp(arguments[i], option) == 0) {
			return true;
		}
	}
	return false;
}

static int
run_serve(int count, char **arguments)
{
	struct serve_settings settings;
	struct error error;
	int code = 1;

	if (command_line_parse(count, arguments, &settings, &error) != STATUS_OK) {
		(void)fprintf(stderr, "hippocamp: %s\nTry 'hippocamp serve --help'.\n", error.text);
	} else {
		code = serve(&settings);
	}
	command_line_fini(&settings);
	return code;
}

/* Commands that answer --help themselves. */
static const struct {
	const char *name;
	int (*run)(int count, char **arguments);
} commands[] = {
	{"cache", cache_command}, {"measure", measure_command}, {"simulate", simulate_command}, {"top", top_command}};

int
main(int argc, char **argv)
{
	const char *command = argc >= 2 ? argv[1] : "";

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(command, commands[i].name) == 0) {
			return commands[i].run(argc - 2, argv + 2);
		}
	}
	if (asks_for("--help", argc, argv) || asks_for("-h", argc, argv)) {
		return print_help();
	}
	if (asks_for("--version", argc, argv)) {
		(void)printf("hippocamp %s\n", HIPPOCAMP_VERSION);
		return 0;
	}
	if (strcmp(command, "health") == 0) {
		return health(argc - 2, argv + 2);
	}
	if (strcmp(command, "serve") != 0) {
		(void)fprintf(stderr, "hippocamp: %s%s%s\n\n%sTry 'hippocamp --help'.\n",
			      argc < 2 ? "no command given" : "unknown command '", command, argc < 2 ? "" : "'", usage);
		return 1;
	}
	return run_serve(argc - 2, argv + 2);
}
