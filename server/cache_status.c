#include "server/cache_status.h"

#include "wire/cache_control.h"

#include <inttypes.h>

enum status
cache_directives_read(struct bytes cache_control, const struct parameter *parameters, size_t count,
		      struct cache_directives *directives, struct error *error)
{
	const struct parameter *parameter = parameter_find(parameters, count, "cache");
	struct cache_control control = cache_control_parse(cache_control);

	*directives = (struct cache_directives){
		.refresh = control.no_cache,
		.no_store = control.no_store,
		.only = control.only_if_cached,
		.has_max_age = control.has_max_age,
		.has_max_stale = control.has_max_stale,
		.max_age_s = control.max_age_s,
		.max_stale_s = control.max_stale_s,
	};
	if (parameter == NULL) {
		return STATUS_OK;
	}
	if (parameter->kind == PARAMETER_TEXT && bytes_equal_text(parameter->text, "default")) {
		return STATUS_OK;
	}
	*directives = (struct cache_directives){
		.bypass = parameter->kind == PARAMETER_TEXT && bytes_equal_text(parameter->text, "bypass"),
		.refresh = parameter->kind == PARAMETER_TEXT && bytes_equal_text(parameter->text, "refresh"),
		.only = parameter->kind == PARAMETER_TEXT && bytes_equal_text(parameter->text, "only"),
	};
	if (!directives->bypass && !directives->refresh && !directives->only) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "parameter 'cache' must be 'default', 'bypass', 'refresh' or 'only'");
	}
	return STATUS_OK;
}

bool
cache_status_wanted(const struct parameter *parameters, size_t count)
{
	const struct parameter *parameter = parameter_find(parameters, count, "cache_status");

	return parameter != NULL && parameter->kind == PARAMETER_BOOLEAN && parameter->boolean;
}

void
cache_status_write(const struct cache_report *report, const char *store, struct buf *out)
{
	static const char *const forwards[] = {
		[FORWARD_MISS] = "miss",   [FORWARD_PARTIAL] = "partial", [FORWARD_BYPASS] = "bypass",
		[FORWARD_STALE] = "stale", [FORWARD_REQUEST] = "request",
	};

	if (report->forward == FORWARD_NONE) {
		buf_text(out, "hippocamp; hit");
		if (report->has_ttl) {
			buf_text(out, "; ttl=");
			if (report->ttl_s < 0) {
				buf_byte(out, '-');
			}
			buf_unsigned(out, (uint64_t)(report->ttl_s < 0 ? -report->ttl_s : report->ttl_s));
		}
		buf_text(out, "; detail=");
		buf_text(out, report->joined ? "joined" : store);
		return;
	}
	buf_text(out, "hippocamp; fwd=");
	buf_text(out, forwards[report->forward]);
	if (report->stored) {
		buf_text(out, "; stored");
	}
	if (report->forward == FORWARD_PARTIAL) {
		buf_format(out, "; detail=\"%zu of %zu rows\"", report->known, report->rows);
	} else if (report->trouble != NULL) {
		buf_text(out, "; detail=");
		buf_text(out, report->trouble);
	}
}
