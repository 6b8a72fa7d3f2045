#include "upstream/transcoder_internal.h"

#include <stdlib.h>

void
transcoded_free(struct transcoded_call *this)
{
	if (this->charged > 0) {
		budget_give(this->transcoder->options->budget, this->charged);
	}
	transcoding_fini(&this->transcoding);
	buf_fini(&this->own_head);
	loop_timer_free(this->silence);
	buf_fini(&this->joined);
	buf_fini(&this->received);
	buf_fini(&this->text);
	buf_fini(&this->metadata);
	free(this->fields);
	free(this->pieces);
	free(this);
}

bool
transcoded_charge(struct transcoded_call *this, size_t bytes)
{
	const struct work_options *options = this->transcoder->options;

	if (options == NULL || bytes == 0) {
		return true;
	}
	if (!budget_take(options->budget, bytes)) {
		return false;
	}
	this->charged += bytes;
	return true;
}

void
transcoded_charge_work(struct transcoded_call *this, size_t before)
{
	size_t taken = transcoding_memory(&this->transcoding);

	if (this->status == STATUS_OK && taken > WORK_LONG && !transcoded_charge(this, taken - before)) {
		this->status = error_set(&this->error, STATUS_UNAVAILABLE, TRANSCODER_OVER_BUDGET);
	}
}

void
transcoded_work(struct transcoded_call *this, size_t size, void (*run)(struct offload_work *work),
		void (*done)(struct offload_work *work))
{
	const struct work_options *options = this->transcoder->options;

	this->work = (struct offload_work){.loop = this->transcoder->loop, .size = size, .run = run, .done = done};
	if (options == NULL || size <= WORK_LONG) {
		run(&this->work);
		done(&this->work);
		return;
	}
	this->is_working = this->http->is_working = true;
	options->hold(options->context);
	offload_post(options->offload, &this->work);
}

bool
transcoded_end_work(struct transcoded_call *this)
{
	const struct work_options *options = this->transcoder->options;
	bool was_working = this->is_working;
	bool is_wanted = !this->is_cancelled;

	this->is_working = false;
	if (is_wanted) {
		this->http->is_working = false;
	} else {
		transcoded_free(this);
	}
	if (was_working) {
		options->release(options->context);
	}
	return is_wanted;
}
