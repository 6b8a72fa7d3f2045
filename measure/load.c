#include "measure/load.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define DELAYED_NS NS_PER_MS
#define NEVER_NS (UINT64_MAX / 4)
#define RETRY_MS 10			/* before the next request after a failure */
#define END_NS (UINT64_C(5) * NS_PER_S) /* for the requests that are under way at the end */

/* Sends one request after another. */
struct slot {
	struct client_call call;
	struct request request;
	uint64_t *numbers; /* of its inputs */
	uint64_t due_ns;
	struct load *load;
	bool is_busy;
	STAILQ_ENTRY(slot) entry; /* of load->free */
};

struct load {
	struct loop *loop;
	struct client *client;
	const struct request_form *form;
	struct load_options options;
	struct popularity *popularity;
	struct slot *slots;
	size_t slot_count;
	size_t outstanding;
	uint64_t begun; /* requests */
	STAILQ_HEAD(, slot) free;
	struct load_window *window; /* NULL: nothing is measured */
	struct loop_timer *wake;    /* at the end of a window, and after failures */
	struct loop_timer *retry;
	uint64_t begun_ns; /* 0: not yet */
	uint64_t next_ns;  /* of an open loop: when the next request is due */
	int clock;	   /* a timer of the kernel's, for times finer than the loop's */
	struct loop_watch *clock_watch;
	bool is_ending;
	struct error error; /* of a request that could not be made */
};

static void send_due(struct load *load);

/* --- One request --- */

static size_t
rows_of(const struct load *load)
{
	return load->form->batch == 0 ? 1 : load->form->batch;
}

/* Of the inputs of the request that has just begun. */
static uint64_t
next_number(struct load *load, size_t row, uint64_t due_ns)
{
	return load->options.replay == NULL
		       ? popularity_next(load->popularity, due_ns - load->begun_ns)
		       : replay_number(load->options.replay, (load->begun - 1) * rows_of(load) + row);
}

static void
begin(struct slot *slot, uint64_t due_ns)
{
	struct load *load = slot->load;

	if (load->options.limit > 0 && load->begun == load->options.limit) {
		return;
	}
	load->begun++;
	for (size_t i = 0; i < rows_of(load); i++) {
		slot->numbers[i] = next_number(load, i, due_ns);
	}
	slot->due_ns = due_ns;
	if (request_make(&slot->request, slot->numbers, &load->error) != STATUS_OK) {
		return;
	}
	slot->is_busy = true;
	load->outstanding++;
	if (load->window != NULL) {
		load->window->sent++;
	}
	slot->call.head = slot->request.head;
	slot->call.pieces = slot->request.pieces;
	slot->call.piece_count = slot->request.piece_count;
	client_start(load->client, &slot->call);
}

static void
record(struct load_window *window, const struct slot *slot, uint64_t now_ns)
{
	uint64_t latency = now_ns - slot->due_ns;

	if (!slot->call.is_ok) {
		if (window->failed++ == 0) {
			(void)snprintf(window->why, sizeof(window->why), "%s", slot->call.why);
		}
		return;
	}
	window->received += slot->call.received;
	latencies_add(&window->latency, latency);
	if (slot->call.cache == CLIENT_CACHE_HIT) {
		latencies_add(&window->hits, latency);
	} else if (slot->call.cache == CLIENT_CACHE_MISS) {
		latencies_add(&window->misses, latency);
	}
}

static void
on_done(struct client_call *call)
{
	struct slot *slot = container_of(call, struct slot, call);
	struct load *load = slot->load;
	uint64_t now_ns = clock_now_ns();

	client_call_fini(call);
	slot->is_busy = false;
	load->outstanding--;
	if (load->window != NULL) {
		record(load->window, slot, now_ns);
	}
	if (load->is_ending) {
		return;
	}
	if (load->options.concurrency > 0 && call->is_ok) {
		begin(slot, now_ns);
		return;
	}
	if (load->options.concurrency > 0 && STAILQ_EMPTY(&load->free)) { /* else it is set */
		loop_timer_set(load->retry, RETRY_MS);
	}
	STAILQ_INSERT_HEAD(&load->free, slot, entry);
	if (load->options.concurrency == 0) {
		send_due(load);
	}
}

static void
on_retry(void *argument)
{
	struct load *load = argument;

	while (!load->is_ending && !STAILQ_EMPTY(&load->free)) {
		struct slot *slot = STAILQ_FIRST(&load->free);

		STAILQ_REMOVE_HEAD(&load->free, entry);
		begin(slot, clock_now_ns());
	}
}

/* --- Times --- */

static void
set_clock(struct load *load)
{
	const struct itimerspec at = {.it_value = {.tv_sec = (time_t)(load->next_ns / NS_PER_S),
						   .tv_nsec = (long)(load->next_ns % NS_PER_S)}};

	(void)timerfd_settime(load->clock, TFD_TIMER_ABSTIME, &at, NULL);
}

static uint64_t
interval(struct load *load)
{
	double mean = 1e9 / load->options.rate;

	return (uint64_t)(load->options.is_poisson ? -log(1 - popularity_random(load->popularity)) * mean : mean);
}

/* When the request after the one that has just begun is due. */
static uint64_t
next_time(struct load *load)
{
	if (load->options.limit > 0 && load->begun == load->options.limit) {
		return NEVER_NS;
	}
	if (load->options.is_timed) {
		return load->begun_ns + replay_time_ns(load->options.replay, load->begun * rows_of(load));
	}
	return load->next_ns + interval(load);
}

/* Sends what is due, as far as there are free slots. */
static void
send_due(struct load *load)
{
	uint64_t now_ns = clock_now_ns();

	while (load->next_ns <= now_ns && !STAILQ_EMPTY(&load->free)) {
		struct slot *slot = STAILQ_FIRST(&load->free);

		STAILQ_REMOVE_HEAD(&load->free, entry);
		if (load->window != NULL && now_ns - load->next_ns > DELAYED_NS) {
			load->window->delayed++;
		}
		begin(slot, load->next_ns);
		load->next_ns = next_time(load);
	}
	if (load->next_ns > now_ns) {
		set_clock(load);
	}
}

static void
on_clock(void *argument, unsigned events)
{
	struct load *load = argument;
	uint64_t ticks;

	(void)events;
	if (read(load->clock, &ticks, sizeof(ticks)) == (ssize_t)sizeof(ticks) && !load->is_ending) {
		send_due(load);
	}
}

/* --- Life --- */

uint64_t
load_inputs(const struct load *load)
{
	return load->begun * rows_of(load);
}

static void
on_wake(void *argument)
{
	(void)argument; /* the loop turns: load_run looks at the clock */
}

static enum status
open_clock(struct load *load, struct error *error)
{
	load->clock = -1;
	if (load->options.concurrency > 0) {
		return STATUS_OK;
	}
	load->clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (load->clock < 0) {
		return error_set(error, STATUS_UNAVAILABLE, "no timer for the request rate: %s", strerror(errno));
	}
	load->clock_watch = loop_watch_new(load->loop, load->clock, on_clock, load);
	loop_watch_set(load->clock_watch, LOOP_READ);
	return STATUS_OK;
}

static void
make_slots(struct load *load)
{
	load->slot_count = load->options.concurrency > 0 ? load->options.concurrency : LOAD_OUTSTANDING_MAX;
	load->slots = memory_array(load->slot_count, sizeof(*load->slots));
	for (size_t i = 0; i < load->slot_count; i++) {
		struct slot *slot = &load->slots[i];

		slot->load = load;
		slot->numbers = memory_array(rows_of(load), sizeof(*slot->numbers));
		slot->call.method = bytes_text("/inference.GRPCInferenceService/ModelInfer");
		slot->call.done = on_done;
		request_init(&slot->request, load->form);
		STAILQ_INSERT_TAIL(&load->free, slot, entry);
	}
}

struct load *
load_new(struct loop *loop, struct client *client, const struct request_form *form, const struct load_options *options,
	 struct error *error)
{
	struct load *load = memory_new(sizeof(*load));

	*load = (struct load){.loop = loop, .client = client, .form = form, .options = *options};
	STAILQ_INIT(&load->free);
	load->popularity = popularity_new(&options->popularity);
	load->wake = loop_timer_new(loop, on_wake, load);
	load->retry = loop_timer_new(loop, on_retry, load);
	if (open_clock(load, error) != STATUS_OK) {
		load_free(load);
		return NULL;
	}
	make_slots(load);
	return load;
}

/* Turns the loop until nothing is under way, or for long enough. */
static void
wait_for_all(struct load *load)
{
	uint64_t until_ns = clock_now_ns() + END_NS;

	load->is_ending = true;
	loop_timer_set(load->wake, END_NS / NS_PER_MS + 1);
	while (load->outstanding > 0 && clock_now_ns() < until_ns) {
		loop_turn(load->loop);
	}
	for (size_t i = 0; i < load->slot_count; i++) {
		if (load->slots[i].is_busy) {
			client_cancel(&load->slots[i].call);
			client_call_fini(&load->slots[i].call);
		}
	}
}

void
load_free(struct load *load)
{
	if (load == NULL) {
		return;
	}
	wait_for_all(load);
	for (size_t i = 0; i < load->slot_count; i++) {
		request_fini(&load->slots[i].request);
		free(load->slots[i].numbers);
		client_call_free(&load->slots[i].call);
	}
	if (load->clock_watch != NULL) {
		loop_watch_free(load->clock_watch);
	}
	if (load->clock >= 0) {
		(void)close(load->clock);
	}
	loop_timer_free(load->wake);
	loop_timer_free(load->retry);
	popularity_free(load->popularity);
	free(load->slots);
	free(load);
}

static void
start(struct load *load)
{
	load->begun_ns = load->next_ns = clock_now_ns();
	if (load->options.concurrency > 0) {
		on_retry(load); /* all at once */
	} else {
		set_clock(load);
	}
}

static bool
is_complete(struct load *load, uint64_t ns)
{
	uint64_t elapsed_ns = clock_now_ns() - load->window->begun_ns;

	if (load->options.limit > 0 && load->begun == load->options.limit && load->outstanding == 0) {
		return true;
	}
	if (elapsed_ns < ns) {
		return false;
	}
	if (load->window->latency.count < load->options.least && elapsed_ns < LOAD_PATIENCE_NS) {
		loop_timer_set(load->wake, ns / NS_PER_MS + 1);
		return false;
	}
	return true;
}

enum status
load_run(struct load *load, uint64_t ns, const bool *stopped, struct load_window *window, struct error *error)
{
	*window = (struct load_window){.begun_ns = clock_now_ns()};
	load->window = window;
	if (load->begun_ns == 0) {
		start(load);
	}
	loop_timer_set(load->wake, ns / NS_PER_MS + 1);
	while (!*stopped && load->error.status == STATUS_OK && !is_complete(load, ns)) {
		loop_turn(load->loop);
	}
	loop_timer_stop(load->wake);
	window->ended_ns = clock_now_ns();
	load->window = NULL;
	if (load->error.status != STATUS_OK) {
		*error = load->error;
	}
	return load->error.status;
}
