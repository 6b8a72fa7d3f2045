#include "server/exchange.h"

#include "base/container_of.h"

void
server_lane_hold(struct server_lane *lane)
{
	lane->users++;
}

void
server_lane_release(struct server_lane *lane)
{
	if (--lane->users == 0) {
		engine_lane_drain(lane->engine, lane->drained, lane->drained_argument);
	}
}

const struct model_table *
server_lane_table(struct server_lane *lane)
{
	return repository_table(lane->options->repository, &lane->view);
}

bool
server_lane_ready(const struct server_lane *lane)
{
	return !lane->stopping && repository_ready(lane->options->repository);
}

bool
exchange_charge(struct exchange *exchange, size_t bytes)
{
	if (!budget_take(exchange->lane->budget, bytes)) {
		return false;
	}
	exchange->charged += bytes;
	return true;
}

void
exchange_discharge(struct exchange *exchange, size_t bytes)
{
	if (bytes > 0) {
		budget_give(exchange->lane->budget, bytes);
		exchange->charged -= bytes;
	}
}

static void
on_work_run(struct offload_work *work)
{
	struct exchange *exchange = container_of(work, struct exchange, work);

	exchange->work_run(exchange);
}

static void
on_work_done(struct offload_work *work)
{
	struct exchange *exchange = container_of(work, struct exchange, work);

	exchange->work_done(exchange);
}

void
exchange_work(struct exchange *exchange, size_t size, void (*run)(struct exchange *exchange),
	      void (*done)(struct exchange *exchange))
{
	exchange->work_run = run;
	exchange->work_done = done;
	exchange->work = (struct offload_work){
		.loop = exchange->lane->loop, .size = size, .run = on_work_run, .done = on_work_done};
	offload_post(exchange->lane->offload, &exchange->work);
}
