#include "server/front_statistics.h"

#include "base/container_of.h"
#include "base/memory.h"
#include "inference/models/model_table.h"
#include "server/front.h"
#include "server/handlers.h"
#include "wire/upstream_statistics.h"

#include <stdlib.h>

#define BODY_MAX ((size_t)64 << 20)

/* What the cache has answered, of all models. Free it. */
static struct cached_answers *
list_answers(struct server_lane *lane, size_t *count)
{
	const struct model_table *table = server_lane_table(lane);
	struct cached_answers *answers;

	*count = 0;
	for (size_t i = 0; i < table->count; i++) {
		*count += table->entries[i].version_count;
	}
	answers = memory_array(*count, sizeof(*answers));
	*count = 0;
	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			const struct model *model = table->entries[i].versions[k];
			struct model_statistics sum;

			statistics_sum(model->statistics, &sum);
			answers[(*count)++] = (struct cached_answers){.name = model->config.name,
								      .version = model->version,
								      .hits = sum.cache_hit.count,
								      .hit_ns = sum.cache_hit.ns,
								      .misses = sum.cache_miss.count,
								      .miss_ns = sum.cache_miss.ns,
								      .last_ms = sum.last_inference_ms};
		}
	}
	return answers;
}

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	struct front_statistics *statistics = container_of(call, struct front_statistics, call);

	statistics->status = head->status;
	buf_clear(&statistics->body); /* of a response that broke off */
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	buf_append(&container_of(call, struct front_statistics, call)->body, part);
	return true;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct front_statistics *statistics = container_of(call, struct front_statistics, call);
	bool good = outcome == HTTP_CALL_DONE && statistics->status == 200 && buf_ok(&statistics->body);
	struct cached_answers *answers;
	size_t count;

	(void)why;
	if (good) {
		answers = list_answers(statistics->lane, &count);
		good = upstream_statistics_add(buf_bytes(&statistics->body), answers, count, &statistics->json);
		free(answers);
	}
	statistics->done(statistics, good);
}

void
front_statistics_start(struct front_statistics *statistics, struct bytes target)
{
	buf_init(&statistics->json, BODY_MAX);
	buf_init(&statistics->body, BODY_MAX);
	statistics->call = (struct upstream_call){
		.method = "GET",
		.target = target,
		.is_repeatable = true,
		.begins_anew = true,
		.only = -1,
		.on_head = on_head,
		.on_body = on_body,
		.done = on_done,
	};
	upstream_call_start(statistics->lane->upstream, &statistics->call);
}

void
front_statistics_cancel(struct front_statistics *statistics)
{
	upstream_call_cancel(&statistics->call);
}

void
front_statistics_fini(struct front_statistics *statistics)
{
	buf_fini(&statistics->json);
	buf_fini(&statistics->body);
}

/* --- HTTP --- */

struct http_statistics {
	struct front_statistics statistics; /* first */
	struct exchange *exchange;
};

static void
on_http_done(struct front_statistics *statistics, bool good)
{
	struct exchange *exchange = ((struct http_statistics *)statistics)->exchange;

	exchange->gone = NULL;
	if (good) {
		buf_append(&exchange->text, buf_bytes(&statistics->json));
		good = buf_ok(&exchange->text);
	}
	front_statistics_fini(statistics);
	if (good) {
		reply_text(exchange, "application/json");
	} else {
		buf_clear(&exchange->text);
		handle_pass(exchange);
	}
}

static void
on_gone(struct exchange *exchange)
{
	struct http_statistics *statistics = exchange->gone_state;

	front_statistics_cancel(&statistics->statistics);
	front_statistics_fini(&statistics->statistics);
	exchange->gone = NULL;
	reply_http_error(exchange, 502, "the client left before the reply");
}

/* A request that has anything of its own gets the server's own answer. */
void
handle_front_statistics(struct exchange *exchange)
{
	struct http_statistics *statistics = arena_get(&exchange->arena, sizeof(*statistics));

	if (statistics == NULL || !front_is_anonymous(exchange)) {
		handle_pass(exchange);
		return;
	}
	statistics->exchange = exchange;
	statistics->statistics.lane = exchange->lane;
	statistics->statistics.done = on_http_done;
	exchange->gone = on_gone;
	exchange->gone_state = statistics;
	front_statistics_start(&statistics->statistics, exchange->head.target);
}
