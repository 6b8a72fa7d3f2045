#include "inference/models/row_record.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct row_record *records;

struct row_record *
row_record_get(struct bytes identity)
{
	struct row_record *record;

	(void)pthread_mutex_lock(&mutex);
	for (record = records; record != NULL; record = record->next) {
		if (memcmp(record->identity, identity.at, sizeof(record->identity)) == 0) {
			break;
		}
	}
	if (record == NULL) {
		record = memory_new(sizeof(*record));
		memcpy(record->identity, identity.at, sizeof(record->identity));
		record->next = records;
		records = record;
	}
	record->references++;
	(void)pthread_mutex_unlock(&mutex);
	return record;
}

void
row_record_put(struct row_record *record)
{
	struct row_record **at = &records;

	if (record == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&mutex);
	if (--record->references == 0 && atomic_load(&record->losses) == 0) {
		while (*at != record) {
			at = &(*at)->next;
		}
		*at = record->next;
		free(record);
	}
	(void)pthread_mutex_unlock(&mutex);
}

void
row_record_lose(struct row_record *record, int why, double tolerance)
{
	(void)pthread_mutex_lock(&mutex);
	record->why = why;
	record->tolerance = tolerance;
	(void)atomic_fetch_add(&record->losses, 1);
	(void)pthread_mutex_unlock(&mutex);
}

bool
row_record_recall(struct row_record *record, double tolerance, int *why)
{
	bool known;

	(void)pthread_mutex_lock(&mutex);
	known = atomic_load(&record->losses) > 0 && !(record->tolerance < tolerance) &&
		!(record->tolerance > tolerance);
	*why = record->why;
	(void)pthread_mutex_unlock(&mutex);
	return known;
}
