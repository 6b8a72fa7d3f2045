#include "server/front.h"

#include "base/log.h"
#include "inference/models/model_table.h"
#include "inference/remote.h"
#include "upstream/via.h"
#include "wire/compress.h"

#define ABANDONED_MAX 64 /* of each loop */

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

/* Those of W3C's Trace Context: a miss belongs to the trace of the client that asked. They change no answer. */
static bool
is_trace(struct bytes name)
{
	return bytes_equal_nocase(name, "traceparent") || bytes_equal_nocase(name, "tracestate");
}

/* Does the field go along to the server behind with a miss? */
static bool
goes_along(const struct server_options *options, struct bytes name)
{
	return is_authorization(options, name) || is_trace(name);
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

bool
front_is_admitted(const struct exchange *exchange)
{
	return exchange->options->authorization != FRONT_AUTHORIZATION_PASS || count_authorization(exchange) == 0;
}

bool
front_understands_head(const struct exchange *exchange)
{
	const struct http1_head *head = &exchange->head;

	return !http1_repeats(head, "content-encoding") && !http1_repeats(head, "inference-header-content-length") &&
	       head->target.length == head->path.length &&
	       exchange->body.length <= exchange->options->max_input_bytes &&
	       coding_from_name(http1_header(head, "content-encoding")) != CODING_UNKNOWN;
}

bool
front_is_anonymous(const struct exchange *exchange)
{
	return count_authorization(exchange) == 0 && exchange->head.target.length == exchange->head.path.length;
}

/* Could the parameter mean something else to the server behind than to us? */
static bool
is_doubtful(const struct server_options *options, const struct parameter *parameter)
{
	/* The last one is gRPC's: over HTTP it means something. */
	static const char *const others[] = {"sequence_id", "sequence_start", "sequence_end", "binary_data_output"};
	static const char *const ours[] = {"cache", "cache_status"};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (bytes_equal_text(parameter->name, others[i])) {
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours) && !options->allow_cache_control; i++) {
		if (bytes_equal_text(parameter->name, ours[i])) {
			return true;
		}
	}
	return bytes_starts_with(parameter->name, REMOTE_PREFIX) || parameter_may_be_rounded(parameter);
}

bool
front_understands_parameters(const struct server_options *options, const struct infer_body *body)
{
	for (size_t i = 0; i < body->parameter_count; i++) {
		if (is_doubtful(options, &body->parameters[i])) {
			return false;
		}
	}
	return true;
}

bool
front_understands(const struct server_options *options, const struct infer_body *body)
{
	return front_understands_parameters(options, body) && !body->wraps && infer_body_is_plain(body);
}

/* "hippocamp.field.authorization" */
static struct bytes
parameter_name(const struct server_options *options, struct arena *arena, struct bytes field)
{
	bool is_keyed = options->authorization != FRONT_AUTHORIZATION_SHARED && is_authorization(options, field);
	const char *prefix = is_keyed ? REMOTE_FIELD : REMOTE_UNKEYED_FIELD;
	size_t length = strlen(prefix);
	uint8_t *name = arena_room(arena, length + field.length);

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

/* Makes room for `count` more parameters. */
static bool
reserve(struct arena *arena, struct infer_body *body, size_t count)
{
	struct parameter *all = arena_array(arena, body->parameter_count + count, sizeof(*all));

	if (all != NULL && body->parameter_count > 0) {
		memcpy(all, body->parameters, body->parameter_count * sizeof(*all));
	}
	body->parameters = all;
	return all != NULL;
}

static bool
add(const struct server_options *options, struct arena *arena, struct infer_body *body, struct bytes name,
    struct bytes value)
{
	struct bytes parameter = parameter_name(options, arena, name);

	body->parameters[body->parameter_count++] =
		(struct parameter){.name = parameter, .kind = PARAMETER_TEXT, .text = value};
	return parameter.at != NULL;
}

bool
front_add_fields(struct exchange *exchange, struct infer_body *body)
{
	const struct server_options *options = exchange->options;
	const struct http1_head *head = &exchange->head;
	size_t count = 0;

	for (size_t i = 0; i < head->header_count; i++) {
		count += goes_along(options, head->headers[i].name);
	}
	if (count == 0) {
		return true;
	}
	if (!reserve(&exchange->arena, body, count)) {
		return false;
	}
	for (size_t i = 0; i < head->header_count; i++) {
		if (goes_along(options, head->headers[i].name) &&
		    !add(options, &exchange->arena, body, head->headers[i].name, head->headers[i].value)) {
			return false;
		}
	}
	return true;
}

bool
front_knows_version(const struct model *model, const struct model_table *table, struct bytes version)
{
	return version.length > 0 ? !remote_is_unversioned(model)
				  : model_table_entry(table, model->config.name)->version_count == 1;
}

bool
front_add_via(struct exchange *exchange, struct infer_body *body, bool *is_of_a_model)
{
	const struct http1_head *head = &exchange->head;

	*is_of_a_model = false;
	for (size_t i = 0; i < head->header_count; i++) {
		if (!bytes_equal_nocase(head->headers[i].name, "via")) {
			continue;
		}
		if (!reserve(&exchange->arena, body, 1)) {
			return false;
		}
		*is_of_a_model = *is_of_a_model || via_is_of_a_model(head->headers[i].value);
		body->parameters[body->parameter_count++] =
			(struct parameter){.name = bytes_text(REMOTE_UNKEYED_FIELD "via"),
					   .kind = PARAMETER_TEXT,
					   .text = head->headers[i].value};
	}
	return true;
}

bool
front_comes_back(const struct exchange *exchange)
{
	const struct http1_head *head = &exchange->head;

	for (size_t i = 0; i < head->header_count; i++) {
		if (bytes_equal_nocase(head->headers[i].name, "via") && via_is_own(head->headers[i].value)) {
			return true;
		}
	}
	return false;
}

/* --- gRPC --- */

static size_t
count_metadata(const struct server_options *options, const struct grpc_call *call)
{
	const struct grpc_metadata *list;
	size_t length = grpc_call_metadata_list(call, &list);
	size_t count = 0;

	for (size_t i = 0; i < length; i++) {
		count += is_authorization(options, list[i].name);
	}
	return count;
}

bool
front_is_anonymous_call(const struct server_options *options, const struct grpc_call *call)
{
	return count_metadata(options, call) == 0;
}

/* Copies those metadata of the call that are wanted. False: no memory. */
static bool
copy_metadata(const struct grpc_call *call, bool (*is_wanted)(const struct server_options *, struct bytes name),
	      const struct server_options *options, struct arena *arena, struct front_fields *fields)
{
	const struct grpc_metadata *list;
	size_t length = grpc_call_metadata_list(call, &list);
	size_t count = 0;
	bool good = true;

	*fields = (struct front_fields){0};
	for (size_t i = 0; i < length; i++) {
		count += is_wanted(options, list[i].name);
	}
	if (count == 0) {
		return true;
	}
	fields->list = arena_array(arena, count, sizeof(*fields->list));
	for (size_t i = 0; i < length && fields->list != NULL && good; i++) {
		struct grpc_metadata *copy = &fields->list[fields->count];

		if (is_wanted(options, list[i].name)) {
			*copy = (struct grpc_metadata){.name = arena_copy(arena, list[i].name),
						       .value = arena_copy(arena, list[i].value)};
			good = copy->name.at != NULL && copy->value.at != NULL;
			fields->count++;
		}
	}
	return good && fields->list != NULL;
}

bool
front_admits_metadata(const struct server_options *options, const struct grpc_call *call, struct arena *arena,
		      struct front_fields *fields)
{
	fields->count = 0;
	if (options->authorization == FRONT_AUTHORIZATION_PASS && count_metadata(options, call) > 0) {
		return false;
	}
	return copy_metadata(call, goes_along, options, arena, fields);
}

static bool
is_via(const struct server_options *options, struct bytes name)
{
	(void)options;
	return bytes_equal_text(name, "via");
}

bool
front_read_via(const struct grpc_call *call, struct arena *arena, struct front_fields *via)
{
	return copy_metadata(call, is_via, NULL, arena, via);
}

static bool
any_via(struct front_fields via, bool (*holds)(struct bytes value))
{
	bool found = false;

	for (size_t i = 0; i < via.count; i++) {
		found = found || holds(via.list[i].value);
	}
	return found;
}

bool
front_via_is_own(struct front_fields via)
{
	return any_via(via, via_is_own);
}

bool
front_via_is_of_a_model(struct front_fields via)
{
	return any_via(via, via_is_of_a_model);
}

bool
front_add_metadata(const struct server_options *options, struct front_fields fields, struct arena *arena,
		   struct infer_body *body)
{
	if (fields.count > 0 && !reserve(arena, body, fields.count)) {
		return false;
	}
	for (size_t i = 0; i < fields.count; i++) {
		if (!add(options, arena, body, fields.list[i].name, fields.list[i].value)) {
			return false;
		}
	}
	return true;
}

/* --- Models --- */

void
front_suspend_models(struct server_lane *lane)
{
	const struct model_table *table = server_lane_table(lane);

	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			atomic_store(&table->entries[i].versions[k]->suspended, true);
		}
	}
	lane->options->note_change(lane->options->note_context);
}

bool
front_abandon_control(struct server_lane *lane)
{
	front_suspend_models(lane);
	lane->abandoned_count++;
	if (lane->abandoned_count > ABANDONED_MAX) {
		log_warning("a load or unload behind is not waited for, since %d others go on whose clients have left: "
			    "its end is noticed by the next look",
			    ABANDONED_MAX);
	}
	return !lane->stopping && lane->abandoned_count <= ABANDONED_MAX;
}
