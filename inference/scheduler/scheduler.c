#include "inference/scheduler/scheduler.h"

#include "base/clock.h"
#include "base/memory.h"
#include "loop/thread.h"

#include <stdlib.h>
#include <time.h>

#define QUEUE_MAX 65536 /* where the config sets no limit */

struct scheduler {
	struct scheduler_options options;
	pthread_mutex_t mutex; /* shared by many loops that submit and many workers that take */
	pthread_cond_t changed;
	struct job_queue queue;
	bool flush;
	bool stopping;
	pthread_t *workers;
};

static void
wait_for_jobs(struct scheduler *scheduler, uint64_t wait_ns)
{
	struct timespec until;

	if (wait_ns == 0) {
		(void)pthread_cond_wait(&scheduler->changed, &scheduler->mutex);
		return;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	wait_ns += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(wait_ns / NS_PER_S);
	until.tv_nsec = (long)(wait_ns % NS_PER_S);
	(void)pthread_cond_timedwait(&scheduler->changed, &scheduler->mutex, &until);
}

/* Returns false once the scheduler stops. */
static bool
next_batch(struct scheduler *scheduler, struct job_list *batch)
{
	uint64_t wait_ns;

	(void)pthread_mutex_lock(&scheduler->mutex);
	for (;;) {
		job_queue_take(&scheduler->queue, clock_now_ns(), scheduler->flush, batch, &wait_ns);
		if (!TAILQ_EMPTY(batch) || scheduler->stopping) {
			break;
		}
		wait_for_jobs(scheduler, wait_ns);
	}
	if (scheduler->queue.count > 0) { /* another worker may take the rest */
		(void)pthread_cond_signal(&scheduler->changed);
	}
	(void)pthread_mutex_unlock(&scheduler->mutex);
	return !TAILQ_EMPTY(batch);
}

static void *
work(void *argument)
{
	struct scheduler *scheduler = argument;
	struct job_list batch;
	struct job *job;

	while (next_batch(scheduler, &batch)) {
		scheduler->options.run(scheduler->options.context, &batch);
		while ((job = TAILQ_FIRST(&batch)) != NULL) {
			TAILQ_REMOVE(&batch, job, queue);
			job->finished(job);
		}
	}
	return NULL;
}

struct scheduler *
scheduler_new(const struct scheduler_options *options)
{
	struct scheduler *scheduler = memory_new(sizeof(*scheduler));
	pthread_condattr_t attributes;

	scheduler->options = *options;
	(void)pthread_mutex_init(&scheduler->mutex, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&scheduler->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	job_queue_init(&scheduler->queue, options->config, QUEUE_MAX);
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
	scheduler->flush = true;
	scheduler->stopping = true;
	(void)pthread_cond_broadcast(&scheduler->changed);
	(void)pthread_mutex_unlock(&scheduler->mutex);
	for (int i = 0; i < scheduler->options.instances; i++) {
		(void)pthread_join(scheduler->workers[i], NULL);
	}
	(void)pthread_cond_destroy(&scheduler->changed);
	(void)pthread_mutex_destroy(&scheduler->mutex);
	job_queue_fini(&scheduler->queue);
	free(scheduler->workers);
	free(scheduler);
}

bool
scheduler_submit(struct scheduler *scheduler, struct job *job)
{
	bool taken;

	(void)pthread_mutex_lock(&scheduler->mutex);
	taken = !scheduler->stopping && job_queue_add(&scheduler->queue, job, clock_now_ns());
	(void)pthread_mutex_unlock(&scheduler->mutex);
	if (taken) { /* after unlocking: a worker woken earlier would wait for the mutex */
		(void)pthread_cond_signal(&scheduler->changed);
	}
	return taken;
}

void
scheduler_withdraw(struct scheduler *scheduler, struct job *job)
{
	bool taken;

	(void)pthread_mutex_lock(&scheduler->mutex);
	taken = job->queued;
	if (taken) {
		job_queue_remove(&scheduler->queue, job);
		job->withdrawn = true;
	}
	(void)pthread_mutex_unlock(&scheduler->mutex);
	if (taken) {
		job->status = error_set(job_error(job), STATUS_CANCELLED, "the request was cancelled");
		job->finished(job);
	}
}

void
scheduler_promote(struct scheduler *scheduler, struct job *job, size_t level)
{
	(void)pthread_mutex_lock(&scheduler->mutex);
	if (job->queued) {
		job_queue_promote(&scheduler->queue, job, level);
	}
	(void)pthread_mutex_unlock(&scheduler->mutex);
}

void
scheduler_flush(struct scheduler *scheduler)
{
	(void)pthread_mutex_lock(&scheduler->mutex);
	scheduler->flush = true;
	(void)pthread_cond_broadcast(&scheduler->changed);
	(void)pthread_mutex_unlock(&scheduler->mutex);
}

size_t
scheduler_pending(struct scheduler *scheduler)
{
	size_t pending;

	(void)pthread_mutex_lock(&scheduler->mutex);
	pending = scheduler->queue.count;
	(void)pthread_mutex_unlock(&scheduler->mutex);
	return pending;
}
