#include "inference/cache/key.h"

/* In bytes: larger tensors are hashed in place; smaller ones are gathered first, so that most keys take one call. */
#define GATHER_MAX ((size_t)1024)
#define PARAMETERS_MAX 64
#define PREFIX_MAX 65536

struct encoder {
	struct buf *scratch;
	struct keyed_hash *hash;
	bool streaming;
};

static void
put(struct encoder *encoder, const void *at, size_t length)
{
	buf_append(encoder->scratch, bytes_make(at, length));
}

static void
put_u8(struct encoder *encoder, uint8_t number)
{
	put(encoder, &number, sizeof(number));
}

static void
put_u32(struct encoder *encoder, size_t number)
{
	uint32_t value = (uint32_t)number;

	put(encoder, &value, sizeof(value));
}

static void
put_u64(struct encoder *encoder, uint64_t number)
{
	put(encoder, &number, sizeof(number));
}

static void
put_text(struct encoder *encoder, struct bytes text)
{
	put_u32(encoder, text.length);
	buf_append(encoder->scratch, text);
}

static void
put_data(struct encoder *encoder, struct bytes data)
{
	put_u64(encoder, data.length);
	if (data.length <= GATHER_MAX) {
		buf_append(encoder->scratch, data);
		return;
	}
	if (!encoder->streaming) {
		keyed_hash_start(encoder->hash);
		encoder->streaming = true;
	}
	keyed_hash_add(encoder->hash, buf_bytes(encoder->scratch));
	buf_clear(encoder->scratch);
	keyed_hash_add(encoder->hash, data);
}

bool
key_write_prefix(struct buf *out, enum keyed_hash_kind kind, struct bytes name_space, struct bytes model,
		 int64_t version, const struct digest_value *fingerprint)
{
	struct digest_value digest;
	struct encoder encoder;
	struct buf fields;
	bool good;

	buf_init(&fields, PREFIX_MAX);
	encoder = (struct encoder){.scratch = &fields};
	buf_text(&fields, "hippocamp key 4");
	put_text(&encoder, bytes_text(keyed_hash_name(kind)));
	put_text(&encoder, name_space);
	put_text(&encoder, model);
	put_u64(&encoder, (uint64_t)version);
	put(&encoder, fingerprint->bytes, sizeof(fingerprint->bytes));
	good = buf_ok(&fields) && digest_once(buf_bytes(&fields), &digest);
	buf_fini(&fields);
	if (good) {
		buf_append(out, bytes_make(digest.bytes, digest.length));
	}
	return good && buf_ok(out);
}

static void
put_inputs(struct encoder *encoder, const struct key_question *question)
{
	const struct tensor *const *inputs = question->inputs;
	size_t count = question->input_count;
	size_t present = 0;

	for (size_t i = 0; i < count; i++) {
		present += inputs[i] != NULL;
	}
	put_u32(encoder, present);
	for (size_t i = 0; i < count; i++) {
		const struct tensor *input = inputs[i];

		if (input == NULL) {
			continue;
		}
		put_text(encoder, input->name);
		put_u8(encoder, (uint8_t)input->datatype);
		put_u8(encoder, (uint8_t)input->rank);
		put(encoder, input->shape, input->rank * sizeof(*input->shape));
		if (question->has_content_types) {
			put_text(encoder, input->content_type);
		}
		put_data(encoder, input->data);
	}
}

bool
key_leaves_out(struct bytes name)
{
	static const char *const names[] = {"priority",	    "timeout", "sequence_id", "sequence_start",
					    "sequence_end", "cache",   "cache_status"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (bytes_equal_text(name, names[i])) {
			return true;
		}
	}
	return bytes_starts_with(name, KEY_LEFT_OUT);
}

static void
put_parameter(struct encoder *encoder, const struct parameter *parameter)
{
	put_text(encoder, parameter->name);
	put_u8(encoder, (uint8_t)parameter->kind);
	switch (parameter->kind) {
	case PARAMETER_BOOLEAN:
		put_u8(encoder, parameter->boolean);
		break;
	case PARAMETER_TEXT:
		put_data(encoder, parameter->text);
		break;
	default:
		put_u64(encoder, parameter->unsigned_number);
		break;
	}
}

/* Sorts the key's parameters by name, in byte order. Returns false if there are too many. */
static bool
sort_parameters(const struct key_question *question, const struct parameter **sorted, size_t *count)
{
	size_t kept = 0;

	for (size_t i = 0; i < question->parameter_count; i++) {
		const struct parameter *parameter = &question->parameters[i];
		size_t at = kept;

		if (key_leaves_out(parameter->name)) {
			continue;
		}
		if (kept == PARAMETERS_MAX) {
			return false;
		}
		for (; at > 0 && bytes_compare(sorted[at - 1]->name, parameter->name) > 0; at--) {
			sorted[at] = sorted[at - 1];
		}
		sorted[at] = parameter;
		kept++;
	}
	*count = kept;
	return true;
}

bool
key_make(struct keyed_hash *hash, const struct key_question *question, struct buf *scratch, struct digest_value *key)
{
	struct encoder encoder = {.scratch = scratch, .hash = hash};
	const struct parameter *parameters[PARAMETERS_MAX];
	size_t count;

	if (!sort_parameters(question, parameters, &count)) { /* before the inputs, whose hashing takes long */
		return false;
	}
	buf_clear(scratch);
	buf_append(scratch, question->prefix);
	put_u8(&encoder, question->granularity == KEY_OF_ROW);
	put_u64(&encoder, question->row_losses);
	put_u8(&encoder, question->has_content_types);
	put_inputs(&encoder, question);
	put_u32(&encoder, count);
	for (size_t i = 0; i < count; i++) {
		put_parameter(&encoder, parameters[i]);
	}
	if (!buf_ok(scratch)) {
		return false;
	}
	if (!encoder.streaming) {
		return keyed_hash_once(hash, buf_bytes(scratch), key);
	}
	keyed_hash_add(hash, buf_bytes(scratch));
	return keyed_hash_end(hash, key);
}
