#include "wire/upstream_body.h"

#include "wire/parameter_json.h"
#include "wire/tensor_json.h"

#include <stdio.h>
#include <stdlib.h>

/* --- Requests --- */

static void
write_parameters(struct buf *json, const struct upstream_request *request)
{
	size_t written = 0;

	buf_text(json, "\"parameters\":{");
	if (request->binary) {
		buf_text(json, "\"binary_data_output\":true");
		written++;
	}
	for (size_t i = 0; i < request->parameter_count; i++) {
		if (written++ > 0) {
			buf_byte(json, ',');
		}
		parameter_json_put(json, &request->parameters[i]);
	}
	buf_byte(json, '}');
}

enum status
upstream_request_encode(const struct upstream_request *request, struct buf *json, struct error *error)
{
	enum status status = STATUS_OK;

	buf_byte(json, '{');
	if (request->id.length > 0) {
		buf_text(json, "\"id\":");
		buf_json_string(json, request->id);
		buf_byte(json, ',');
	}
	if (request->binary || request->parameter_count > 0) {
		write_parameters(json, request);
		buf_byte(json, ',');
	}
	buf_text(json, "\"inputs\":[");
	for (size_t i = 0; i < request->input_count && status == STATUS_OK; i++) {
		if (i > 0) {
			buf_byte(json, ',');
		}
		status = tensor_encode(json, &request->inputs[i], request->binary, error);
	}
	buf_text(json, "]}");
	if (status == STATUS_OK && !buf_ok(json)) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	return status;
}

/* --- Responses --- */

static bool
is_empty(yyjson_val *object)
{
	return object == NULL || yyjson_is_null(object) || (yyjson_is_obj(object) && yyjson_obj_size(object) == 0);
}

static enum status
decode_outputs(struct tensor_decoder *decoder, yyjson_val *root, struct upstream_response *response)
{
	static const char *const members[] = {"name", "datatype", "shape", "data", "parameters", NULL};
	static const char *const known[] = {"binary_data_size", "content_type", NULL};
	yyjson_arr_iter items;
	yyjson_val *array;
	yyjson_val *item;
	enum status status = json_get_array(root, "outputs", &array, decoder->error);

	if (status != STATUS_OK) {
		return status;
	}
	response->outputs = arena_array(decoder->arena, yyjson_arr_size(array), sizeof(*response->outputs));
	if (response->outputs == NULL) {
		return error_set(decoder->error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	items = yyjson_arr_iter_with(array);
	while ((item = yyjson_arr_iter_next(&items)) != NULL && status == STATUS_OK) {
		yyjson_val *parameters = yyjson_obj_get(item, "parameters");

		response->is_plain = response->is_plain && !json_has_others(item, members) &&
				     (yyjson_is_obj(parameters) || is_empty(parameters)) &&
				     !json_has_others(parameters, known) && tensor_has_content_type(item);
		status = tensor_decode(decoder, item, &response->outputs[response->output_count++]);
	}
	if (status == STATUS_OK && decoder->wraps) {
		return error_set(decoder->error, STATUS_INTERNAL, "a number does not fit into its output's datatype");
	}
	if (status == STATUS_OK && decoder->binary.length > 0) {
		return error_set(decoder->error, STATUS_INTERNAL, "%zu bytes behind the last output",
				 decoder->binary.length);
	}
	return status;
}

/* Is the member a text, or not there? */
static bool
is_text(yyjson_val *object, const char *name, struct bytes *text)
{
	yyjson_val *value = yyjson_obj_get(object, name);

	if (yyjson_is_str(value)) {
		*text = json_bytes(value);
	}
	return value == NULL || yyjson_is_null(value) || yyjson_is_str(value);
}

enum status
upstream_response_decode(struct bytes json, struct bytes binary, struct arena *arena,
			 struct upstream_response *response, struct error *error)
{
	static const char *const members[] = {"model_name", "model_version", "id", "parameters", "outputs", NULL};
	struct tensor_decoder decoder = {.binary = binary, .arena = arena, .error = error};
	yyjson_val *root;
	enum status status;

	*response = (struct upstream_response){.document = json_read(json, error)};
	if (response->document == NULL) {
		return error->status;
	}
	root = yyjson_doc_get_root(response->document);
	response->is_plain = !json_has_others(root, members) && is_text(root, "model_name", &response->model_name) &&
			     is_text(root, "model_version", &response->model_version) &&
			     is_empty(yyjson_obj_get(root, "parameters"));
	status = decode_outputs(&decoder, root, response);
	if (status != STATUS_OK) {
		upstream_response_fini(response);
	}
	return status;
}

void
upstream_response_fini(struct upstream_response *response)
{
	yyjson_doc_free(response->document);
	response->document = NULL;
}

bool
upstream_error_text(struct bytes body, char *text, size_t size)
{
	struct error unused;
	yyjson_doc *document = json_read(body, &unused);
	static const char *const members[] = {"error", NULL};
	yyjson_val *root = yyjson_doc_get_root(document);
	struct bytes found_text = json_bytes(yyjson_obj_get(root, "error"));
	bool found = !json_has_others(root, members) && found_text.at != NULL && found_text.length < size &&
		     memchr(found_text.at, '\0', found_text.length) == NULL;

	if (found) {
		(void)snprintf(text, size, "%.*s", (int)found_text.length, (const char *)found_text.at);
	}
	yyjson_doc_free(document);
	return found;
}

/* --- What a server tells --- */

static bool
read_version(yyjson_val *value, int64_t *version)
{
	const char *text = yyjson_get_str(value);
	char *end;

	if (text == NULL || *text < '1' || *text > '9') {
		return false;
	}
	*version = strtoll(text, &end, 10);
	return *end == '\0' && *version < INT64_MAX;
}

enum status
upstream_index_decode(struct bytes json, upstream_index_fn item, void *context, struct error *error)
{
	yyjson_doc *document = json_read(json, error);
	yyjson_val *root = yyjson_doc_get_root(document);
	yyjson_arr_iter items;
	yyjson_val *entry;

	if (document == NULL) {
		return error->status;
	}
	if (!yyjson_is_arr(root)) {
		yyjson_doc_free(document);
		return error_set(error, STATUS_INTERNAL, "the repository index is no array");
	}
	items = yyjson_arr_iter_with(root);
	while ((entry = yyjson_arr_iter_next(&items)) != NULL) {
		yyjson_val *name = yyjson_obj_get(entry, "name");
		yyjson_val *stated = yyjson_obj_get(entry, "version");
		struct bytes word = {0};
		int64_t version;

		if (!read_version(stated, &version)) {
			version = 1;
			word = yyjson_is_str(stated) ? json_bytes(stated) : bytes_text("");
		}
		if (yyjson_is_str(name)) {
			item(context, json_bytes(name), version, word, json_bytes(yyjson_obj_get(entry, "state")));
		}
	}
	yyjson_doc_free(document);
	return STATUS_OK;
}

struct counters {
	uint64_t values[UPSTREAM_COUNTERS_MAX];
	size_t count;
};

static void
add_counter(struct counters *counters, yyjson_val *value)
{
	if (counters->count < UPSTREAM_COUNTERS_MAX) {
		counters->values[counters->count++] = yyjson_get_uint(value);
	}
}

static void
take_statistics(yyjson_val *model, upstream_statistics_fn item, void *context)
{
	static const char *const durations[] = {"success",	 "fail",	   "queue",	"compute_input",
						"compute_infer", "compute_output", "cache_hit", "cache_miss"};
	yyjson_val *inference = yyjson_obj_get(model, "inference_stats");
	struct counters counters = {0};

	if (yyjson_get_bool(yyjson_obj_get(model, "unseen_changes"))) {
		return;
	}
	for (size_t i = 0; i < sizeof(durations) / sizeof(*durations); i++) { /* success is the first */
		yyjson_val *duration = yyjson_obj_get(inference, durations[i]);

		add_counter(&counters, yyjson_obj_get(duration, "count"));
		add_counter(&counters, yyjson_obj_get(duration, "ns"));
	}
	if (yyjson_obj_get(yyjson_obj_get(inference, "success"), "count") == NULL) {
		counters.values[UPSTREAM_COUNTER_SUCCESS] = UINT64_MAX;
	}
	add_counter(&counters, yyjson_obj_get(model, "inference_count"));
	add_counter(&counters, yyjson_obj_get(model, "execution_count"));
	add_counter(&counters, yyjson_obj_get(model, "last_inference"));
	item(context, json_bytes(yyjson_obj_get(model, "name")), json_bytes(yyjson_obj_get(model, "version")),
	     counters.values, counters.count);
}

bool
upstream_index_from_names(struct bytes json, struct buf *index)
{
	struct error unused;
	yyjson_doc *document = json_read(json, &unused);
	yyjson_val *names = yyjson_obj_get(yyjson_doc_get_root(document), "models");
	yyjson_arr_iter items = yyjson_arr_iter_with(names);
	bool good = yyjson_is_arr(names);
	yyjson_val *name;

	buf_byte(index, '[');
	for (size_t i = 0; good && (name = yyjson_arr_iter_next(&items)) != NULL; i++) {
		good = yyjson_is_str(name);
		buf_text(index, i == 0 ? "{\"name\":" : ",{\"name\":");
		buf_json_string(index, json_bytes(name));
		buf_text(index, ",\"state\":\"READY\"}");
	}
	buf_byte(index, ']');
	yyjson_doc_free(document);
	return good && buf_ok(index);
}

enum status
upstream_statistics_decode(struct bytes json, upstream_statistics_fn item, void *context, struct error *error)
{
	yyjson_doc *document = json_read(json, error);
	yyjson_arr_iter items;
	yyjson_val *array;
	yyjson_val *model;
	enum status status = document == NULL
				     ? error->status
				     : json_get_array(yyjson_doc_get_root(document), "model_stats", &array, error);

	if (status == STATUS_OK) {
		items = yyjson_arr_iter_with(array);
		while ((model = yyjson_arr_iter_next(&items)) != NULL) {
			take_statistics(model, item, context);
		}
	}
	yyjson_doc_free(document);
	return status;
}

bool
upstream_has_extension(struct bytes metadata, const char *extension)
{
	struct error unused;
	yyjson_doc *document = json_read(metadata, &unused);
	yyjson_arr_iter items = yyjson_arr_iter_with(yyjson_obj_get(yyjson_doc_get_root(document), "extensions"));
	bool found = false;
	yyjson_val *item;

	while (!found && (item = yyjson_arr_iter_next(&items)) != NULL) {
		found = yyjson_equals_str(item, extension);
	}
	yyjson_doc_free(document);
	return found;
}

/* --- A model's configuration --- */

struct conversion {
	yyjson_mut_doc *out;
	yyjson_mut_val *root;
};

/* TYPE_FP32 of FP32; TYPE_STRING of BYTES. */
static yyjson_mut_val *
type_of(struct conversion *conversion, yyjson_val *datatype)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "TYPE_%s",
		       yyjson_equals_str(datatype, "BYTES") ? "STRING" : yyjson_get_str(datatype));
	return yyjson_mut_strcpy(conversion->out, text);
}

/* The tensors of the metadata, whose shapes contain the batch dimension. */
static void
add_metadata_tensors(struct conversion *conversion, const char *to, yyjson_val *tensors)
{
	yyjson_mut_val *array = yyjson_mut_obj_add_arr(conversion->out, conversion->root, to);
	yyjson_arr_iter items = yyjson_arr_iter_with(tensors);
	yyjson_val *item;

	while ((item = yyjson_arr_iter_next(&items)) != NULL) {
		yyjson_mut_val *tensor = yyjson_mut_arr_add_obj(conversion->out, array);

		(void)yyjson_mut_obj_add_val(conversion->out, tensor, "name",
					     yyjson_val_mut_copy(conversion->out, yyjson_obj_get(item, "name")));
		(void)yyjson_mut_obj_add_val(conversion->out, tensor, "data_type",
					     type_of(conversion, yyjson_obj_get(item, "datatype")));
		(void)yyjson_mut_obj_add_val(conversion->out, tensor, "dims",
					     yyjson_val_mut_copy(conversion->out, yyjson_obj_get(item, "shape")));
	}
}

/* The tensors of the config, in the shapes that clients see: the server behind reshapes by itself. */
static void
add_config_tensors(struct conversion *conversion, const char *name, yyjson_val *tensors)
{
	static const char *const kept[] = {"name", "data_type", "dims", "optional"};
	yyjson_mut_val *array = yyjson_mut_obj_add_arr(conversion->out, conversion->root, name);
	yyjson_arr_iter items = yyjson_arr_iter_with(tensors);
	yyjson_val *item;

	while ((item = yyjson_arr_iter_next(&items)) != NULL) {
		yyjson_mut_val *tensor = yyjson_mut_arr_add_obj(conversion->out, array);

		for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
			yyjson_val *value = yyjson_obj_get(item, kept[i]);

			if (value != NULL && !yyjson_is_false(value)) {
				(void)yyjson_mut_obj_add_val(conversion->out, tensor, kept[i],
							     yyjson_val_mut_copy(conversion->out, value));
			}
		}
	}
}

static bool
has_tensor_flag(yyjson_val *tensors, const char *flag)
{
	yyjson_arr_iter items = yyjson_arr_iter_with(tensors);
	yyjson_val *item;

	while ((item = yyjson_arr_iter_next(&items)) != NULL) {
		if (yyjson_is_true(yyjson_obj_get(item, flag))) {
			return true;
		}
	}
	return false;
}

/* Can one answer be given for each request, by its tensors alone? */
static bool
is_cacheable(yyjson_val *config)
{
	yyjson_val *inputs = yyjson_obj_get(config, "input");

	return yyjson_obj_get(config, "sequence_batching") == NULL &&
	       !yyjson_is_true(yyjson_obj_get(yyjson_obj_get(config, "model_transaction_policy"), "decoupled")) &&
	       !has_tensor_flag(inputs, "is_shape_tensor") && !has_tensor_flag(inputs, "allow_ragged_batch") &&
	       !has_tensor_flag(inputs, "is_non_linear_format_io");
}

static void
add_parameter(struct conversion *conversion, yyjson_mut_val *parameters, const char *name, struct bytes value)
{
	yyjson_mut_val *parameter = yyjson_mut_obj(conversion->out);

	(void)yyjson_mut_obj_add_strncpy(conversion->out, parameter, "string_value", (const char *)value.at,
					 value.length);
	(void)yyjson_mut_obj_add_val(conversion->out, parameters, name, parameter);
}

static void
add_parameters(struct conversion *conversion, const struct upstream_model_document *document, yyjson_val *parameters)
{
	yyjson_mut_val *object = yyjson_mut_obj(conversion->out);
	yyjson_obj_iter items = yyjson_obj_iter_with(parameters);
	yyjson_val *key;

	while ((key = yyjson_obj_iter_next(&items)) != NULL) {
		if (!bytes_starts_with(json_bytes(key),
				       MODEL_OWN_PARAMETER)) { /* that server's own, if it is like us */
			(void)yyjson_mut_obj_add(object, yyjson_val_mut_copy(conversion->out, key),
						 yyjson_val_mut_copy(conversion->out, yyjson_obj_iter_get_val(key)));
		}
	}
	add_parameter(conversion, object, MODEL_OWN_PARAMETER "upstream", document->fingerprint);
	add_parameter(conversion, object, MODEL_GUESSED_BATCHING, bytes_text("true"));
	for (size_t i = 0; i < sizeof(document->marks) / sizeof(*document->marks); i++) {
		if (document->marks[i].name.length > 0) {
			add_parameter(conversion, object, (const char *)document->marks[i].name.at,
				      document->marks[i].value);
		}
	}
	(void)yyjson_mut_obj_add_val(conversion->out, conversion->root, "parameters", object);
}

static void
fill(struct conversion *conversion, const struct upstream_model_document *document, yyjson_val *config,
     yyjson_val *metadata)
{
	yyjson_mut_val *policy;
	yyjson_mut_val *cache;
	yyjson_val *batch = yyjson_obj_get(config, "max_batch_size");

	(void)yyjson_mut_obj_add_strncpy(conversion->out, conversion->root, "name", (const char *)document->name.at,
					 document->name.length);
	(void)yyjson_mut_obj_add_str(conversion->out, conversion->root, "backend", "upstream");
	(void)yyjson_mut_obj_add_int(conversion->out, conversion->root, "max_batch_size", yyjson_get_int(batch));
	policy = yyjson_mut_obj_add_obj(conversion->out, conversion->root, "version_policy");
	(void)yyjson_mut_obj_add_obj(conversion->out, policy, "all"); /* the index lists those that are served */
	if (config != NULL) {
		add_config_tensors(conversion, "input", yyjson_obj_get(config, "input"));
		add_config_tensors(conversion, "output", yyjson_obj_get(config, "output"));
	} else {
		add_metadata_tensors(conversion, "input", yyjson_obj_get(metadata, "inputs"));
		add_metadata_tensors(conversion, "output", yyjson_obj_get(metadata, "outputs"));
	}
	add_parameters(conversion, document, yyjson_obj_get(config, "parameters"));
	cache = yyjson_mut_obj_add_obj(conversion->out, conversion->root, "response_cache");
	(void)yyjson_mut_obj_add_bool(conversion->out, cache, "enable", true);
}

static enum status
convert(const struct upstream_model_document *document, yyjson_val *config, yyjson_val *metadata, struct buf *out,
	struct error *error)
{
	struct conversion conversion = {.out = yyjson_mut_doc_new(NULL)};
	size_t length = 0;
	char *text = NULL;

	if (conversion.out != NULL) {
		conversion.root = yyjson_mut_obj(conversion.out);
		yyjson_mut_doc_set_root(conversion.out, conversion.root);
		fill(&conversion, document, config, metadata);
		text = yyjson_mut_write(conversion.out, 0, &length);
		yyjson_mut_doc_free(conversion.out);
	}
	if (text != NULL) {
		buf_append(out, bytes_make(text, length));
	}
	free(text);
	return text != NULL && buf_ok(out) ? STATUS_OK
					   : error_set(error, STATUS_INVALID_ARGUMENT,
						       "the configuration or metadata of model '%.*s' cannot be used",
						       BYTES_ARGS(document->name));
}

static bool
tells_tensors(yyjson_val *metadata)
{
	return yyjson_arr_size(yyjson_obj_get(metadata, "inputs")) > 0 &&
	       yyjson_arr_size(yyjson_obj_get(metadata, "outputs")) > 0;
}

enum status
upstream_model_convert(const struct upstream_model_document *document, struct buf *config, bool *usable,
		       struct error *error)
{
	bool configured = document->config.length > 0;
	yyjson_doc *metadata = json_read(document->metadata, error);
	yyjson_doc *own = metadata != NULL && configured ? json_read(document->config, error) : NULL;
	yyjson_val *root = yyjson_doc_get_root(own);
	enum status status = STATUS_OK;

	*usable = false;
	if (metadata == NULL || (configured && own == NULL)) {
		status = error->status;
	} else {
		*usable = (document->cached ||
			   yyjson_is_true(yyjson_obj_get(yyjson_obj_get(root, "response_cache"), "enable"))) &&
			  is_cacheable(root);
	}
	if (*usable && root == NULL && !tells_tensors(yyjson_doc_get_root(metadata))) {
		*usable = false;
		status = error_set(error, STATUS_INVALID_ARGUMENT,
				   "the server does not tell its inputs and outputs (MLServer: list them in "
				   "model-settings.json)");
	}
	if (*usable) {
		status = convert(document, root, yyjson_doc_get_root(metadata), config, error);
	}
	yyjson_doc_free(own);
	yyjson_doc_free(metadata);
	return status;
}
