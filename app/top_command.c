#include "app/top_command.h"

#include "app/interruption.h"
#include "app/top_table.h"
#include "app/watch.h"
#include "base/log.h"

#include <curses.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_URL "http://127.0.0.1:8002" /* the port of metrics */
#define TEXT_MAX ((size_t)1 << 20)
#define EVERY_MS 1000
#define PATIENCE_MS 3000 /* with a server */

static const char usage[] =
	"usage: hippocamp top [URL]...\n\n"
	"Shows what servers do, each second: requests, hits, latencies, compute time saved, memory. URL is that of a\n"
	"server's metrics port (default " DEFAULT_URL "). q ends it. Where the output is no terminal, one table is\n"
	"printed: the exit status is then 1 if a server did not answer.\n";

struct top {
	struct watch watch;
	struct interruption interruption;
	struct loop *loop;
	struct loop_timer *timer;
	bool is_due; /* the timer has come */
};

static int
fail(const char *text)
{
	(void)fprintf(stderr, "hippocamp top: %s\n", text);
	return 1;
}

static void
on_timer(void *argument)
{
	((struct top *)argument)->is_due = true;
}

/* --- One table --- */

static int
print_once(struct top *top)
{
	struct buf text;
	int code = 0;

	watch_ask(&top->watch);
	loop_timer_set(top->timer, PATIENCE_MS);
	while (!watch_is_complete(&top->watch) && !top->is_due && !top->interruption.is_stopped) {
		loop_turn(top->loop);
	}
	watch_give_up(&top->watch);
	buf_init(&text, TEXT_MAX);
	top_table_write(top->watch.servers, top->watch.count, SIZE_MAX, &text);
	for (size_t i = 0; i < top->watch.count; i++) {
		code = top->watch.servers[i].failure[0] != '\0' ? 1 : code;
	}
	(void)fwrite(text.at, 1, text.length, stdout);
	buf_fini(&text);
	return fflush(stdout) == 0 ? code : fail("the output cannot be written");
}

/* --- The screen --- */

static void
draw(const struct top *top)
{
	struct buf text;
	struct bytes rest;

	buf_init(&text, TEXT_MAX);
	top_table_write(top->watch.servers, top->watch.count, (size_t)COLS, &text);
	rest = buf_bytes(&text);
	(void)erase();
	for (int row = 0; rest.length > 0 && row < LINES; row++) {
		struct bytes line = bytes_take_until(&rest, '\n');
		bool is_head = bytes_starts_with(line, "SERVER ") || bytes_starts_with(line, "MODEL ");
		int width = line.length < (size_t)COLS ? (int)line.length : COLS;

		(void)attrset(is_head ? A_REVERSE : A_NORMAL);
		(void)mvaddnstr(row, 0, (const char *)line.at, width);
	}
	(void)refresh();
	buf_fini(&text);
}

static void
on_key(void *argument, unsigned events)
{
	struct top *top = argument;
	int key;

	(void)events;
	while ((key = getch()) != ERR) {
		if (key == 'q' || key == 'Q' || key == 27) {
			top->interruption.is_stopped = true;
		} else if (key == KEY_RESIZE) {
			draw(top);
		}
	}
}

static int
follow(struct top *top)
{
	struct loop_watch *keys;
	unsigned silent_ms = 0; /* some server has not answered for so long */

	if (initscr() == NULL) {
		return fail("the terminal cannot be used: is TERM set?");
	}
	(void)cbreak();
	(void)noecho();
	(void)nodelay(stdscr, true);
	(void)keypad(stdscr, true);
	(void)curs_set(0);
	keys = loop_watch_new(top->loop, STDIN_FILENO, on_key, top);
	loop_watch_set(keys, LOOP_READ);
	while (!top->interruption.is_stopped) {
		if (silent_ms >= PATIENCE_MS) {
			watch_give_up(&top->watch);
			silent_ms = 0;
		}
		watch_ask(&top->watch);
		top->is_due = false;
		loop_timer_set(top->timer, EVERY_MS);
		while (!top->is_due && !top->interruption.is_stopped) {
			loop_turn(top->loop);
			if (watch_is_complete(&top->watch)) {
				draw(top);
			}
		}
		silent_ms = watch_is_complete(&top->watch) ? 0 : silent_ms + EVERY_MS;
		draw(top);
	}
	loop_watch_free(keys);
	(void)endwin();
	return 0;
}

/* --- The command --- */

static int
run(struct top *top, const char *const *urls, size_t count)
{
	struct error error;
	int code;

	if (interruption_watch(&top->interruption, top->loop, &error) != STATUS_OK ||
	    watch_init(&top->watch, top->loop, urls, count, &error) != STATUS_OK) {
		code = fail(error.text);
	} else {
		top->timer = loop_timer_new(top->loop, on_timer, top);
		code = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) ? follow(top) : print_once(top);
		loop_timer_free(top->timer);
	}
	watch_fini(&top->watch);
	interruption_end(&top->interruption);
	return code;
}

int
top_command(int count, char **arguments)
{
	static const char *const preset[] = {DEFAULT_URL};
	struct top top = {.is_due = false};
	struct error error;
	int code;

	for (int i = 0; i < count; i++) {
		if (strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0) {
			return fputs(usage, stdout) >= 0 ? 0 : 1;
		}
		if (*arguments[i] == '-') {
			(void)fputs(usage, stderr);
			return 1;
		}
	}
	log_configure(&(struct log_settings){0}); /* what is wrong is shown */
	(void)signal(SIGPIPE, SIG_IGN);
	top.loop = loop_new(&error);
	if (top.loop == NULL) {
		return fail(error.text);
	}
	code = run(&top, count > 0 ? (const char *const *)arguments : preset, count > 0 ? (size_t)count : 1);
	loop_free(top.loop);
	return code;
}
