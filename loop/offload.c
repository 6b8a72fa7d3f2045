#include "loop/offload.h"

#include "base/memory.h"
#include "loop/thread.h"

#include <stdlib.h>

#define OLDEST_EACH 8
#define SHORT ((size_t)1 << 20) /* bytes; that much JSON takes some 5 ms */

struct offload {
	pthread_mutex_t lock;
	pthread_cond_t wanted;	     /* a piece was posted */
	pthread_cond_t short_wanted; /* a short piece was posted */
	struct offload_work *first;  /* by size, then in the order of posting */
	uint64_t posted;	     /* pieces posted so far */
	uint64_t taken;
	bool ending;
	size_t count;
	pthread_t threads[];
};

/* Removes the smallest piece, or each OLDEST_EACH-th time the oldest. */
static struct offload_work *
unlink_next(struct offload *offload)
{
	struct offload_work **place = &offload->first;
	struct offload_work *work;

	if (*place != NULL && ++offload->taken % OLDEST_EACH == 0) {
		for (struct offload_work **at = &offload->first; *at != NULL; at = &(*at)->next) {
			if ((*at)->number < (*place)->number) {
				place = at;
			}
		}
	}
	work = *place;
	if (work != NULL) {
		*place = work->next;
	}
	return work;
}

/* Removes the smallest piece if it is short. */
static struct offload_work *
unlink_short(struct offload *offload)
{
	struct offload_work *work = offload->first;

	if (work == NULL || work->size > SHORT) {
		return NULL;
	}
	offload->first = work->next;
	return work;
}

/* NULL: offload_free was called. */
static struct offload_work *
take(struct offload *offload, pthread_cond_t *wanted, struct offload_work *(*unlink)(struct offload *offload))
{
	struct offload_work *work;

	(void)pthread_mutex_lock(&offload->lock);
	while ((work = unlink(offload)) == NULL && !offload->ending) {
		(void)pthread_cond_wait(wanted, &offload->lock);
	}
	(void)pthread_mutex_unlock(&offload->lock);
	return work;
}

static void
deliver(struct loop_mail *mail)
{
	struct offload_work *work = (struct offload_work *)mail;

	work->done(work);
}

static void
run_all(struct offload *offload, pthread_cond_t *wanted, struct offload_work *(*unlink)(struct offload *offload))
{
	struct offload_work *work;

	while ((work = take(offload, wanted, unlink)) != NULL) {
		work->run(work);
		work->mail.deliver = deliver;
		loop_post(work->loop, &work->mail);
	}
}

static void *
run(void *argument)
{
	struct offload *offload = argument;

	run_all(offload, &offload->wanted, unlink_next);
	return NULL;
}

static void *
run_short(void *argument)
{
	struct offload *offload = argument;

	run_all(offload, &offload->short_wanted, unlink_short);
	return NULL;
}

struct offload *
offload_new(size_t threads)
{
	struct offload *offload = memory_new(sizeof(*offload) + (threads + 1) * sizeof(*offload->threads));

	(void)pthread_mutex_init(&offload->lock, NULL);
	(void)pthread_cond_init(&offload->wanted, NULL);
	(void)pthread_cond_init(&offload->short_wanted, NULL);
	offload->count = threads + 1;
	for (size_t i = 0; i < offload->count; i++) {
		offload->threads[i] = thread_start("worker", i == 0 ? run_short : run, offload);
	}
	return offload;
}

void
offload_free(struct offload *offload)
{
	(void)pthread_mutex_lock(&offload->lock);
	offload->ending = true;
	(void)pthread_cond_broadcast(&offload->wanted);
	(void)pthread_cond_broadcast(&offload->short_wanted);
	(void)pthread_mutex_unlock(&offload->lock);
	for (size_t i = 0; i < offload->count; i++) {
		(void)pthread_join(offload->threads[i], NULL);
	}
	(void)pthread_cond_destroy(&offload->wanted);
	(void)pthread_cond_destroy(&offload->short_wanted);
	(void)pthread_mutex_destroy(&offload->lock);
	free(offload);
}

void
offload_post(struct offload *offload, struct offload_work *work)
{
	struct offload_work **place = &offload->first;

	(void)pthread_mutex_lock(&offload->lock);
	work->number = offload->posted++;
	while (*place != NULL && (*place)->size <= work->size) {
		place = &(*place)->next;
	}
	work->next = *place;
	*place = work;
	(void)pthread_cond_signal(&offload->wanted);
	if (work->size <= SHORT) {
		(void)pthread_cond_signal(&offload->short_wanted);
	}
	(void)pthread_mutex_unlock(&offload->lock);
}
