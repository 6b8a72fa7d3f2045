#include "server/front.h"

#include "inference/remote.h"
#include "wire/compress.h"

#include <math.h>

/* 2^63: a number from here on may be an integer that a double cannot hold. */
#define INTEGERS_END 9223372036854775808.0

static bool
is_authorization(const struct server_options *options, struct bytes name)
{
	for (size_t i = 0; i < options->private_field_count; i++) {
		if (bytes_equal_nocase(name, options->private_fields[i])) {
			return true;
		}
	}
	return bytes_equal_nocase(name, "authorization") || bytes_equal_nocase(name, "cookie");
}

static size_t
count_authorization(const struct exchange *exchange)
{
	size_t count = 0;

	for (size_t i = 0; i < exchange->head.header_count; i++) {
		count += is_authorization(exchange->options, exchange->head.headers[i].name);
	}
	return count;
}

/* Is there more than one field of that name, of which we would see the first? */
static bool
repeats(const struct http1_head *head, const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < head->header_count; i++) {
		count += bytes_equal_nocase(head->headers[i].name, name);
	}
	return count > 1;
}

bool
front_admits(const struct exchange *exchange)
{
	const struct http1_head *head = &exchange->head;

	bool open = exchange->options->authorization != FRONT_AUTHORIZATION_PASS || count_authorization(exchange) == 0;

	return open && !repeats(head, "content-encoding") && !repeats(head, "inference-header-content-length") &&
	       head->target.length == head->path.length &&
	       exchange->body.length <= exchange->options->max_input_bytes &&
	       coding_from_name(http1_header(head, "content-encoding")) != CODING_UNKNOWN;
}

/* Could the parameter mean something else to the server behind than to us? */
static bool
is_doubtful(const struct server_options *options, const struct parameter *parameter)
{
	static const char *const sequences[] = {"sequence_id", "sequence_start", "sequence_end"};
	static const char *const ours[] = {"cache", "cache_status"};

	for (size_t i = 0; i < sizeof(sequences) / sizeof(*sequences); i++) {
		if (bytes_equal_text(parameter->name, sequences[i])) {
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours) && !options->allow_cache_control; i++) {
		if (bytes_equal_text(parameter->name, ours[i])) {
			return true;
		}
	}
	return bytes_starts_with(parameter->name, REMOTE_PREFIX) ||
	       (parameter->kind == PARAMETER_DOUBLE && !(fabs(parameter->number) < INTEGERS_END));
}

bool
front_understands(const struct server_options *options, const struct infer_body *body)
{
	for (size_t i = 0; i < body->parameter_count; i++) {
		if (is_doubtful(options, &body->parameters[i])) {
			return false;
		}
	}
	return !body->wraps && infer_body_is_plain(body);
}

/* "hippocamp.field.authorization" */
static struct bytes
parameter_name(struct exchange *exchange, struct bytes field)
{
	const char *prefix =
		exchange->options->authorization == FRONT_AUTHORIZATION_SHARED ? REMOTE_UNKEYED_FIELD : REMOTE_FIELD;
	size_t length = strlen(prefix);
	uint8_t *name = arena_room(&exchange->arena, length + field.length);

	if (name == NULL) {
		return bytes_make(NULL, 0);
	}
	memcpy(name, prefix, length);
	for (size_t i = 0; i < field.length; i++) {
		uint8_t byte = field.at[i];

		name[length + i] = byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
	}
	return bytes_make(name, length + field.length);
}

bool
front_add_fields(struct exchange *exchange, struct infer_body *body)
{
	const struct http1_head *head = &exchange->head;
	size_t count = count_authorization(exchange);
	struct parameter *all;

	if (count == 0) {
		return true;
	}
	all = arena_array(&exchange->arena, body->parameter_count + count, sizeof(*all));
	if (all == NULL) {
		return false;
	}
	if (body->parameter_count > 0) {
		memcpy(all, body->parameters, body->parameter_count * sizeof(*all));
	}
	body->parameters = all;
	for (size_t i = 0; i < head->header_count; i++) {
		struct parameter *parameter = &all[body->parameter_count];

		if (is_authorization(exchange->options, head->headers[i].name)) {
			*parameter = (struct parameter){.name = parameter_name(exchange, head->headers[i].name),
							.kind = PARAMETER_TEXT,
							.text = head->headers[i].value};
			if (parameter->name.at == NULL) {
				return false;
			}
			body->parameter_count++;
		}
	}
	return true;
}
