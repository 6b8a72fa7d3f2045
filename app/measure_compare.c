#include "app/measure_compare.h"

#include "app/interruption.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "measure/report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)64 << 20)
#define LINE_MAX_BYTES 512

static int
fail(const char *text)
{
	(void)fprintf(stderr, "hippocamp measure: %s\n", text);
	return 1;
}

/* --- Progress --- */

struct progress {
	bool is_terminal;
	uint64_t begun_ns; /* of the first step */
	size_t last_shown; /* percent */
};

static void
on_progress(void *context, size_t done, size_t all, const char *what)
{
	struct progress *progress = context;
	uint64_t now_ns = clock_now_ns();
	size_t percent;
	double left_s;

	if (done == 0) {
		progress->begun_ns = now_ns;
		(void)fprintf(stderr, "%s\n", what);
		return;
	}
	percent = done * 100 / all;
	left_s = (double)(now_ns - progress->begun_ns) / 1e9 / (double)done * (double)(all - done);
	if (progress->is_terminal) {
		(void)fprintf(stderr, "\r[%zu/%zu] %-24s %3.0f s left\033[K", done, all, what, left_s);
		if (done == all) {
			(void)fputc('\n', stderr);
		}
	} else if (percent / 10 > progress->last_shown / 10) {
		(void)fprintf(stderr, "[%zu/%zu] %.0f s left\n", done, all, left_s);
	}
	progress->last_shown = percent;
}

/* --- Texts for the report --- */

/* How much of an argument may be shown: not the password, the secret or the address with one behind a key. */
static size_t
shown_length(const char *argument)
{
	static const char *const keys[] = {"password=", "secret=", "url="};

	size_t shown = strlen(argument);

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const char *at = strstr(argument, keys[i]);
		size_t length = at == NULL ? shown : (size_t)(at - argument) + strlen(keys[i]);

		shown = length < shown ? length : shown;
	}
	return shown;
}

/* Quotes what a shell would not take as it is. */
static void
write_command(int count, char **arguments, struct buf *out)
{
	buf_text(out, "hippocamp measure");
	for (int i = 0; i < count; i++) {
		bool is_plain = strspn(arguments[i],
				       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=,.:/@%+") ==
				strlen(arguments[i]);

		size_t shown = shown_length(arguments[i]);

		if (shown < strlen(arguments[i])) {
			buf_format(out, " %.*s...", (int)shown, arguments[i]);
		} else {
			buf_format(out, is_plain && *arguments[i] != '\0' ? " %s" : " '%s'", arguments[i]);
		}
	}
	buf_byte(out, '\0');
}

static void
write_machine(struct buf *out)
{
	char line[LINE_MAX_BYTES];
	char processor[LINE_MAX_BYTES] = "an unknown processor";
	FILE *file = fopen("/proc/cpuinfo", "re");
	struct utsname name = {0};

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;

		if (colon != NULL) {
			(void)snprintf(processor, sizeof(processor), "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
			break;
		}
	}
	if (file != NULL) {
		(void)fclose(file);
	}
	(void)uname(&name);
	buf_format(out, "%s, %ld cores, %s %.*s", processor, sysconf(_SC_NPROCESSORS_ONLN), name.sysname,
		   (int)strspn(name.release, "0123456789."), name.release);
	buf_byte(out, '\0');
}

/* --- Files --- */

static enum status
write_file(const char *folder, const char *name, const struct buf *text, struct error *error)
{
	char *path = memory_format("%s/%s", folder, name);
	bool is_whole = buf_ok(text) && file_write(path, buf_bytes(text), false);

	if (is_whole) {
		(void)printf("%s\n", path);
	} else {
		(void)error_set(error, STATUS_UNAVAILABLE, "%s cannot be written: %s", path, strerror(errno));
	}
	free(path);
	return is_whole ? STATUS_OK : error->status;
}

static enum status
write_charts(const struct comparison *comparison, const char *folder, struct error *error)
{
	enum status status = STATUS_OK;

	for (enum report_chart chart = 0; chart < REPORT_CHARTS && status == STATUS_OK; chart++) {
		char *name = memory_format("%s_%s.svg", comparison->options.variants.model, report_chart_name(chart));
		struct buf svg;

		buf_init(&svg, TEXT_MAX);
		report_chart(comparison, chart, &svg);
		status = write_file(folder, name, &svg, error);
		buf_fini(&svg);
		free(name);
	}
	return status;
}

static enum status
write_pages(const struct comparison *comparison, const char *folder, const char *command, const char *machine,
	    struct error *error)
{
	const char *model = comparison->options.variants.model;
	char *html_name = memory_format("%s.html", model);
	char *markdown_name = memory_format("%s.md", model);
	struct buf html;
	struct buf markdown;
	enum status status;

	buf_init(&html, TEXT_MAX);
	buf_init(&markdown, TEXT_MAX);
	report_html(comparison, command, machine, &html);
	report_markdown(comparison, command, machine, &markdown);
	status = write_file(folder, html_name, &html, error);
	if (status == STATUS_OK) {
		status = write_file(folder, markdown_name, &markdown, error);
	}
	buf_fini(&html);
	buf_fini(&markdown);
	free(html_name);
	free(markdown_name);
	return status;
}

static enum status
write_report(const struct comparison *comparison, const char *folder, int count, char **arguments, struct error *error)
{
	struct buf command;
	struct buf machine;
	struct buf text;
	enum status status;

	buf_init(&command, TEXT_MAX);
	buf_init(&machine, TEXT_MAX);
	buf_init(&text, TEXT_MAX);
	write_command(count, arguments, &command);
	write_machine(&machine);
	report_recommendation(comparison, &text);
	(void)printf("%.*s\n", (int)text.length, (const char *)text.at);
	status = write_pages(comparison, folder, (const char *)command.at, (const char *)machine.at, error);
	if (status == STATUS_OK) {
		status = write_charts(comparison, folder, error);
	}
	buf_fini(&command);
	buf_fini(&machine);
	buf_fini(&text);
	return status;
}

/* --- The command --- */

static void
set_options(const struct measure_settings *settings, const bool *stopped, struct comparison_options *options)
{
	*options = (struct comparison_options){
		.repository = settings->repository,
		.variants = {.model = settings->model,
			     .protocol = settings->protocol,
			     .caches = settings->caches,
			     .cache_count = settings->cache_count,
			     .redis_server = settings->redis_server,
			     .triton = settings->triton,
			     .stopped = stopped},
		.inputs = settings->inputs,
		.popularity = settings->popularity,
		.batch = settings->batch,
		.levels = {(unsigned)settings->range.start, (unsigned)settings->range.end},
		.level_count = settings->range.start < settings->range.end ? 2 : 1,
		.rounds = settings->rounds,
		.window_ns = settings->profile.interval_ns,
		.stopped = stopped,
	};
}

static enum status
compare(const struct measure_settings *settings, struct comparison *comparison, bool *was_stopped, struct error *error)
{
	struct progress progress = {.is_terminal = isatty(STDERR_FILENO)};
	struct interruption interruption = {0};
	struct loop *loop = loop_new(error);
	enum status status = loop == NULL ? error->status : interruption_watch(&interruption, loop, error);

	if (status == STATUS_OK) {
		set_options(settings, &interruption.is_stopped, &comparison->options);
		status = comparison_run(comparison, loop, on_progress, &progress, error);
	}
	*was_stopped = interruption.is_stopped;
	interruption_end(&interruption);
	if (loop != NULL) {
		loop_free(loop);
	}
	return status;
}

int
measure_compare(const struct measure_settings *settings, int count, char **arguments)
{
	struct comparison *comparison = memory_new(sizeof(*comparison));
	struct error error;
	bool was_stopped = false;
	int code = 0;

	log_configure(&(struct log_settings){0}); /* what is wrong is said here */
	(void)signal(SIGPIPE, SIG_IGN);
	if (mkdir(settings->output, 0777) != 0 && errno != EEXIST) { /* rather now than after the measurement */
		(void)error_set(&error, STATUS_UNAVAILABLE, "--output %s: %s", settings->output, strerror(errno));
		code = fail(error.text);
	} else if (compare(settings, comparison, &was_stopped, &error) != STATUS_OK ||
		   write_report(comparison, settings->output, count, arguments, &error) != STATUS_OK) {
		code = fail(error.text);
	}
	free(comparison);
	return was_stopped ? INTERRUPTION_STATUS : code;
}
