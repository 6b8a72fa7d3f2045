#include "backends/onnxruntime/weights.h"

#include "base/protobuf.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>

#define DEPTH_MAX 64
#define MODEL_MAX INT32_MAX /* the limit of protobuf */
#define RANK_MAX 64
#define LENGTH_SIZE 5 /* bytes of a varint below 2^35 */

/* Fields of onnx.proto's TensorProto, and of StringStringEntryProto. */
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9, TENSOR_EXTERNAL = 13, TENSOR_LOCATION = 14 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { LOCATION_EXTERNAL = 1 };

/* Messages that may contain tensors, and tensors. */
enum message {
	MESSAGE_MODEL,
	MESSAGE_GRAPH, /* the model's own */
	MESSAGE_BODY,  /* the graph of an attribute */
	MESSAGE_NODE,
	MESSAGE_ATTRIBUTE,
	MESSAGE_FUNCTION,
	MESSAGE_SPARSE,
	MESSAGE_INITIALIZER, /* a tensor of the model's own graph */
	MESSAGE_TENSOR,	     /* any other */
};

static const struct {
	enum message parent;
	uint32_t field;
	enum message child;
} places[] = {
	{MESSAGE_MODEL, 7, MESSAGE_GRAPH},	   {MESSAGE_MODEL, 25, MESSAGE_FUNCTION},
	{MESSAGE_GRAPH, 1, MESSAGE_NODE},	   {MESSAGE_GRAPH, 5, MESSAGE_INITIALIZER},
	{MESSAGE_GRAPH, 15, MESSAGE_SPARSE},	   {MESSAGE_BODY, 1, MESSAGE_NODE},
	{MESSAGE_BODY, 5, MESSAGE_TENSOR},	   {MESSAGE_BODY, 15, MESSAGE_SPARSE},
	{MESSAGE_NODE, 5, MESSAGE_ATTRIBUTE},	   {MESSAGE_ATTRIBUTE, 5, MESSAGE_TENSOR},
	{MESSAGE_ATTRIBUTE, 6, MESSAGE_BODY},	   {MESSAGE_ATTRIBUTE, 10, MESSAGE_TENSOR},
	{MESSAGE_ATTRIBUTE, 11, MESSAGE_BODY},	   {MESSAGE_ATTRIBUTE, 22, MESSAGE_SPARSE},
	{MESSAGE_ATTRIBUTE, 23, MESSAGE_SPARSE},   {MESSAGE_FUNCTION, 7, MESSAGE_NODE},
	{MESSAGE_FUNCTION, 11, MESSAGE_ATTRIBUTE}, {MESSAGE_SPARSE, 1, MESSAGE_TENSOR},
	{MESSAGE_SPARSE, 2, MESSAGE_TENSOR},
};

/* Bits by TensorProto.DataType, whose numbers ONNX Runtime uses, too; 0: cannot have external data. */
static const uint8_t element_bits[] = {0,  32,	8,  8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64,
				       64, 128, 16, 8, 8,  8,  8,  4,  4, 4, 8,	 2,  2};

struct data_file {
	char *name; /* relative to the version folder */
	struct backend_file content;
};

/* An initializer of the model's own graph that has external data. */
struct external_tensor {
	char *name;
	int64_t dims[RANK_MAX];
	size_t rank;
	ONNXTensorElementDataType type;
	struct bytes data;
	size_t namesakes;    /* what makes a value of that name in the model's own graph, itself included */
	bool used;	     /* a node of that graph uses it, or it is an output */
	bool used_in_body;   /* some body uses its name, perhaps for a value of its own */
	bool hidden_in_body; /* some body makes a value of its name */
	bool handed;	     /* passed to ONNX Runtime as it is; else written into the model */
};

struct weights {
	struct backend_files *files;
	char *folder; /* of the model's file, relative to the version folder, with a slash at its end, or empty */
	struct backend_file model;
	struct buf rewritten; /* the model with tensors written into it, if `rewrites` */
	struct data_file *data_files;
	size_t data_file_count;
	struct external_tensor *tensors;
	size_t tensor_count;
	bool rewrites;
};

/* --- Tensors --- */

/* The fields of a TensorProto that are used here. */
struct tensor_proto {
	struct bytes name;
	int64_t dims[RANK_MAX];
	size_t rank;
	uint32_t type;
	bool external;
	struct bytes location;
	uint64_t offset;
	bool has_length;
	uint64_t length;
};

static bool
read_decimal(struct bytes text, uint64_t *number)
{
	*number = 0;
	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9' || __builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, text.at[i] - '0', number)) {
			return false;
		}
	}
	return text.length > 0;
}

static bool
read_entry(struct bytes rest, struct tensor_proto *tensor)
{
	struct bytes key = {0};
	struct bytes value = {0};
	struct protobuf_field field;

	while (rest.length > 0) {
		if (protobuf_next(&rest, &field) != PROTOBUF_FIELD) {
			return false;
		}
		if (field.type != PROTOBUF_BYTES) { /* wrong wire type: unknown to protobuf */
			continue;
		}
		if (field.number == ENTRY_KEY) {
			key = field.bytes;
		} else if (field.number == ENTRY_VALUE) {
			value = field.bytes;
		}
	}
	if (bytes_equal_text(key, "location")) {
		tensor->location = value;
	} else if (bytes_equal_text(key, "offset")) {
		return read_decimal(value, &tensor->offset);
	} else if (bytes_equal_text(key, "length")) {
		tensor->has_length = true;
		return read_decimal(value, &tensor->length);
	}
	return true;
}

static bool
add_dim(struct tensor_proto *tensor, uint64_t dim)
{
	if (tensor->rank == RANK_MAX || dim > INT64_MAX) {
		return false;
	}
	tensor->dims[tensor->rank++] = (int64_t)dim;
	return true;
}

static bool
read_dims(const struct protobuf_field *field, struct tensor_proto *tensor)
{
	struct bytes rest = field->bytes;
	uint64_t dim;

	if (field->type == PROTOBUF_VARINT) {
		return add_dim(tensor, field->value);
	}
	while (rest.length > 0) {
		if (!protobuf_take_varint(&rest, &dim) || !add_dim(tensor, dim)) {
			return false;
		}
	}
	return true;
}

static bool
take_number(const struct protobuf_field *field, struct tensor_proto *tensor)
{
	uint32_t value = (uint32_t)field->value; /* protobuf's enums have 32 bits, whatever was written */

	switch (field->number) {
	case TENSOR_DIMS:
		return read_dims(field, tensor);
	case TENSOR_TYPE:
		tensor->type = value;
		return true;
	case TENSOR_LOCATION:
		tensor->external = value == LOCATION_EXTERNAL;
		return value <= LOCATION_EXTERNAL;
	default:
		return true;
	}
}

static bool
take_bytes(const struct protobuf_field *field, struct tensor_proto *tensor)
{
	switch (field->number) {
	case TENSOR_DIMS:
		return read_dims(field, tensor);
	case TENSOR_NAME:
		tensor->name = field->bytes;
		return true;
	case TENSOR_EXTERNAL:
		return read_entry(field->bytes, tensor);
	default:
		return true;
	}
}

static bool
read_tensor(struct bytes rest, struct tensor_proto *tensor)
{
	struct protobuf_field field;
	bool good = true;

	*tensor = (struct tensor_proto){0};
	while (rest.length > 0 && good) {
		if (protobuf_next(&rest, &field) != PROTOBUF_FIELD) {
			return false;
		}
		good = field.type == PROTOBUF_VARINT  ? take_number(&field, tensor)
		       : field.type == PROTOBUF_BYTES ? take_bytes(&field, tensor)
						      : true; /* wrong wire type: unknown to protobuf */
	}
	return good;
}

static bool
tensor_size(const struct tensor_proto *tensor, uint64_t *size)
{
	uint64_t bits = tensor->type < sizeof(element_bits) ? element_bits[tensor->type] : 0;

	for (size_t i = 0; i < tensor->rank; i++) {
		if (__builtin_mul_overflow(bits, (uint64_t)tensor->dims[i], &bits)) {
			return false;
		}
	}
	*size = bits / 8 + (bits % 8 != 0);
	return tensor->type < sizeof(element_bits) && element_bits[tensor->type] != 0;
}

/* --- Files --- */

/* Normalizes a name: the same file may be "w" and "./w", or "a/w" and "a//w". */
static char *
clean_name(const struct weights *weights, struct bytes location)
{
	char *name = memory_format("%s%.*s", weights->folder, (int)location.length, (const char *)location.at);
	char *to = name;

	for (const char *from = name; *from != '\0';) {
		bool begins = to == name || to[-1] == '/';

		if (begins && from[0] == '.' && from[1] == '/') {
			from += 2;
		} else if (begins && from[0] == '/' && to != name) {
			from++;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
	return name;
}

static enum status
find_file(struct weights *weights, struct bytes location, struct bytes *content, struct error *error)
{
	char *name = clean_name(weights, location);
	struct data_file *file;

	for (size_t i = 0; i < weights->data_file_count; i++) {
		file = &weights->data_files[i];
		if (strcmp(file->name, name) == 0) {
			*content = bytes_make(file->content.at, file->content.length);
			free(name);
			return STATUS_OK;
		}
	}
	weights->data_files = memory_grow(weights->data_files, weights->data_file_count + 1, sizeof(*file));
	file = &weights->data_files[weights->data_file_count];
	*file = (struct data_file){.name = name};
	if (weights->files->read(weights->files, name, &file->content, error) != STATUS_OK) {
		free(name);
		return error->status;
	}
	weights->data_file_count++;
	*content = bytes_make(file->content.at, file->content.length);
	return STATUS_OK;
}

static enum status
wrong(const struct tensor_proto *tensor, const char *what, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "tensor '%.*s' of the model, with external data in '%.*s': %s",
			 BYTES_ARGS(tensor->name), BYTES_ARGS(tensor->location), what);
}

static enum status
find_data(struct weights *weights, const struct tensor_proto *tensor, struct bytes *data, struct error *error)
{
	struct bytes content = {0};
	uint64_t size;

	if (tensor->location.length == 0 || memchr(tensor->location.at, '\0', tensor->location.length) != NULL) {
		return wrong(tensor, "it names no file", error);
	}
	if (!tensor_size(tensor, &size)) {
		return wrong(tensor, "its type cannot have external data, or its shape is no shape", error);
	}
	if (tensor->has_length && tensor->length != size) {
		return wrong(tensor, "the length does not match type and shape", error);
	}
	if (find_file(weights, tensor->location, &content, error) != STATUS_OK) {
		return error_prefix(error, "tensor '%.*s' of the model: ", BYTES_ARGS(tensor->name));
	}
	if (tensor->offset > content.length || size > content.length - tensor->offset) {
		return wrong(tensor, "the file is too short", error);
	}
	*data = bytes_make(content.at + tensor->offset, (size_t)size);
	return STATUS_OK;
}

/* --- Walking through the model --- */

static const enum message *
child_of(enum message parent, const struct protobuf_field *field)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(*places) && field->type == PROTOBUF_BYTES; i++) {
		if (places[i].parent == parent && places[i].field == field->number) {
			return &places[i].child;
		}
	}
	return NULL;
}

static enum status
no_model(struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "the model's file is not an ONNX model, or torn");
}

static enum status
take_initializer(struct weights *weights, const struct tensor_proto *tensor, struct error *error)
{
	struct external_tensor *taken;
	struct bytes data;
	enum status status = find_data(weights, tensor, &data, error);

	if (status != STATUS_OK) {
		return status;
	}
	weights->tensors = memory_grow(weights->tensors, weights->tensor_count + 1, sizeof(*taken));
	taken = &weights->tensors[weights->tensor_count];
	*taken = (struct external_tensor){
		.name = memory_text_of(tensor->name),
		.rank = tensor->rank,
		.type = (ONNXTensorElementDataType)tensor->type,
		.data = data,
	};
	memcpy(taken->dims, tensor->dims, sizeof(taken->dims));
	weights->tensor_count++;
	return STATUS_OK;
}

/* Reads the external data of all tensors; finds out whether some must be written into the model. */
static enum status
collect(struct weights *weights, enum message kind, struct bytes rest, int depth, struct error *error)
{
	enum status status = STATUS_OK;
	struct tensor_proto tensor;
	struct protobuf_field field;
	struct bytes data;

	if (kind == MESSAGE_INITIALIZER || kind == MESSAGE_TENSOR) {
		if (!read_tensor(rest, &tensor)) {
			return no_model(error);
		}
		if (!tensor.external) {
			return STATUS_OK;
		}
		weights->rewrites = weights->rewrites || kind == MESSAGE_TENSOR;
		return kind == MESSAGE_TENSOR ? find_data(weights, &tensor, &data, error)
					      : take_initializer(weights, &tensor, error);
	}
	while (rest.length > 0 && status == STATUS_OK) {
		const enum message *child;

		if (protobuf_next(&rest, &field) != PROTOBUF_FIELD || depth > DEPTH_MAX) {
			return no_model(error);
		}
		child = child_of(kind, &field);
		if (child != NULL) {
			status = collect(weights, *child, field.bytes, depth + 1, error);
		}
	}
	return status;
}

/*
 * --- Which initializers ONNX Runtime is given ---
 *
 * It drops initializers that nothing uses, and refuses to be given data for one that it has dropped. So it is only
 * given those that are certainly used, and whose name nothing else in the graph has. The others are written into the
 * model, where it treats them like any.
 */

enum { NODE_INPUT = 1, NODE_OUTPUT = 2, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12, VALUE_NAME = 1 };

static int
by_name(const void *left, const void *right)
{
	return strcmp(((const struct external_tensor *)left)->name, ((const struct external_tensor *)right)->name);
}

/* Finds a tensor by its name: any of several of one name. */
static struct external_tensor *
find_tensor(const struct weights *weights, struct bytes name)
{
	char *text = memory_text_of(name);
	struct external_tensor key = {.name = text};
	struct external_tensor *found =
		weights->tensor_count == 0
			? NULL
			: bsearch(&key, weights->tensors, weights->tensor_count, sizeof(key), by_name);

	free(text);
	return found;
}

/* The name in a TensorProto, or in a ValueInfoProto. */
static struct bytes
name_in(struct bytes rest, uint32_t number)
{
	struct bytes name = {0};
	struct protobuf_field field;

	while (rest.length > 0 && protobuf_next(&rest, &field) == PROTOBUF_FIELD) {
		if (field.number == number && field.type == PROTOBUF_BYTES) {
			name = field.bytes;
		}
	}
	return name;
}

/* Notes that something uses a value of that name, or makes one. */
static void
mark(const struct weights *weights, bool in_body, bool makes, struct bytes name)
{
	struct external_tensor *found = find_tensor(weights, name);

	if (found != NULL && in_body) {
		found->hidden_in_body = found->hidden_in_body || makes;
		found->used_in_body = found->used_in_body || !makes;
	} else if (found != NULL) {
		found->used = found->used || !makes;
		found->namesakes += makes;
	}
}

static void
mark_field(const struct weights *weights, enum message kind, bool in_body, const struct protobuf_field *field)
{
	bool is_graph = kind == MESSAGE_GRAPH || kind == MESSAGE_BODY;

	if (kind == MESSAGE_NODE && (field->number == NODE_INPUT || field->number == NODE_OUTPUT)) {
		mark(weights, in_body, field->number == NODE_OUTPUT, field->bytes);
	} else if (is_graph && field->number == GRAPH_OUTPUT) {
		mark(weights, in_body, false, name_in(field->bytes, VALUE_NAME));
	} else if (kind == MESSAGE_BODY && field->number == GRAPH_INPUT) { /* initializers may be inputs of the model */
		mark(weights, in_body, true, name_in(field->bytes, VALUE_NAME));
	}
}

/* Marks all names of values but those in functions, which have names of their own. */
static void
mark_all(const struct weights *weights, enum message kind, bool in_body, struct bytes rest)
{
	struct protobuf_field field;

	while (rest.length > 0 && protobuf_next(&rest, &field) == PROTOBUF_FIELD) {
		const enum message *child = child_of(kind, &field);

		if (child == NULL) {
			if (field.type == PROTOBUF_BYTES) {
				mark_field(weights, kind, in_body, &field);
			}
		} else if (*child == MESSAGE_INITIALIZER || *child == MESSAGE_TENSOR) {
			if (kind != MESSAGE_ATTRIBUTE) { /* no value has the name of a tensor in an attribute */
				mark(weights, in_body, true, name_in(field.bytes, TENSOR_NAME));
			}
		} else if (*child != MESSAGE_FUNCTION) {
			mark_all(weights, *child, in_body || *child == MESSAGE_BODY, field.bytes);
		}
	}
}

static void
choose(struct weights *weights, struct bytes model)
{
	if (weights->tensor_count > 0) {
		qsort(weights->tensors, weights->tensor_count, sizeof(*weights->tensors), by_name);
		mark_all(weights, MESSAGE_MODEL, false, model);
	}
	for (size_t i = 0; i < weights->tensor_count; i++) {
		struct external_tensor *tensor = &weights->tensors[i];

		tensor->handed =
			tensor->namesakes == 1 && (tensor->used || (tensor->used_in_body && !tensor->hidden_in_body));
		weights->rewrites = weights->rewrites || !tensor->handed;
	}
}

/* --- Writing tensors into the model, which `collect` found well-formed and whose files it has read --- */

/* Writes the tag of a field, and room for its length, which end_record fills in. */
static size_t
begin_record(struct buf *out, uint32_t number)
{
	protobuf_put_varint(out, (uint64_t)number << 3 | PROTOBUF_BYTES);
	buf_append(out, bytes_make("\x80\x80\x80\x80\x00", LENGTH_SIZE));
	return out->length;
}

/* Writes the length into all LENGTH_SIZE bytes: a varint may be longer than it needs to be. */
static void
end_record(struct buf *out, size_t start)
{
	size_t length = out->length - start;

	for (size_t i = 0; i < LENGTH_SIZE && buf_ok(out); i++) {
		out->at[start - LENGTH_SIZE + i] = (uint8_t)((length >> 7 * i & 127) | (i + 1 < LENGTH_SIZE ? 128 : 0));
	}
}

static enum status
rewrite_tensor(struct weights *weights, struct bytes rest, struct buf *out, struct error *error)
{
	struct tensor_proto tensor;
	struct protobuf_field field;
	struct bytes data;
	size_t start;
	enum status status;

	(void)read_tensor(rest, &tensor);
	if (!tensor.external) {
		buf_append(out, rest);
		return STATUS_OK;
	}
	status = find_data(weights, &tensor, &data, error);
	while (rest.length > 0 && status == STATUS_OK && protobuf_next(&rest, &field) == PROTOBUF_FIELD) {
		if (field.number != TENSOR_EXTERNAL && field.number != TENSOR_LOCATION && field.number != TENSOR_RAW) {
			buf_append(out, field.record);
		}
	}
	if (status == STATUS_OK) {
		start = begin_record(out, TENSOR_RAW);
		buf_append(out, data);
		end_record(out, start);
	}
	return status;
}

static bool
is_handed(const struct weights *weights, struct bytes initializer)
{
	struct external_tensor *found = find_tensor(weights, name_in(initializer, TENSOR_NAME));

	return found != NULL && found->handed;
}

static enum status
rewrite(struct weights *weights, enum message kind, struct bytes rest, struct buf *out, struct error *error)
{
	enum status status = STATUS_OK;
	struct protobuf_field field;

	if (kind == MESSAGE_TENSOR || kind == MESSAGE_INITIALIZER) {
		return rewrite_tensor(weights, rest, out, error);
	}
	while (rest.length > 0 && status == STATUS_OK && protobuf_next(&rest, &field) == PROTOBUF_FIELD) {
		const enum message *child = child_of(kind, &field);
		size_t start;

		if (child == NULL || (*child == MESSAGE_INITIALIZER && is_handed(weights, field.bytes))) {
			buf_append(out, field.record);
			continue;
		}
		start = begin_record(out, field.number);
		status = rewrite(weights, *child, field.bytes, out, error);
		end_record(out, start);
	}
	return status;
}

/* --- Reading, passing on and freeing --- */

/* Is it ONNX Runtime's own format (a flatbuffer)? That has no external data. */
static bool
is_ort_format(struct bytes model)
{
	return model.length >= 8 && memcmp(model.at + 4, "ORTM", 4) == 0;
}

static enum status
walk(struct weights *weights, struct bytes model, struct error *error)
{
	enum status status;

	if (model.length == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "the model's file is empty");
	}
	if (model.length > MODEL_MAX) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"the model's file is larger than 2 GiB, which protobuf cannot read: save it with external "
			"data");
	}
	status = collect(weights, MESSAGE_MODEL, model, 0, error);
	if (status == STATUS_OK) {
		choose(weights, model);
	}
	return status;
}

struct weights *
weights_read(struct backend_files *files, const char *name, struct error *error)
{
	struct weights *weights = memory_new(sizeof(*weights));
	const char *slash = strrchr(name, '/');
	struct bytes model;
	enum status status;

	weights->files = files;
	weights->folder = memory_format("%.*s", slash == NULL ? 0 : (int)(slash - name) + 1, name);
	buf_init(&weights->rewritten, MODEL_MAX);
	status = files->read(files, name, &weights->model, error);
	model = bytes_make(weights->model.at, weights->model.length);
	if (status == STATUS_OK && !is_ort_format(model)) {
		status = walk(weights, model, error);
	}
	if (status == STATUS_OK && weights->rewrites) {
		status = rewrite(weights, MESSAGE_MODEL, model, &weights->rewritten, error);
		if (status == STATUS_OK && !buf_ok(&weights->rewritten)) {
			status =
				error_set(error, STATUS_INVALID_ARGUMENT,
					  "the model is larger than 2 GiB with the external data of its sub-graphs and "
					  "attributes, and of what is not used, or there is no memory for it");
		}
	}
	if (status != STATUS_OK) {
		weights_free(weights);
		return NULL;
	}
	return weights;
}

struct bytes
weights_model(const struct weights *weights)
{
	return weights->rewrites ? buf_bytes(&weights->rewritten)
				 : bytes_make(weights->model.at, weights->model.length);
}

enum status
weights_add(const struct weights *weights, const struct onnxruntime *runtime, OrtSessionOptions *options,
	    struct error *error)
{
	const OrtApi *api = runtime->api;
	const char **names = memory_array(weights->tensor_count, sizeof(*names));
	OrtValue **values = memory_array(weights->tensor_count, sizeof(*values));
	size_t count = 0;
	OrtStatus *failed = NULL;

	for (size_t i = 0; i < weights->tensor_count && failed == NULL; i++) {
		const struct external_tensor *tensor = &weights->tensors[i];

		if (!tensor->handed) {
			continue;
		}
		names[count] = tensor->name;
		failed = api->CreateTensorWithDataAsOrtValue(runtime->memory, (void *)(uintptr_t)tensor->data.at,
							     tensor->data.length, tensor->dims, tensor->rank,
							     tensor->type, &values[count++]);
	}
	if (failed == NULL && count > 0) {
		failed = api->AddExternalInitializers(options, names, (const OrtValue *const *)values, count);
	}
	for (size_t i = 0; i < count; i++) {
		api->ReleaseValue(values[i]);
	}
	free(names);
	free(values);
	return onnxruntime_check(runtime, failed, error);
}

void
weights_free(struct weights *weights)
{
	if (weights == NULL) {
		return;
	}
	for (size_t i = 0; i < weights->data_file_count; i++) {
		free(weights->data_files[i].name);
		backend_file_release(&weights->data_files[i].content);
	}
	for (size_t i = 0; i < weights->tensor_count; i++) {
		free(weights->tensors[i].name);
	}
	free(weights->data_files);
	free(weights->tensors);
	backend_file_release(&weights->model);
	buf_fini(&weights->rewritten);
	free(weights->folder);
	free(weights);
}
