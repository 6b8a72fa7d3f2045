#include "wire/infer_memo.h"

#include "base/digest.h"
#include "base/memory.h"
#include "wire/infer_document.h"

#include <stdlib.h>

#define PLACES 8 /* a power of two */
#define JSON_MAX 1024
#define INPUTS_MAX 16
#define ARENA_MAX ((size_t)64 * 1024)

/* A place for one JSON. It is remembered when it comes for the second time in succession: most texts with an id do not.
 */
struct memo_place {
	uint64_t seen;	 /* a hash of the last JSON that came here */
	bool is_refused; /* that one cannot be remembered */
	struct infer_document *document;
};

struct infer_memo {
	struct memo_place places[PLACES];
};

struct infer_memo *
infer_memo_new(void)
{
	return memory_new(sizeof(struct infer_memo));
}

void
infer_memo_free(struct infer_memo *memo)
{
	if (memo == NULL) {
		return;
	}
	for (size_t i = 0; i < PLACES; i++) {
		infer_document_unref(memo->places[i].document);
	}
	free(memo);
}

/* --- Documents --- */

/* Are all tensors binary? Notes where each one begins. */
static bool
take_offsets(struct infer_document *document, struct bytes binary)
{
	const struct infer_body *body = &document->body;
	bool are_binary = body->input_count <= INPUTS_MAX && !body->wraps;

	for (size_t i = 0; i < body->input_count && are_binary; i++) {
		struct bytes data = body->inputs[i].data;

		are_binary = data.at >= binary.at && data.at + data.length <= binary.at + binary.length;
		document->offsets[i] = are_binary ? (size_t)(data.at - binary.at) : 0;
	}
	return are_binary;
}

/* Decodes JSON that can be decoded once more, into memory of the document's. NULL: it is not to be remembered. */
static struct infer_document *
document_new(struct bytes json, struct bytes binary, struct bytes model_name)
{
	struct infer_document *document =
		memory_new(sizeof(*document) + json.length + INPUTS_MAX * sizeof(*document->offsets));
	struct error error;
	bool is_good;

	atomic_init(&document->references, 1);
	document->offsets = (size_t *)(document + 1);
	document->json = bytes_make(document->offsets + INPUTS_MAX, json.length);
	memcpy(document->offsets + INPUTS_MAX, json.at, json.length);
	document->binary_length = binary.length;
	arena_init_small(&document->arena, ARENA_MAX);
	is_good = infer_body_decode(document->json, binary, model_name, &document->arena, &document->body, &error) ==
			  STATUS_OK &&
		  take_offsets(document, binary);
	if (!is_good) {
		infer_document_unref(document);
		return NULL;
	}
	document->is_plain = infer_body_is_plain(&document->body);
	return document;
}

/* --- Decoding --- */

static bool
take(struct infer_document *document, struct bytes binary, struct arena *arena, struct infer_body *body)
{
	size_t count = document->body.input_count;
	struct tensor *inputs = arena_room(arena, (count + 1) * sizeof(*inputs));

	if (inputs == NULL) {
		return false;
	}
	*body = document->body;
	body->document = NULL;
	body->shared = document;
	body->inputs = inputs;
	for (size_t i = 0; i < count; i++) {
		inputs[i] = document->body.inputs[i];
		inputs[i].data.at = binary.at + document->offsets[i];
	}
	(void)atomic_fetch_add_explicit(&document->references, 1, memory_order_relaxed);
	return true;
}

static bool
fits(const struct infer_document *document, struct bytes json, struct bytes binary)
{
	return document != NULL && document->binary_length == binary.length && bytes_equal(document->json, json);
}

enum status
infer_memo_decode(struct infer_memo *memo, struct bytes json, struct bytes binary, struct bytes model_name,
		  struct arena *arena, struct infer_body *body, struct error *error)
{
	uint64_t hash = json.length > JSON_MAX || binary.length == 0 ? 0 : checksum64(json);
	struct memo_place *place = &memo->places[hash & (PLACES - 1)];
	enum status status;

	if (hash != 0 && fits(place->document, json, binary) && take(place->document, binary, arena, body)) {
		return STATUS_OK;
	}
	status = infer_body_decode(json, binary, model_name, arena, body, error);
	if (hash == 0 || status != STATUS_OK) {
		return status;
	}
	if (place->seen != hash) {
		place->seen = hash;
		place->is_refused = false;
	} else if (!place->is_refused) {
		infer_document_unref(place->document);
		place->document = document_new(json, binary, model_name);
		place->is_refused = place->document == NULL;
	}
	return status;
}
