#include "app/cache_command.h"

#include "app/ask.h"
#include "app/cache_print.h"
#include "app/cache_warm.h"
#include "wire/cache_report.h"
#include "wire/upstream_body.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_URL "http://127.0.0.1:8002" /* the port of metrics */
#define SHOW_TIMEOUT_S 10U
#define PURGE_TIMEOUT_S 600U /* a large Redis is scanned */
#define REPORT_MAX (64U << 20)

static const char usage[] = "usage: hippocamp cache ls [URL]\n"
			    "       hippocamp cache show [URL]\n"
			    "       hippocamp cache purge --model=NAME [--model-version=VERSION] [URL]\n"
			    "       hippocamp cache purge --all [URL]\n"
			    "       hippocamp cache warm -m MODEL --input-data FILE [OPTION]...\n"
			    "URL is that of the server's metrics port (default " DEFAULT_URL ").\n";

struct cache_arguments {
	const char *url;
	const char *model;
	const char *version;
	bool all;
};

static int
fail(const char *text)
{
	(void)fputs("hippocamp cache: ", stderr);
	cache_print_text(bytes_text(text), 0, stderr);
	(void)fputc('\n', stderr);
	return 1;
}

static int
finish(enum status status, const struct error *error)
{
	if (status != STATUS_OK) {
		return fail(error->text);
	}
	return fflush(stdout) == 0 && ferror(stdout) == 0 ? 0 : fail("the output cannot be written");
}

static int
misused(void)
{
	(void)fputs(usage, stderr);
	return 1;
}

/* Takes a value once. */
static bool
take(const char **place, const char *value)
{
	if (*place != NULL || *value == '\0') {
		return false;
	}
	*place = value;
	return true;
}

static bool
parse_argument(const char *argument, struct cache_arguments *arguments)
{
	static const char model[] = "--model=";
	static const char version[] = "--model-version=";

	if (strcmp(argument, "--all") == 0) {
		arguments->all = true;
		return true;
	}
	if (strncmp(argument, model, sizeof(model) - 1) == 0) {
		return take(&arguments->model, argument + sizeof(model) - 1);
	}
	if (strncmp(argument, version, sizeof(version) - 1) == 0) {
		return take(&arguments->version, argument + sizeof(version) - 1);
	}
	return *argument != '-' && take(&arguments->url, argument);
}

static bool
parse(int count, char **texts, struct cache_arguments *arguments)
{
	*arguments = (struct cache_arguments){0};
	for (int i = 0; i < count; i++) {
		if (!parse_argument(texts[i], arguments)) {
			return false;
		}
	}
	arguments->url = arguments->url == NULL ? DEFAULT_URL : arguments->url;
	return true;
}

/* A response of another status is an error, which has the server's text. */
static enum status
ask_cache(const struct question *question, struct answer *answer, struct error *error)
{
	char text[ERROR_TEXT_SIZE];

	if (ask(question, answer, error) != STATUS_OK) {
		return error->status;
	}
	if (answer->status == 200) {
		return STATUS_OK;
	}
	if (upstream_error_text(buf_bytes(&answer->body), text, sizeof(text))) {
		return error_set(error, STATUS_UNAVAILABLE, "%s", text);
	}
	return error_set(error, STATUS_UNAVAILABLE, "%s answers %s with HTTP status %d: is it the port of metrics?",
			 question->url, question->target, answer->status);
}

static int
print_report(const struct cache_arguments *arguments, void (*print)(const struct cache_report *report, FILE *out))
{
	const struct question question = {
		.url = arguments->url, .method = "GET", .target = "/v2/cache", .timeout_s = SHOW_TIMEOUT_S};
	struct cache_report report;
	struct answer answer;
	struct arena arena;
	struct error error;
	enum status status;

	arena_init(&arena, REPORT_MAX);
	status = ask_cache(&question, &answer, &error);
	if (status == STATUS_OK) {
		status = cache_report_decode(buf_bytes(&answer.body), &arena, &report, &error);
	}
	if (status == STATUS_OK) {
		print(&report, stdout);
	}
	buf_fini(&answer.body);
	arena_fini(&arena);
	return finish(status, &error);
}

static void
write_purge(const struct cache_arguments *arguments, struct buf *out)
{
	buf_byte(out, '{');
	if (arguments->model != NULL) {
		buf_text(out, "\"model\":");
		buf_json_string(out, bytes_text(arguments->model));
	}
	if (arguments->version != NULL) {
		buf_text(out, ",\"version\":");
		buf_json_string(out, bytes_text(arguments->version));
	}
	buf_byte(out, '}');
}

static int
purge(const struct cache_arguments *arguments)
{
	struct question question = {
		.url = arguments->url, .method = "POST", .target = "/v2/cache/purge", .timeout_s = PURGE_TIMEOUT_S};
	struct answer answer;
	struct error error;
	struct buf body;
	uint64_t removed;
	enum status status;

	buf_init(&body, REPORT_MAX);
	write_purge(arguments, &body);
	question.body = buf_bytes(&body);
	status = ask_cache(&question, &answer, &error);
	if (status == STATUS_OK) {
		status = cache_purged_decode(buf_bytes(&answer.body), &removed, &error);
	}
	if (status == STATUS_OK) {
		(void)printf("%" PRIu64 " entries removed\n", removed);
	}
	buf_fini(&answer.body);
	buf_fini(&body);
	return finish(status, &error);
}

int
cache_command(int count, char **arguments)
{
	struct cache_arguments parsed;
	const char *command = count > 0 ? arguments[0] : "";
	bool about_model;

	if (strcmp(command, "warm") == 0) {
		return cache_warm(count - 1, arguments + 1);
	}
	for (int i = 0; i < count; i++) {
		if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0) {
			return fputs(usage, stdout) >= 0 ? 0 : 1;
		}
	}
	if (count == 0 || !parse(count - 1, arguments + 1, &parsed)) {
		return misused();
	}
	about_model = parsed.model != NULL || parsed.version != NULL;
	if (strcmp(command, "purge") == 0) {
		/* All of a cache is not what a forgotten option should remove. */
		return parsed.all == about_model || (about_model && parsed.model == NULL) ? misused() : purge(&parsed);
	}
	if (parsed.all || about_model) {
		return misused();
	}
	if (strcmp(command, "ls") == 0) {
		return print_report(&parsed, cache_print_models);
	}
	return strcmp(command, "show") == 0 ? print_report(&parsed, cache_print_store) : misused();
}
