#include "inference/scheduler.h"

#include "base/clock.h"
#include "base/memory.h"
#include "loop/thread.h"

#include <stdlib.h>

struct scheduler {
	struct scheduler_options options;
	pthread_mutex_t mutex; /* many loops hand over, many workers take: a queue between two threads would not do */
	pthread_cond_t changed;
	TAILQ_HEAD(, job) queue;
	size_t pending;
	bool stopping;
	pthread_t *workers;
};

static struct job *
next_job(struct scheduler *scheduler)
{
	struct job *job;

	(void)pthread_mutex_lock(&scheduler->mutex);
	while (TAILQ_EMPTY(&scheduler->queue) && !scheduler->stopping) {
		(void)pthread_cond_wait(&scheduler->changed, &scheduler->mutex);
	}
	job = TAILQ_FIRST(&scheduler->queue);
	if (job != NULL) {
		TAILQ_REMOVE(&scheduler->queue, job, queue);
		scheduler->pending--;
	}
	(void)pthread_mutex_unlock(&scheduler->mutex);
	return job;
}

static void *
work(void *argument)
{
	struct scheduler *scheduler = argument;
	struct job *job;

	while ((job = next_job(scheduler)) != NULL) {
		job->started_ns = clock_now_ns();
		if (atomic_load(&job->cancelled)) {
			job->status = error_set(&job->error, STATUS_CANCELLED, "the request was cancelled");
		} else {
			scheduler->options.run(scheduler->options.context, job);
			job->ran = true;
		}
		job->finished_ns = clock_now_ns();
		job->finished(job);
	}
	return NULL;
}

struct scheduler *
scheduler_new(const struct scheduler_options *options)
{
	struct scheduler *scheduler = memory_new(sizeof(*scheduler));

	scheduler->options = *options;
	(void)pthread_mutex_init(&scheduler->mutex, NULL);
	(void)pthread_cond_init(&scheduler->changed, NULL);
	TAILQ_INIT(&scheduler->queue);
	scheduler->workers = memory_array((size_t)options->instances, sizeof(*scheduler->workers));
	for (int i = 0; i < options->instances; i++) {
		scheduler->workers[i] = thread_start(options->name, work, scheduler);
	}
	return scheduler;
}

void
scheduler_free(struct scheduler *scheduler)
{
	if (scheduler == NULL) {
		return;
	}
	(void)pthread_mutex_lock(&scheduler->mutex);
	scheduler->stopping = true;
	(void)pthread_cond_broadcast(&scheduler->changed);
	(void)pthread_mutex_unlock(&scheduler->mutex);
	for (int i = 0; i < scheduler->options.instances; i++) {
		(void)pthread_join(scheduler->workers[i], NULL);
	}
	(void)pthread_cond_destroy(&scheduler->changed);
	(void)pthread_mutex_destroy(&scheduler->mutex);
	free(scheduler->workers);
	free(scheduler);
}

bool
scheduler_submit(struct scheduler *scheduler, struct job *job)
{
	bool taken;

	job->queued_ns = clock_now_ns();
	(void)pthread_mutex_lock(&scheduler->mutex);
	taken = scheduler->pending < scheduler->options.queue_max && !scheduler->stopping;
	if (taken) {
		TAILQ_INSERT_TAIL(&scheduler->queue, job, queue);
		scheduler->pending++;
		(void)pthread_cond_signal(&scheduler->changed);
	}
	(void)pthread_mutex_unlock(&scheduler->mutex);
	return taken;
}

size_t
scheduler_pending(struct scheduler *scheduler)
{
	size_t pending;

	(void)pthread_mutex_lock(&scheduler->mutex);
	pending = scheduler->pending;
	(void)pthread_mutex_unlock(&scheduler->mutex);
	return pending;
}
