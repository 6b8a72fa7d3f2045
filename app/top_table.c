#include "app/top_table.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_WIDTH 40
#define TEXT_SIZE 16

/* --- Cells --- */

/* "12.3k" */
static const char *
count_text(double value, char text[TEXT_SIZE])
{
	static const char units[] = " kMGT";
	size_t unit = 0;

	while (value >= 1000 && unit < 4) {
		value /= 1000;
		unit++;
	}
	(void)snprintf(text, TEXT_SIZE,
		       unit == 0     ? "%.0f"
		       : value < 10  ? "%.2f%c"
		       : value < 100 ? "%.1f%c"
				     : "%.0f%c",
		       value, units[unit]);
	return text;
}

/* "85us", "1.27ms"; "-" where there is none. */
static const char *
time_text(uint64_t us, char text[TEXT_SIZE])
{
	static const char *const units[] = {"us", "ms", "s"};
	double value = (double)us;
	size_t unit = 0;

	while (value >= 1000 && unit < 2) {
		value /= 1000;
		unit++;
	}
	if (us == 0) {
		(void)snprintf(text, TEXT_SIZE, "-");
	} else {
		(void)snprintf(text, TEXT_SIZE,
			       unit == 0    ? "%.0f%s"
			       : value < 10 ? "%.2f%s"
					    : "%.0f%s",
			       value, units[unit]);
	}
	return text;
}

static const char *
ratio_text(uint64_t part, uint64_t all, char text[TEXT_SIZE])
{
	if (all == 0) {
		(void)snprintf(text, TEXT_SIZE, "-");
	} else {
		(void)snprintf(text, TEXT_SIZE, "%.1f%%", (double)part * 100 / (double)all);
	}
	return text;
}

/* Control characters are shown as '?'. */
static void
write_name(struct bytes name, size_t width, struct buf *out)
{
	for (size_t i = 0; i < width; i++) {
		uint8_t byte = i < name.length ? name.at[i] : ' ';

		buf_byte(out, byte < 0x20 || byte == 0x7f ? '?' : byte);
	}
}

static void
write_cell(const char *text, int width, struct buf *out)
{
	buf_format(out, " %*s", width, text);
}

/* --- Servers --- */

enum { REQUESTS, HITS, HIT_P50, HIT_P99, MODEL_P50, MODEL_P99, SAVED, ENTRIES, MEMORY, EVICTIONS, FAILURES, COLUMNS };

static const struct {
	const char *head;
	int width;
} columns[COLUMNS] = {
	[REQUESTS] = {"REQ/S", 6},    [HITS] = {"HITS", 6},	      [HIT_P50] = {"HIT p50", 7},
	[HIT_P99] = {"HIT p99", 7},   [MODEL_P50] = {"MODEL p50", 9}, [MODEL_P99] = {"MODEL p99", 9},
	[SAVED] = {"SAVED/S", 7},     [ENTRIES] = {"ENTRIES", 7},     [MEMORY] = {"MEMORY", 6},
	[EVICTIONS] = {"EVICT/S", 7}, [FAILURES] = {"FAIL/S", 6},
};

static size_t
wider(size_t width, size_t length)
{
	length = length < NAME_MAX_WIDTH ? length : NAME_MAX_WIDTH;
	return length > width ? length : width;
}

/* Sets which columns there is room for. */
static void
choose_columns(size_t name_width, size_t room, bool shown[COLUMNS])
{
	static const unsigned droppable[] = {ENTRIES, EVICTIONS, HIT_P50, MODEL_P50, MEMORY, SAVED};
	size_t width = name_width;

	for (size_t i = 0; i < COLUMNS; i++) {
		shown[i] = true;
		width += 1 + (size_t)columns[i].width;
	}
	for (size_t i = 0; i < sizeof(droppable) / sizeof(*droppable) && width > room; i++) {
		shown[droppable[i]] = false;
		width -= 1 + (size_t)columns[droppable[i]].width;
	}
}

static void
write_server(const struct watched_server *server, size_t width, const bool shown[COLUMNS], struct buf *out)
{
	const struct history_report *history = &server->history;
	double seconds = history->seconds == 0 ? 1 : (double)history->seconds;
	char texts[COLUMNS][TEXT_SIZE];

	write_name(bytes_text(server->url), width, out);
	if (server->failure[0] != '\0' || !server->is_known) {
		buf_text(out, "  ");
		buf_text(out, server->failure[0] == '\0' ? "asked" : server->failure);
		buf_byte(out, '\n');
		return;
	}
	(void)count_text((double)history->requests / seconds, texts[REQUESTS]);
	(void)ratio_text(history->hits, history->rows, texts[HITS]);
	(void)time_text(history->hit_p50_us, texts[HIT_P50]);
	(void)time_text(history->hit_p99_us, texts[HIT_P99]);
	(void)time_text(history->model_p50_us, texts[MODEL_P50]);
	(void)time_text(history->model_p99_us, texts[MODEL_P99]);
	(void)time_text((uint64_t)((double)history->saved_us / seconds), texts[SAVED]);
	(void)count_text((double)history->entries, texts[ENTRIES]);
	(void)ratio_text(history->used_bytes, server->cache.capacity_bytes, texts[MEMORY]);
	(void)count_text((double)history->evictions / seconds, texts[EVICTIONS]);
	(void)count_text((double)history->failures / seconds, texts[FAILURES]);
	for (size_t i = 0; i < COLUMNS; i++) {
		if (shown[i]) {
			write_cell(texts[i], columns[i].width, out);
		}
	}
	buf_byte(out, '\n');
}

static void
write_servers(const struct watched_server *servers, size_t count, size_t room, struct buf *out)
{
	size_t width = sizeof("SERVER") - 1;
	bool shown[COLUMNS];

	for (size_t i = 0; i < count; i++) {
		width = wider(width, strlen(servers[i].url));
	}
	choose_columns(width, room, shown);
	write_name(bytes_text("SERVER"), width, out);
	for (size_t i = 0; i < COLUMNS; i++) {
		if (shown[i]) {
			write_cell(columns[i].head, columns[i].width, out);
		}
	}
	buf_byte(out, '\n');
	for (size_t i = 0; i < count; i++) {
		write_server(&servers[i], width, shown, out);
	}
}

/* --- Models --- */

/* One model's sums over all servers. */
struct model_sum {
	struct bytes name;
	uint64_t lookups;
	uint64_t hits;
	uint64_t joined;
	uint64_t errors;
	double saved_s;
};

static struct model_sum *
find(struct model_sum *sums, size_t *count, struct bytes name)
{
	for (size_t i = 0; i < *count; i++) {
		if (bytes_equal(sums[i].name, name)) {
			return &sums[i];
		}
	}
	sums[*count] = (struct model_sum){.name = name};
	return &sums[(*count)++];
}

/* Those that save most first. */
static int
compare(const void *a, const void *b)
{
	const struct model_sum *left = a;
	const struct model_sum *right = b;

	return (right->saved_s > left->saved_s) - (right->saved_s < left->saved_s);
}

static size_t
sum_models(const struct watched_server *servers, size_t count, struct model_sum *sums)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++) {
		const struct cache_report *report = &servers[i].cache;

		for (size_t k = 0; servers[i].failure[0] == '\0' && k < report->model_count; k++) {
			const struct cache_report_model *model = &report->models[k];
			struct model_sum *sum = find(sums, &found, model->name);

			sum->lookups += model->lookups;
			sum->hits += model->hits;
			sum->joined += model->joined;
			sum->errors += model->errors;
			sum->saved_s += model->saved_seconds;
		}
	}
	qsort(sums, found, sizeof(*sums), compare);
	return found;
}

static void
write_sums(const struct model_sum *sums, size_t count, struct buf *out)
{
	size_t width = sizeof("MODEL") - 1;
	char text[TEXT_SIZE];

	for (size_t i = 0; i < count; i++) {
		width = wider(width, sums[i].name.length);
	}
	buf_byte(out, '\n');
	write_name(bytes_text("MODEL"), width, out);
	buf_format(out, " %8s %8s %8s %7s %8s %12s\n", "ASKED", "HITS", "JOINED", "RATIO", "ERRORS", "SAVED");
	for (size_t i = 0; i < count; i++) {
		const struct model_sum *sum = &sums[i];

		write_name(sum->name, width, out);
		write_cell(count_text((double)sum->lookups, text), 8, out);
		write_cell(count_text((double)sum->hits, text), 8, out);
		write_cell(count_text((double)sum->joined, text), 8, out);
		write_cell(ratio_text(sum->hits + sum->joined, sum->lookups, text), 7, out);
		write_cell(count_text((double)sum->errors, text), 8, out);
		write_cell(time_text((uint64_t)(sum->saved_s * 1e6), text), 12, out);
		buf_byte(out, '\n');
	}
}

void
top_table_write(const struct watched_server *servers, size_t count, size_t room, struct buf *out)
{
	struct model_sum *sums;
	size_t most = 0;

	write_servers(servers, count, room, out);
	for (size_t i = 0; i < count; i++) {
		most += servers[i].cache.model_count;
	}
	sums = memory_array(most + 1, sizeof(*sums));
	most = sum_models(servers, count, sums);
	if (most > 0) {
		write_sums(sums, most, out);
	}
	free(sums);
}
