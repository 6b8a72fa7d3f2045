#include "upstream/ledger.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

/* A model's entry stays: there are only so many models. */
struct line {
	char *model;
	int64_t version;
	uint64_t *counts; /* by replica */
};

struct ledger {
	pthread_mutex_t lock;
	size_t replicas;
	struct line *lines;
	size_t count;
};

struct ledger *
ledger_new(size_t replicas)
{
	struct ledger *ledger = memory_new(sizeof(*ledger));

	(void)pthread_mutex_init(&ledger->lock, NULL);
	ledger->replicas = replicas;
	return ledger;
}

void
ledger_free(struct ledger *ledger)
{
	for (size_t i = 0; i < ledger->count; i++) {
		free(ledger->lines[i].model);
		free(ledger->lines[i].counts);
	}
	free(ledger->lines);
	(void)pthread_mutex_destroy(&ledger->lock);
	free(ledger);
}

static struct line *
find(const struct ledger *ledger, struct bytes model, int64_t version)
{
	for (size_t i = 0; i < ledger->count; i++) {
		if (ledger->lines[i].version == version && bytes_equal_text(model, ledger->lines[i].model)) {
			return &ledger->lines[i];
		}
	}
	return NULL;
}

static struct line *
add_line(struct ledger *ledger, struct bytes model, int64_t version)
{
	struct line *line;

	ledger->lines = memory_grow(ledger->lines, ledger->count + 1, sizeof(*ledger->lines));
	line = &ledger->lines[ledger->count++];
	*line = (struct line){.model = memory_text_of(model),
			      .version = version,
			      .counts = memory_array(ledger->replicas, sizeof(*line->counts))};
	return line;
}

void
ledger_add(struct ledger *ledger, struct bytes model, int64_t version, size_t replica)
{
	struct line *line;

	(void)pthread_mutex_lock(&ledger->lock);
	line = find(ledger, model, version);
	if (line == NULL) {
		line = add_line(ledger, model, version);
	}
	line->counts[replica]++;
	(void)pthread_mutex_unlock(&ledger->lock);
}

uint64_t
ledger_count(struct ledger *ledger, struct bytes model, int64_t version, size_t replica)
{
	const struct line *line;
	uint64_t count;

	(void)pthread_mutex_lock(&ledger->lock);
	line = find(ledger, model, version);
	count = line == NULL ? 0 : line->counts[replica];
	(void)pthread_mutex_unlock(&ledger->lock);
	return count;
}
