#include "caches/triton/workers.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

STAILQ_HEAD(work_queue, work);

struct workers {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct work_queue urgent;
	struct work_queue other;
	size_t urgent_count;
	size_t urgent_max;
	bool stopping;
	size_t running;
	size_t thread_count;
	pthread_t threads[];
};

static struct work *
take(struct workers *workers)
{
	struct work_queue *queue = STAILQ_EMPTY(&workers->urgent) ? &workers->other : &workers->urgent;
	struct work *work = STAILQ_FIRST(queue);

	if (work != NULL) {
		STAILQ_REMOVE_HEAD(queue, queue);
		workers->urgent_count -= queue == &workers->urgent;
	}
	return work;
}

static void *
run(void *argument)
{
	struct workers *workers = argument;
	struct work *work;

	(void)pthread_mutex_lock(&workers->mutex);
	while (true) {
		work = take(workers);
		if (work != NULL) {
			bool cancelled = workers->stopping;

			(void)pthread_mutex_unlock(&workers->mutex);
			work->run(work, cancelled);
			(void)pthread_mutex_lock(&workers->mutex);
		} else if (workers->stopping) {
			break;
		} else {
			(void)pthread_cond_wait(&workers->changed, &workers->mutex);
		}
	}
	workers->running--;
	(void)pthread_cond_broadcast(&workers->changed);
	(void)pthread_mutex_unlock(&workers->mutex);
	return NULL;
}

struct workers *
workers_new(size_t threads, size_t urgent_max)
{
	struct workers *workers = calloc(1, sizeof(*workers) + threads * sizeof(workers->threads[0]));

	if (workers == NULL) {
		return NULL;
	}
	(void)pthread_mutex_init(&workers->mutex, NULL);
	(void)pthread_cond_init(&workers->changed, NULL);
	STAILQ_INIT(&workers->urgent);
	STAILQ_INIT(&workers->other);
	workers->urgent_max = urgent_max;
	(void)pthread_mutex_lock(&workers->mutex);
	while (workers->thread_count < threads &&
	       pthread_create(&workers->threads[workers->thread_count], NULL, run, workers) == 0) {
		(void)pthread_setname_np(workers->threads[workers->thread_count], "cache plug-in");
		workers->thread_count++;
	}
	workers->running = workers->thread_count;
	(void)pthread_mutex_unlock(&workers->mutex);
	if (workers->thread_count == 0) {
		(void)workers_stop(workers, 0);
		return NULL;
	}
	return workers;
}

bool
workers_add(struct workers *workers, struct work *work, bool urgent)
{
	bool room;

	(void)pthread_mutex_lock(&workers->mutex);
	room = !urgent || workers->urgent_count < workers->urgent_max;
	if (room && urgent) {
		STAILQ_INSERT_TAIL(&workers->urgent, work, queue);
		workers->urgent_count++;
	} else if (room) {
		STAILQ_INSERT_TAIL(&workers->other, work, queue);
	}
	(void)pthread_cond_signal(&workers->changed);
	(void)pthread_mutex_unlock(&workers->mutex);
	return room;
}

static bool
wait_for_end(struct workers *workers, uint64_t timeout_ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)((timeout_ms + 999) / 1000);
	while (workers->running > 0 &&
	       pthread_cond_clockwait(&workers->changed, &workers->mutex, CLOCK_MONOTONIC, &until) == 0) {
	}
	return workers->running == 0;
}

bool
workers_stop(struct workers *workers, uint64_t timeout_ms)
{
	bool ended;

	(void)pthread_mutex_lock(&workers->mutex);
	workers->stopping = true;
	(void)pthread_cond_broadcast(&workers->changed);
	ended = wait_for_end(workers, timeout_ms);
	(void)pthread_mutex_unlock(&workers->mutex);
	if (!ended) {
		return false;
	}
	for (size_t i = 0; i < workers->thread_count; i++) {
		(void)pthread_join(workers->threads[i], NULL);
	}
	(void)pthread_mutex_destroy(&workers->mutex);
	(void)pthread_cond_destroy(&workers->changed);
	free(workers);
	return true;
}
