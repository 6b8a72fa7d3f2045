#include "inference/scheduler/job_queue.h"

#include "base/memory.h"

#include <stdlib.h>

static const struct model_queue_policy *
policy_of(const struct model_config *config, uint64_t level)
{
	return model_batching_policy(&config->batching, level);
}

void
job_queue_init(struct job_queue *queue, const struct model_config *config, size_t count_max)
{
	const struct model_batching *batching = &config->batching;

	*queue = (struct job_queue){
		.level_count = batching->priority_levels > 0 ? (size_t)batching->priority_levels : 1,
		.merges = config->scheduling == MODEL_SCHEDULING_DYNAMIC && config->max_batch_size > 1,
		.rows_max = config->max_batch_size,
		.wait_ns = batching->max_queue_delay_us * 1000,
		.preferred = batching->preferred,
		.preferred_count = batching->preferred_count,
	};
	queue->levels = memory_array(queue->level_count, sizeof(*queue->levels));
	for (size_t i = 0; i < queue->level_count; i++) {
		const struct model_queue_policy *policy = policy_of(config, i + 1);
		struct job_level *level = &queue->levels[i];

		TAILQ_INIT(&level->waiting);
		TAILQ_INIT(&level->delayed);
		queue->delays = queue->delays || policy->delays;
		level->count_max = policy->max_queue_size > 0 ? policy->max_queue_size : count_max;
	}
}

void
job_queue_fini(struct job_queue *queue)
{
	free(queue->levels);
}

static struct job_level *
level_of(struct job_queue *queue, const struct job *job)
{
	return &queue->levels[job->level - 1];
}

static void
insert_before_ordinary(struct job_level *level, struct job *job)
{
	struct job *next = TAILQ_FIRST(&level->waiting);

	while (next != NULL && next->unbatched) {
		next = TAILQ_NEXT(next, queue);
	}
	if (next == NULL) {
		TAILQ_INSERT_TAIL(&level->waiting, job, queue);
	} else {
		TAILQ_INSERT_BEFORE(next, job, queue);
	}
}

bool
job_queue_add(struct job_queue *queue, struct job *job, uint64_t now)
{
	struct job_level *level;

	if (job->unbatched) {
		job->level = 1;
	}
	level = level_of(queue, job);
	if (!job->unbatched && level->count >= level->count_max) { /* unbatched jobs were admitted before */
		return false;
	}
	job->queued_ns = now;
	job->queued = true;
	job->delayed = false;
	if (job->unbatched) {
		insert_before_ordinary(level, job);
	} else {
		TAILQ_INSERT_TAIL(&level->waiting, job, queue);
	}
	level->count++;
	queue->count++;
	return true;
}

void
job_queue_remove(struct job_queue *queue, struct job *job)
{
	struct job_level *level = level_of(queue, job);

	if (job->delayed) {
		TAILQ_REMOVE(&level->delayed, job, queue);
	} else {
		TAILQ_REMOVE(&level->waiting, job, queue);
	}
	job->queued = false;
	level->count--;
	queue->count--;
}

void
job_queue_promote(struct job_queue *queue, struct job *job, size_t level)
{
	if (level >= job->level) {
		return;
	}
	job_queue_remove(queue, job);
	job->level = level;
	/* The job was admitted before, so a full level does not reject it. */
	TAILQ_INSERT_TAIL(&queue->levels[level - 1].waiting, job, queue);
	queue->levels[level - 1].count++;
	queue->count++;
	job->queued = true;
	job->delayed = false;
}

static void
delay_late_jobs(struct job_queue *queue, uint64_t now)
{
	for (size_t i = 0; i < queue->level_count && queue->delays; i++) {
		struct job_level *level = &queue->levels[i];
		struct job *next;

		for (struct job *job = TAILQ_FIRST(&level->waiting); job != NULL; job = next) {
			next = TAILQ_NEXT(job, queue);
			if (job->delay_ns > 0 && now >= job->queued_ns + job->delay_ns) {
				TAILQ_REMOVE(&level->waiting, job, queue);
				TAILQ_INSERT_TAIL(&level->delayed, job, queue);
				job->delayed = true;
			}
		}
	}
}

/* The first job in order of service, from level index `from` on, or NULL. */
static struct job *
first_job(const struct job_queue *queue, size_t from)
{
	for (size_t i = from; i < queue->level_count; i++) {
		if (!TAILQ_EMPTY(&queue->levels[i].waiting)) {
			return TAILQ_FIRST(&queue->levels[i].waiting);
		}
		if (!TAILQ_EMPTY(&queue->levels[i].delayed)) {
			return TAILQ_FIRST(&queue->levels[i].delayed);
		}
	}
	return NULL;
}

static struct job *
next_job(const struct job_queue *queue, const struct job *job)
{
	struct job *next = TAILQ_NEXT(job, queue);

	if (next == NULL && !job->delayed) {
		next = TAILQ_FIRST(&queue->levels[job->level - 1].delayed);
	}
	return next != NULL ? next : first_job(queue, job->level);
}

static const struct parameter *
find_parameter(const struct job *job, struct bytes name)
{
	for (size_t i = 0; i < job->parameter_count; i++) {
		if (bytes_equal(job->parameters[i].name, name)) {
			return &job->parameters[i];
		}
	}
	return NULL;
}

static bool
goes_by_itself(const struct job *job)
{
	return job->unbatched || job->unmerged;
}

/* May both run as one batch? Their shapes, but for the rows, and their parameters must be equal. */
static bool
alike(const struct job *a, const struct job *b)
{
	if (goes_by_itself(a) || goes_by_itself(b) || a->input_count != b->input_count ||
	    a->parameter_count != b->parameter_count) {
		return false;
	}
	for (size_t i = 0; i < a->input_count; i++) {
		const struct tensor *left = &a->inputs[i];
		const struct tensor *right = &b->inputs[i];

		if (!bytes_equal(left->name, right->name) || left->rank != right->rank ||
		    memcmp(left->shape + 1, right->shape + 1, (left->rank - 1) * sizeof(*left->shape)) != 0) {
			return false;
		}
	}
	for (size_t i = 0; i < a->parameter_count; i++) {
		const struct parameter *left = &a->parameters[i];
		const struct parameter *right = find_parameter(b, left->name);

		if (right == NULL || !parameter_equal(left, right)) {
			return false;
		}
	}
	return true;
}

static bool
is_preferred(const struct job_queue *queue, int64_t rows)
{
	for (size_t i = 0; i < queue->preferred_count; i++) {
		if (queue->preferred[i] == rows) {
			return true;
		}
	}
	return false;
}

static int64_t
largest_preferred(const struct job_queue *queue)
{
	int64_t largest = queue->preferred_count == 0 ? queue->rows_max : 0;

	for (size_t i = 0; i < queue->preferred_count; i++) {
		largest = queue->preferred[i] > largest ? queue->preferred[i] : largest;
	}
	return largest;
}

/* What look_ahead finds. */
struct prospect {
	size_t jobs;	    /* that fit into one batch, from the front */
	size_t best;	    /* how many of them make the largest preferred batch; 0: none */
	int64_t rows;	    /* of these jobs */
	bool full;	    /* it cannot grow any more */
	uint64_t oldest_ns; /* when the oldest of them was queued */
};

static struct prospect
look_ahead(const struct job_queue *queue)
{
	const struct job *first = first_job(queue, 0);
	int64_t largest = largest_preferred(queue);
	struct prospect prospect = {.oldest_ns = UINT64_MAX};

	for (const struct job *job = first; job != NULL; job = next_job(queue, job)) {
		if (prospect.jobs > 0 && prospect.rows + job->rows > largest && prospect.best == 0) {
			prospect.best = prospect.jobs;
		}
		if (prospect.jobs > 0 && (prospect.rows + job->rows > queue->rows_max || !alike(first, job))) {
			prospect.full = true;
			break;
		}
		prospect.jobs++;
		prospect.rows += job->rows;
		prospect.oldest_ns = job->queued_ns < prospect.oldest_ns ? job->queued_ns : prospect.oldest_ns;
		if (is_preferred(queue, prospect.rows)) {
			prospect.best = prospect.jobs;
		}
	}
	prospect.full = prospect.full || prospect.rows >= largest;
	return prospect;
}

/* Returns how many jobs from the front run now; 0: wait for more. */
static size_t
choose(const struct job_queue *queue, uint64_t now, bool flush, uint64_t *wait_ns)
{
	struct prospect prospect;
	bool late;

	if (!queue->merges || (queue->count > 0 && goes_by_itself(first_job(queue, 0)))) {
		return queue->count > 0;
	}
	prospect = look_ahead(queue);
	if (prospect.jobs == 0) {
		return 0;
	}
	late = queue->wait_ns > 0 && now >= prospect.oldest_ns + queue->wait_ns;
	if (prospect.best > 0 && !late) {
		return prospect.best;
	}
	if (prospect.full || late || flush || queue->wait_ns == 0) {
		return prospect.jobs;
	}
	*wait_ns = prospect.oldest_ns + queue->wait_ns - now;
	return 0;
}

void
job_queue_take(struct job_queue *queue, uint64_t now, bool flush, struct job_list *batch, uint64_t *wait_ns)
{
	size_t count;

	TAILQ_INIT(batch);
	*wait_ns = 0;
	delay_late_jobs(queue, now);
	count = choose(queue, now, flush, wait_ns);
	for (size_t i = 0; i < count; i++) {
		struct job *job = first_job(queue, 0);

		job_queue_remove(queue, job);
		atomic_store(&job->started, true);
		TAILQ_INSERT_TAIL(batch, job, queue);
	}
}
