#include "simulation/trace_file.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "time_ms,"
#define HEX_DIGITS 16
#define FIELD_MAX 24 /* of a number */

/* --- Lines --- */

/* Ends the text with a null byte, for the functions that read numbers. */
static bool
copy_field(struct bytes text, char copy[FIELD_MAX])
{
	if (text.length == 0 || text.length >= FIELD_MAX) {
		return false;
	}
	memcpy(copy, text.at, text.length);
	copy[text.length] = '\0';
	return true;
}

static bool
take_number(struct bytes text, int base, uint64_t *number)
{
	char copy[FIELD_MAX];
	char *end;

	if (!copy_field(text, copy)) {
		return false;
	}
	*number = strtoull(copy, &end, base);
	return *end == '\0' && *copy != '-';
}

/* Removes the name in its quotes, and the comma behind it. In it a quote is written twice; what matters is its text. */
static bool
take_name(struct bytes *rest, struct bytes *name)
{
	size_t end = 1;

	if (rest->length == 0 || *rest->at != '"') {
		return false;
	}
	while (end < rest->length && (rest->at[end] != '"' || (end + 1 < rest->length && rest->at[end + 1] == '"'))) {
		end += rest->at[end] == '"' ? 2 : 1;
	}
	if (end + 1 >= rest->length || rest->at[end + 1] != ',') {
		return false;
	}
	*name = bytes_make(rest->at + 1, end - 1);
	*rest = bytes_skip(*rest, end + 2);
	return true;
}

/* Is it the name of that text? */
static bool
is_name_of(struct bytes name, struct bytes text)
{
	size_t at = 0;

	for (size_t i = 0; i < name.length; i++, at++) {
		i += name.at[i] == '"';
		if (at == text.length || name.at[i] != text.at[at]) {
			return false;
		}
	}
	return at == text.length;
}

static bool
take_share(struct bytes text, double *share)
{
	char copy[FIELD_MAX];
	char *end;

	if (!copy_field(text, copy)) {
		return false;
	}
	*share = strtod(copy, &end);
	return *end == '\0' && *share > 0 && *share <= 1;
}

struct line {
	struct lookup lookup;
	struct bytes model; /* in which each quote is written twice */
	struct bytes version;
	double share;
};

static bool
take_line(struct bytes text, struct line *line)
{
	struct lookup *lookup = &line->lookup;
	struct bytes time = bytes_take_until(&text, ',');
	struct bytes key;
	struct bytes bytes;
	struct bytes cost;
	uint64_t length;

	if (!take_name(&text, &line->model)) {
		return false;
	}
	line->version = bytes_take_until(&text, ',');
	key = bytes_take_until(&text, ',');
	bytes = bytes_take_until(&text, ',');
	cost = bytes_take_until(&text, ',');
	(void)bytes_take_until(&text, ','); /* the outcome */
	if (!take_share(text, &line->share) || key.length != HEX_DIGITS || !take_number(time, 10, &lookup->time_ms) ||
	    !take_number(key, 16, &lookup->key) || !take_number(bytes, 10, &length) ||
	    !take_number(cost, 10, &lookup->cost_us) || length > UINT32_MAX) {
		return false;
	}
	lookup->key ^= checksum64(line->model) ^ checksum64(line->version) * 31;
	lookup->bytes = (uint32_t)length;
	return true;
}

static bool
is_wanted(const struct trace *trace, const struct line *line)
{
	return (trace->model.length == 0 || is_name_of(line->model, trace->model)) &&
	       (trace->version.length == 0 || bytes_equal(line->version, trace->version));
}

static void
add(struct trace *trace, const struct lookup *lookup)
{
	if (trace->count == trace->capacity) {
		trace->capacity = trace->capacity == 0 ? 4096 : 2 * trace->capacity;
		trace->lookups = memory_grow(trace->lookups, trace->capacity, sizeof(*trace->lookups));
	}
	trace->lookups[trace->count] = *lookup;
	trace->lookups[trace->count].index = (uint32_t)trace->count;
	trace->count++;
}

enum status
trace_parse(struct trace *trace, struct bytes text, struct error *error)
{
	size_t before = trace->count;

	if (!bytes_starts_with(text, HEAD)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "it is no record of a server: its first line does not begin with \"" HEAD "\"");
	}
	while (text.length > 0) {
		size_t left = text.length;
		struct bytes row = bytes_take_until(&text, '\n');
		bool is_whole = row.length < left;
		struct line line = {.lookup = {.server = (uint32_t)trace->servers}};

		if (bytes_starts_with(row, HEAD)) { /* also of a file that was appended to another one */
			continue;
		}
		if (!is_whole || !take_line(row, &line)) {
			trace->skipped++;
		} else if (trace->share != 0 && line.share != trace->share) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "it has look-ups of %g of all questions beside such of %g: give records with "
					 "the same --record-share",
					 line.share, trace->share);
		} else if (is_wanted(trace, &line)) {
			trace->share = line.share;
			add(trace, &line.lookup);
		}
	}
	trace->servers++;
	return trace->count > before || trace->model.length > 0
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT, "it has no look-ups in it");
}

/* --- Files --- */

static enum status
unreadable(struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "it cannot be read: %s", strerror(errno));
}

enum status
trace_read(struct trace *trace, const char *path, struct error *error)
{
	int fd = file_open_regular(path);
	struct stat state;
	enum status status = STATUS_OK;
	void *at;

	if (fd < 0 || fstat(fd, &state) != 0) {
		status = unreadable(error);
	} else if (state.st_size == 0) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "it is empty");
	} else {
		at = mmap(NULL, (size_t)state.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		status = at == MAP_FAILED ? unreadable(error)
					  : trace_parse(trace, bytes_make(at, (size_t)state.st_size), error);
		if (at != MAP_FAILED) {
			(void)munmap(at, (size_t)state.st_size);
		}
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	return status == STATUS_OK ? status : error_prefix(error, "%s: ", path);
}

static int
compare(const void *a, const void *b)
{
	const struct lookup *left = a;
	const struct lookup *right = b;

	if (left->time_ms != right->time_ms) {
		return left->time_ms < right->time_ms ? -1 : 1;
	}
	return (left->index > right->index) - (left->index < right->index);
}

void
trace_sort(struct trace *trace)
{
	if (trace->count > 0) {
		qsort(trace->lookups, trace->count, sizeof(*trace->lookups), compare);
	}
}

void
trace_fini(struct trace *trace)
{
	free(trace->lookups);
	*trace = (struct trace){0};
}
